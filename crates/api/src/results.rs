//! What went into a job and what came out, as bytes.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use domain::{
    id::JobId,
    job::{Ending, Job, Links},
};
use storage::{Content, Fetched};

use crate::{
    auth::Caller,
    etag::ETag,
    gone, jobs,
    openapi::{job::Job as JobShape, shape},
    problem::{Problem, table},
    query::Query,
    request::{Id, MaybeCaller},
    router::Api,
};

/// What the work sent is shown as it is, and must not run as a page of ours.
const INERT: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox");

/// What the work made
///
/// With its own content type. With a key, or through the signed link of an event (`?exp=…&sig=…`).
#[utoipa::path(
    get, path = "/v1/jobs/{id}/result", tag = "jobs", operation_id = "getResult",
    security(("key" = []), ("link" = [])),
    params(
        ("id" = shape::JobId, Path),
        ("exp" = Option<String>, Query, description = "Of a signed link: until when, in seconds since 1970."),
        ("sig" = Option<String>, Query, description = "Of a signed link."),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of a result that you have."),
    ),
    responses(
        (status = 200, description = "The result.", content(("*/*")), headers(
            ("ETag"), ("Cache-Control"), ("X-Content-Type-Options"), ("Content-Security-Policy"),
        )),
        (status = 202, description = "There is none yet: the job.", body = JobShape, headers(("Retry-After"), ("Cache-Control"))),
        (status = 304, description = "You have it.", headers(("ETag"), ("Cache-Control"))),
    ),
    extensions(("x-problems" = json!(["job-not-succeeded"]))),
)]
pub(crate) async fn result(
    State(api): State<Arc<Api>>,
    MaybeCaller(caller): MaybeCaller,
    Id(id): Id<JobId>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // A caller with a key may follow an event's link, too, even when its time is over.
    let query = Query::read(&uri, &["exp", "sig"]);
    let (exp, sig) = (query.text("exp").unwrap_or_default(), query.text("sig").unwrap_or_default());
    let is_linked = api.links.check(id, exp, sig, api.clock.wall().seconds()).is_ok();
    if caller.is_none() && !is_linked {
        return Err(Problem::unauthorized());
    }
    query.finish()?;
    let fetched = match caller {
        Some(caller) if !is_linked => api.engine.result(caller.tenant, id).await?,
        // A good link opens to whoever has it, also to a caller of another tenant.
        _ => api.engine.linked_result(id).await?,
    };
    match fetched {
        Fetched::Content(content) => Ok(show(content, &headers)),
        Fetched::None(job) => none_yet(&api, &job),
        Fetched::Missing => Err(api.gone(caller.map(|caller| caller.tenant), id).await),
    }
}

fn show(content: Content, headers: &HeaderMap) -> Response {
    let tag = ETag::strong(&jobs::hex(&content.sha256));
    let mut response = if tag.is_held(headers) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let content_type = HeaderValue::from_str(&content.content_type)
            .unwrap_or(HeaderValue::from_static("application/octet-stream"));
        let mut response = Body::from(Bytes::from_owner(content.bytes)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        make_inert(&mut response);
        response
    };
    response.headers_mut().insert(header::ETAG, tag.header());
    // A result never changes, but it may be erased.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}

fn make_inert(response: &mut Response) {
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, INERT);
}

/// 202 while there may be one, 409 when there never will be.
fn none_yet(api: &Api, job: &Job) -> Result<Response, Problem> {
    let refused = |detail: &'static str, error| {
        Err(Problem::new(&table::JOB_NOT_SUCCEEDED, detail).with_job_error(error))
    };
    match job.ended().map(|ended| &ended.ending) {
        Some(Ending::Failed(error)) => refused("The job failed; error says why.", Some(error.clone())),
        Some(Ending::Canceled) => refused("The job was canceled.", None),
        // Erased; or it ended between two looks, which the next one will see.
        Some(Ending::Succeeded(_)) => Err(gone::left(job).map_or_else(Problem::not_found, Problem::pruned)),
        None => {
            let links = Links::new(&api.public_url, job.id);
            let mut response = jobs::json(StatusCode::ACCEPTED, jobs::body(api, job, &links));
            let seconds = api.retry_after(job).unwrap_or(1);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            Ok(response)
        }
    }
}

/// The input as it was sent
#[utoipa::path(
    get, path = "/v1/jobs/{id}/input", tag = "jobs", operation_id = "getInput",
    params(("id" = shape::JobId, Path)),
    responses((status = 200, description = "Any JSON.", body = shape::Anything, headers(
        ("Cache-Control"), ("X-Content-Type-Options"), ("Content-Security-Policy"),
    ))),
)]
pub(crate) async fn input(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Id(id): Id<JobId>,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::none(&uri)?;
    let Some(input) = api.engine.input(caller.tenant, id).await? else {
        return Err(api.gone(Some(caller.tenant), id).await);
    };
    let mut response = jobs::json(StatusCode::OK, Bytes::from_owner(Text(input)));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    make_inert(&mut response);
    Ok(response)
}

struct Text(Arc<str>);

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}
