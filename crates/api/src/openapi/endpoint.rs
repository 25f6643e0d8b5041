//! Endpoints and feeds, for the API's description. `domain::endpoint::View` and `feeds` write what is shown, and
//! `endpoints::fields` reads what is sent.

#![expect(dead_code, reason = "shapes of the document: nobody makes one")]

use std::collections::BTreeMap;

use utoipa::ToSchema;

use super::shape::{
    AttemptOutcome, CallbackUrl, DisabledReason, EndpointId, EndpointState, EventId, EventType, PublicKey,
    RateText, RecoveryId, RecoveryState, SignatureScheme, SigningSecret, Span, TaskName, Time, Wanted,
};
use crate::submit::shape::Retry;

/// What an endpoint may be.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewEndpoint {
    #[schema(value_type = CallbackUrl)]
    url: String,
    /// At most 1 KiB.
    description: Option<String>,
    /// The three terminal ones and `batch.completed` if nothing is said; `["*"]` all; `[]` none but what names the
    /// endpoint.
    #[schema(value_type = Option<Vec<Wanted>>)]
    events: Option<Vec<String>>,
    /// Of these tasks alone.
    #[schema(value_type = Option<Vec<TaskName>>, min_items = 1)]
    tasks: Option<Vec<String>>,
    /// Sent with every request: at most 20, and 4 KiB.
    headers: Option<BTreeMap<String, String>>,
    /// Ours if nothing is said.
    #[schema(value_type = Option<SigningSecret>)]
    secret: Option<String>,
    retry: Option<Retry>,
    /// One attempt, from name look-up to last byte: at most `60s`.
    #[schema(value_type = Option<Span>)]
    timeout: Option<String>,
    /// At most so many requests at once; as many as it takes if nothing is said.
    #[schema(minimum = 1, maximum = 10_000)]
    max_in_flight: Option<u32>,
    /// No faster than this.
    #[schema(value_type = Option<RateText>)]
    rate_limit: Option<String>,
    /// One at a time, by their numbers: each waits until the one before it has succeeded, or failed for good.
    ordered: Option<bool>,
    /// `hmac` if nothing is said; it stays as it is.
    #[schema(value_type = Option<SignatureScheme>)]
    signature: Option<String>,
}

/// What is absent stays, `null` is the default again (RFC 7396).
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointChange {
    #[schema(value_type = CallbackUrl, required = false)]
    url: String,
    description: Option<String>,
    #[schema(value_type = Option<Vec<Wanted>>)]
    events: Option<Vec<String>>,
    #[schema(value_type = Option<Vec<TaskName>>, min_items = 1)]
    tasks: Option<Vec<String>>,
    headers: Option<BTreeMap<String, String>>,
    retry: Option<Retry>,
    #[schema(value_type = Option<Span>)]
    timeout: Option<String>,
    #[schema(minimum = 1, maximum = 10_000)]
    max_in_flight: Option<u32>,
    /// No faster than this.
    #[schema(value_type = Option<RateText>)]
    rate_limit: Option<String>,
    /// One at a time, by their numbers: each waits until the one before it has succeeded, or failed for good.
    ordered: Option<bool>,
    /// `hmac` if nothing is said; it stays as it is.
    #[schema(value_type = Option<SignatureScheme>)]
    signature: Option<String>,
    #[schema(value_type = Option<EndpointState>)]
    state: Option<String>,
    /// Goes with `"state": "enabled"`: false leaves what it missed where it is.
    recover: Option<bool>,
}

/// A registered callback that receives events of many jobs.
#[derive(ToSchema)]
pub(crate) struct Endpoint {
    #[serde(flatten)]
    facts: EndpointFacts,
    /// Deliveries that wait for their next attempt.
    waiting: u64,
    /// Of the last 1,000 attempts in 24 h; `null` if there was none.
    success_rate: Option<f64>,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    last_error: Option<LastError>,
    /// `closed`, `open` or `half_open` while a probe is out.
    breaker: String,
    /// In the answer to its registration alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = SigningSecret)]
    secret: Option<String>,
    /// Beside it, of one that is signed by Ed25519: what verifies.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = PublicKey)]
    public_key: Option<String>,
}

