//! Whether the node lives, whether it is ready, and its numbers. None of these needs a key.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{jobs, metrics, problem::Problem, router::Api};

/// A probe wants an answer: storage that takes longer is not ready.
const CHECK: Duration = Duration::from_secs(2);

/// The process answers
///
/// Never touches storage.
#[utoipa::path(
    get, path = "/livez", tag = "operating", operation_id = "livez",
    responses((status = 200, description = "It does.", body = Live, headers(("Cache-Control")))),
)]
pub(crate) async fn livez() -> Response {
    uncached(jobs::json(StatusCode::OK, "{\"status\":\"ok\"}"))
}

/// It lives.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape of the document")]
struct Live {
    #[schema(example = "ok")]
    status: &'static str,
}

/// Whether this node takes work, and what that was told by.
#[derive(Serialize, ToSchema)]
struct Ready {
    #[schema(example = "ok")]
    status: &'static str,
    checks: Checks,
}

#[derive(Serialize, ToSchema)]
struct Checks {
    storage: Check,
    schema: Check,
    draining: Check,
    lease: Check,
    clock: Check,
    tasks: Check,
}

#[derive(Serialize, ToSchema)]
struct Check {
    /// `ok`, `warning`, or `failing`, which alone makes the node not ready.
    #[schema(example = "ok")]
    status: &'static str,
    detail: String,
}

impl Check {
    fn new(status: &'static str, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }
}

/// The node takes work
#[utoipa::path(
    get, path = "/readyz", tag = "operating", operation_id = "readyz",
    responses(
        (status = 200, description = "It does.", body = Ready, headers(("Cache-Control"))),
        (status = 503, description = "A check fails.", body = Ready, headers(("Cache-Control"))),
    ),
)]
pub(crate) async fn readyz(State(api): State<Arc<Api>>) -> Response {
    let (storage, schema) = match tokio::time::timeout(CHECK, api.engine.check()).await {
        Ok(Ok(check)) => {
            (Check::new("ok", check.engine), Check::new("ok", format!("version {}", check.schema)))
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready: storage");
            (Check::new("failing", "storage does not answer"), Check::new("failing", "not known"))
        }
        Err(_) => (Check::new("failing", "no answer within 2 s"), Check::new("failing", "not known")),
    };
    let draining = if api.draining.load(Ordering::SeqCst) {
        Check::new("failing", "stopping: takes no new work")
    } else {
        Check::new("ok", "no")
    };
    let (lease, clock) = (standing(api.standing.lease()), standing(api.standing.clock()));
    let ready = [&storage, &schema, &draining, &lease, &clock].iter().all(|check| check.status == "ok");
    let checks = Checks { storage, schema, draining, lease, clock, tasks: tasks(&api) };
    let (status, word) =
        if ready { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
    let body = serde_json::to_vec(&Ready { status: word, checks }).unwrap_or_default();
    uncached(jobs::json(status, body))
}

/// How this node stands among the others: each either fine, with a word about it, or not, with the reason.
pub trait Standing: Send + Sync {
    /// Its lease.
    fn lease(&self) -> Result<String, String>;
    /// Its wall clock, beside the database's.
    fn clock(&self) -> Result<String, String>;
}

fn standing(stands: Result<String, String>) -> Check {
    match stands {
        Ok(detail) => Check::new("ok", detail),
        Err(detail) => Check::new("failing", detail),
    }
}

/// Jobs of a task that was removed wait for it to come back.
fn tasks(api: &Api) -> Check {
    let orphans: Vec<_> = api
        .engine
        .backlogs()
        .all(api.clock.now())
        .into_iter()
        .filter(|(task, backlog)| backlog.waiting > 0 && !api.knows(task))
        .map(|(task, backlog)| format!("{} of {task}", backlog.waiting))
        .collect();
    if orphans.is_empty() {
        return Check::new("ok", format!("{} configured", api.tasks.now().specs.len()));
    }
    Check::new("warning", format!("jobs wait whose task is not configured: {}", orphans.join(", ")))
}

/// Numbers of this node
///
/// OpenMetrics 1.0; every name begins with `ringback_`.
#[utoipa::path(
    get, path = "/metrics", tag = "operating", operation_id = "metrics",
    responses((status = 200, description = "Text for Prometheus.", headers(("Cache-Control")),
        content((String = "application/openmetrics-text; version=1.0.0; charset=utf-8")))),
    extensions(("x-problems" = json!(["internal"]))),
)]
pub(crate) async fn metrics(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    for (task, backlog) in api.engine.backlogs().all(api.clock.now()) {
        let label = metrics::Task { task: task.to_string() };
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        api.metrics.waiting.get_or_create(&label).set(gauge(backlog.waiting));
        api.metrics.running.get_or_create(&label).set(gauge(backlog.running));
    }
    let mut text = String::with_capacity(16 * 1024);
    if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &api.registry) {
        tracing::error!(%error, "metrics cannot be written");
        return Err(Problem::internal());
    }
    let open_metrics = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(uncached(([(header::CONTENT_TYPE, open_metrics)], text).into_response()))
}

fn uncached(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
