//! Where a queued job stands and when to ask again: estimates from counters and the measured pace, never a count over
//! rows.

use std::{
    collections::{HashMap, VecDeque},
    sync::Mutex,
    time::Duration,
};

use domain::{
    job::{Job, Queue, State},
    task::TaskName,
    time::Timestamp,
};
use storage::Backlog;

use crate::router::Api;

/// Asking again later than this is never suggested, in seconds.
const MOST_SECONDS: u64 = 3_600;

/// How many points of a task's arrivals are kept: 64 KiB a task.
const MOST_POINTS: usize = 4_096;

/// How many jobs have been accepted here, by time: who arrived after a job does not stand before it.
#[derive(Default)]
pub(crate) struct Arrivals(Mutex<HashMap<TaskName, Counted>>);

#[derive(Default)]
struct Counted {
    total: u64,
    /// At these times so many had arrived, oldest first. Thinned out when full.
    points: VecDeque<(Timestamp, u64)>,
}

impl Arrivals {
    /// A job of this task was accepted.
    pub(crate) fn arrived(&self, task: &TaskName, at: Timestamp) {
        // A panic inside this arithmetic cannot leave the numbers half changed.
        let mut all = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let counted = match all.get_mut(task) {
            Some(counted) => counted,
            None => all.entry(task.clone()).or_default(),
        };
        counted.total += 1;
        match counted.points.back_mut() {
            // Answers come in another order than submissions: a point never lies before the last one.
            Some((last, total)) if at.since(*last) < Duration::from_millis(1) => *total = counted.total,
            _ => counted.points.push_back((at, counted.total)),
        }
        if counted.points.len() > MOST_POINTS {
            let mut place = 0;
            counted.points.retain(|_| {
                place += 1;
                place % 2 == 0
            });
        }
    }

    /// How many arrived after `at`.
    fn after(&self, task: &TaskName, at: Timestamp) -> u64 {
        let all = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let Some(counted) = all.get(task) else { return 0 };
        let behind = counted.points.partition_point(|(point, _)| *point <= at);
        let before =
            behind.checked_sub(1).and_then(|last| counted.points.get(last)).map_or(0, |(_, total)| *total);
        counted.total - before
    }
}

impl Api {
    /// `queue` of a job: `None` unless it is queued.
    pub(crate) fn queue(&self, job: &Job) -> Option<Queue> {
        let State::Queued { run_at, .. } = job.state else { return None };
        let backlog = self.engine.backlogs().of(&job.task, self.clock.now());
        let arrived_after = self.arrivals.after(&job.task, job.created_at);
        Some(place(&backlog, arrived_after, run_at, self.clock.wall()))
    }

    /// `Retry-After` in whole seconds; `None` for a job that has ended.
    pub(crate) fn retry_after(&self, job: &Job) -> Option<u64> {
        match job.state {
            State::Ended(_) => None,
            State::Running { .. } => Some(1),
            State::Queued { .. } => Some(ask_again(self.queue(job), self.clock.wall())),
        }
    }
}

fn place(backlog: &Backlog, arrived_after: u64, run_at: Option<Timestamp>, now: Timestamp) -> Queue {
    let position = backlog.waiting.saturating_sub(arrived_after).max(1);
    let estimated_start_at = match (backlog.estimated_wait(position), run_at.filter(|at| *at > now)) {
        (Some(wait), run_at) => Some((now + wait).max(run_at.unwrap_or(now))),
        // Nothing has been measured: what waits for its time at least waits for that.
        (None, run_at) => run_at,
    };
    Queue { position, estimated_start_at }
}

fn ask_again(queue: Option<Queue>, now: Timestamp) -> u64 {
    let wait =
        queue.and_then(|queue| queue.estimated_start_at).map_or(Duration::ZERO, |start| start.since(now));
    wait.as_millis().div_ceil(1_000).clamp(1, u128::from(MOST_SECONDS)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn places_and_paces() {
        // waiting, pace, arrived after, run_at → position, start, ask again; now is second 100
        for (waiting, pace, after, run_at, position, start, again) in [
            (0, 0.0, 0, None, 1, None, 1),
            (5, 0.0, 0, None, 5, None, 1),
            (5, 2.0, 0, None, 5, Some(102_500), 3),
            (5, 2.0, 3, None, 2, Some(101_000), 1),
            (5, 2.0, 9, None, 1, Some(100_500), 1),
            (5, 2.0, 0, Some(110), 5, Some(110_000), 10),
            (5, 0.0, 0, Some(110), 5, Some(110_000), 10),
            (5, 0.0, 0, Some(90), 5, None, 1),
            (1_000_000, 1.0, 0, None, 1_000_000, Some(1_000_100_000), 3_600),
        ] {
            let backlog = Backlog { waiting, running: 1, pace };
            let queue = place(&backlog, after, run_at.map(at), at(100));
            let start_ms = queue.estimated_start_at.map(|start| start.micros() / 1_000);
            assert_eq!((queue.position, start_ms, ask_again(Some(queue), at(100))), (position, start, again));
        }
    }

    #[test]
    fn counts_who_came_after() {
        let (arrivals, task): (_, TaskName) = (Arrivals::default(), "report".parse().unwrap());
        assert_eq!(arrivals.after(&task, at(0)), 0);
        for second in 1..=10 {
            arrivals.arrived(&task, at(second));
        }
        for (second, after) in [(0, 10), (1, 9), (5, 5), (10, 0), (11, 0)] {
            assert_eq!(arrivals.after(&task, at(second)), after);
        }
        for second in 11..=20_000 {
            arrivals.arrived(&task, at(second));
        }
        assert!(arrivals.0.lock().unwrap()[&task].points.len() <= MOST_POINTS);
        let after = arrivals.after(&task, at(10_000));
        assert!(after.abs_diff(10_000) < 20, "{after}");
    }
}
