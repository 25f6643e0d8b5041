//! Problem details (RFC 9457): the one way in which a request is refused.

mod page;
pub(crate) mod table;

use std::{borrow::Cow, sync::Arc};

use axum::{
    extract::Path,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::{
    id::{JobId, RequestId},
    job::Status,
    problem::JobError,
    retention::Tombstone,
    task::TaskName,
    time::Timestamp,
};
use serde::Serialize;
use storage::StorageError;
use utoipa::ToSchema;

use crate::openapi::shape;
use table::Kind;

/// What is at fault, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Fault {
    /// A JSON pointer (RFC 6901) into the body; for a query parameter `/` and its name.
    pub(crate) pointer: String,
    /// The query parameter, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parameter: Option<String>,
    /// For people. Never a secret, a key or a header's value.
    pub(crate) detail: String,
}

/// A refusal. It becomes an answer where the request's id is known ([`Problem::answer`]).
#[derive(Clone, Debug)]
pub(crate) struct Problem(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    kind: &'static Kind,
    detail: Cow<'static, str>,
    errors: Vec<Fault>,
    /// The `error` of a job that has no result: an extension member.
    error: Option<Option<JobError>>,
    /// What is left of a job: an extension member.
    job: Option<Tombstone>,
    /// More headers than those that every problem has.
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// When to try again after an overload or an outage: long enough for a queue of a second to drain.
const AGAIN: HeaderValue = HeaderValue::from_static("1");

impl Problem {
    pub(crate) fn new(kind: &'static Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            error: None,
            job: None,
            headers: Vec::new(),
        }))
    }

    fn change(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// With one more header.
    pub(crate) fn with_header(self, name: HeaderName, value: HeaderValue) -> Self {
        self.change(|inner| inner.headers.push((name, value)))
    }

    /// With `Retry-After`.
    pub(crate) fn with_retry_after(self, seconds: u64) -> Self {
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Which kind it is.
    pub(crate) fn kind(&self) -> &'static Kind {
        self.0.kind
    }

    /// With what is at fault.
    pub(crate) fn with_errors(self, errors: Vec<Fault>) -> Self {
        self.change(|inner| inner.errors = errors)
    }

    /// With the error of a job; `null` for one that was canceled.
    pub(crate) fn with_job_error(self, error: Option<JobError>) -> Self {
        self.change(|inner| inner.error = Some(error))
    }

    /// The job is gone, or what was asked for of it.
    pub(crate) fn pruned(left: Tombstone) -> Self {
        Self::new(&table::PRUNED, "It has been deleted; job is what is left.")
            .change(|inner| inner.job = Some(left))
    }

    pub(crate) fn not_found() -> Self {
        Self::new(&table::NOT_FOUND, "There is nothing here under this id or path.")
    }

    /// The same for a missing key and a wrong one.
    pub(crate) fn unauthorized() -> Self {
        Self::new(&table::UNAUTHORIZED, "Send a valid API key as “Authorization: Bearer …”.")
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// The key is good and may not do this.
    pub(crate) fn forbidden() -> Self {
        Self::new(&table::FORBIDDEN, "The role of this API key does not include this call.")
    }

    pub(crate) fn internal() -> Self {
        Self::new(&table::INTERNAL, "Something went wrong on our side. The request_id finds it in the log.")
    }

    pub(crate) fn overloaded() -> Self {
        Self::new(&table::OVERLOADED, "Too much is being written right now. Nothing was recorded.")
            .with_header(header::RETRY_AFTER, AGAIN)
    }

    fn status(&self) -> StatusCode {
        self.0
            .kind
            .status
            .and_then(|code| StatusCode::from_u16(code).ok())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The answer's body and headers.
    pub(crate) fn answer(&self, path: &str, request_id: RequestId) -> (HeaderMap, Vec<u8>) {
        let Inner { kind, detail, errors, error, job, headers: more } = &*self.0;
        let body = Body {
            r#type: format!("/problems/{}", kind.slug),
            title: kind.title,
            status: self.status().as_u16(),
            detail,
            instance: shortened(path),
            request_id,
            errors,
            error: error.as_ref(),
            job: job.as_ref().map(Left::of),
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(more.iter().cloned());
        // Strings, numbers and an object that is JSON already always make JSON.
        (headers, serde_json::to_vec(&body).unwrap_or_default())
    }
}

/// The path may be as long as the client likes; what is behind the first 256 bytes helps nobody.
fn shortened(path: &str) -> &str {
    path.get(..256).unwrap_or(if path.len() > 256 { "/" } else { path })
}

/// A problem (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Body<'a> {
    /// `/problems/{slug}`: a page that says what it means and what to do.
    r#type: String,
    /// The same for every problem of this type.
    title: &'a str,
    status: u16,
    /// What it was this time. For people.
    detail: &'a str,
    /// The path of the request.
    instance: &'a str,
    #[schema(value_type = shape::RequestId)]
    request_id: RequestId,
    /// Where input is at fault: everything that is.
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    #[schema(value_type = Vec<Fault>)]
    errors: &'a [Fault],
    /// Of a job that has no result: why it failed, `null` if it was canceled.
    #[schema(value_type = Option<shape::JobError>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Option<JobError>>,
    /// What is left of a job that is gone. The problem's own `status` is the answer's, so the job's is in here.
    #[schema(value_type = Option<Left<'static>>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<Left<'a>>,
}

/// What is left of a job.
#[derive(Serialize, ToSchema)]
#[schema(as = Tombstone)]
struct Left<'a> {
    #[schema(value_type = shape::JobId)]
    id: JobId,
    #[schema(value_type = shape::TaskName)]
    task: &'a TaskName,
    #[schema(value_type = shape::Status)]
    status: Status,
    #[schema(value_type = shape::Time)]
    finished_at: Timestamp,
}

impl<'a> Left<'a> {
    fn of(tombstone: &'a Tombstone) -> Self {
        let Tombstone { id, task, status, finished_at } = tombstone;
        Self { id: *id, task, status: *status, finished_at: *finished_at }
    }
}

impl IntoResponse for Problem {
    /// Carries itself: body and headers are written where the request's id is known.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StorageError> for Problem {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Overloaded => Self::overloaded(),
            StorageError::Unavailable { ref detail, unknown } => {
                tracing::warn!(error = %detail, unknown, "storage refused a request");
                let detail = if unknown {
                    "The commit's outcome is not known. Repeat the request with the same Idempotency-Key."
                } else {
                    "Nothing was recorded. Repeat the request."
                };
                Self::new(&table::STORAGE_UNAVAILABLE, detail).with_header(header::RETRY_AFTER, AGAIN)
            }
            StorageError::Closed => Self::new(&table::STORAGE_UNAVAILABLE, "This server is stopping.")
                .with_header(header::RETRY_AFTER, AGAIN),
            StorageError::BadRow { .. } => {
                tracing::error!(%error, "a row cannot be read");
                Self::internal()
            }
        }
    }
}

