//! What a submission may say and what it is answered with, for the API's description. `fields` and `callback` read the
//! one, `accept` writes the other.

#![expect(dead_code, reason = "shapes of the document: nobody makes one")]

use utoipa::{IntoParams, IntoResponses, ToSchema};

use crate::openapi::{
    job::Job,
    shape::{CallbackUrl, EndpointId, JobEventType, Metadata, SigningSecret, Span, TaskName, Time},
};

/// A job to be done.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(
    json!({"task": "echo", "input": {"price": 1.10}}),
    json!({"task": "echo", "input": null, "callback": "https://partner.example/hooks"}),
))]
pub(crate) struct Submission {
    #[schema(value_type = TaskName)]
    task: String,
    /// Any JSON; its numbers come back as they were written.
    #[schema(value_type = Value, required = false)]
    input: Option<()>,
    callback: Option<CallbackOrUrl>,
    #[schema(value_type = Option<Metadata>)]
    metadata: Option<()>,
    /// Not before so long. Does not go with `run_at`.
    #[schema(value_type = Option<Span>)]
    delay: Option<String>,
    /// Not before then.
    #[schema(value_type = Option<Time>)]
    run_at: Option<String>,
    /// If it has not started by then it fails as `expired`. After `run_at`.
    #[schema(value_type = Option<Time>)]
    expires_at: Option<String>,
    /// The same, from now on. Does not go with `expires_at`.
    #[schema(value_type = Option<Span>)]
    ttl: Option<String>,
    /// Of one attempt. May lower the task's, not raise it.
    #[schema(value_type = Option<Span>)]
    timeout: Option<String>,
    /// Starts, the first included. May lower the task's, not raise it.
    #[schema(minimum = 1)]
    max_attempts: Option<u32>,
    /// 0 is first.
    #[schema(minimum = 0, maximum = 9, default = 5)]
    priority: Option<u32>,
}

/// One more place for a job's events.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = AddedCallback)]
pub(crate) enum Added {
    /// The three terminal events, signed with the tenant's secret.
    Url(CallbackUrl),
    Callback(Box<Callback>),
}

/// Where this job's events go.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = CallbackOrUrl)]
enum CallbackOrUrl {
    /// The three terminal events, signed with the tenant's secret.
    Url(CallbackUrl),
    Callback(Callback),
    Endpoint(NamedEndpoint),
}

/// A registered endpoint of yours.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
struct NamedEndpoint {
    #[schema(value_type = EndpointId)]
    endpoint: String,
    /// The three terminal ones if nothing is said.
    #[schema(value_type = Option<Vec<JobEventType>>, min_items = 1)]
    events: Option<Vec<String>>,
}

/// A callback with rules of its own.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Callback {
    #[schema(value_type = CallbackUrl)]
    url: String,
    /// The three terminal ones if nothing is said.
    #[schema(value_type = Option<Vec<JobEventType>>, min_items = 1)]
    events: Option<Vec<String>>,
    /// Sent with every request: at most 20, and 4 KiB.
    #[schema(example = json!({"x-partner": "7"}))]
    headers: Option<std::collections::BTreeMap<String, String>>,
    /// Signs this job's webhooks instead of the tenant's; never shown.
    #[schema(value_type = Option<SigningSecret>)]
    secret: Option<String>,
    retry: Option<Retry>,
    /// One attempt, from name look-up to last byte: at most `60s`.
    #[schema(value_type = Option<Span>)]
    timeout: Option<String>,
}

/// When to try again: at most 30 attempts and 7 days. Jitter only adds.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum Retry {
    Schedule(Schedule),
    Exponential(Exponential),
}

/// n delays make n + 1 attempts.
#[derive(ToSchema)]
#[schema(as = RetrySchedule)]
#[serde(deny_unknown_fields)]
pub(crate) struct Schedule {
    #[schema(value_type = Vec<Span>, max_items = 29)]
    schedule: Vec<String>,
    #[schema(minimum = 0, maximum = 1)]
    jitter: Option<f64>,
}

/// Delays that grow.
#[derive(ToSchema)]
#[schema(as = RetryGrowing)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exponential {
    #[schema(value_type = Option<Span>)]
    initial: Option<String>,
    #[schema(minimum = 1)]
    multiplier: Option<f64>,
    #[schema(value_type = Option<Span>)]
    max_interval: Option<String>,
    #[schema(minimum = 1, maximum = 30)]
    max_attempts: Option<u32>,
    #[schema(value_type = Option<Span>)]
    max_elapsed: Option<String>,
    #[schema(minimum = 0, maximum = 1)]
    jitter: Option<f64>,
}

/// What the head of a submission may say.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct SubmitHeaders {
    /// Makes it safe to repeat the request: 1 to 255 visible ASCII characters, in double quotes or without them.
    #[param(
        rename = "Idempotency-Key",
        max_length = 257,
        pattern = "^[!-~]+$",
        example = "8e03978e-40d5-43dd-bc93-6894a57f9324"
    )]
    idempotency_key: Option<String>,
    /// `wait=N` (RFC 7240): the answer comes when the job has ended, or after N seconds; over 60 counts as 60.
    #[param(rename = "Prefer", example = "respond-async, wait=5")]
    prefer: Option<String>,
    /// Carried through to the webhook's trace (W3C Trace Context).
    #[param(example = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
    traceparent: Option<String>,
}

/// What a submission is answered with.
#[derive(IntoResponses)]
pub(crate) enum Submitted {
    /// It ended while the client waited. Or it would be accepted (`validate_only`).
    #[response(status = 200, headers(
        ("Location"), ("Content-Location"), ("Link"), ("Cache-Control"), ("Vary"), ("Preference-Applied"),
        ("Idempotency-Replayed"),
        ("RateLimit"),
        ("RateLimit-Policy"),
    ))]
    Ended(#[to_schema] Job),
    /// It is on stable storage.
    #[response(status = 202, headers(
        ("Location"), ("Content-Location"), ("Link"), ("Retry-After"), ("Cache-Control"), ("Vary"),
        ("Idempotency-Replayed"),
        ("RateLimit"),
        ("RateLimit-Policy"),
    ))]
    Accepted(#[to_schema] Job),
}
