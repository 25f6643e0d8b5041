//! Jobs as they are: one, a list, and the end of one that nobody wants any more.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use domain::{
    chance::Moment,
    event::Event,
    id::{EventId, JobId},
    job::{Ended, Ending, Job, Links, State as JobState, Status},
    time::Timestamp,
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use storage::{Cancel, Canceled, Finish, Guard, JobFilter};

use crate::{
    auth::Caller,
    body, cursor,
    etag::ETag,
    openapi::{
        job::{Job as JobShape, JobList},
        shape,
    },
    prefer::{self, PREFERENCE_APPLIED, Wait},
    problem::{Problem, table},
    query::Query,
    request::Id,
    router::Api,
    waits::{Until, Waiter},
};

/// Answers about jobs differ by these.
pub(crate) const VARY: HeaderValue = HeaderValue::from_static("Prefer, Authorization");

/// How often a cancel decides again on a job that changes under its hands. Each time the job got a step further.
const CANCEL_TRIES: usize = 8;

/// The job as JSON.
pub(crate) fn body(api: &Api, job: &Job, links: &Links) -> Vec<u8> {
    let mut text = Vec::with_capacity(1_024);
    // Plain data and JSON that was checked when it came in: this cannot fail.
    let _ = serde_json::to_writer(&mut text, &job.view(links).with_queue(api.queue(job)));
    text
}

/// JSON with a status.
pub(crate) fn json(status: StatusCode, body: impl Into<axum::body::Body>) -> Response {
    let mut response = (status, body.into()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A page of a list.
#[derive(Serialize)]
pub(crate) struct List<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next_cursor: Option<String>,
}

impl<T: Serialize> IntoResponse for List<T> {
    fn into_response(self) -> Response {
        let mut response = json(StatusCode::OK, serde_json::to_vec(&self).unwrap_or_default());
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        response
    }
}

/// Jobs, newest first
#[utoipa::path(
    get, path = "/v1/jobs", tag = "jobs", operation_id = "listJobs",
    params(
        ("status" = Option<shape::Status>, Query),
        ("task" = Option<shape::TaskName>, Query),
        ("created_after" = Option<shape::Time>, Query),
        ("created_before" = Option<shape::Time>, Query),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100),
        ("cursor" = Option<shape::Cursor>, Query),
    ),
    responses((status = 200, description = "A page.", body = JobList, headers(("Cache-Control")))),
)]
pub(crate) async fn list(State(api): State<Arc<Api>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    let mut query =
        Query::read(&uri, &["status", "task", "created_after", "created_before", "limit", "cursor"]);
    let filter = JobFilter {
        tenant: caller.tenant,
        status: query.with("status", "one of: queued running succeeded failed canceled", |text| {
            Status::ALL.into_iter().find(|status| status.name() == text)
        }),
        task: query.parsed("task"),
        created_after: query.parsed("created_after"),
        created_before: query.parsed("created_before"),
        before: query.cursor(),
        limit: query.limit(),
    };
    query.finish()?;
    let page = api.engine.jobs(filter).await?;
    let next_cursor = page.items.last().filter(|_| page.more).map(|job| cursor::write(job.id));
    let links: Vec<_> = page.items.iter().map(|job| Links::new(&api.public_url, job.id)).collect();
    let items = page.items.iter().zip(&links).map(|(job, links)| job.view(links).with_queue(api.queue(job)));
    Ok(List { items: items.collect(), next_cursor }.into_response())
}

