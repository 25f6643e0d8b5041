//! `POST /v1/jobs` and `POST /v1/jobs/{id}/rerun`: from a request to a job on stable storage; and
//! `POST /v1/jobs/{id}/callbacks`, which adds to one.

mod accept;
pub(crate) mod attach;
pub(crate) mod callback;
mod fields;
pub(crate) mod rerun;
mod schema;
pub(crate) mod shape;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderName, header, request::Parts},
    response::Response,
};
use domain::{
    callback::Sealed,
    chance::Moment,
    id::{JobId, Tenant},
    idempotency::{self, IdempotencyKey},
    job::Job,
    seal::Place,
    trace,
};
use storage::{Idempotency, Submit};

use crate::{
    auth::Caller,
    body,
    prefer::{self, Wait},
    problem::{Faults, Problem, table},
    query::Query,
    router::Api,
};
use callback::{Confidential, Rules};
use fields::{Draft, Origin, Terms};
use shape::{Submission, SubmitHeaders, Submitted};

pub(crate) use accept::IDEMPOTENCY_REPLAYED;
pub(crate) use callback::url as judge_url;
pub(crate) use schema::Schemas;
pub use schema::{BadSchema, check_schema};

pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Submit a job
///
/// 202 is sent once the job is on stable storage. The same Idempotency-Key with the same body is answered with the same
/// job, in its state of today.
#[utoipa::path(
    post, path = "/v1/jobs", tag = "jobs", operation_id = "submitJob",
    params(
        SubmitHeaders,
        ("validate_only" = Option<bool>, Query, description = "`true`: the answer is 200 with what would be accepted, and \
            nothing is recorded.")
    ),
    request_body = Submission,
    responses(Submitted),
    extensions(
        ("x-problems" = json!([
            "idempotency-key-invalid", "idempotency-key-reused", "pruned", "rate-limited", "unknown-task", "input-invalid",
            "callback-url-invalid", "callback-url-forbidden", "callback-address-blocked", "header-forbidden"
        ])),
        ("x-callbacks" = json!(["/callback", "/callback/url"])),
    ),
)]
pub(crate) async fn submit(
    State(api): State<Arc<Api>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, unread) = request.into_parts();
    let head = match Head::read(&parts, &[VALIDATE_ONLY]) {
        Ok(head) => head,
        Err(problem) => {
            body::discard(&parts.headers, unread);
            return Err(problem);
        }
    };
    let json = body::json(&parts.headers, unread, api.limits.max_body).await?;
    let at = Moment::of(&*api.clock);
    let tenant = caller.tenant;
    let idempotency = head.idempotency(tenant, &parts, json.text().as_bytes());
    let origin =
        Origin { id: JobId::new(at.now, api.dice.bits()), tenant, traceparent: head.traceparent, at };
    let draft = match draft(&api, json.text(), &origin) {
        Ok(draft) => known_endpoints(&api, &draft.job, "/callback").await.map(|()| draft),
        Err(problem) => Err(problem),
    };
    match draft {
        Ok(Draft { job, .. }) if head.validate_only => Ok(accept::acceptable(&api, &job)),
        Err(problem) if head.validate_only => Err(problem),
        Ok(Draft { job, input, due }) => {
            accept::accept(&api, Submit { job, input, due, idempotency, at }, head.wait).await
        }
        Err(problem) => accept::replay_or(&api, tenant, idempotency, head.wait, problem).await,
    }
}

/// A job names only endpoints that there are; `base` is where its callback stands in the request.
pub(crate) async fn known_endpoints(api: &Api, job: &Job, base: &str) -> Result<(), Problem> {
    let mut faults = Faults::default();
    for named in job.callbacks.named() {
        if api.engine.endpoint(job.tenant, named.endpoint).await?.is_none() {
            faults.add(format!("{base}/endpoint"), callback::NO_ENDPOINT);
        }
    }
    faults.finish()
}

fn draft(api: &Api, text: &str, origin: &Origin) -> Result<Draft, Problem> {
    let seal = |value: Confidential<'_>| seal(api, origin.tenant, origin.id, value);
    let callback = Rules { urls: &api.url_policy, seal: &seal };
    let known = api.tasks.now();
    fields::read(text, origin, &Terms { tasks: &known.specs, schemas: &known.schemas, callback })
}

const VALIDATE_ONLY: &str = "validate_only";

/// What the head of a submission says.
struct Head {
    /// Nothing is to be recorded.
    validate_only: bool,
    wait: Option<Wait>,
    key: Option<IdempotencyKey>,
    traceparent: Option<Arc<str>>,
}

impl Head {
    /// `known` are the query parameters that the call has.
    fn read(parts: &Parts, known: &[&str]) -> Result<Self, Problem> {
        let mut query = Query::read(&parts.uri, known);
        let validate_only = query.with(VALIDATE_ONLY, "true or false", |text| text.parse().ok());
        query.finish()?;
        let mut keys = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let key = match (keys.next(), keys.next()) {
            (None, _) => None,
            (Some(_), Some(_)) => return Err(bad_key("Idempotency-Key is given more than once")),
            (Some(value), None) => {
                Some(IdempotencyKey::parse(value.as_bytes()).map_err(|error| bad_key(&error.to_string()))?)
            }
        };
        let traceparent = parts.headers.get(TRACEPARENT).and_then(|value| trace::parse(value.as_bytes()));
        let validate_only = validate_only.unwrap_or(false);
        Ok(Self {
            validate_only,
            wait: prefer::wait(&parts.headers),
            key,
            traceparent: traceparent.map(Arc::from),
        })
    }

    fn idempotency(&self, tenant: Tenant, parts: &Parts, body: &[u8]) -> Option<Idempotency> {
        let key = self.key.as_ref()?;
        let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Some(Idempotency {
            digest: idempotency::digest(tenant, key),
            fingerprint: idempotency::fingerprint(
                parts.method.as_str(),
                parts.uri.path(),
                content_type.unwrap_or_default(),
                body,
            ),
        })
    }
}

fn bad_key(detail: &str) -> Problem {
    Problem::new(&table::IDEMPOTENCY_KEY_INVALID, format!("{detail}."))
}

/// Seals a callback's secret or headers for the job it comes with.
fn seal(api: &Api, tenant: Tenant, job: JobId, value: Confidential<'_>) -> Sealed {
    let mut nonce = [0; 24];
    api.dice.fill(&mut nonce);
    match value {
        Confidential::Secret(secret) => Place::Callback(tenant, job).seal(&api.vault, secret, nonce),
        Confidential::Headers(headers) => {
            Place::CallbackHeaders(tenant, job).seal_headers(&api.vault, headers, nonce)
        }
    }
}
