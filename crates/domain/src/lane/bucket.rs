//! How many of a lane may go now under a rate: a token bucket, small enough that no window of the rate's length ever sees
//! more than the rate says.

use std::time::Duration;

use crate::{rate::Rate, time::Timestamp};

/// As much of a rate as comes in this time may go at once: a claim takes some of it, and what it is late by is not lost.
const AT_ONCE: Duration = Duration::from_millis(100);

/// A lane's bucket: when it is full again (the generic cell rate algorithm). A new one holds one token, since nobody
/// knows what a node before this one sent a moment ago.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket(Option<i64>);

/// What a rate means for a bucket. All in microseconds.
#[derive(Clone, Copy)]
struct Measure {
    /// How many it holds.
    size: i64,
    /// How long one takes to come back. The rate less what may go at once, so that both together are the rate.
    interval: i64,
}

impl Measure {
    fn of(rate: Rate) -> Self {
        let (count, window) = (i64::from(rate.count().get()), micros(rate.window()));
        let at_once = i128::from(count) * i128::from(micros(AT_ONCE)) / i128::from(window);
        let size = i64::try_from(at_once).unwrap_or(count).clamp(1, count);
        let back = count - size + 1;
        Self { size, interval: (window + back - 1) / back }
    }

    /// When a bucket with one token is full.
    fn almost_empty(self, now: i64) -> i64 {
        now.saturating_add(self.interval.saturating_mul(self.size - 1))
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

impl Bucket {
    /// How many there are.
    pub(super) fn tokens(self, rate: Rate, now: Timestamp) -> u32 {
        let (measure, now) = (Measure::of(rate), now.micros());
        let full = self.0.unwrap_or_else(|| measure.almost_empty(now));
        let missing = full.saturating_sub(now).max(0);
        let missing = missing / measure.interval + i64::from(missing % measure.interval > 0);
        u32::try_from((measure.size - missing).max(0)).unwrap_or(u32::MAX)
    }

    /// When the next one is there; `None`: there is one.
    pub(super) fn next(self, rate: Rate, now: Timestamp) -> Option<Timestamp> {
        if self.tokens(rate, now) > 0 {
            return None;
        }
        let measure = Measure::of(rate);
        let full = self.0.unwrap_or_default();
        Some(Timestamp::from_micros(full - measure.interval * (measure.size - 1)))
    }

    /// So many go.
    pub(super) fn take(&mut self, rate: Rate, count: u32, now: Timestamp) {
        let (measure, now) = (Measure::of(rate), now.micros());
        let full = self.0.map_or_else(|| measure.almost_empty(now), |full| full.max(now));
        self.0 = Some(full.saturating_add(measure.interval.saturating_mul(count.into())));
    }

    /// So many did not go after all.
    pub(super) fn give_back(&mut self, rate: Rate, count: u32) {
        let back = Measure::of(rate).interval.saturating_mul(count.into());
        self.0 = self.0.map(|full| full.saturating_sub(back));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    /// Takes all that there is whenever there is something, for so long; when each went.
    fn busy(rate: Rate, seconds: i64) -> Vec<i64> {
        let (mut bucket, mut now, mut went) = (Bucket::default(), 0, Vec::new());
        while now < seconds * 1_000_000 {
            let tokens = bucket.tokens(rate, at(now));
            bucket.take(rate, tokens, at(now));
            went.extend(std::iter::repeat_n(now, tokens as usize));
            now = bucket.next(rate, at(now)).map_or(now, |next| next.micros());
        }
        went
    }

    #[test]
    fn a_busy_lane_gets_its_rate_evenly() {
        for (rate, seconds, least, most) in
            [("1/1s", 10, 10, 10), ("2/1s", 10, 20, 20), ("100/1s", 10, 910, 1_000), ("6/1m", 60, 6, 6)]
        {
            let rate: Rate = rate.parse().unwrap();
            let went = busy(rate, seconds).len();
            assert!((least..=most).contains(&went), "{rate}: {went}");
        }
        assert_eq!(busy("2/1s".parse().unwrap(), 2), [0, 500_000, 1_000_000, 1_500_000]);
    }

    #[test]
    fn what_was_not_sent_comes_back() {
        let (rate, mut bucket) = ("20/1s".parse().unwrap(), Bucket::default());
        assert_eq!(
            (bucket.tokens(rate, at(0)), bucket.tokens(rate, at(1_000_000))),
            (1, 1),
            "until it is used"
        );
        bucket.take(rate, 1, at(0));
        assert_eq!(bucket.tokens(rate, at(10_000_000)), 2, "what fits into it");
        bucket.take(rate, 2, at(10_000_000));
        assert_eq!(bucket.next(rate, at(10_000_000)), Some(at(10_052_632)));
        bucket.give_back(rate, 1);
        assert_eq!((bucket.tokens(rate, at(10_000_000)), bucket.next(rate, at(10_000_000))), (1, None));
    }

    proptest! {
        /// Whatever is taken whenever, no window of the rate's length sees more than its count.
        #[test]
        fn no_window_sees_more_than_the_rate(
            count in 1..300_u32,
            seconds in 1..20_i64,
            takes in prop::collection::vec((0..3_000_000_i64, 1..50_u32, 0..5_u32), 1..200),
        ) {
            let rate: Rate = format!("{count}/{seconds}s").parse().unwrap();
            let (mut bucket, mut now, mut went) = (Bucket::default(), 0, Vec::new());
            for (passed, wanted, unused) in takes {
                now += passed;
                let taken = wanted.min(bucket.tokens(rate, at(now)));
                bucket.take(rate, taken, at(now));
                let unused = unused.min(taken);
                bucket.give_back(rate, unused);
                went.extend(std::iter::repeat_n(now, (taken - unused) as usize));
                prop_assert!(taken == wanted || bucket.next(rate, at(now)).is_none_or(|next| next.micros() > now));
            }
            for (n, first) in went.iter().enumerate() {
                let within = went[n..].iter().take_while(|later| **later < first + seconds * 1_000_000).count();
                prop_assert!(within <= count as usize, "{within} in {seconds} s");
            }
        }
    }
}