/// What a problem means and what to do
#[utoipa::path(
    get, path = "/problems/{slug}", tag = "operating", operation_id = "problem",
    params(("slug" = String, Path, description = "The last part of a problem's `type`.", example = "not-found")),
    responses((status = 200, description = "A page for people.", content((String = "text/html; charset=utf-8")), headers(
        ("Cache-Control"), ("Content-Security-Policy"), ("X-Content-Type-Options"),
    ))),
)]
pub(crate) async fn page(
    slug: Result<Path<String>, axum::extract::rejection::PathRejection>,
) -> Result<Response, Problem> {
    let kind = slug.ok().and_then(|Path(slug)| table::find(&slug)).ok_or_else(Problem::not_found)?;
    Ok(html(page::html(kind)))
}

/// A page of ours: it runs nothing and loads nothing.
pub(crate) fn html(page: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=3600"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, page).into_response()
}

/// Everything that is wrong with an input, gathered so that one answer names it all.
#[derive(Default)]
pub(crate) struct Faults(Vec<(Fault, &'static Kind)>);

/// More than these help nobody.
const MOST_FAULTS: usize = 100;

impl Faults {
    /// A field or parameter that is wrong in the plain way.
    pub(crate) fn add(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.add_as(&table::VALIDATION_FAILED, pointer, detail);
    }

    /// One that has a kind of its own.
    pub(crate) fn add_as(
        &mut self,
        kind: &'static Kind,
        pointer: impl Into<String>,
        detail: impl Into<String>,
    ) {
        if self.0.len() < MOST_FAULTS {
            self.0.push((Fault { pointer: pointer.into(), parameter: None, detail: detail.into() }, kind));
        }
    }

    /// A query parameter.
    pub(crate) fn add_parameter(&mut self, name: &str, detail: impl Into<String>) {
        self.add(pointer("", name), detail);
        if let Some((fault, _)) = self.0.last_mut() {
            fault.parameter = Some(name.to_owned());
        }
    }

    /// One problem with all of them: of their own kind if they share one.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        let Some(&(ref first, kind)) = self.0.first() else { return Ok(()) };
        let kind =
            if self.0.iter().all(|(_, other)| *other == kind) { kind } else { &table::VALIDATION_FAILED };
        let detail = match self.0.len() {
            1 if first.pointer.is_empty() => first.detail.clone(),
            1 => format!("{}: {}", first.pointer, first.detail),
            many => format!("{many} fields are invalid; errors lists them."),
        };
        Err(Problem::new(kind, detail).with_errors(self.0.into_iter().map(|(fault, _)| fault).collect()))
    }
}

/// The JSON pointer of a member of the object at `base` (RFC 6901 section 3). A name may be as long as the client likes:
/// behind 100 characters it is cut.
pub(crate) fn pointer(base: &str, name: &str) -> String {
    let name: String = name.chars().take(100).collect();
    format!("{base}/{}", name.replace('~', "~0").replace('/', "~1"))
}
