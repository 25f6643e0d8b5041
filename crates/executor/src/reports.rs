//! What work says of itself while it runs: the latest is kept here, and written at most once a second.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::{
    event::Event,
    id::EventId,
    job::{Job, Progress},
    time::Timestamp,
};
use storage::{ClaimedJob, Report, Written};
use tokio::sync::Notify;

use crate::executor::Executor;

/// At most one is written in this time.
const PACE: Duration = Duration::from_secs(1);

/// How far one attempt is.
#[derive(Default)]
pub(crate) struct Reports {
    latest: Mutex<Option<Arc<Progress>>>,
    changed: Notify,
}

impl Reports {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Progress>>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it said last.
    pub(crate) fn latest(&self) -> Option<Arc<Progress>> {
        self.lock().clone()
    }

    /// It said something; what cannot be read says nothing.
    pub(crate) fn hear(&self, line: &[u8], wall: Timestamp) {
        let Some(said) = Progress::read(line, wall) else { return };
        let mut latest = self.lock();
        if latest.as_ref().is_none_or(|before| !said.says_as(before)) {
            *latest = Some(Arc::new(said));
            self.changed.notify_one();
        }
    }

    /// Writes what is said for as long as it is awaited. What storage does not take is not written: newer news follows,
    /// or the end.
    pub(crate) async fn write(&self, executor: &Executor, claimed: &ClaimedJob) -> Infallible {
        let mut replaces = None;
        loop {
            self.changed.notified().await;
            let Some(progress) = self.latest() else { continue };
            executor.permitted().await;
            let at = executor.moment();
            let job = Job { progress: Some(progress), ..claimed.job.clone() };
            let id = EventId::new(at.now, executor.dice().bits());
            let event = Event::progress(id, &job, at.wall, &executor.links(&job, at.wall));
            let report = Report { job, hold: claimed.hold, event, replaces, at };
            match executor.calling(executor.engine().report(report)).await {
                Ok(Written::Done) => replaces = Some(id),
                // The end of the attempt will find that out.
                Ok(Written::LeaseLost) => return std::future::pending().await,
                Err(error) => {
                    executor.storage_failed("report", &error);
                    self.changed.notify_one();
                }
            }
            executor.sleep_until(at.now + PACE).await;
        }
    }
}
