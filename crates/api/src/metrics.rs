//! What this crate counts. No label holds a tenant, a URL or a key.

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

/// A request by what it was.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    /// The pattern, such as `/v1/jobs/{id}`, so that ids make no series.
    pub(crate) route: String,
    pub(crate) status: u16,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct Route {
    pub(crate) route: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct Task {
    pub(crate) task: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct Problem {
    pub(crate) slug: &'static str,
}

/// This crate's numbers. A copy counts into the same ones.
#[derive(Clone)]
pub struct Metrics {
    pub(crate) requests: Family<Request, Counter>,
    pub(crate) seconds: Family<Route, Histogram, fn() -> Histogram>,
    pub(crate) problems: Family<Problem, Counter>,
    pub(crate) accepted: Counter,
    pub(crate) replayed: Counter,
    pub(crate) waiting: Family<Task, Gauge>,
    pub(crate) running: Family<Task, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            // 0.5 ms to 65 s: a durable commit at one end, the longest wait at the other.
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_5, 2.0, 18))),
            problems: Family::default(),
            accepted: Counter::default(),
            replayed: Counter::default(),
            waiting: Family::default(),
            running: Family::default(),
        }
    }
}

impl Metrics {
    /// Puts them where `/metrics` reads.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "ringback_http_requests",
            "Requests answered, by method, route and status",
            self.requests.clone(),
        );
        registry.register(
            "ringback_http_request_seconds",
            "From the head of a request to its answer, waits included",
            self.seconds.clone(),
        );
        registry.register("ringback_http_problems", "Requests refused, by problem", self.problems.clone());
        registry.register(
            "ringback_jobs_accepted",
            "Jobs that were answered with 202 or 200",
            self.accepted.clone(),
        );
        registry.register(
            "ringback_jobs_replayed",
            "Submissions answered with the job that their Idempotency-Key had made before",
            self.replayed.clone(),
        );
        registry.register("ringback_jobs_waiting", "Queued jobs, due or not, by task", self.waiting.clone());
        registry.register("ringback_jobs_running", "Running jobs, by task", self.running.clone());
    }
}
