//! How much a tenant may submit: so many in a time, and so many that wait. A refusal says when to come again, as every
//! answer to a submission says what is left (draft-ietf-httpapi-ratelimit-headers-10).

use std::{sync::Arc, time::Duration};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use domain::{chance::Clock, id::Tenant, rate::Rate, time::Timestamp};
use governor::{
    Quota as Cells, RateLimiter, clock, middleware::StateInformationMiddleware,
    state::keyed::HashMapStateStore,
};

use crate::problem::{Problem, table};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// Scheduling time for `governor`, which would read a clock of its own.
#[derive(Clone)]
struct Ticks(Arc<dyn Clock>);

impl clock::Clock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.now().since(Timestamp::from_micros(0))
    }
}

type Limiter = RateLimiter<Tenant, HashMapStateStore<Tenant>, Ticks, StateInformationMiddleware>;

/// What tenants may submit, counted by this node alone.
pub(crate) struct Quota {
    rate: Option<(Rate, Limiter)>,
    waiting: Option<u64>,
    ticks: Ticks,
}

/// What is left to a tenant after it was admitted, for the answer.
#[derive(Default)]
pub(crate) struct Left(Vec<(HeaderName, HeaderValue)>);

impl Left {
    /// Puts it on the answer.
    pub(crate) fn show(self, headers: &mut HeaderMap) {
        headers.extend(self.0);
    }
}

impl Quota {
    /// `None` and 0 are no limit.
    pub(crate) fn new(rate: Option<Rate>, waiting: u64, clock: Arc<dyn Clock>) -> Self {
        let ticks = Ticks(clock);
        let limiter = |rate: Rate| {
            let cells = Cells::with_period(rate.interval())?.allow_burst(rate.count());
            Some((rate, Limiter::new(cells, HashMapStateStore::default(), ticks.clone())))
        };
        Self { rate: rate.and_then(limiter), waiting: (waiting > 0).then_some(waiting), ticks }
    }

    /// One more job of this tenant, of which `waiting` wait already.
    ///
    /// # Errors
    /// If it is one too many: 429.
    pub(crate) fn admit(&self, tenant: Tenant, waiting: impl FnOnce() -> u64) -> Result<Left, Problem> {
        let mut policies = Policies::default();
        if let Some(most) = self.waiting {
            let left = most.saturating_sub(waiting());
            policies.add(format!("\"waiting\";q={most};qu=\"jobs\""), format!("\"waiting\";r={left}"));
            if left == 0 {
                let detail =
                    format!("{most} jobs of this tenant wait already. Come back when some have started.");
                return Err(policies.refuse(detail, Duration::from_secs(1)));
            }
        }
        if let Some((rate, limiter)) = &self.rate {
            let (window, count) = (rate.window().as_secs(), rate.count());
            let policy = format!("\"submit\";q={count};w={window}");
            match limiter.check_key(&tenant) {
                Ok(state) => {
                    let left = state.remaining_burst_capacity();
                    let full = seconds(rate.interval() * (count.get() - left));
                    policies.add(policy, format!("\"submit\";r={left};t={full}"));
                }
                Err(refused) => {
                    policies.add(policy, format!("\"submit\";r=0;t={window}"));
                    let wait = refused.wait_time_from(clock::Clock::now(&self.ticks));
                    let detail = format!("This tenant may submit {rate}. Nothing was recorded.");
                    return Err(policies.refuse(detail, wait));
                }
            }
        }
        Ok(policies.left())
    }
}

/// How long a client that tries by itself waits before it asks again whether somebody made room.
const ROOM: Duration = Duration::from_secs(60);

/// The tenant has as many endpoints as it may, which only a deletion changes: 429.
pub(crate) fn no_more_endpoints(most: u32) -> Problem {
    let mut policies = Policies::default();
    policies.add(format!("\"endpoints\";q={most};qu=\"endpoints\""), "\"endpoints\";r=0".into());
    let detail = format!("This tenant has {most} endpoints, and may have no more. Delete one first.");
    policies.refuse(detail, ROOM)
}

/// Up, so that nobody comes too early.
fn seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

/// Structured fields (RFC 9651): lists of a name and its numbers.
#[derive(Default)]
struct Policies {
    policy: Vec<String>,
    left: Vec<String>,
}

impl Policies {
    fn add(&mut self, policy: String, left: String) {
        self.policy.push(policy);
        self.left.push(left);
    }

    fn left(self) -> Left {
        let list = |name, items: Vec<String>| Some((name, HeaderValue::try_from(items.join(", ")).ok()?));
        if self.policy.is_empty() {
            return Left::default();
        }
        Left([list(POLICY, self.policy), list(LEFT, self.left)].into_iter().flatten().collect())
    }

    fn refuse(self, detail: String, wait: Duration) -> Problem {
        let refused = Problem::new(&table::RATE_LIMITED, detail).with_retry_after(seconds(wait).max(1));
        self.left().0.into_iter().fold(refused, |problem, (name, value)| problem.with_header(name, value))
    }
}
