//! The job as JSON: the same text in answers and, without callbacks, queue and progress, in events.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Ending, Job, Priority, Progress, State, Status};
use crate::{
    callback::Shown,
    duration::Span,
    id::{BatchId, JobId},
    problem::JobError,
    result_link::ResultLinks,
    task::TaskName,
    time::Timestamp,
};

/// Where the links of one job point.
#[derive(Clone, Debug)]
pub struct Links {
    /// `/v1/jobs/job_…`, with `public_url` before it when that is set.
    this: String,
    /// The signed query of `links.result` in events; empty in answers to callers that have a key.
    result_query: String,
}

impl Links {
    /// For an answer of the API. `public_url` is empty or has no slash at its end.
    pub fn new(public_url: &str, job: JobId) -> Self {
        Self { this: format!("{public_url}/v1/jobs/{job}"), result_query: String::new() }
    }

    /// For an event: the result can be fetched without a key until `wall` + [`crate::result_link::LIFETIME`].
    pub fn signed(public_url: &str, job: JobId, links: &ResultLinks, wall: Timestamp) -> Self {
        let expires = (wall + crate::result_link::LIFETIME).seconds();
        Self { result_query: format!("?{}", links.query(job, expires)), ..Self::new(public_url, job) }
    }

    /// The job's own address.
    pub fn this(&self) -> &str {
        &self.this
    }
}

/// Where a queued job stands: an estimate.
#[derive(Clone, Copy, Serialize, Debug)]
pub struct Queue {
    /// About how many are started before it; 1 is next.
    pub position: u64,
    /// When its turn comes at the pace of the last minutes; `None` if nothing has been measured.
    pub estimated_start_at: Option<Timestamp>,
}

/// The job object of the contract.
#[derive(Serialize)]
pub struct View<'a> {
    id: JobId,
    task: &'a TaskName,
    status: Status,
    attempt: u32,
    max_attempts: u32,
    priority: Priority,
    timeout: Span,
    metadata: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Option<&'a Progress>>,
    result: Option<&'a RawValue>,
    result_info: Option<Info<'a>>,
    error: Option<&'a JobError>,
    created_at: Timestamp,
    run_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    cancel_requested_at: Option<Timestamp>,
    rerun_of: Option<JobId>,
    batch: Option<BatchId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<Option<Queue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    callbacks: Option<Vec<Shown<'a>>>,
    links: LinksView<'a>,
}

#[derive(Serialize)]
struct Info<'a> {
    size: u64,
    sha256: String,
    content_type: &'a str,
}

#[derive(Serialize)]
struct LinksView<'a> {
    #[serde(rename = "self")]
    this: &'a str,
    input: String,
    result: String,
    cancel: String,
    deliveries: String,
}

impl Job {
    /// The job as the API shows it; [`View::with_queue`] and [`View::for_event`] make the variants.
    pub fn view<'a>(&'a self, links: &'a Links) -> View<'a> {
        let (result, error) = match self.ended().map(|ended| &ended.ending) {
            Some(Ending::Succeeded(result)) => (Some(result), None),
            Some(Ending::Failed(error)) => (None, Some(error)),
            Some(Ending::Canceled) | None => (None, None),
        };
        let run_at = match self.state {
            State::Queued { run_at, .. } => run_at,
            _ => None,
        };
        let base = &links.this;
        let origin = base.strip_suffix(&format!("/jobs/{}", self.id)).unwrap_or("/v1");
        View {
            id: self.id,
            task: &self.task,
            status: self.status(),
            attempt: self.attempt(),
            max_attempts: self.max_attempts,
            priority: self.priority,
            timeout: Span(self.timeout),
            metadata: &self.metadata,
            progress: Some(self.progress.as_deref()),
            result: result.and_then(|result| result.inline.as_deref()),
            result_info: result.map(|result| Info {
                size: result.info.size,
                sha256: hex(&result.info.sha256),
                content_type: &result.info.content_type,
            }),
            error,
            created_at: self.created_at,
            run_at,
            started_at: self.started_at(),
            finished_at: self.ended().map(|ended| ended.finished_at),
            expires_at: self.expires_at,
            cancel_requested_at: self.cancel_requested_at,
            rerun_of: self.rerun_of,
            batch: None,
            queue: Some(None),
            callbacks: Some(self.callbacks.shown().collect()),
            links: LinksView {
                this: base,
                input: format!("{base}/input"),
                result: format!("{base}/result{}", links.result_query),
                cancel: format!("{base}/cancel"),
                deliveries: format!("{origin}/deliveries?job={}", self.id),
            },
        }
    }
}

