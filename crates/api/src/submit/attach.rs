//! `POST /v1/jobs/{id}/callbacks`: one more callback, whatever became of the job.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use domain::{
    callback::{Callback, MOST, With},
    chance::Moment,
    id::JobId,
    job::{Job, Links},
};
use serde_json::value::RawValue;
use storage::{Attach, Attached};

use super::{
    callback::{self, Confidential, Rules},
    seal,
    shape::Added,
};
use crate::{
    auth::Caller,
    body, jobs,
    openapi::{job::Job as JobShape, shape},
    problem::{Faults, Problem},
    query::Query,
    request::Id,
    router::Api,
};

/// How often it is decided again on a job that changes under its hands. Each time the job got a step further, or another
/// callback was added.
const TRIES: usize = 32;

/// Add a callback to a job
///
/// In any state. The body is what `callback` of a submission is: a URL, or an object with one; an endpoint is named with the
/// job alone. If the job has ended the very event that ended it is sent, at once. The same callback again changes nothing.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/callbacks", tag = "jobs", operation_id = "addCallback",
    params(("id" = shape::JobId, Path)),
    request_body = Added,
    responses((status = 202, description = "It is on stable storage.", body = JobShape,
        headers(("Retry-After"), ("Cache-Control")))),
    extensions(
        ("x-problems" = json!([
            "callback-url-invalid", "callback-url-forbidden", "callback-address-blocked", "header-forbidden"
        ])),
        ("x-callbacks" = json!(["", "/url"])),
    ),
)]
pub(crate) async fn attach(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Id(id): Id<JobId>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, unread) = request.into_parts();
    let json = body::json(&parts.headers, unread, api.limits.max_body).await?;
    Query::none(&parts.uri)?;
    // Whose it is before what is wrong with it: what another tenant's job answers is what an unknown one does.
    let mut job = api.job(caller.tenant, id).await?;
    let callback = read(&api, &job, json.text())?;
    for _ in 0..TRIES {
        let callbacks = match job.callbacks.with(callback.clone()) {
            With::Already => return Ok(attached(&api, &job)),
            With::Full => return Err(full()),
            With::Added(callbacks) => callbacks,
        };
        let at = Moment::of(&*api.clock);
        let answer = api.engine.attach_callback(Attach { job, callbacks, at }).await?;
        if answer == Attached::Missing {
            return Err(api.gone(Some(caller.tenant), id).await);
        }
        job = api.job(caller.tenant, id).await?;
        if answer == Attached::Done {
            return Ok(attached(&api, &job));
        }
    }
    Err(Problem::overloaded())
}

fn read(api: &Api, job: &Job, text: &str) -> Result<Callback, Problem> {
    let seal = |value: Confidential<'_>| seal(api, job.tenant, job.id, value);
    let rules = Rules { urls: &api.url_policy, seal: &seal };
    let mut faults = Faults::default();
    // It was checked to be JSON.
    let raw: &RawValue = serde_json::from_str(text).map_err(|_| Problem::internal())?;
    let callback = callback::read_url(raw, "", &rules, &mut faults);
    faults.finish()?;
    callback.ok_or_else(Problem::internal)
}

fn full() -> Problem {
    let mut faults = Faults::default();
    faults.add("", format!("the job has {MOST} callbacks, and may have no more"));
    faults.finish().err().unwrap_or_else(Problem::internal)
}

fn attached(api: &Api, job: &Job) -> Response {
    let links = Links::new(&api.public_url, job.id);
    let mut response = jobs::json(StatusCode::ACCEPTED, jobs::body(api, job, &links));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = api.retry_after(job) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
