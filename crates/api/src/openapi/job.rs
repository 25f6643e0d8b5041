//! The job as answers and events show it. `domain::job::View` writes it; every answer that a test sees is held against
//! this.

#![expect(dead_code, reason = "shapes of the document: their fields are read by the derive alone")]

use utoipa::ToSchema;

use super::shape::{
    BatchId, EndpointId, JobError, JobEventType, JobId, Link, Metadata, Span, Status, TaskName, Time,
};

/// One accepted submission of a task.
#[derive(ToSchema)]
pub(crate) struct Job {
    #[serde(flatten)]
    facts: JobFacts,
    /// What the work last said of itself.
    progress: Option<Progress>,
    /// While queued: an estimate from counters and the measured pace.
    queue: Option<Queue>,
    /// Where its events go. Headers and secrets are never shown.
    callbacks: Vec<Callback>,
}

/// What a job is, in answers and in events.
#[derive(ToSchema)]
pub(crate) struct JobFacts {
    #[schema(value_type = JobId)]
    id: String,
    #[schema(value_type = TaskName)]
    task: String,
    #[schema(value_type = Status)]
    status: String,
    /// Starts so far, those lost to a crash included.
    #[schema(minimum = 0)]
    attempt: u32,
    #[schema(minimum = 1)]
    max_attempts: u32,
    /// 0 is first.
    #[schema(minimum = 0, maximum = 9)]
    priority: u32,
    /// Of one attempt.
    #[schema(value_type = Span)]
    timeout: String,
    /// As it was submitted.
    #[schema(value_type = Metadata)]
    metadata: (),
    /// What the work made, if that is one JSON value of at most 64 KiB; `links.result` has any.
    #[schema(value_type = Value, required = true)]
    result: Option<()>,
    result_info: Option<ResultInfo>,
    /// Why it failed.
    #[schema(value_type = Option<JobError>)]
    error: Option<()>,
    #[schema(value_type = Time)]
    created_at: String,
    /// When it may start, or start again.
    #[schema(value_type = Option<Time>)]
    run_at: Option<String>,
    #[schema(value_type = Option<Time>)]
    started_at: Option<String>,
    #[schema(value_type = Option<Time>)]
    finished_at: Option<String>,
    /// If it has not started by then it fails as `expired`.
    #[schema(value_type = Option<Time>)]
    expires_at: Option<String>,
    #[schema(value_type = Option<Time>)]
    cancel_requested_at: Option<String>,
    /// The job that this one repeats.
    #[schema(value_type = Option<JobId>)]
    rerun_of: Option<String>,
    #[schema(value_type = Option<BatchId>)]
    batch: Option<String>,
    links: Links,
}

/// What `links.result` holds.
#[derive(ToSchema)]
struct ResultInfo {
    /// In bytes.
    size: u64,
    /// In lower-case hexadecimal; the result's `ETag`.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    sha256: String,
    #[schema(example = "application/json")]
    content_type: String,
}

/// A job in its `job.progress` event.
#[derive(ToSchema)]
pub(crate) struct JobUnderWay {
    #[serde(flatten)]
    facts: JobFacts,
    progress: Progress,
}

/// How far the work is.
#[derive(ToSchema)]
struct Progress {
    #[schema(minimum = 0.0, maximum = 1.0)]
    fraction: Option<f64>,
    message: Option<String>,
    #[schema(value_type = Time)]
    updated_at: String,
}

/// Where a queued job stands: an estimate.
#[derive(ToSchema)]
struct Queue {
    /// About how many are started before it; 1 is next.
    #[schema(minimum = 1)]
    position: u64,
    /// `null` if no pace has been measured.
    #[schema(value_type = Option<Time>)]
    estimated_start_at: Option<String>,
}

/// Where some of its events go: a URL, without its headers and its secret, or a registered endpoint.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = ShownCallback)]
enum Callback {
    Url(CallbackToUrl),
    Endpoint(CallbackToEndpoint),
}

#[derive(ToSchema)]
struct CallbackToUrl {
    #[schema(example = "https://partner.example/hooks")]
    url: String,
    #[schema(value_type = Vec<JobEventType>)]
    events: Vec<String>,
}

/// A registered endpoint, which hears of this job whatever it hears of others.
#[derive(ToSchema)]
pub(crate) struct CallbackToEndpoint {
    #[schema(value_type = EndpointId)]
    endpoint: String,
    #[schema(value_type = Vec<JobEventType>)]
    events: Vec<String>,
}

/// Those that this server answers.
#[derive(ToSchema)]
#[schema(as = JobLinks)]
struct Links {
    #[schema(rename = "self", value_type = Link)]
    this: String,
    #[schema(value_type = Link)]
    input: String,
    /// In an event it carries a signature and an expiry, so that it opens without a key.
    #[schema(value_type = Link)]
    result: String,
    #[schema(value_type = Link)]
    cancel: String,
    #[schema(value_type = Link)]
    deliveries: String,
}

/// A page of jobs, newest first.
#[derive(ToSchema)]
pub(crate) struct JobList {
    items: Vec<Job>,
    #[schema(value_type = Option<super::shape::Cursor>)]
    next_cursor: Option<String>,
}
