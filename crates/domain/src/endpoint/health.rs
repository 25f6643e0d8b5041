//! How an endpoint is, from its own attempts: counted, not estimated.

use std::time::Duration;

use serde::Serialize;

use crate::{delivery::Outcome, id::DeliveryId, time::Timestamp};

/// How far back the numbers look.
const WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// One closed attempt, as far as it counts here.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How.
    pub outcome: Outcome,
    /// The receiver's HTTP status.
    pub status: Option<u16>,
    /// What went wrong, in words.
    pub error: Option<String>,
}

/// The last attempt that failed.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct LastError {
    /// When.
    pub at: Timestamp,
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// How.
    pub outcome: Outcome,
    /// The receiver's HTTP status.
    pub status: Option<u16>,
    /// In words.
    pub error: Option<String>,
}

/// An endpoint's numbers over the last 1,000 attempts of the last 24 hours.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Health {
    /// Deliveries that wait for their next attempt.
    pub waiting: u64,
    /// Delivered attempts among all; `None` if there was none.
    pub success_rate: Option<f64>,
    /// The median time an attempt took that got an answer, in milliseconds.
    pub p50_ms: Option<f64>,
    /// The 95th percentile of the same.
    pub p95_ms: Option<f64>,
    /// The last failure among them.
    pub last_error: Option<LastError>,
}

impl Health {
    /// How many attempts the numbers are of, at most.
    pub const MOST: u32 = 1_000;

    /// And none that ended before this.
    pub fn since(now: Timestamp) -> Timestamp {
        now - WINDOW
    }

    /// From attempts in any order. Failures of ours say nothing about the endpoint.
    pub fn of(waiting: u64, samples: &[Sample]) -> Self {
        let theirs = || samples.iter().filter(|sample| !sample.outcome.is_ours());
        let all = theirs().count();
        let delivered = theirs().filter(|sample| sample.outcome == Outcome::Delivered).count();
        let mut answered: Vec<f64> = theirs()
            .filter(|sample| sample.status.is_some())
            .map(|sample| sample.ended_at.since(sample.started_at).as_micros() as f64 / 1_000.0)
            .collect();
        answered.sort_by(f64::total_cmp);
        let last = theirs().filter(|sample| sample.outcome != Outcome::Delivered).max_by_key(|s| s.ended_at);
        Self {
            waiting,
            success_rate: (all > 0).then(|| delivered as f64 / all as f64),
            p50_ms: quantile(&answered, 50),
            p95_ms: quantile(&answered, 95),
            last_error: last.map(|sample| LastError {
                at: sample.ended_at,
                delivery: sample.delivery,
                outcome: sample.outcome,
                status: sample.status,
                error: sample.error.clone(),
            }),
        }
    }
}

/// The smallest value that `percent` of all are not above (nearest rank).
fn quantile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(ended: i64, millis: i64, outcome: Outcome, status: Option<u16>) -> Sample {
        Sample {
            delivery: DeliveryId::from_u128(ended.unsigned_abs().into()),
            started_at: Timestamp::from_micros(ended * 1_000_000 - millis * 1_000),
            ended_at: Timestamp::from_micros(ended * 1_000_000),
            outcome,
            status,
            error: None,
        }
    }

    #[test]
    fn counts_what_the_receiver_did() {
        let empty = Health::of(3, &[]);
        assert_eq!(
            (empty.waiting, empty.success_rate, empty.p50_ms, empty.last_error),
            (3, None, None, None)
        );
        let mut samples: Vec<_> = (1..=18).map(|n| sample(n, n, Outcome::Delivered, Some(200))).collect();
        samples.push(sample(30, 19, Outcome::HttpStatus, Some(500)));
        samples.push(sample(29, 15_000, Outcome::Timeout, None));
        samples.push(sample(40, 1, Outcome::Interrupted, None));
        let health = Health::of(0, &samples);
        assert_eq!(health.success_rate, Some(0.9));
        assert_eq!((health.p50_ms, health.p95_ms), (Some(10.0), Some(19.0)));
        let last = health.last_error.unwrap();
        assert_eq!((last.status, last.delivery), (Some(500), DeliveryId::from_u128(30)));
    }
}
