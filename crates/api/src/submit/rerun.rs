//! `POST /v1/jobs/{id}/rerun`: the same work once more, as a new job.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use domain::{
    callback::{Callback, Callbacks},
    chance::Moment,
    id::JobId,
    job::{Job, State as JobState},
    seal::Place,
    vault::VaultError,
};
use storage::{Idempotency, Submit};

use super::{
    Head, accept,
    callback::Confidential,
    judge_url, seal,
    shape::{SubmitHeaders, Submitted},
};
use crate::{
    auth::Caller,
    body,
    openapi::shape,
    problem::{Faults, Problem, table},
    request::Id,
    router::Api,
};

/// The same work once more, as a new job
///
/// Answers like a submission; `rerun_of` names the old job. An Idempotency-Key works as it does there.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/rerun", tag = "jobs", operation_id = "rerunJob",
    params(("id" = shape::JobId, Path), SubmitHeaders),
    request_body = Option<shape::Nothing>,
    responses(Submitted),
    extensions(("x-problems" = json!([
        "job-not-finished", "idempotency-key-invalid", "idempotency-key-reused", "rate-limited", "unknown-task",
        "callback-url-invalid", "callback-url-forbidden", "callback-address-blocked"
    ]))),
)]
pub(crate) async fn rerun(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Id(id): Id<JobId>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, unread) = request.into_parts();
    let head = match Head::read(&parts, &[]) {
        Ok(head) => head,
        Err(problem) => {
            body::discard(&parts.headers, unread);
            return Err(problem);
        }
    };
    let json = body::empty_object(&parts.headers, unread, api.limits.max_body).await?;
    let body = json.as_ref().map_or(&b""[..], |json| json.text().as_bytes());
    let idempotency = head.idempotency(caller.tenant, &parts, body);
    match once_more(&api, caller, id, head.traceparent, idempotency).await {
        Ok(submit) => accept::accept(&api, submit, head.wait).await,
        Err(problem) => accept::replay_or(&api, caller.tenant, idempotency, head.wait, problem).await,
    }
}

async fn once_more(
    api: &Api,
    caller: Caller,
    id: JobId,
    traceparent: Option<Arc<str>>,
    idempotency: Option<Idempotency>,
) -> Result<Submit, Problem> {
    let old = api.job(caller.tenant, id).await?;
    if old.ended().is_none() {
        return Err(Problem::new(&table::JOB_NOT_FINISHED, format!("The job is {}.", old.status())));
    }
    let at = Moment::of(&*api.clock);
    let job = again(api, &old, traceparent, at)?;
    super::known_endpoints(api, &job, "/callbacks").await?;
    let Some(input) = api.engine.input(caller.tenant, id).await? else {
        return Err(api.gone(Some(caller.tenant), id).await);
    };
    Ok(Submit { job, input, due: at.now, idempotency, at })
}

/// The old job as a new one, within what its task and the callback rules allow today.
fn again(api: &Api, old: &Job, traceparent: Option<Arc<str>>, at: Moment) -> Result<Job, Problem> {
    let known = api.tasks.now();
    let task = known
        .task(old.task.as_str())
        .ok_or_else(|| Problem::new(&table::UNKNOWN_TASK, "The job's task is not configured any more."))?;
    let id = JobId::new(at.now, api.dice.bits());
    let callbacks = old.callbacks.iter().map(|(place, callback)| again_to(api, old, id, place, callback));
    Ok(Job {
        id,
        timeout: old.timeout.min(task.timeout),
        max_attempts: old.max_attempts.min(task.retry.max_attempts()),
        callbacks: Callbacks::with_named(
            callbacks.collect::<Result<_, _>>()?,
            old.callbacks.named().to_vec(),
        ),
        traceparent,
        created_at: at.wall,
        expires_at: None,
        cancel_requested_at: None,
        rerun_of: Some(old.id),
        progress: None,
        state: JobState::Queued { attempt: 0, run_at: None, started_at: None },
        ..old.clone()
    })
}

/// A callback for the new job: its URL is judged again, and what is bound to the old job is sealed anew.
fn again_to(api: &Api, old: &Job, id: JobId, place: u32, callback: &Callback) -> Result<Callback, Problem> {
    let mut faults = Faults::default();
    judge_url(callback.url.as_str(), &format!("/callbacks/{place}/url"), &api.url_policy, &mut faults);
    faults.finish()?;
    let damaged = |error: VaultError| {
        tracing::error!(%error, job = %old.id, "a callback's secret or headers do not open");
        Problem::internal()
    };
    let open_secret = |sealed| Place::Callback(old.tenant, old.id).open(&api.vault, sealed);
    let secret = callback.secret.as_ref().map(open_secret).transpose().map_err(damaged)?;
    let open_headers = |sealed| Place::CallbackHeaders(old.tenant, old.id).open_headers(&api.vault, sealed);
    let headers = callback.headers.as_ref().map(open_headers).transpose().map_err(damaged)?;
    Ok(Callback {
        secret: secret.as_ref().map(|secret| seal(api, old.tenant, id, Confidential::Secret(secret))),
        headers: headers.as_ref().map(|headers| seal(api, old.tenant, id, Confidential::Headers(headers))),
        ..callback.clone()
    })
}