impl View<'_> {
    /// With where it stands in the queue.
    pub fn with_queue(mut self, queue: Option<Queue>) -> Self {
        self.queue = Some(queue);
        self
    }

    /// Without what an event about progress does not carry: callbacks and queue.
    pub fn for_progress(mut self) -> Self {
        (self.callbacks, self.queue) = (None, None);
        self
    }

    /// Without what an event does not carry: callbacks, queue and progress.
    pub fn for_event(mut self) -> Self {
        (self.callbacks, self.queue, self.progress) = (None, None, None);
        self
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use crate::{
        chance::Moment,
        event::Event,
        id::EventId,
        job::{Ended, Ending, JobResult, Links, State, tests::job},
        result_link::ResultLinks,
        time::Timestamp,
    };

    const WALL: Timestamp = Timestamp::from_micros(1_763_899_933_123_456);

    #[test]
    fn the_job_of_the_contract() {
        let job = job();
        let links = Links::new("", job.id);
        let shown: serde_json::Value = serde_json::to_value(job.view(&links)).unwrap();
        let names: Vec<_> = shown.as_object().unwrap().keys().cloned().collect();
        for name in [
            "id",
            "task",
            "status",
            "attempt",
            "max_attempts",
            "priority",
            "timeout",
            "metadata",
            "progress",
            "result",
            "result_info",
            "error",
            "created_at",
            "run_at",
            "started_at",
            "finished_at",
            "expires_at",
            "cancel_requested_at",
            "rerun_of",
            "batch",
            "queue",
            "callbacks",
            "links",
        ] {
            assert!(names.iter().any(|n| n == name), "{name} is missing");
        }
        assert_eq!(names.len(), 23);
        assert_eq!(shown["timeout"], "60s");
        assert_eq!(shown["links"]["self"], format!("/v1/jobs/{}", job.id));
        assert_eq!(shown["links"]["deliveries"], format!("/v1/deliveries?job={}", job.id));
    }

    #[test]
    fn an_event_bears_the_job_with_its_numbers_as_written_and_a_signed_link() {
        let job = crate::job::Job { state: State::Running { attempt: 1, started_at: WALL }, ..job() };
        let moment = Moment { now: WALL, wall: WALL };
        let result = JobResult::of("application/json", br#"{"price": 1.10}"#);
        let ended = Ended {
            attempt: 1,
            started_at: Some(WALL),
            finished_at: moment.wall,
            ending: Ending::Succeeded(result),
        };
        let links = Links::signed("https://ringback.example", job.id, &ResultLinks::new([7; 32], &[]), WALL);
        let event = Event::ended(EventId::new(WALL, 1), &job, &ended, &links);
        assert!(event.body.starts_with(
            r#"{"type":"job.succeeded","timestamp":"2025-11-23T12:12:13.123456Z","data":{"job":{"id":"job_"#
        ));
        assert!(event.body.contains(r#""result":{"price": 1.10}"#), "{}", event.body);
        assert!(event.body.contains(&format!("https://ringback.example/v1/jobs/{}/result?exp=", job.id)));
        for absent in ["\"callbacks\"", "\"queue\"", "\"progress\""] {
            assert!(!event.body.contains(absent), "{absent}");
        }
    }
}
