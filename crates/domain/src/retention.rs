//! How long what has ended is kept.
//!
//! A job is pruned with everything that is of it, and leaves a tombstone; a task may have its payloads erased earlier.
//! Nothing is pruned that somebody still waits for: while a delivery of it is to be sent, and before its
//! Idempotency-Key may be used for another request.

use std::{collections::BTreeMap, time::Duration};

use crate::{id::JobId, job::Status, task::TaskName, time::Timestamp};

/// How long an Idempotency-Key finds its job at least.
pub const KEY: Duration = Duration::from_secs(24 * 3_600);

/// What the operator set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Jobs, with their events, deliveries and attempts, after their end.
    pub history: Duration,
    /// What is left of a job then.
    pub tombstones: Duration,
    /// Inputs, results and bodies of a task's jobs after their end, where that is to be shorter than `history`.
    pub payloads: BTreeMap<TaskName, Duration>,
}

/// A job as retention sees it.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    /// Of what task.
    pub task: &'a str,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it ended, if it has.
    pub finished_at: Option<Timestamp>,
    /// It was submitted under an Idempotency-Key.
    pub keyed: bool,
    /// Something of it is still to be sent.
    pub pending: bool,
    /// Its payloads are gone already.
    pub erased: bool,
}

/// What becomes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It stays as it is, for now.
    Keep,
    /// Its payloads go.
    Erase,
    /// All of it goes, but for the tombstone.
    Prune,
}

impl Retention {
    /// What becomes of a job at `wall` on the wall clock.
    pub fn fate(&self, job: &Kept<'_>, wall: Timestamp) -> Fate {
        let Some(finished_at) = job.finished_at.filter(|_| !job.pending) else { return Fate::Keep };
        let key_over = !job.keyed || job.created_at + KEY <= wall;
        if finished_at + self.history <= wall && key_over {
            return Fate::Prune;
        }
        let payloads = self.payloads.iter().find(|(task, _)| task.as_str() == job.task);
        match payloads {
            Some((_, kept)) if !job.erased && finished_at + *kept <= wall => Fate::Erase,
            _ => Fate::Keep,
        }
    }

    /// The shortest time that payloads of some task are kept; `None` if all are kept as long as their jobs.
    pub fn shortest_payloads(&self) -> Option<Duration> {
        self.payloads.values().min().copied()
    }
}

/// What is left of a job that was pruned or deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tombstone {
    /// Its id.
    pub id: JobId,
    /// The kind of work.
    pub task: TaskName,
    /// How it had ended.
    pub status: Status,
    /// When.
    pub finished_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn fates() {
        let hours = |n: i64| Duration::from_secs((n * HOUR).unsigned_abs());
        let retention = Retention {
            history: hours(10),
            tombstones: hours(100),
            payloads: [("short".parse().unwrap(), hours(2))].into(),
        };
        assert_eq!(retention.shortest_payloads(), Some(hours(2)));
        // task, created, finished, keyed, pending, erased, now → fate; in hours
        for (task, created, finished, keyed, pending, erased, now, fate) in [
            ("long", 0, None, false, false, false, 99, Fate::Keep),
            ("long", 0, Some(1), false, false, false, 10, Fate::Keep),
            ("long", 0, Some(1), false, false, false, 11, Fate::Prune),
            ("long", 0, Some(1), false, true, false, 11, Fate::Keep),
            ("long", 0, Some(1), true, false, false, 23, Fate::Keep),
            ("long", 0, Some(1), true, false, false, 24, Fate::Prune),
            ("long", 0, Some(20), true, false, false, 29, Fate::Keep),
            ("short", 0, Some(1), false, false, false, 2, Fate::Keep),
            ("short", 0, Some(1), false, false, false, 3, Fate::Erase),
            ("short", 0, Some(1), false, true, false, 3, Fate::Keep),
            ("short", 0, Some(1), false, false, true, 3, Fate::Keep),
            ("short", 0, Some(1), false, false, true, 11, Fate::Prune),
            ("short", 0, Some(1), true, false, false, 11, Fate::Erase),
        ] {
            let job = Kept {
                task,
                created_at: at(created * HOUR),
                finished_at: finished.map(|finished: i64| at(finished * HOUR)),
                keyed,
                pending,
                erased,
            };
            assert_eq!(
                retention.fate(&job, at(now * HOUR)),
                fate,
                "{task} {finished:?} {keyed} {pending} {now}"
            );
        }
    }
}