/// A job as it is
///
/// With a wait it is held until the job ends (with `If-None-Match`: until it changes) or the time is over.
#[utoipa::path(
    get, path = "/v1/jobs/{id}", tag = "jobs", operation_id = "getJob",
    params(
        ("id" = shape::JobId, Path),
        ("wait" = inline(Option<shape::Seconds>), Query, description = "Seconds; over 60 counts as 60. Wins over `Prefer`."),
        ("Prefer" = Option<String>, Header, description = "`wait=N` (RFC 7240).", example = "wait=5"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of a state that you have."),
    ),
    responses(
        (status = 200, description = "The job.", body = JobShape, headers(
            ("ETag"), ("Cache-Control"), ("Vary"), ("Retry-After"), ("Preference-Applied"),
        )),
        (status = 304, description = "It has not changed.", headers(
            ("ETag"), ("Cache-Control"), ("Vary"), ("Retry-After"), ("Preference-Applied"),
        )),
    ),
)]
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Id(id): Id<JobId>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut query = Query::read(&uri, &["wait"]);
    let asked = query.wait();
    let preferred = if query.text("wait").is_none() { prefer::wait(&headers) } else { None };
    query.finish()?;
    let wait = asked.or(preferred);
    // Without a tag a client waits for the end; with one it has seen a state and waits for another.
    let until = if headers.contains_key(header::IF_NONE_MATCH) { Until::Changed } else { Until::Ended };
    let waiter = wait.and_then(|_| api.waits.register(id, until));
    let job = api.job(caller.tenant, id).await?;
    let is_it = |job: &Job| match until {
        Until::Ended => job.ended().is_some(),
        Until::Changed => job.ended().is_some() || !tag(job).is_held(&headers),
    };
    let job = hold(&api, job, waiter.zip(wait), is_it).await;
    let tag = tag(&job);
    let mut response = if tag.is_held(&headers) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        json(StatusCode::OK, body(&api, &job, &Links::new(&api.public_url, id)))
    };
    let answer = response.headers_mut();
    answer.insert(header::ETAG, tag.header());
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    answer.insert(header::VARY, VARY);
    if let Some(seconds) = api.retry_after(&job) {
        answer.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    let applied = preferred.filter(|_| is_it(&job)).map(|wait| HeaderValue::try_from(wait.applied()));
    if let Some(Ok(applied)) = applied {
        answer.insert(PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}

/// The job once `is_it`, or when the wait is over, or at once if it is not held.
pub(crate) async fn hold(
    api: &Api,
    mut job: Job,
    wait: Option<(Waiter, Wait)>,
    is_it: impl Fn(&Job) -> bool,
) -> Job {
    let Some((waiter, wait)) = wait else { return job };
    let mut over = std::pin::pin!(tokio::time::sleep(wait.span()));
    while !is_it(&job) {
        let last = tokio::select! {
            () = waiter.woken() => false,
            () = &mut over => true,
        };
        // What was read before is still true if storage does not answer now.
        if let Ok(Some(newer)) = api.engine.job(job.tenant, job.id).await {
            job = newer;
        }
        if last {
            break;
        }
    }
    job
}

/// Changes with everything about a job that can change, but for estimates.
fn tag(job: &Job) -> ETag {
    let micros = |time: Option<Timestamp>| time.map_or(i64::MIN, Timestamp::micros).to_be_bytes();
    let run_at = match job.state {
        JobState::Queued { run_at, .. } => run_at,
        _ => None,
    };
    let hash = Sha256::new()
        .chain_update(job.id.to_bytes())
        .chain_update(job.status().code().to_be_bytes())
        .chain_update(job.attempt().to_be_bytes())
        .chain_update(micros(run_at))
        .chain_update(micros(job.cancel_requested_at))
        .chain_update(micros(job.ended().map(|ended| ended.finished_at)))
        .chain_update(job.callbacks.as_text())
        .chain_update(job.progress.as_ref().map(|progress| progress.as_json()).unwrap_or_default())
        .finalize();
    ETag::weak(&hex(&hash[..8]))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Cancel a job
///
/// A queued job is canceled at once; running work is asked to stop. The first terminal write wins: work that ended first
/// keeps its result.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/cancel", tag = "jobs", operation_id = "cancelJob",
    params(("id" = shape::JobId, Path)),
    request_body = Option<shape::Nothing>,
    responses(
        (status = 200, description = "It is canceled.", body = JobShape, headers(("Cache-Control"))),
        (status = 202, description = "Its work was asked to stop.", body = JobShape,
            headers(("Cache-Control"), ("Retry-After"))),
    ),
    extensions(("x-problems" = json!(["job-finished"]))),
)]
pub(crate) async fn cancel(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Id(id): Id<JobId>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, unread) = request.into_parts();
    body::empty_object(&parts.headers, unread, api.limits.max_body).await?;
    Query::none(&parts.uri)?;
    for _ in 0..CANCEL_TRIES {
        let job = api.job(caller.tenant, id).await?;
        if job.ended().is_some() {
            return Err(too_late(&job));
        }
        let status = match api.engine.cancel(Cancel { finish: canceled(&api, job) }).await? {
            Canceled::Ended => StatusCode::OK,
            Canceled::Requested => StatusCode::ACCEPTED,
            // Read again: either it has ended, or the decision is made on what it is now.
            Canceled::TooLate | Canceled::Changed => continue,
            Canceled::Missing => return Err(api.gone(Some(caller.tenant), id).await),
        };
        let job = api.job(caller.tenant, id).await?;
        let mut response = json(status, body(&api, &job, &Links::new(&api.public_url, id)));
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = api.retry_after(&job) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        return Ok(response);
    }
    Err(Problem::overloaded())
}

fn too_late(job: &Job) -> Problem {
    Problem::new(
        &table::JOB_FINISHED,
        format!(
            "The job has {} already.",
            match job.status() {
                Status::Canceled => "been canceled",
                Status::Failed => "failed",
                _ => "succeeded",
            }
        ),
    )
}

/// What ends the job if it is still queued when this is written.
fn canceled(api: &Api, job: Job) -> Finish {
    let at = Moment::of(&*api.clock);
    let links = Links::signed(&api.public_url, job.id, &api.links, at.wall);
    let ended = Ended {
        attempt: job.attempt(),
        started_at: job.started_at(),
        finished_at: at.wall,
        ending: Ending::Canceled,
    };
    let event = Event::ended(EventId::new(at.now, api.dice.bits()), &job, &ended, &links);
    Finish { guard: Guard::Queued { attempt: job.attempt() }, job, ended, result: None, event, links, at }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::a_job;

    #[test]
    fn the_tag_changes_with_what_clients_wait_for() {
        let job = a_job();
        let at = Timestamp::from_micros(7);
        let variants = [
            job.clone(),
            Job { state: JobState::Queued { attempt: 1, run_at: None, started_at: None }, ..job.clone() },
            Job { state: JobState::Queued { attempt: 1, run_at: Some(at), started_at: None }, ..job.clone() },
            Job { state: JobState::Running { attempt: 1, started_at: at }, ..job.clone() },
            Job { cancel_requested_at: Some(at), ..job.clone() },
            Job { id: JobId::from_u128(9), ..job.clone() },
        ];
        for (n, one) in variants.iter().enumerate() {
            for (m, other) in variants.iter().enumerate() {
                assert_eq!(tag(one) == tag(other), n == m, "{n} {m}");
            }
        }
    }
}
