//! Time and chance, as the traits that everything takes them through. Only the server and the testkit implement them.

use crate::time::Timestamp;

/// The two clocks.
pub trait Clock: Send + Sync + 'static {
    /// Scheduling time: the wall time at start plus what a monotonic clock counted since. No jump of the wall clock
    /// brings a retry early or late.
    fn now(&self) -> Timestamp;
    /// The wall clock: what `webhook-timestamp` bears and what people are shown.
    fn wall(&self) -> Timestamp;
}

/// Where randomness comes from: the operating system, or a seed under test.
pub trait Dice: Send + Sync + 'static {
    /// Fills `bytes` with bytes fit for keys.
    fn fill(&self, bytes: &mut [u8]);

    /// 128 random bits, for ids.
    fn bits(&self) -> u128 {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        u128::from_le_bytes(bytes)
    }

    /// A number in 0.0 ..= 1.0, for jitter.
    fn roll(&self) -> f64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        (u64::from_le_bytes(bytes) >> 11) as f64 / ((1_u64 << 53) - 1) as f64
    }
}

/// One reading of both clocks: what a command bears, so that everything it writes agrees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// Scheduling time: for everything that is due.
    pub now: Timestamp,
    /// The wall clock: for everything that is shown.
    pub wall: Timestamp,
}

impl Moment {
    /// Reads both clocks.
    pub fn of(clock: &dyn Clock) -> Self {
        Self { now: clock.now(), wall: clock.wall() }
    }
}
