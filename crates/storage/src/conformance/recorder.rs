//! Executor, dispatcher and listener in one: takes as much as it was told to, and remembers what it was handed.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::{
    lane::{Lane, Terms},
    task::TaskName,
    time::Timestamp,
};

use crate::{ClaimedDelivery, ClaimedJob, DeliveryTaker, Engine, JobTaker, Listener, Takers, Wake};

/// What it was told so far.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) jobs: Vec<ClaimedJob>,
    pub(super) deliveries: Vec<ClaimedDelivery>,
    pub(super) wakes: Vec<Wake>,
    /// Slots it still has to give.
    pub(super) room: (u32, u32),
    /// Reservations asked for.
    pub(super) asked: u32,
}

#[derive(Default)]
pub(super) struct Recorder(Mutex<Seen>);

impl Recorder {
    /// Stands behind `engine` with so many slots for jobs and for deliveries.
    pub(super) fn behind(engine: &Arc<dyn Engine>, jobs: u32, deliveries: u32) -> Arc<Self> {
        let recorder = Arc::new(Self::default());
        recorder.seen().room = (jobs, deliveries);
        let me = Arc::downgrade(&recorder);
        engine.attach(Takers { jobs: Some(me.clone()), deliveries: Some(me.clone()), listeners: vec![me] });
        recorder
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it has been told what `told` looks for: an answer may overtake what follows from the same commit.
    pub(super) async fn until(&self, what: &str, told: impl Fn(&Seen) -> bool) {
        for _ in 0..1_000 {
            if told(&self.seen()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never told: {what}; wakes so far: {:?}", self.seen().wakes);
    }

    pub(super) async fn woken(&self, what: &str, wanted: impl Fn(&Wake) -> bool) {
        self.until(what, |seen| seen.wakes.iter().any(&wanted)).await;
    }
}

impl Listener for Recorder {
    fn woken(&self, wakes: &[Wake]) {
        self.seen().wakes.extend_from_slice(wakes);
    }
}

fn take_one(room: &mut u32) -> bool {
    let had = *room > 0;
    *room = room.saturating_sub(1);
    had
}

impl JobTaker for Recorder {
    fn reserve(&self, _: &TaskName, _: Lane, _: Timestamp) -> bool {
        let mut seen = self.seen();
        seen.asked += 1;
        take_one(&mut seen.room.0)
    }

    fn unreserve(&self, _: &TaskName, _: Lane) {
        self.seen().room.0 += 1;
    }

    fn take(&self, job: ClaimedJob) {
        self.seen().jobs.push(job);
    }
}

impl DeliveryTaker for Recorder {
    fn reserve(&self, _: Lane, _: Terms, _: Timestamp) -> bool {
        let mut seen = self.seen();
        seen.asked += 1;
        take_one(&mut seen.room.1)
    }

    fn unreserve(&self, _: Lane) {
        self.seen().room.1 += 1;
    }

    fn take(&self, delivery: ClaimedDelivery) {
        self.seen().deliveries.push(delivery);
    }
}
