//! The two clocks of a test: monotonic for intervals, wall for what is compared with the server's own times.

use std::{
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Now, on the monotonic clock.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Instant {
    Instant::now()
}

/// Nanoseconds since this process first asked: the time in every log line of a run.
pub fn ticks() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Wall time since the Unix epoch.
#[allow(clippy::disallowed_methods)]
pub fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
