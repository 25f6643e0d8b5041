//! A clock that stands still until a test moves it.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use domain::{chance::Clock, time::Timestamp};

/// Both clocks, moved by hand. They move together but for [`HandClock::jump_wall`], which is what an operator or NTP
/// does to a machine: it must not change when anything is due.
#[derive(Debug)]
pub struct HandClock {
    now: AtomicI64,
    wall_ahead: AtomicI64,
}

impl HandClock {
    /// Both clocks stand at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self { now: AtomicI64::new(start.micros()), wall_ahead: AtomicI64::new(0) }
    }

    /// Time passes.
    pub fn advance(&self, by: Duration) {
        self.now.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX / 4), Ordering::SeqCst);
    }

    /// Time passes until scheduling time is `then`; nothing if that is over.
    pub fn advance_to(&self, then: Timestamp) {
        self.now.fetch_max(then.micros(), Ordering::SeqCst);
    }

    /// The wall clock jumps by so many microseconds, forward or back; scheduling time goes on as it was.
    pub fn jump_wall(&self, micros: i64) {
        self.wall_ahead.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Default for HandClock {
    /// Starts at 2026-01-01T00:00:00Z.
    fn default() -> Self {
        Self::new(Timestamp::from_micros(1_767_225_600_000_000))
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.now.load(Ordering::SeqCst))
    }

    fn wall(&self) -> Timestamp {
        let ahead = self.wall_ahead.load(Ordering::SeqCst);
        Timestamp::from_micros(self.now.load(Ordering::SeqCst).saturating_add(ahead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_jumps_alone_and_time_passes_for_both() {
        let clock = HandClock::new(Timestamp::from_micros(1_000));
        clock.advance(Duration::from_micros(5));
        clock.jump_wall(-100);
        assert_eq!((clock.now().micros(), clock.wall().micros()), (1_005, 905));
        clock.advance_to(Timestamp::from_micros(2_000));
        clock.advance_to(Timestamp::from_micros(1_500));
        assert_eq!((clock.now().micros(), clock.wall().micros()), (2_000, 1_900));
    }
}
