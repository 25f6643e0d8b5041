//! Sending an endpoint again what it missed: an operation that takes its time, and says how far it is.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    chance::Moment,
    delivery::{Reason, words},
    id::{EndpointId, RecoveryId, Tenant},
    rate::Rate,
    time::Timestamp,
};

words! {
    /// Where a recovery stands.
    RecoveryState, NotARecoveryState:
    /// It goes on.
    Running = 0, "running";
    /// It came to its end.
    Finished = 1, "finished";
    /// Somebody stopped it, or its endpoint was disabled or deleted.
    Stopped = 2, "stopped";
}

/// What is to be sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Its id.
    pub id: RecoveryId,
    /// Whose.
    pub tenant: Tenant,
    /// To whom.
    pub endpoint: EndpointId,
    /// Only what failed for this reason; `None`: every dead letter.
    pub reason: Option<Reason>,
    /// Only events from then on.
    pub since: Option<Timestamp>,
    /// Only events before then.
    pub until: Option<Timestamp>,
    /// No faster than this.
    pub rate: Option<Rate>,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// A recovery, and how far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recovery {
    /// What is to be sent again.
    pub plan: Plan,
    /// The number up to which it has looked.
    pub reached: i64,
    /// The last number it looks at.
    pub last: i64,
    /// How many are due again by it.
    pub recovered: u64,
    /// Where it stands.
    pub state: RecoveryState,
    /// Since when it is over.
    pub finished_at: Option<Timestamp>,
}

/// The recovery as JSON.
#[derive(Serialize)]
pub struct RecoveryView {
    id: RecoveryId,
    endpoint: EndpointId,
    state: RecoveryState,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    rate: Option<Rate>,
    reached: i64,
    last: i64,
    recovered: u64,
    created_at: Timestamp,
    finished_at: Option<Timestamp>,
}

/// What a step looks at. Each is a commit, so that none holds up a webhook.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// At most so many are due again; 0: it is stopped.
    pub most: i64,
    /// The last number that is looked at.
    pub end: i64,
}

/// What follows a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct After {
    /// The number up to which it has looked.
    pub reached: i64,
    /// When the next step is; `None`: it is over.
    pub next: Option<Timestamp>,
    /// Since when it is over.
    pub finished_at: Option<Timestamp>,
    /// Where it stands.
    pub state: RecoveryState,
}

/// A recovery at a rate makes so many steps a second, where that is more than one delivery each.
const STEPS_A_SECOND: u64 = 10;

impl Recovery {
    /// The next step: at most `most` deliveries among `reach` numbers. Nothing is sent to an endpoint that is not
    /// enabled any more.
    pub fn step(&self, enabled: bool, most: i64, reach: i64) -> Step {
        let share = |rate: Rate| {
            let a_second = u64::from(rate.count().get()) / rate.window().as_secs().max(1);
            i64::try_from(a_second / STEPS_A_SECOND).unwrap_or(i64::MAX).max(1)
        };
        let most = self.plan.rate.map_or(most, |rate| most.min(share(rate)));
        Step { most: if enabled { most } else { 0 }, end: self.reached.saturating_add(reach).min(self.last) }
    }

    /// `count` are due again by that step, the last of them under the number `number`.
    pub fn after(&self, step: &Step, count: i64, number: Option<i64>, at: Moment) -> After {
        let over = |reached, state| After { reached, next: None, finished_at: Some(at.wall), state };
        if step.most == 0 {
            return over(self.reached, RecoveryState::Stopped);
        }
        let reached = number.filter(|_| count == step.most).unwrap_or(step.end);
        if reached >= self.last {
            return over(reached, RecoveryState::Finished);
        }
        let times = u32::try_from(count).unwrap_or(u32::MAX);
        let pause = self.plan.rate.map_or(Duration::ZERO, |rate| rate.interval().saturating_mul(times));
        After { reached, next: Some(at.now + pause), finished_at: None, state: RecoveryState::Running }
    }

    /// As it is shown.
    pub fn view(&self) -> RecoveryView {
        let Self { plan, reached, last, recovered, state, finished_at } = *self;
        let Plan { id, endpoint, since, until, rate, created_at, .. } = plan;
        RecoveryView {
            id,
            endpoint,
            state,
            since,
            until,
            rate,
            reached,
            last,
            recovered,
            created_at,
            finished_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recovery(rate: Option<&str>, reached: i64, last: i64) -> Recovery {
        let plan = Plan {
            id: RecoveryId::from_u128(1),
            tenant: Tenant::DEFAULT,
            endpoint: EndpointId::from_u128(2),
            reason: None,
            since: None,
            until: None,
            rate: rate.map(|rate| rate.parse().unwrap()),
            created_at: at(0).wall,
        };
        Recovery { plan, reached, last, recovered: 0, state: RecoveryState::Running, finished_at: None }
    }

    fn at(millis: i64) -> Moment {
        let time = Timestamp::from_micros(millis * 1_000);
        Moment { now: time, wall: time }
    }

    #[test]
    fn a_step_takes_no_more_than_its_share_of_the_rate() {
        for (rate, reached, last, enabled, most, end) in [
            (None, 0, 9_000, true, 200, 1_000),
            (None, 8_500, 9_000, true, 200, 9_000),
            (None, 0, 9_000, false, 0, 1_000),
            (Some("2/1s"), 0, 9_000, true, 1, 1_000),
            (Some("1/24h"), 0, 9_000, true, 1, 1_000),
            (Some("100/1s"), 0, 9_000, true, 10, 1_000),
            (Some("6000/1m"), 0, 9_000, true, 10, 1_000),
            (Some("1000000/1s"), 0, 9_000, true, 200, 1_000),
        ] {
            let step = recovery(rate, reached, last).step(enabled, 200, 1_000);
            assert_eq!((step.most, step.end), (most, end), "{rate:?} {reached}");
        }
    }

    #[test]
    fn what_follows_a_step_keeps_the_rate_and_the_place() {
        use RecoveryState::{Finished, Running, Stopped};
        for (rate, last, most, count, number, reached, pause, state) in [
            // A full step goes on behind its last one, one that is not behind all that it looked at.
            (None, 900, 200, 200, Some(230), 230, Some(0), Running),
            (None, 900, 200, 7, Some(230), 500, Some(0), Running),
            (None, 900, 200, 0, None, 500, Some(0), Running),
            (None, 500, 200, 7, Some(230), 500, None, Finished),
            (None, 500, 200, 200, Some(500), 500, None, Finished),
            (None, 900, 0, 0, None, 30, None, Stopped),
            (Some("2/1s"), 900, 1, 1, Some(31), 31, Some(500), Running),
            (Some("100/1s"), 900, 10, 10, Some(60), 60, Some(100), Running),
            // Who had nothing to send has nothing to pause for.
            (Some("100/1s"), 900, 10, 0, None, 500, Some(0), Running),
        ] {
            let after = recovery(rate, 30, last).after(&Step { most, end: 500 }, count, number, at(5_000));
            let expected = After {
                reached,
                next: pause.map(|pause| at(5_000 + pause).now),
                finished_at: pause.is_none().then(|| at(5_000).wall),
                state,
            };
            assert_eq!(after, expected, "{rate:?} {count} {number:?}");
        }
    }
}
