//! The one place that reads the real clocks and the system's randomness.
#![allow(clippy::disallowed_methods)]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use domain::{
    chance::{Clock, Dice},
    time::Timestamp,
};

/// The machine's clocks.
pub struct SystemClock {
    start: Instant,
    wall_at_start: Timestamp,
}

fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(0) + since
}

impl SystemClock {
    /// Scheduling time counts from here.
    pub fn start() -> Self {
        Self { start: Instant::now(), wall_at_start: wall() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.wall_at_start + self.start.elapsed()
    }

    fn wall(&self) -> Timestamp {
        wall()
    }
}

/// What this process is called among others, for people: host and process id.
pub fn name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "localhost" } else { host.trim() };
    format!("{host}:{}", std::process::id())
}

/// The operating system's randomness.
pub struct SystemDice;

impl Dice for SystemDice {
    fn fill(&self, bytes: &mut [u8]) {
        // Without randomness there are no keys and no ids: nothing sensible can go on.
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}
