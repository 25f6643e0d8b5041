//! Endpoints: registered, changed, taken out of service, recovered.

use std::sync::Arc;

use async_trait::async_trait;
use domain::{
    chance::Moment,
    endpoint::{Endpoint, Health, Plan, Recovery},
    event::{Event, EventKind},
    id::{DeliveryId, EndpointId, EventId, RecoveryId, Tenant},
    lane::Record,
    time::Timestamp,
};

use crate::{Page, Result};

/// An endpoint as it is to be from now on.
#[derive(Clone, Debug)]
pub struct PutEndpoint {
    /// All of it; its version is one more than that of the one it replaces.
    pub endpoint: Endpoint,
    /// For one that is not there yet: how many its tenant may have, it among them.
    pub new: Option<u32>,
    /// Sends again what became a dead letter because it was disabled; for one that is enabled by this.
    pub recover: Option<Plan>,
    /// Says that it was disabled; for one that is by this.
    pub event: Option<Event>,
    /// When.
    pub at: Moment,
}

/// What a change of an endpoint came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// It is on stable storage.
    Done,
    /// It was changed meanwhile: read again and decide again.
    Changed,
    /// There is none any more.
    Missing,
    /// It would be one too many: of a new one alone.
    Full,
    /// It would have an order, or none any more, and something is queued there that has its place already.
    Waits,
}

/// A ping, to be sent to one endpoint alone.
#[derive(Clone, Debug)]
pub struct Ping {
    /// Whose.
    pub tenant: Tenant,
    /// To whom.
    pub endpoint: EndpointId,
    /// What is sent: a ping, whatever its body is a sample of.
    pub event: Event,
    /// What it is a sample of.
    pub kind: EventKind,
    /// When.
    pub at: Moment,
}

/// Which endpoints a list shows.
#[derive(Clone, Copy, Debug)]
pub struct EndpointFilter {
    /// Whose.
    pub tenant: Tenant,
    /// Only older than this one.
    pub before: Option<EndpointId>,
    /// At most so many, 1 to 100.
    pub limit: u32,
}

/// An event as a feed shows it.
#[derive(Clone, Debug)]
pub struct FeedItem {
    /// Its number there; `None` in the tenant's own feed.
    pub sequence: Option<i64>,
    /// `webhook-id`.
    pub event: EventId,
    /// What happened.
    pub kind: EventKind,
    /// When.
    pub timestamp: Timestamp,
    /// The exact bytes that are sent.
    pub body: Arc<str>,
}

/// What an endpoint is sent, by number.
#[derive(Clone, Debug)]
pub struct Feed {
    /// Those after the one asked for; at most as many as asked for.
    pub items: Vec<FeedItem>,
    /// The last number given so far.
    pub last: i64,
    /// The first number that is still there: all below it were pruned.
    pub pruned_before: i64,
}

/// A place in a tenant's feed. Opaque: an engine makes it and reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EventMark(pub u128);

/// What happened to a tenant, in the order of commits.
#[derive(Clone, Debug)]
pub struct Events {
    /// Those behind the mark; at most as many as asked for.
    pub items: Vec<FeedItem>,
    /// Behind the last of them.
    pub next: EventMark,
}

/// The stage of endpoints.
#[async_trait]
pub trait Endpoints {
    /// Registers an endpoint, or replaces one by what follows it.
    async fn put_endpoint(&self, put: PutEndpoint) -> Result<Put>;

    /// Deletes one. What waits for it fails in the steps of [`Endpoints::tend_endpoints`]. `false`: there was none.
    async fn remove_endpoint(&self, tenant: Tenant, id: EndpointId, at: Moment) -> Result<bool>;

    /// Sends a ping. `None`: there is no such endpoint.
    async fn ping(&self, ping: Ping) -> Result<Option<DeliveryId>>;

    /// One step of what takes several: what waits for an endpoint that is disabled or deleted fails, and what it missed
    /// is due again where that was asked for. Answers with when there is more to do.
    async fn tend_endpoints(&self, at: Moment) -> Result<Option<Timestamp>>;

    /// Begins to send an endpoint again what it missed, up to the last number given so far. `false`: there is no such
    /// endpoint, or it is disabled.
    async fn begin_recovery(&self, plan: Plan, at: Moment) -> Result<bool>;

    /// One recovery. `None`: unknown, or another tenant's.
    async fn recovery(&self, tenant: Tenant, id: RecoveryId) -> Result<Option<Recovery>>;

    /// Stops one; what is due again stays so. `false`: unknown. One that is over stays as it is.
    async fn stop_recovery(&self, tenant: Tenant, id: RecoveryId, at: Moment) -> Result<bool>;

    /// One endpoint. `None`: unknown, or another tenant's.
    async fn endpoint(&self, tenant: Tenant, id: EndpointId) -> Result<Option<Endpoint>>;

    /// A list, newest first.
    async fn endpoints(&self, filter: EndpointFilter) -> Result<Page<Endpoint>>;

    /// What an endpoint is sent, from `after` (left out) on. `None`: unknown, or another tenant's.
    async fn feed(&self, tenant: Tenant, id: EndpointId, after: i64, limit: u32) -> Result<Option<Feed>>;

    /// What happened to a tenant, behind `after`. None is ever skipped: what a commit under way may still put before
    /// something is not shown before that commit is over. Pings are not in it, since nothing happened.
    async fn events(&self, tenant: Tenant, after: EventMark, limit: u32) -> Result<Events>;

    /// What is recorded of its lane. An attempt that went beside it is among the latest where it was taken.
    async fn endpoint_record(&self, id: EndpointId) -> Result<Record>;

    /// How one is.
    async fn endpoint_health(&self, id: EndpointId, at: Moment) -> Result<Health>;
}
