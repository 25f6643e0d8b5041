//! What follows an attempt of a delivery.

use std::{borrow::Cow, time::Duration};

use super::{Attempt, Outcome, Reason, Rules};
use crate::{event::EventKind, retry::RetryPolicy, time::Timestamp};

/// How often a failure of ours is repeated: soon, since the receiver has no part in it.
const OURS_AGAIN: Duration = Duration::from_secs(1);

/// How far a delivery is in its policy; the hot row holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Steps of the policy used up. Not the number of attempts: some use up none.
    pub steps: u32,
    /// When the policy began, moved on by what receivers asked us to wait beyond it.
    pub since: Timestamp,
    /// The delivery had succeeded before: this attempt was asked for by hand and settles nothing.
    pub succeeded: bool,
}

/// What follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// The receiver has it.
    Succeeded,
    /// It is a dead letter.
    Failed(Reason),
    /// It had succeeded before and stays so, however the extra attempt went.
    Unchanged,
    /// Another attempt.
    Again {
        /// When.
        due: Timestamp,
        /// How far in its policy it is then.
        progress: Progress,
    },
}

/// The rules of a delivery: news of progress is tried once, since newer news follows.
pub fn rules_for(kind: EventKind, rules: &Rules) -> Cow<'_, Rules> {
    match kind {
        EventKind::JobProgress => {
            let retry = RetryPolicy::Schedule { delays: Vec::new(), jitter: 0.0 };
            Cow::Owned(Rules { retry, timeout: rules.timeout })
        }
        _ => Cow::Borrowed(rules),
    }
}

/// Decides what follows an attempt that ended at `now`. `retry_after` is what the receiver's 429 or 503 asked for; it is
/// a floor.
pub fn after_attempt(
    progress: Progress,
    attempt: &Attempt,
    retry_after: Option<Duration>,
    rules: &Rules,
    now: Timestamp,
    roll: f64,
) -> Next {
    if progress.succeeded {
        return Next::Unchanged;
    }
    if attempt.outcome == Outcome::Delivered {
        return Next::Succeeded;
    }
    if attempt.outcome.is_ours() {
        return Next::Again { due: now + OURS_AGAIN, progress };
    }
    if attempt.status == Some(410) {
        return Next::Failed(Reason::Gone);
    }
    let steps = progress.steps + 1;
    let too_old = now.since(progress.since) > rules.retry.total(rules.timeout);
    let Some(delay) = rules.retry.delay(steps, roll).filter(|_| !too_old) else {
        return Next::Failed(Reason::Exhausted);
    };
    let floor = retry_after.filter(|_| matches!(attempt.status, Some(429 | 503))).unwrap_or_default();
    // The receiver's wish is no fault of the delivery: it does not age by it.
    let since = progress.since + floor.saturating_sub(delay);
    Next::Again { due: now + delay.max(floor), progress: Progress { steps, since, ..progress } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{Timings, Trigger};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn attempt(outcome: Outcome, status: Option<u16>) -> Attempt {
        Attempt {
            outcome,
            status,
            error: None,
            timings_ms: Timings::default(),
            ..Attempt::interrupted(1, Trigger::Policy, at(0), at(0))
        }
    }

    #[test]
    fn news_of_progress_is_tried_once() {
        let rules = Rules { retry: RetryPolicy::default_delivery(), timeout: Duration::from_secs(15) };
        let fresh = Progress { steps: 0, since: at(0), succeeded: false };
        let refused = attempt(Outcome::HttpStatus, Some(500));
        let next = |kind| after_attempt(fresh, &refused, None, &rules_for(kind, &rules), at(1), 0.0);
        assert_eq!(next(EventKind::JobProgress), Next::Failed(Reason::Exhausted));
        assert!(matches!(next(EventKind::JobFailed), Next::Again { .. }));
    }

    #[test]
    fn what_follows_an_attempt() {
        let seconds = |n| Duration::from_secs(n);
        let retry = RetryPolicy::Schedule { delays: vec![seconds(5), seconds(60)], jitter: 0.0 };
        let rules = Rules { retry, timeout: seconds(15) };
        let fresh = Progress { steps: 0, since: at(0), succeeded: false };
        let used = |steps| Progress { steps, ..fresh };
        let again = |due, steps, since| Next::Again {
            due: at(due),
            progress: Progress { steps, since: at(since), succeeded: false },
        };
        use Outcome::*;
        // Now is second 10. The policy's total: 5 + 60 + 3 × 15 = 110 s.
        for (name, progress, outcome, status, retry_after, expected) in [
            ("2xx", fresh, Delivered, Some(204), None, Next::Succeeded),
            ("first failure", fresh, HttpStatus, Some(500), None, again(15, 1, 0)),
            ("second failure", used(1), Timeout, None, None, again(70, 2, 0)),
            ("third failure", used(2), Connect, None, None, Next::Failed(Reason::Exhausted)),
            ("410", fresh, HttpStatus, Some(410), None, Next::Failed(Reason::Gone)),
            ("3xx is a failure", fresh, HttpStatus, Some(301), None, again(15, 1, 0)),
            ("429 asks for more", fresh, HttpStatus, Some(429), Some(30), again(40, 1, 25)),
            ("503 asks for less", used(1), HttpStatus, Some(503), Some(3), again(70, 2, 0)),
            ("500 has no say", fresh, HttpStatus, Some(500), Some(30), again(15, 1, 0)),
            ("ours", used(2), LocalResource, None, None, again(11, 2, 0)),
            ("interrupted", used(1), Interrupted, None, None, again(11, 1, 0)),
            ("blocked is retried", fresh, AddressBlocked, None, None, again(15, 1, 0)),
            (
                "too old",
                Progress { since: at(-101), ..fresh },
                Dns,
                None,
                None,
                Next::Failed(Reason::Exhausted),
            ),
            ("just not", Progress { since: at(-100), ..fresh }, Dns, None, None, again(15, 1, -100)),
            (
                "extra, 2xx",
                Progress { succeeded: true, ..fresh },
                Delivered,
                Some(200),
                None,
                Next::Unchanged,
            ),
            ("extra, failed", Progress { succeeded: true, ..fresh }, Tls, None, None, Next::Unchanged),
        ] {
            let got = after_attempt(
                progress,
                &attempt(outcome, status),
                retry_after.map(seconds),
                &rules,
                at(10),
                0.0,
            );
            assert_eq!(got, expected, "{name}");
        }
    }
}
