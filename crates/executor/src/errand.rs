//! An errand: a call to storage that is not about one job (read the lanes, sweep what expired, give back). At most one
//! of a kind is out; a failed one is repeated later and later.

use std::time::Duration;

use domain::time::Timestamp;

/// The first pause after a failed call.
const FIRST: Duration = Duration::from_millis(50);

/// The longest, so that work goes on within seconds of an outage's end.
const LONGEST: Duration = Duration::from_secs(2);

/// How long to leave storage alone after so many failures in a row: doubling, and up to as much again by the roll, so
/// that many callers do not come back at the same moment.
pub(crate) fn pause(failures: u32, roll: f64) -> Duration {
    let base = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST);
    base.mul_f64(1.0 + roll)
}

/// When one is due, and whether one is out.
#[derive(Default)]
pub(crate) struct Errand {
    due: Option<Timestamp>,
    out: bool,
    failures: u32,
}

impl Errand {
    /// Asks for one, no later than `at`.
    pub(crate) fn ask(&mut self, at: Timestamp) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// When the next one is to start; nothing while one is out.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.due.filter(|_| !self.out)
    }

    /// True while one is asked for or out.
    pub(crate) fn pending(&self) -> bool {
        self.out || self.due.is_some()
    }

    /// True while one is out.
    pub(crate) fn out(&self) -> bool {
        self.out
    }

    /// Starts one if it is due: true obliges the caller to say how it ended.
    pub(crate) fn start(&mut self, now: Timestamp) -> bool {
        let start = self.next().is_some_and(|due| due <= now);
        if start {
            (self.out, self.due) = (true, None);
        }
        start
    }

    /// It was answered.
    pub(crate) fn done(&mut self) {
        (self.out, self.failures) = (false, 0);
    }

    /// It was not: again later.
    pub(crate) fn failed(&mut self, now: Timestamp, roll: f64) {
        self.failures += 1;
        self.out = false;
        self.ask(now + pause(self.failures, roll));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(millis * 1_000)
    }

    #[test]
    fn pauses_double_and_are_bounded() {
        for (failures, roll, millis) in
            [(1, 0.0, 50), (1, 1.0, 100), (2, 0.0, 100), (6, 0.0, 1_600), (40, 0.5, 3_000)]
        {
            assert_eq!(pause(failures, roll), Duration::from_millis(millis), "{failures} {roll}");
        }
    }

    #[test]
    fn one_is_out_at_a_time_and_none_asked_for_meanwhile_is_lost() {
        let mut errand = Errand::default();
        assert!(!errand.start(at(0)) && !errand.pending());
        errand.ask(at(20));
        errand.ask(at(10));
        errand.ask(at(30));
        assert_eq!(errand.next(), Some(at(10)));
        assert!(!errand.start(at(9)) && errand.start(at(10)) && !errand.start(at(10)));
        errand.ask(at(11));
        assert_eq!((errand.next(), errand.pending()), (None, true));
        errand.failed(at(20), 0.0);
        assert_eq!(errand.next(), Some(at(11)));
        assert!(errand.start(at(20)));
        errand.failed(at(20), 0.0);
        assert_eq!(errand.next(), Some(at(120)));
        assert!(errand.start(at(120)));
        errand.done();
        assert!(!errand.pending());
    }
}
