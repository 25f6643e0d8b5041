//! Hands a submission to storage and answers with the job: 202, or 200 if it ended while the client waited.

use std::sync::Arc;

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::{
    id::{JobId, Tenant},
    job::{Job, Links},
};
use storage::{Idempotency, Submit, Submitted};

use crate::{
    jobs,
    prefer::{PREFERENCE_APPLIED, Wait},
    problem::{Problem, table},
    router::Api,
    waits::Until,
};

pub(crate) const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Records the job and answers, if its tenant may have one more. What a key has made already is no new job: it is
/// answered whatever the tenant's limits are.
pub(super) async fn accept(api: &Arc<Api>, submit: Submit, wait: Option<Wait>) -> Result<Response, Problem> {
    let (tenant, key) = (submit.job.tenant, submit.idempotency);
    match api.quota.admit(tenant, || api.engine.waiting().of(tenant)) {
        Ok(left) => {
            let mut response = record(api, submit, wait).await?;
            left.show(response.headers_mut());
            Ok(response)
        }
        Err(problem) => replay_or(api, tenant, key, wait, problem).await,
    }
}

/// The wait is registered before the commit that may already end it.
async fn record(api: &Arc<Api>, submit: Submit, wait: Option<Wait>) -> Result<Response, Problem> {
    let (tenant, id) = (submit.job.tenant, submit.job.id);
    let waiter = wait.and_then(|_| api.waits.register(id, Until::Ended));
    match api.engine.submit(submit).await? {
        Submitted::Accepted(job) => {
            api.metrics.accepted.inc();
            api.arrivals.arrived(&job.task, job.created_at);
            let job = jobs::hold(api, job, waiter.zip(wait), |job| job.ended().is_some()).await;
            Ok(answer(api, &job, wait, false))
        }
        Submitted::Replayed(id) => replayed(api, tenant, id, wait).await,
        Submitted::KeyReused => Err(reused()),
    }
}

/// What was acceptable when the key made its job may not be any more, because a time has passed, a task is gone or a limit
/// is reached: then the key still finds its job. Else `problem` it is.
pub(super) async fn replay_or(
    api: &Arc<Api>,
    tenant: Tenant,
    key: Option<Idempotency>,
    wait: Option<Wait>,
    problem: Problem,
) -> Result<Response, Problem> {
    let Some(key) = key else { return Err(problem) };
    match api.engine.replay(key).await? {
        Some(Submitted::Replayed(id)) => replayed(api, tenant, id, wait).await,
        Some(Submitted::KeyReused) => Err(reused()),
        Some(Submitted::Accepted(_)) | None => Err(problem),
    }
}

async fn replayed(
    api: &Arc<Api>,
    tenant: Tenant,
    id: JobId,
    wait: Option<Wait>,
) -> Result<Response, Problem> {
    api.metrics.replayed.inc();
    let waiter = wait.and_then(|_| api.waits.register(id, Until::Ended));
    let job = api.job(tenant, id).await?;
    let job = jobs::hold(api, job, waiter.zip(wait), |job| job.ended().is_some()).await;
    Ok(answer(api, &job, wait, true))
}

/// What would be accepted, of which nothing was recorded: there is nothing to be polled.
pub(super) fn acceptable(api: &Api, job: &Job) -> Response {
    let mut response = jobs::json(StatusCode::OK, jobs::body(api, job, &Links::new(&api.public_url, job.id)));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn reused() -> Problem {
    Problem::new(&table::IDEMPOTENCY_KEY_REUSED, "This Idempotency-Key came before with another request.")
}

fn answer(api: &Api, job: &Job, wait: Option<Wait>, replayed: bool) -> Response {
    let links = Links::new(&api.public_url, job.id);
    let ended_in_time = wait.filter(|_| job.ended().is_some());
    let status = if ended_in_time.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut response = (status, jobs::body(api, job, &links)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, jobs::VARY);
    if let Ok(location) = HeaderValue::from_str(links.this()) {
        headers.insert(header::LOCATION, location.clone());
        headers.insert(header::CONTENT_LOCATION, location);
    }
    if let Ok(link) = HeaderValue::try_from(format!("<{}>; rel=\"status\"", links.this())) {
        headers.insert(header::LINK, link);
    }
    if let Some(seconds) = api.retry_after(job) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(applied) = ended_in_time.and_then(|wait| HeaderValue::try_from(wait.applied()).ok()) {
        headers.insert(PREFERENCE_APPLIED, applied);
    }
    if replayed {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}
