//! What happened to each job, by its number: when it was sent, when it was accepted, when its webhook arrived.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// One load's record, written by the loader and the receiver at once. Times are nanoseconds since it was opened; 0 is
/// "not yet". Its pages are touched when it is made, so that no run pays for them.
pub(crate) struct Ledger {
    opened: Instant,
    next: AtomicUsize,
    sent: Box<[AtomicU64]>,
    accepted: Box<[AtomicU64]>,
    received: Box<[AtomicU64]>,
    accepted_count: AtomicU64,
    received_count: AtomicU64,
    /// Answers other than 202.
    pub(crate) refused: AtomicU64,
    /// Webhooks of a job that had one already.
    pub(crate) repeated: AtomicU64,
    /// Webhooks that name no job of this load.
    pub(crate) strange: AtomicU64,
}

fn column(rows: usize) -> Box<[AtomicU64]> {
    (0..rows).map(|_| AtomicU64::new(0)).collect()
}

impl Ledger {
    /// Room for `rows` jobs.
    pub(crate) fn open(rows: usize) -> Self {
        Self {
            opened: Instant::now(),
            next: AtomicUsize::new(0),
            sent: column(rows),
            accepted: column(rows),
            received: column(rows),
            accepted_count: AtomicU64::new(0),
            received_count: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            strange: AtomicU64::new(0),
        }
    }

    /// Nanoseconds since it was opened.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The number of the next job; none when it is full.
    pub(crate) fn next(&self) -> Option<usize> {
        let n = self.next.fetch_add(1, Relaxed);
        (n < self.sent.len()).then_some(n)
    }

    pub(crate) fn sent(&self, n: usize) {
        self.sent[n].store(self.now(), Relaxed);
    }

    pub(crate) fn accepted(&self, n: usize) {
        self.accepted[n].store(self.now(), Relaxed);
        self.accepted_count.fetch_add(1, Relaxed);
    }

    pub(crate) fn received(&self, n: usize) {
        let Some(cell) = self.received.get(n) else {
            self.strange.fetch_add(1, Relaxed);
            return;
        };
        if cell.compare_exchange(0, self.now(), Relaxed, Relaxed).is_ok() {
            self.received_count.fetch_add(1, Relaxed);
        } else {
            self.repeated.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn accepted_count(&self) -> u64 {
        self.accepted_count.load(Relaxed)
    }

    pub(crate) fn received_count(&self) -> u64 {
        self.received_count.load(Relaxed)
    }

    /// How many were accepted and how many received between two moments.
    pub(crate) fn between(&self, from: u64, until: u64) -> (u64, u64) {
        let count = |column: &[AtomicU64]| {
            column.iter().map(|c| c.load(Relaxed)).filter(|&t| t > from && t <= until).count() as u64
        };
        (count(&self.accepted), count(&self.received))
    }

    /// From the 202 to the receipt, of the jobs accepted between two moments.
    pub(crate) fn waits(&self, from: u64, until: u64) -> Delays {
        let pairs = self.accepted.iter().zip(&self.received).map(|(a, r)| (a.load(Relaxed), r.load(Relaxed)));
        // A webhook may be quicker than the answer.
        let waits =
            pairs.filter(|&(a, r)| a > from && a <= until && r != 0).map(|(a, r)| r.saturating_sub(a));
        Delays::of(waits.collect())
    }

    /// From sending to the 202, and from sending to the receipt, of the jobs sent between two moments.
    pub(crate) fn delays(&self, from: u64, until: u64) -> (Delays, Delays) {
        let delays = |column: &[AtomicU64]| {
            let pairs = self.sent.iter().zip(column).map(|(s, e)| (s.load(Relaxed), e.load(Relaxed)));
            Delays::of(pairs.filter(|&(s, e)| s > from && s <= until && e != 0).map(|(s, e)| e - s).collect())
        };
        (delays(&self.accepted), delays(&self.received))
    }
}

/// A distribution of delays.
pub(crate) struct Delays {
    sorted: Vec<u64>,
}

impl Delays {
    fn of(mut nanos: Vec<u64>) -> Self {
        nanos.sort_unstable();
        Self { sorted: nanos }
    }

    pub(crate) fn len(&self) -> usize {
        self.sorted.len()
    }

    /// The delay that `share` of them do not exceed (nearest rank), in milliseconds.
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        let rank = (share * self.sorted.len() as f64).ceil() as usize;
        let nanos = self.sorted.get(rank.max(1) - 1).copied().unwrap_or(0);
        Duration::from_nanos(nanos).as_secs_f64() * 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_nearest_rank() {
        let delays = Delays::of((1..=100).rev().map(|ms| ms * 1_000_000).collect());
        for (share, expected) in [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (0.991, 100.0), (1.0, 100.0)] {
            assert!((delays.quantile_ms(share) - expected).abs() < 1e-9, "{share}");
        }
        assert!(Delays::of(vec![]).quantile_ms(0.5).abs() < 1e-9);
    }

    #[test]
    fn counts_a_job_once_and_says_what_was_too_much() {
        let ledger = Ledger::open(2);
        let begin = ledger.now();
        assert_eq!([ledger.next(), ledger.next(), ledger.next()], [Some(0), Some(1), None]);
        ledger.sent(0);
        ledger.accepted(0);
        for n in [0, 0, 7] {
            ledger.received(n);
        }
        assert_eq!(ledger.between(begin, ledger.now()), (1, 1));
        assert_eq!((ledger.repeated.load(Relaxed), ledger.strange.load(Relaxed)), (1, 1));
        let (answers, receipts) = ledger.delays(begin, ledger.now());
        assert_eq!((answers.len(), receipts.len()), (1, 1));
    }
}
