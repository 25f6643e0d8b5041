//! What follows a commit: whoever waits hears of it, and what was born claimed is handed over in memory.

use std::sync::{Arc, Weak};

use domain::{
    id::{EndpointId, JobId, Tenant},
    lane::{Lane, Standing, Terms},
    task::TaskName,
    time::Timestamp,
};

use crate::{ClaimedDelivery, ClaimedJob};

/// Something that a commit changed.
#[derive(Clone, Debug)]
pub enum Wake {
    /// A job of this lane is or will be due.
    JobDue {
        /// Its lane.
        lane: Lane,
        /// Its task: the lane's group.
        task: TaskName,
        /// When.
        due: Timestamp,
    },
    /// A queued or running job has an expiry the sweep must not miss.
    JobExpires {
        /// When.
        at: Timestamp,
    },
    /// A running job was asked to stop.
    CancelRequested {
        /// Which.
        job: JobId,
    },
    /// Status, attempt, callbacks or cancel request of a job changed.
    JobChanged {
        /// Which.
        job: JobId,
        /// True if it has ended.
        ended: bool,
    },
    /// A delivery of this lane is or will be due.
    DeliveryDue {
        /// Its lane.
        lane: Lane,
        /// When.
        due: Timestamp,
    },
    /// A task was paused or resumed.
    TaskPaused {
        /// Which.
        task: TaskName,
        /// True if it was paused.
        paused: bool,
    },
    /// Tasks may have been paused or resumed elsewhere: whoever starts jobs looks which are.
    TasksChanged,
    /// A tenant's signing secret changed.
    SecretsChanged {
        /// Whose.
        tenant: Tenant,
    },
    /// Something happened to a tenant: its feed, and those of its endpoints, may have more.
    Happened {
        /// To whom.
        tenant: Tenant,
    },
    /// An endpoint was registered, changed, disabled or deleted: there may be something for
    /// [`crate::Endpoints::tend_endpoints`].
    EndpointChanged {
        /// Which.
        endpoint: EndpointId,
    },
    /// A key was revoked, or a tenant deleted with its keys.
    KeysRevoked,
    /// A node came, left, or was asked to drain.
    FleetChanged,
    /// A commit's outcome was lost: what the node holds in memory and what its rows say may differ. Whoever runs or
    /// sends gives back what it does not hold ([`crate::Nodes::give_back`]).
    Uncertain,
}

/// Hears of every commit, on the engine's writer: it must return at once. Of commits of other nodes it hears later, and
/// it may hear of the same one again.
pub trait Listener: Send + Sync {
    /// What the commit changed.
    fn woken(&self, wakes: &[Wake]);

    /// Jobs whose every change it wants to hear of, other nodes' too: an engine that shares its storage looks at them
    /// from time to time.
    fn awaited(&self) -> Vec<JobId> {
        Vec::new()
    }
}

/// The executor, as the engine sees it: whether a job can be born claimed, and who runs it then.
pub trait JobTaker: Send + Sync {
    /// Takes a slot for a job about to be written, if its lane has a free one and nothing due waits before it.
    fn reserve(&self, task: &TaskName, lane: Lane, now: Timestamp) -> bool;
    /// The commit failed: the slot is free again.
    fn unreserve(&self, task: &TaskName, lane: Lane);
    /// The commit stands: run it, in the slot that was reserved.
    fn take(&self, job: ClaimedJob);
}

/// The dispatcher, as the engine sees it.
pub trait DeliveryTaker: Send + Sync {
    /// Takes a slot for a delivery about to be written, if its lane has a free one and nothing due waits before it.
    /// `terms`: what the lane's endpoint allows.
    fn reserve(&self, lane: Lane, terms: Terms, now: Timestamp) -> bool;
    /// The commit failed: the slot is free again.
    fn unreserve(&self, lane: Lane);
    /// The commit stands: send it, in the slot that was reserved.
    fn take(&self, delivery: ClaimedDelivery);
    /// What keeps a lane from sending, as far as this node knows.
    fn standing(&self, _lane: Lane, _now: Timestamp) -> Standing {
        Standing::default()
    }
}

/// Who is behind an engine. Held weakly: they hold the engine.
#[derive(Default)]
pub struct Takers {
    /// Runs what is born claimed; without one no job is.
    pub jobs: Option<Weak<dyn JobTaker>>,
    /// Sends what is born claimed; without one no delivery is.
    pub deliveries: Option<Weak<dyn DeliveryTaker>>,
    /// Hear of every commit.
    pub listeners: Vec<Weak<dyn Listener>>,
}

impl Takers {
    /// Tells every listener.
    pub fn wake(&self, wakes: &[Wake]) {
        if wakes.is_empty() {
            return;
        }
        for listener in self.listeners.iter().filter_map(Weak::upgrade) {
            listener.woken(wakes);
        }
    }

    /// Jobs that any listener waits for.
    pub fn awaited(&self) -> Vec<JobId> {
        self.listeners.iter().filter_map(Weak::upgrade).flat_map(|listener| listener.awaited()).collect()
    }

    /// The executor, if it still lives.
    pub fn jobs(&self) -> Option<Arc<dyn JobTaker>> {
        self.jobs.as_ref().and_then(Weak::upgrade)
    }

    /// The dispatcher, if it still lives.
    pub fn deliveries(&self) -> Option<Arc<dyn DeliveryTaker>> {
        self.deliveries.as_ref().and_then(Weak::upgrade)
    }
}
