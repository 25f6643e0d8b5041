//! Our own timers: entries that [`crate::Executor::step`] fires when the clock it was given has passed them, so that a
//! clock moved by hand drives the very same code.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use domain::time::Timestamp;

use crate::executor::Executor;

/// Where an entry stands: its time, and a number that makes it unique.
type Key = (Timestamp, u64);

/// Who waits until when.
#[derive(Default)]
pub(crate) struct Timers {
    made: u64,
    waiting: BTreeMap<Key, Waker>,
}

impl Timers {
    fn key(&mut self, at: Timestamp) -> Key {
        self.made += 1;
        (at, self.made)
    }

    fn set(&mut self, key: Key, waker: Waker) {
        self.waiting.insert(key, waker);
    }

    fn forget(&mut self, key: Key) {
        self.waiting.remove(&key);
    }

    /// The next to fire.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes out everyone whose time has come, earliest first.
    pub(crate) fn fire(&mut self, now: Timestamp) -> Vec<Waker> {
        let mut due = Vec::new();
        while let Some(first) = self.waiting.first_entry().filter(|entry| entry.key().0 <= now) {
            due.push(first.remove());
        }
        due
    }
}

/// Ready once the clock has reached `at`.
pub(crate) struct Sleep<'a> {
    executor: &'a Executor,
    at: Timestamp,
    key: Option<Key>,
}

impl<'a> Sleep<'a> {
    pub(crate) fn until(executor: &'a Executor, at: Timestamp) -> Self {
        Self { executor, at, key: None }
    }
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.executor.now() >= self.at {
            return Poll::Ready(());
        }
        let (executor, at) = (self.executor, self.at);
        let mut state = executor.state();
        let key = *self.key.get_or_insert_with(|| state.timers.key(at));
        state.timers.set(key, context.waker().clone());
        executor.wake_if_sooner(&mut state);
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.executor.state().timers.forget(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    #[test]
    fn fires_what_is_due_and_keeps_the_rest() {
        let mut timers = Timers::default();
        for time in [30, 10, 20, 10] {
            let key = timers.key(at(time));
            timers.set(key, Waker::noop().clone());
        }
        let gone = timers.key(at(5));
        timers.set(gone, Waker::noop().clone());
        timers.forget(gone);
        assert_eq!(timers.next(), Some(at(10)));
        for (now, fired, next) in [(9, 0, Some(10)), (10, 2, Some(20)), (10, 0, Some(20)), (35, 2, None)] {
            assert_eq!(timers.fire(at(now)).len(), fired, "at {now}");
            assert_eq!(timers.next(), next.map(at), "at {now}");
        }
    }

    #[test]
    fn an_entry_set_again_is_one_entry() {
        let mut timers = Timers::default();
        let key = timers.key(at(10));
        timers.set(key, Waker::noop().clone());
        timers.set(key, Waker::noop().clone());
        assert_eq!(timers.fire(at(10)).len(), 1);
    }
}
