//! When the next attempt is, and when there is none: one policy type for jobs and for deliveries.
//!
//! The contract's form of it, in JSON and TOML, is read and written in `json`.

use std::time::Duration;

use backoff::{backoff::Backoff, exponential::ExponentialBackoff};

mod json;

pub use json::FieldError;

/// The most attempts a policy may make.
pub const MAX_ATTEMPTS: u32 = 30;
/// The longest that a policy's delays may be in all, before jitter.
pub const MAX_SPAN: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// What jitter is when nothing is said: enough to spread a herd, too little to be noticed.
pub const DEFAULT_JITTER: f64 = 0.2;

/// After which attempt how long to wait. Jitter only adds: a wait is between its delay and `delay × (1 + jitter)`.
#[derive(Clone, Debug, PartialEq)]
pub enum RetryPolicy {
    /// Named delays: `n` of them make `n + 1` attempts.
    Schedule {
        /// The wait after the first attempt, the second, …
        delays: Vec<Duration>,
        /// 0.0 ..= 1.0.
        jitter: f64,
    },
    /// Delays that grow by a factor.
    Exponential {
        /// The wait after the first attempt.
        initial: Duration,
        /// What each wait is multiplied by to give the next; at least 1.0.
        multiplier: f64,
        /// No wait is longer (before jitter).
        max_interval: Duration,
        /// Attempts in all, the first included.
        max_attempts: u32,
        /// The longest from acceptance to the last attempt; without it, what the waits add up to.
        max_elapsed: Option<Duration>,
        /// 0.0 ..= 1.0.
        jitter: f64,
    },
}

impl RetryPolicy {
    /// The default of deliveries: the example schedule of the Standard Webhooks spec, ten attempts over three days.
    pub fn default_delivery() -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        let seconds =
            [5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
        Self::Schedule { delays: seconds.map(Duration::from_secs).into(), jitter: DEFAULT_JITTER }
    }

    /// The default of tasks: three attempts, 1 s and 2 s apart.
    pub fn default_task() -> Self {
        Self::Exponential {
            initial: Duration::from_secs(1),
            multiplier: 2.0,
            max_interval: Duration::from_secs(5 * 60),
            max_attempts: 3,
            max_elapsed: None,
            jitter: DEFAULT_JITTER,
        }
    }

    /// Attempts in all, the first included; at least one.
    pub fn max_attempts(&self) -> u32 {
        match self {
            Self::Schedule { delays, .. } => {
                u32::try_from(delays.len()).unwrap_or(u32::MAX).saturating_add(1)
            }
            Self::Exponential { max_attempts, .. } => (*max_attempts).max(1),
        }
    }

    /// The same policy with at most `most` attempts (at least one). It lowers only: a submission may not give itself
    /// more attempts than its task allows.
    #[must_use]
    pub fn with_max_attempts(mut self, most: u32) -> Self {
        let most = most.max(1);
        match &mut self {
            Self::Schedule { delays, .. } => delays.truncate(usize::try_from(most - 1).unwrap_or(usize::MAX)),
            Self::Exponential { max_attempts, .. } => *max_attempts = (*max_attempts).min(most),
        }
        self
    }

    /// How long to wait, from the end of the attempt, after `failures` attempts have used up a step (at least one:
    /// an attempt that uses none, such as an interrupted one, is not counted). `None`: the policy ran out.
    /// `roll` is 0.0 ..= 1.0.
    pub fn delay(&self, failures: u32, roll: f64) -> Option<Duration> {
        let failures = failures.max(1);
        if failures >= self.max_attempts() {
            return None;
        }
        let delay = self.step(failures);
        Some(delay.saturating_add(times(delay, self.jitter() * roll.clamp(0.0, 1.0))))
    }

    /// The longest that work may take by this policy, each of its attempts lasting `attempt_timeout`: what is older
    /// has failed `exhausted`, whatever held it up.
    pub fn total(&self, attempt_timeout: Duration) -> Duration {
        if let Self::Exponential { max_elapsed: Some(most), .. } = self {
            return *most;
        }
        let waits = self.waits();
        waits
            .saturating_add(times(waits, self.jitter()))
            .saturating_add(attempt_timeout.saturating_mul(self.max_attempts()))
    }

    /// What the delays add up to, without jitter.
    fn waits(&self) -> Duration {
        (1..self.max_attempts())
            .map(|failures| self.step(failures))
            .fold(Duration::ZERO, Duration::saturating_add)
    }

    fn jitter(&self) -> f64 {
        match self {
            Self::Schedule { jitter, .. } | Self::Exponential { jitter, .. } => *jitter,
        }
    }

    /// The delay after `failures` attempts, without jitter; `failures` is at least 1 and below the maximum.
    fn step(&self, failures: u32) -> Duration {
        match self {
            Self::Schedule { delays, .. } => {
                let last = usize::try_from(failures - 1).ok().and_then(|n| delays.get(n));
                last.copied().unwrap_or_default()
            }
            Self::Exponential { initial, multiplier, max_interval, .. } => {
                let mut interval = ExponentialBackoff {
                    current_interval: (*initial).min(*max_interval),
                    initial_interval: *initial,
                    randomization_factor: 0.0,
                    multiplier: *multiplier,
                    max_interval: *max_interval,
                    max_elapsed_time: None,
                    start_time: stopped::instant(),
                    clock: stopped::Stopped,
                };
                for _ in 1..failures {
                    // What it answers may be a nanosecond off by a roll of its own; what it holds is exact.
                    interval.next_backoff();
                }
                interval.current_interval
            }
        }
    }
}

fn times(span: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(span.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

/// The clock that `backoff` asks for. No limit of ours is measured by it (`max_elapsed_time` is off), so it stands
/// still.
mod stopped {
    use std::{sync::LazyLock, time::Instant};

    use backoff::{Clock, exponential::ExponentialBackoffBuilder};

    #[derive(Clone, Copy, Debug, Default)]
    pub(super) struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> Instant {
            instant()
        }
    }

    /// Any instant, always the same. `std` makes none but by reading the clock, so the builder's is kept; the
    /// difference of two of them, which is all that is ever taken, is zero.
    pub(super) fn instant() -> Instant {
        static ANY: LazyLock<Instant> =
            LazyLock::new(|| ExponentialBackoffBuilder::<Stopped>::new().build().start_time);
        *ANY
    }
}

#[cfg(test)]
mod tests;
