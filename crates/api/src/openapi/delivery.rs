//! Deliveries as answers and events show them. `domain::delivery` writes them, and an open attempt is written by
//! `deliveries`.

#![expect(dead_code, reason = "shapes of the document: their fields are read by the derive alone")]

use utoipa::ToSchema;

use super::shape::{
    AttemptOutcome, AttemptTrigger, Cursor, DeadLetter, DeliveryId, DeliveryState, EndpointId, EventId,
    EventType, JobId, Time,
};

/// A delivery with its attempts and its bytes.
#[derive(ToSchema)]
pub(crate) struct Delivery {
    #[serde(flatten)]
    summary: DeliverySummary,
    /// Oldest first.
    attempts: Vec<Attempt>,
    /// The exact bytes that are signed and sent; `null` once they were erased.
    body: Option<String>,
}

/// One event on its way to one URL.
#[derive(ToSchema)]
pub(crate) struct DeliverySummary {
    #[schema(value_type = DeliveryId)]
    id: String,
    #[schema(value_type = EventId)]
    event: String,
    #[schema(value_type = EventType)]
    event_type: String,
    #[schema(value_type = Option<JobId>)]
    job: Option<String>,
    /// The registered endpoint that it goes to.
    #[schema(value_type = Option<EndpointId>)]
    endpoint: Option<String>,
    #[schema(example = "https://partner.example/hooks")]
    url: String,
    #[schema(value_type = DeliveryState)]
    status: String,
    #[schema(value_type = Option<DeadLetter>)]
    reason: Option<String>,
    /// Counts what goes to a registered endpoint.
    sequence: Option<u64>,
    /// Attempts so far, an open one included.
    attempt: u32,
    #[schema(value_type = Option<Time>)]
    next_attempt_at: Option<String>,
    /// Why it does not leave at once: `timer`, `slot`, `breaker`, `rate` or `order`.
    waiting_for: Option<String>,
    #[schema(value_type = Time)]
    created_at: String,
    #[schema(value_type = Option<Time>)]
    finished_at: Option<String>,
}

/// A page of deliveries, newest first.
#[derive(ToSchema)]
pub(crate) struct DeliveryList {
    items: Vec<DeliverySummary>,
    #[schema(value_type = Option<Cursor>)]
    next_cursor: Option<String>,
}

/// One HTTP request made for a delivery.
#[derive(ToSchema)]
struct Attempt {
    /// 1..n, without a gap.
    #[schema(minimum = 1)]
    number: u32,
    #[schema(value_type = AttemptTrigger)]
    trigger: String,
    #[schema(value_type = Time)]
    started_at: String,
    /// `null` while the request is out.
    #[schema(value_type = Option<Time>)]
    ended_at: Option<String>,
    #[schema(value_type = Option<AttemptOutcome>)]
    outcome: Option<String>,
    /// The receiver's HTTP status.
    status: Option<u16>,
    /// What went wrong, in words.
    error: Option<String>,
    /// Who was dialled.
    remote_address: Option<String>,
    timings_ms: Timings,
    response: Option<ReceiverResponse>,
}

/// Milliseconds per phase; `null` where it was not reached, or skipped by a kept connection.
#[derive(ToSchema)]
struct Timings {
    /// From due to sent.
    queue: Option<f64>,
    /// Name look-up.
    dns: Option<f64>,
    /// TCP connect.
    connect: Option<f64>,
    /// TLS handshake.
    tls: Option<f64>,
    /// From the request to the response head.
    first_byte: Option<f64>,
    /// All of it, without `queue`.
    total: Option<f64>,
}

/// What came back, as far as it is kept.
#[derive(ToSchema)]
struct ReceiverResponse {
    /// Names and values, in the order they came.
    #[schema(value_type = Vec<Vec<String>>)]
    headers: Vec<(String, String)>,
    /// The first 16 KiB.
    body: String,
    /// How `body` holds them: `utf-8` or `base64`.
    #[schema(example = "utf-8")]
    encoding: String,
    /// True if there was more.
    truncated: bool,
}
