//! What an engine calls, whoever lives at the moment.

use std::sync::{Arc, Mutex, PoisonError};

use domain::{
    lane::{Lane, Terms},
    task::TaskName,
    time::Timestamp,
};
use storage::{ClaimedDelivery, ClaimedJob, DeliveryTaker, Engine, JobTaker, Listener, Takers, Wake};

/// Stands behind an engine for as long as it is open, and passes on to whoever lives now: engines take their takers
/// once, and one engine may see many lives.
#[derive(Default)]
pub struct Relay(Mutex<Option<Behind>>);

#[derive(Clone)]
struct Behind {
    jobs: Arc<dyn JobTaker>,
    deliveries: Arc<dyn DeliveryTaker>,
    listeners: Vec<Arc<dyn Listener>>,
}

impl Relay {
    /// A relay attached to `engine`. Whoever opened the engine keeps it.
    pub fn attached(engine: &Arc<dyn Engine>) -> Arc<Self> {
        let relay = Arc::new(Self::default());
        let me = Arc::downgrade(&relay);
        engine.attach(Takers { jobs: Some(me.clone()), deliveries: Some(me.clone()), listeners: vec![me] });
        relay
    }

    pub(super) fn pass_to(
        &self,
        jobs: Arc<dyn JobTaker>,
        deliveries: Arc<dyn DeliveryTaker>,
        listeners: Vec<Arc<dyn Listener>>,
    ) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Behind { jobs, deliveries, listeners });
    }

    /// Nobody is behind it any more.
    pub(super) fn cut(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn behind(&self) -> Option<Behind> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Listener for Relay {
    fn woken(&self, wakes: &[Wake]) {
        for listener in self.behind().into_iter().flat_map(|behind| behind.listeners) {
            listener.woken(wakes);
        }
    }
}

impl JobTaker for Relay {
    fn reserve(&self, task: &TaskName, lane: Lane, now: Timestamp) -> bool {
        self.behind().is_some_and(|behind| behind.jobs.reserve(task, lane, now))
    }

    fn unreserve(&self, task: &TaskName, lane: Lane) {
        if let Some(behind) = self.behind() {
            behind.jobs.unreserve(task, lane);
        }
    }

    fn take(&self, job: ClaimedJob) {
        if let Some(behind) = self.behind() {
            behind.jobs.take(job);
        }
    }
}

impl DeliveryTaker for Relay {
    fn reserve(&self, lane: Lane, terms: Terms, now: Timestamp) -> bool {
        self.behind().is_some_and(|behind| behind.deliveries.reserve(lane, terms, now))
    }

    fn unreserve(&self, lane: Lane) {
        if let Some(behind) = self.behind() {
            behind.deliveries.unreserve(lane);
        }
    }

    fn take(&self, delivery: ClaimedDelivery) {
        if let Some(behind) = self.behind() {
            behind.deliveries.take(delivery);
        }
    }
}
