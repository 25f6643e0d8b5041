//! This node's hold on one job, from its arrival to the end of its attempt.

use std::{future::poll_fn, sync::Arc, task::Poll};

use domain::{
    id::JobId,
    lane::{Group, Lane},
};

use crate::{
    executor::Executor,
    state::{Arrival, Stop},
};

/// Dropped, it frees the slot: also when the attempt's task panics.
pub(crate) struct Held {
    pub(crate) executor: Arc<Executor>,
    job: JobId,
    serial: u64,
    slot: Option<(Lane, Group)>,
}

impl Held {
    pub(crate) fn new(executor: Arc<Executor>, arrival: &Arrival) -> Self {
        Self { executor, job: arrival.claimed.job.id, serial: arrival.serial, slot: arrival.slot }
    }

    /// Whether it was asked to stop by now.
    pub(crate) fn stop(&self) -> Option<Stop> {
        let state = self.executor.state();
        state.running.get(&self.job).filter(|running| running.serial == self.serial)?.stop
    }

    /// Ready once it is asked to stop.
    pub(crate) async fn stopped(&self) -> Stop {
        poll_fn(|context| {
            let mut state = self.executor.state();
            match state.running.get_mut(&self.job).filter(|running| running.serial == self.serial) {
                Some(running) if running.stop.is_none() => running.waker = Some(context.waker().clone()),
                Some(running) => return running.stop.map_or(Poll::Pending, Poll::Ready),
                None => {}
            }
            Poll::Pending
        })
        .await
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.executor.state();
        // The next attempt of the same job may have arrived by now.
        if state.running.get(&self.job).is_some_and(|running| running.serial == self.serial) {
            state.running.remove(&self.job);
        }
        if let Some((lane, group)) = self.slot {
            state.lanes.done(lane, group);
        }
        self.executor.released(&mut state);
    }
}
