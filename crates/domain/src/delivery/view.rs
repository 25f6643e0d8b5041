//! The delivery as JSON: the same in answers and in events.

use serde::Serialize;

use super::{Delivery, Reason, State, Status};
use crate::{
    id::{DeliveryId, EndpointId, EventId, JobId},
    lane::{Breaker, Standing},
    time::Timestamp,
};

/// A delivery without its attempts and its body.
#[derive(Serialize)]
pub struct View<'a> {
    id: DeliveryId,
    event: EventId,
    event_type: &'static str,
    job: Option<JobId>,
    endpoint: Option<EndpointId>,
    url: &'a str,
    status: Status,
    reason: Option<Reason>,
    sequence: Option<i64>,
    attempt: u32,
    next_attempt_at: Option<Timestamp>,
    waiting_for: Option<&'static str>,
    created_at: Timestamp,
    finished_at: Option<Timestamp>,
}

impl View<'_> {
    /// The same where its lane may not send now: a breaker is open, or its probe is out, or its endpoint's rate is used up.
    /// What waits for others to go before it waits for that.
    pub fn behind(mut self, Standing { breaker, rate }: Standing) -> Self {
        match breaker {
            _ if self.waiting_for == Some("order") => {}
            Breaker::Closed => {
                if let (Some("slot"), Some(at)) = (self.waiting_for, rate) {
                    (self.waiting_for, self.next_attempt_at) = (Some("rate"), Some(at));
                }
            }
            Breaker::Open(_) | Breaker::HalfOpen if self.waiting_for.is_none() => {}
            Breaker::HalfOpen => self.waiting_for = Some("breaker"),
            Breaker::Open(until) => {
                (self.waiting_for, self.next_attempt_at) = (Some("breaker"), Some(until));
            }
        }
        self
    }
}

impl Delivery {
    /// As it is shown at `now`.
    pub fn view(&self, now: Timestamp) -> View<'_> {
        let (next_attempt_at, waiting_for, reason, finished_at) = match self.state {
            // What is due and has not left waits for a slot of its lane, or for nothing but the moment.
            State::Waiting { behind: true, .. } => (None, Some("order"), None, None),
            State::Waiting { due, .. } => {
                (Some(due), Some(if due > now { "timer" } else { "slot" }), None, None)
            }
            State::InFlight { succeeded_at, .. } => (None, None, None, succeeded_at),
            State::Succeeded { finished_at } => (None, None, None, Some(finished_at)),
            State::Failed { finished_at, reason } => (None, None, Some(reason), Some(finished_at)),
        };
        View {
            id: self.id,
            event: self.event,
            event_type: self.kind.name(),
            job: self.job,
            endpoint: self.endpoint,
            url: self.url.as_str(),
            status: self.status(),
            reason,
            sequence: self.sequence,
            attempt: self.attempt,
            next_attempt_at,
            waiting_for,
            created_at: self.created_at,
            finished_at,
        }
    }
}