/// What an endpoint is, in answers and in events.
#[derive(ToSchema)]
pub(crate) struct EndpointFacts {
    #[schema(value_type = EndpointId)]
    id: String,
    url: String,
    description: String,
    #[schema(value_type = Vec<Wanted>)]
    events: Vec<String>,
    /// `null`: of all.
    #[schema(value_type = Option<Vec<TaskName>>)]
    tasks: Option<Vec<String>>,
    retry: Option<Retry>,
    #[schema(value_type = Option<Span>)]
    timeout: Option<String>,
    max_in_flight: Option<u32>,
    #[schema(value_type = Option<RateText>)]
    rate_limit: Option<String>,
    ordered: bool,
    #[schema(value_type = SignatureScheme)]
    signature: String,
    #[schema(value_type = EndpointState)]
    state: String,
    #[schema(value_type = Option<DisabledReason>)]
    disabled_reason: Option<String>,
    #[schema(value_type = Time)]
    created_at: String,
}

/// The last failure.
#[derive(ToSchema)]
struct LastError {
    #[schema(value_type = Time)]
    at: String,
    #[schema(value_type = super::shape::DeliveryId)]
    delivery: String,
    #[schema(value_type = AttemptOutcome)]
    outcome: String,
    status: Option<u16>,
    error: Option<String>,
}

/// A page of endpoints.
#[derive(ToSchema)]
pub(crate) struct EndpointList {
    items: Vec<Endpoint>,
    #[schema(value_type = Option<super::shape::Cursor>)]
    next_cursor: Option<String>,
}

/// What a ping looks like.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PingOf {
    /// A sample of that event; `endpoint.ping` if nothing is said.
    #[schema(rename = "type", value_type = Option<EventType>)]
    kind: Option<String>,
}

/// What to send an endpoint again.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRecovery {
    /// Only events from then on.
    #[schema(value_type = Option<Time>)]
    since: Option<String>,
    /// Only events before then.
    #[schema(value_type = Option<Time>)]
    until: Option<String>,
    /// No faster than this; as fast as it takes them if nothing is said.
    #[schema(value_type = Option<RateText>)]
    rate: Option<String>,
}

/// Sending an endpoint again what it missed, oldest number first.
#[derive(ToSchema)]
pub(crate) struct Recovery {
    #[schema(value_type = RecoveryId)]
    id: String,
    #[schema(value_type = EndpointId)]
    endpoint: String,
    #[schema(value_type = RecoveryState)]
    state: String,
    #[schema(value_type = Option<Time>)]
    since: Option<String>,
    #[schema(value_type = Option<Time>)]
    until: Option<String>,
    #[schema(value_type = Option<RateText>)]
    rate: Option<String>,
    /// The number up to which it has looked.
    reached: u64,
    /// The last number it looks at: what was given when it began.
    last: u64,
    /// How many are due again by it.
    recovered: u64,
    #[schema(value_type = Time)]
    created_at: String,
    #[schema(value_type = Option<Time>)]
    finished_at: Option<String>,
}

/// One event as it was sent.
#[derive(ToSchema)]
struct FeedItem {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64)]
    sequence: Option<u64>,
    #[schema(value_type = EventId)]
    webhook_id: String,
    #[schema(rename = "type", value_type = EventType)]
    kind: String,
    #[schema(value_type = Time)]
    timestamp: String,
    /// The exact bytes.
    body: String,
}

/// An endpoint's events, by number.
#[derive(ToSchema)]
pub(crate) struct EndpointFeed {
    items: Vec<FeedItem>,
    /// The highest number given so far.
    last: u64,
    /// What is before it is not kept any more.
    pruned_before: u64,
}

/// A tenant's events, in the order of commits.
#[derive(ToSchema)]
pub(crate) struct TenantFeed {
    items: Vec<FeedItem>,
    #[schema(value_type = super::shape::Cursor)]
    next_cursor: String,
}
