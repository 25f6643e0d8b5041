//! What the executor counts. Labels are task and status: no tenant, no URL, no key.

use domain::{job::Status, time::Timestamp};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Task {
    task: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskStatus {
    task: String,
    status: &'static str,
}

/// 0.1 ms … 27 min, a factor of four apart.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 4.0, 13))
}

/// All of it.
pub(crate) struct Metrics {
    started: Family<Task, Counter>,
    retried: Family<Task, Counter>,
    ended: Family<TaskStatus, Counter>,
    running: Family<Task, Gauge>,
    attempt_seconds: Family<Task, Histogram>,
    queue_seconds: Family<Task, Histogram>,
    pub(crate) storage_failures: Counter,
}

/// One task's share: looked up once, since a look-up hashes the name under a lock.
pub(crate) struct TaskMetrics {
    started: Counter,
    pub(crate) retried: Counter,
    /// In the order of [`TERMINAL`].
    ended: [Counter; 3],
    running: Gauge,
    pub(crate) attempt_seconds: Histogram,
    queue_seconds: Histogram,
}

const TERMINAL: [Status; 3] = [Status::Succeeded, Status::Failed, Status::Canceled];

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            started: Family::default(),
            retried: Family::default(),
            ended: Family::default(),
            running: Family::default(),
            attempt_seconds: Family::new_with_constructor(seconds),
            queue_seconds: Family::new_with_constructor(seconds),
            storage_failures: Counter::default(),
        }
    }

    pub(crate) fn task(&self, name: &str) -> TaskMetrics {
        let task = Task { task: name.to_owned() };
        let ended = TERMINAL.map(|status| TaskStatus { task: name.to_owned(), status: status.name() });
        TaskMetrics {
            started: self.started.get_or_create_owned(&task),
            retried: self.retried.get_or_create_owned(&task),
            ended: ended.map(|labels| self.ended.get_or_create_owned(&labels)),
            running: self.running.get_or_create_owned(&task),
            attempt_seconds: self.attempt_seconds.get_or_create_owned(&task),
            queue_seconds: self.queue_seconds.get_or_create_owned(&task),
        }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("ringback_jobs_started", "Attempts of jobs that began here", self.started.clone());
        registry.register("ringback_jobs_retried", "Attempts that put their job back", self.retried.clone());
        registry.register("ringback_jobs_ended", "Jobs that ended here, by status", self.ended.clone());
        registry.register("ringback_job_attempts_running", "Attempts under way here", self.running.clone());
        let help = "How long attempts took, in seconds";
        registry.register("ringback_job_attempt_seconds", help, self.attempt_seconds.clone());
        let help = "How long jobs were due before an attempt began, in seconds";
        registry.register("ringback_job_queue_seconds", help, self.queue_seconds.clone());
        let help = "Calls of the executor that storage did not answer and that are repeated";
        registry.register("ringback_executor_storage_failures", help, self.storage_failures.clone());
    }
}

impl TaskMetrics {
    /// An attempt began; it counts as running until what this gives is dropped.
    pub(crate) fn start(&self, due: Timestamp, now: Timestamp) -> Running<'_> {
        self.started.inc();
        self.queue_seconds.observe(now.since(due).as_secs_f64());
        self.running.inc();
        Running(&self.running)
    }

    pub(crate) fn ended(&self, status: Status) {
        if let Some(place) = TERMINAL.iter().position(|&terminal| terminal == status) {
            self.ended[place].inc();
        }
    }
}

/// Counts down when it is dropped.
pub(crate) struct Running<'a>(&'a Gauge);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
