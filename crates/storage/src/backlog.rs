//! How many jobs wait and run of each task, and how fast they end: counters that commits keep, never a count over rows.

use std::{
    collections::{HashMap, VecDeque},
    sync::Mutex,
    time::Duration,
};

use domain::{task::TaskName, time::Timestamp};

/// How far back the pace looks.
const WINDOW: Duration = Duration::from_secs(60);

/// One task's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Backlog {
    /// Queued, whether due or not.
    pub waiting: u64,
    /// Running.
    pub running: u64,
    /// Ended per second, over the last minute; 0 if none ended.
    pub pace: f64,
}

impl Backlog {
    /// How long until the last of those waiting starts at the measured pace. `None`: nothing has been measured.
    pub fn estimated_wait(&self, ahead: u64) -> Option<Duration> {
        (self.pace > 0.0).then(|| Duration::from_secs_f64((ahead as f64 / self.pace).min(1e9)))
    }
}

#[derive(Default)]
struct Counters {
    waiting: u64,
    running: u64,
    /// Ends per whole second, newest last.
    ended: VecDeque<(i64, u64)>,
}

/// Every task's numbers. An engine keeps them as it commits.
#[derive(Default)]
pub struct Backlogs(Mutex<HashMap<TaskName, Counters>>);

impl Backlogs {
    fn with<T>(&self, task: &TaskName, change: impl FnOnce(&mut Counters) -> T) -> T {
        // A panic inside these few lines of arithmetic cannot leave the numbers half changed.
        let mut all = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match all.get_mut(task) {
            Some(counters) => change(counters),
            None => change(all.entry(task.clone()).or_default()),
        }
    }

    /// What a start found queued.
    pub fn found(&self, task: &TaskName, waiting: u64) {
        self.with(task, |c| c.waiting = waiting);
    }

    /// Counts all tasks that are known anew.
    pub fn recount(&self, waiting: impl Fn(&TaskName) -> u64) {
        let mut all = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        all.iter_mut().for_each(|(task, counters)| counters.waiting = waiting(task));
    }

    /// A job was accepted, queued or born claimed.
    pub fn submitted(&self, task: &TaskName, born_claimed: bool) {
        self.with(task, |c| if born_claimed { c.running += 1 } else { c.waiting += 1 });
    }

    /// A queued job was claimed.
    pub fn claimed(&self, task: &TaskName) {
        self.with(task, |c| {
            c.waiting = c.waiting.saturating_sub(1);
            c.running += 1;
        });
    }

    /// A running job went back to the queue.
    pub fn requeued(&self, task: &TaskName) {
        self.with(task, |c| {
            c.running = c.running.saturating_sub(1);
            c.waiting += 1;
        });
    }

    /// A job ended; `was_running` says from where.
    pub fn ended(&self, task: &TaskName, was_running: bool, at: Timestamp) {
        self.with(task, |c| {
            let from = if was_running { &mut c.running } else { &mut c.waiting };
            *from = from.saturating_sub(1);
            let second = at.seconds();
            match c.ended.back_mut() {
                Some((last, count)) if *last == second => *count += 1,
                _ => c.ended.push_back((second, 1)),
            }
            while c.ended.front().is_some_and(|(first, _)| second - first > WINDOW.as_secs() as i64) {
                c.ended.pop_front();
            }
        });
    }

    /// One task's numbers as of `now`.
    pub fn of(&self, task: &TaskName, now: Timestamp) -> Backlog {
        self.with(task, |c| {
            let recent = |&&(second, _): &&(i64, u64)| now.seconds() - second <= WINDOW.as_secs() as i64;
            let ended: u64 = c.ended.iter().filter(recent).map(|(_, count)| count).sum();
            let first = c.ended.iter().find(recent).map_or(now.seconds(), |(second, _)| *second);
            let seconds = (now.seconds() - first).max(1) as f64;
            Backlog { waiting: c.waiting, running: c.running, pace: ended as f64 / seconds }
        })
    }

    /// Every task's numbers as of `now`, by name.
    pub fn all(&self, now: Timestamp) -> Vec<(TaskName, Backlog)> {
        let all = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut names: Vec<TaskName> = all.keys().cloned().collect();
        drop(all);
        names.sort();
        names.into_iter().map(|name| (name.clone(), self.of(&name, now))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_paces() {
        let at = |s: i64| Timestamp::from_micros(s * 1_000_000);
        let (all, task): (_, TaskName) = (Backlogs::default(), "report".parse().unwrap());
        for born in [false, false, true] {
            all.submitted(&task, born);
        }
        assert_eq!(all.of(&task, at(0)), Backlog { waiting: 2, running: 1, pace: 0.0 });
        all.claimed(&task);
        all.ended(&task, true, at(10));
        all.ended(&task, true, at(12));
        assert_eq!(all.of(&task, at(20)), Backlog { waiting: 1, running: 0, pace: 0.2 });
        assert_eq!(all.of(&task, at(20)).estimated_wait(2), Some(Duration::from_secs(10)));
        assert_eq!(all.of(&task, at(500)).pace, 0.0);
        assert_eq!(all.of(&task, at(500)).estimated_wait(2), None);
    }
}
