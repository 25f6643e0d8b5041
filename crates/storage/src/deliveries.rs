//! Deliveries: claimed, sent, settled.

use std::sync::Arc;

use async_trait::async_trait;
use domain::{
    callback::{Callback, Sealed},
    chance::Moment,
    delivery::{Attempt, Delivery, Next, Outcome, Progress, Status, Trigger},
    event::{Event, EventKind},
    id::{DeliveryId, EndpointId, EventId, JobId, Tenant},
    lane::{Ask, Lane},
    lease::Fence,
    time::Timestamp,
};

use crate::{LaneClaim, Page, Result, Written};

/// A delivery that this node sends now. Its attempt is already on stable storage.
#[derive(Clone, Debug)]
pub struct ClaimedDelivery {
    /// By what every later write of this attempt is recognised.
    pub hold: DeliveryHold,
    /// What it brings: `webhook-id`.
    pub event: EventId,
    /// Of what kind.
    pub kind: EventKind,
    /// When the event happened.
    pub created_at: Timestamp,
    /// The job that the event is about, if it is about one.
    pub job: Option<JobId>,
    /// The exact bytes to sign and send.
    pub body: Arc<str>,
    /// Where to and how.
    pub target: Arc<Callback>,
    /// The endpoint whose target that is; `None`: a job's callback.
    pub endpoint: Option<Addressee>,
    /// How far it is in its policy.
    pub progress: Progress,
    /// What started this attempt.
    pub trigger: Trigger,
    /// When it was due, for the time it waited.
    pub due: Timestamp,
    /// When this attempt opened, on the wall clock, as its row says.
    pub started_at: Timestamp,
    /// The trace that the submission brought.
    pub traceparent: Option<Arc<str>>,
}

/// The endpoint that a delivery is for.
#[derive(Clone, Debug)]
pub struct Addressee {
    /// Which.
    pub id: EndpointId,
    /// `webhook-sequence`; `None`: this kind carries none.
    pub sequence: Option<i64>,
    /// Signs, as of when the attempt was opened.
    pub secret: Sealed,
    /// Signs beside it until then.
    pub previous: Option<(Sealed, Timestamp)>,
}

/// A node's hold on a delivery: what the queue row must still say for a write to count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeliveryHold {
    /// Whose.
    pub tenant: Tenant,
    /// Which.
    pub delivery: DeliveryId,
    /// Where it queues.
    pub lane: Lane,
    /// Who holds it.
    pub fence: Fence,
    /// Which attempt is open, from 1.
    pub attempt: u32,
}

/// The end of an attempt: one transaction closes it and writes what comes next.
#[derive(Clone, Debug)]
pub struct Settle {
    /// By whom.
    pub hold: DeliveryHold,
    /// The attempt, closed.
    pub attempt: Attempt,
    /// What comes next.
    pub next: Next,
    /// The endpoint that it went to: its own rows follow.
    pub endpoint: Option<EndpointId>,
    /// What the receiver asked for: no attempt before then, whatever brings one forward.
    pub not_before: Option<Timestamp>,
    /// `delivery.failed`, for endpoints that ask, where this makes it a dead letter.
    pub dead_letter: Option<Event>,
    /// When.
    pub at: Moment,
}

/// What a resend came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resent {
    /// The next attempt is due now.
    Due,
    /// An attempt is in flight.
    InFlight,
    /// Its bytes were erased: there is nothing to send.
    Erased,
    /// No such delivery.
    Missing,
}

/// What canceling a delivery came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeliveryCanceled {
    /// It is a dead letter now. An attempt whose request was out is closed as `interrupted`: what it ended with comes
    /// to nothing.
    Done,
    /// It was not pending.
    TooLate,
    /// No such delivery.
    Missing,
}

/// A delivery with everything that a list leaves out.
#[derive(Clone, Debug)]
pub struct DeliveryDetail {
    /// The delivery.
    pub delivery: Delivery,
    /// Its closed attempts, oldest first. The open one is in the delivery's state.
    pub attempts: Vec<Attempt>,
    /// The exact bytes that are sent; empty once they were erased.
    pub body: Arc<str>,
}

/// Which deliveries a list shows.
#[derive(Clone, Debug)]
pub struct DeliveryFilter {
    /// Whose.
    pub tenant: Tenant,
    /// Only of this job.
    pub job: Option<JobId>,
    /// Only to this endpoint.
    pub endpoint: Option<EndpointId>,
    /// Only of this event.
    pub event: Option<EventId>,
    /// Only in this state.
    pub status: Option<Status>,
    /// Only those whose last closed attempt went so.
    pub outcome: Option<Outcome>,
    /// Only made after this.
    pub created_after: Option<Timestamp>,
    /// Only made before this.
    pub created_before: Option<Timestamp>,
    /// Only older than this one.
    pub before: Option<DeliveryId>,
    /// At most so many, 1 to 100.
    pub limit: u32,
}

/// The stage of deliveries.
#[async_trait]
pub trait Deliveries {
    /// Claims due deliveries: of each lane at most as many as asked for. The same transaction opens their attempts. A lane
    /// whose owner set terms gives nothing while another node has something of it in flight, and to an ask under other terms
    /// nothing but those.
    async fn claim_deliveries(&self, asks: Vec<Ask>, at: Moment) -> Result<Vec<LaneClaim<ClaimedDelivery>>>;

    /// Closes an attempt and writes what comes next.
    async fn settle(&self, settle: Settle) -> Result<Written>;

    /// Returns claimed deliveries that were not sent: their attempts never opened. Holds that were lost change nothing.
    /// Answers with how many went back.
    async fn put_back(&self, holds: Vec<DeliveryHold>) -> Result<usize>;

    /// One step of a lane's recovery: what waits in back-off there is due now, oldest first, but for what its receiver
    /// asked to have later. `true`: there may be more.
    async fn bring_forward(&self, lane: Lane, at: Moment) -> Result<bool>;

    /// Makes the next attempt due now, in place of whatever was planned: a failed delivery is pending again with its
    /// policy anew, one that succeeded gets one more attempt and stays so, a waiting one is brought forward.
    async fn resend(&self, tenant: Tenant, id: DeliveryId, at: Moment) -> Result<Resent>;

    /// Ends a pending delivery as [`domain::delivery::Reason::Canceled`].
    async fn cancel_delivery(&self, tenant: Tenant, id: DeliveryId, at: Moment) -> Result<DeliveryCanceled>;

    /// One delivery. `None`: unknown, or another tenant's.
    async fn delivery(&self, tenant: Tenant, id: DeliveryId) -> Result<Option<DeliveryDetail>>;

    /// A list, newest first.
    async fn deliveries(&self, filter: DeliveryFilter) -> Result<Page<Delivery>>;
}
