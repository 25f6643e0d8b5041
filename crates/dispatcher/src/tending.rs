//! What takes several steps about endpoints: failing what waits for one that is closed, and sending one again what it
//! missed. Each step is a commit of its own, so that none holds up a webhook; what a crash left undone is found by the
//! first step of the next start.

use std::{sync::Arc, time::Duration};

use domain::{
    chance::{Clock, Moment},
    time::Timestamp,
};
use storage::{Engine, Listener, Wake};
use tokio::sync::Notify;

/// How often to look unasked.
const LOOK: Duration = Duration::from_secs(60);
/// How long storage is left alone that refused a step.
const REFUSED: Duration = Duration::from_secs(1);

/// Attach it to the engine as a [`Listener`], then [`Tending::run`] it.
pub struct Tending {
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    may_act: Arc<dyn Fn() -> bool + Send + Sync>,
    bell: Notify,
}

impl Tending {
    /// At rest until it is run. `may_act` is false while the lease is in doubt: then nothing is changed.
    pub fn new(
        engine: Arc<dyn Engine>,
        clock: Arc<dyn Clock>,
        may_act: Arc<dyn Fn() -> bool + Send + Sync>,
    ) -> Arc<Self> {
        Arc::new(Self { engine, clock, may_act, bell: Notify::new() })
    }

    /// Runs for ever: once at the start, and then whenever an endpoint changes or a recovery has its next step to make.
    pub async fn run(self: Arc<Self>) {
        loop {
            let wait = self.step().await.map_or(LOOK, |next| next.since(self.clock.now()).min(LOOK));
            // Over at once where there is more to do now.
            let _ = tokio::time::timeout(wait, self.bell.notified()).await;
        }
    }

    /// A node died: what it had begun, and perhaps told nobody of, is to be gone on with.
    pub fn look(&self) {
        self.bell.notify_one();
    }

    /// One step. Answers with when there is more to do.
    pub async fn step(&self) -> Option<Timestamp> {
        if !(self.may_act)() {
            return Some(self.clock.now() + REFUSED);
        }
        match self.engine.tend_endpoints(Moment::of(&*self.clock)).await {
            Ok(next) => next,
            Err(storage::StorageError::Closed) => None,
            Err(error) => {
                tracing::warn!(%error, "endpoints_not_tended");
                Some(self.clock.now() + REFUSED)
            }
        }
    }
}

impl Listener for Tending {
    fn woken(&self, wakes: &[Wake]) {
        if wakes.iter().any(|wake| matches!(wake, Wake::EndpointChanged { .. } | Wake::Uncertain)) {
            self.bell.notify_one();
        }
    }
}
