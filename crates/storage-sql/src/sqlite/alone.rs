//! The only node of a SQLite file, as others would see it. It lives as long as its process: no row says it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::{fleet::Holds, lease::Fence, time::Timestamp};
use storage::{NodeRow, Roster};

pub(crate) struct Alone {
    name: String,
    version: String,
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    started_at: Option<Timestamp>,
    refuses: bool,
    drain_at: Option<Timestamp>,
    holds: Holds,
}

impl Alone {
    pub(crate) fn new(name: String, version: String) -> Self {
        Self { name, version, now: Mutex::default() }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn join(&self, at: Timestamp) {
        self.now().started_at.get_or_insert(at);
    }

    pub(crate) fn takes(&self, takes: bool) {
        self.now().refuses = !takes;
    }

    pub(crate) fn hold(&self, holds: Holds) {
        self.now().holds = holds;
    }

    pub(crate) fn drain(&self, at: Timestamp) {
        self.now().drain_at.get_or_insert(at);
    }

    /// Itself. Its lease is never over.
    pub(crate) fn roster(&self, fence: Fence, at: Timestamp) -> Roster {
        let now = self.now();
        let row = NodeRow {
            fence,
            name: self.name.clone(),
            version: self.version.clone(),
            started_at: now.started_at.unwrap_or(at),
            lease_until: at + std::time::Duration::from_secs(60),
            takes: !now.refuses,
            drain_at: now.drain_at,
            holds: now.holds.clone(),
        };
        Roster { now: at, version: 0, nodes: vec![row] }
    }
}
