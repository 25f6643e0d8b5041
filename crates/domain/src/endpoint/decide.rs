//! What an attempt says about its endpoint, and when that is enough to take it out of service.

use std::time::Duration;

use super::DisabledReason;
use crate::{
    delivery::{Attempt, Next, Outcome},
    time::Timestamp,
};

/// How long it must have failed without a single success: receivers are down over a weekend.
const LONG: Duration = Duration::from_secs(5 * 24 * 60 * 60);
/// For how many events: one delivery that nobody takes says little of its receiver.
const MANY: u32 = 20;

/// How an endpoint fares; its row holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Failing {
    /// Since when every attempt has failed; `None`: the last one did not.
    pub since: Option<Timestamp>,
    /// How many of its events became dead letters since then.
    pub events: u32,
}

/// What follows an attempt for its endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct After {
    /// How it fares now.
    pub failing: Failing,
    /// Set if it is to be taken out of service.
    pub disable: Option<DisabledReason>,
}

/// Decides what an attempt that ended at `now` means for its endpoint. What says nothing about the receiver changes
/// nothing.
pub fn after_attempt(failing: Failing, attempt: &Attempt, next: &Next, now: Timestamp) -> After {
    if attempt.outcome == Outcome::Delivered {
        return After { failing: Failing::default(), disable: None };
    }
    if attempt.outcome.is_ours() || attempt.outcome == Outcome::AddressBlocked {
        return After { failing, disable: None };
    }
    let since = failing.since.unwrap_or(now);
    let events = failing.events.saturating_add(u32::from(matches!(next, Next::Failed(_))));
    let disable = if attempt.status == Some(410) {
        Some(DisabledReason::Gone)
    } else {
        (events >= MANY && now.since(since) >= LONG).then_some(DisabledReason::Failing)
    };
    After { failing: Failing { since: Some(since), events }, disable }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{Progress, Reason, Trigger};

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_micros(hours * 3_600_000_000)
    }

    #[test]
    fn what_an_attempt_says_of_its_endpoint() {
        let well = Failing::default();
        let failing = |since, events| Failing { since: Some(at(since)), events };
        let again =
            Next::Again { due: at(1), progress: Progress { steps: 1, since: at(0), succeeded: false } };
        let dead = Next::Failed(Reason::Exhausted);
        let (gone, fails) = (Some(DisabledReason::Gone), Some(DisabledReason::Failing));
        for (before, outcome, status, next, now, after, disable) in [
            (well, Outcome::Delivered, Some(200), Next::Succeeded, 9, well, None),
            (failing(0, 99), Outcome::Delivered, Some(200), Next::Succeeded, 999, well, None),
            (well, Outcome::Timeout, None, again, 9, failing(9, 0), None),
            (failing(9, 0), Outcome::HttpStatus, Some(500), again, 10, failing(9, 0), None),
            (failing(9, 0), Outcome::HttpStatus, Some(500), dead, 10, failing(9, 1), None),
            (failing(0, 19), Outcome::Dns, None, dead, 119, failing(0, 20), None),
            (failing(0, 19), Outcome::Dns, None, dead, 120, failing(0, 20), fails),
            (failing(0, 18), Outcome::Dns, None, dead, 999, failing(0, 19), None),
            (failing(0, 20), Outcome::Dns, None, again, 120, failing(0, 20), fails),
            (well, Outcome::HttpStatus, Some(410), Next::Failed(Reason::Gone), 1, failing(1, 1), gone),
            (well, Outcome::HttpStatus, Some(410), Next::Unchanged, 1, failing(1, 0), gone),
            (failing(0, 99), Outcome::Interrupted, None, again, 999, failing(0, 99), None),
            (failing(0, 99), Outcome::LocalResource, None, again, 999, failing(0, 99), None),
            (failing(0, 99), Outcome::AddressBlocked, None, dead, 999, failing(0, 99), None),
        ] {
            let attempt =
                Attempt { outcome, status, ..Attempt::interrupted(1, Trigger::Policy, at(0), at(0)) };
            let found = after_attempt(before, &attempt, &next, at(now));
            assert_eq!(found, After { failing: after, disable }, "{before:?} {outcome} {status:?} at {now}");
        }
    }
}
