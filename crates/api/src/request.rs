//! What happens to every request before and after its handler: bounds, key, id, problem, log, metrics.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use domain::{id::RequestId, time::Timestamp};

use crate::{
    access,
    auth::{self, Bearer, Caller, Reading},
    body, metrics,
    problem::{Problem, table},
    router::Api,
};

/// On every answer, and in the log.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("ringback-request-id");

/// The longest URL, in bytes, and the largest head. The listener takes more, so that the refusal can be read.
const MOST_URI: usize = 8 * 1024;
const MOST_HEAD: usize = 32 * 1024;

/// Why a request's head is not read: said by the listener, which stands before the HTTP library, of a request that it
/// makes in the head's place and bears this in its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadFault {
    /// Not HTTP/1.1, or readable in two ways. A sentence that says what.
    Malformed(&'static str),
    /// The request's target is longer than can be held.
    UriTooLong,
    /// There is more of it than can be held.
    TooLarge,
    /// It did not arrive within 10 s.
    TooSlow,
}

impl From<HeadFault> for Problem {
    fn from(fault: HeadFault) -> Self {
        match fault {
            HeadFault::Malformed(why) => Self::new(&table::BAD_REQUEST, why),
            HeadFault::UriTooLong => uri_too_long(),
            HeadFault::TooLarge => headers_too_large(),
            HeadFault::TooSlow => {
                Self::new(&table::REQUEST_TIMEOUT, "The request's head did not arrive within 10 s.")
            }
        }
    }
}

fn uri_too_long() -> Problem {
    Problem::new(&table::URI_TOO_LONG, "A URL may have 8 KiB.")
}

fn headers_too_large() -> Problem {
    let detail = "All header fields together may have 32 KiB, and there may be 256 of them.";
    Problem::new(&table::HEADERS_TOO_LARGE, detail)
}

/// What is known of who calls when a handler runs.
#[derive(Clone, Copy)]
enum Standing {
    /// No key, or none that is needed here.
    Nobody,
    /// Somebody who may make this call.
    Known(Bearer),
    /// A good key, and a call that [`access`] does not know: only a fallback may answer it.
    Unlisted,
}

/// Wraps every handler and fallback.
pub(crate) async fn enter(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let began = api.clock.now();
    let id = RequestId::new(began, api.dice.bits());
    let method = request.method().clone();
    let path = request.uri().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let fault = request.extensions().get::<HeadFault>().copied();
    let revocations = api.keys.revocations();
    let admitted = match fault {
        Some(fault) => Err(Problem::from(fault)),
        None => admit(&api, &method, &path, route.as_ref(), request.headers(), began).await,
    };
    let mut response = match admitted {
        Ok(standing) => {
            request.extensions_mut().insert(standing);
            let reading = match standing {
                Standing::Known(bearer) => {
                    Reading::of(bearer, &method, request.headers(), (revocations, began))
                }
                Standing::Nobody | Standing::Unlisted => None,
            };
            let response = next.run(request).await;
            match reading {
                Some(reading) => answered(&api, &reading, response).await,
                None => response,
            }
        }
        Err(problem) => {
            let (parts, unread) = request.into_parts();
            body::discard(&parts.headers, unread);
            problem.into_response()
        }
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        // `*` and an authority have no path.
        let instance = Some(path.path()).filter(|path| !path.is_empty()).unwrap_or("/");
        let (headers, text) = problem.answer(instance, id);
        api.metrics.problems.get_or_create(&metrics::Problem { slug: problem.kind().slug }).inc();
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response.headers_mut().extend(headers);
        *response.body_mut() = Body::from(text);
    }
    if let Ok(value) = HeaderValue::try_from(id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    record(&api, &method, route.as_ref(), &response, id, began);
    response
}

/// What was read, or 401 if the key was revoked while it was held.
async fn answered(api: &Api, reading: &Reading, response: Response) -> Response {
    match reading.may_be_answered(api).await {
        Ok(true) => response,
        Ok(false) => Problem::unauthorized().into_response(),
        Err(error) => Problem::from(error).into_response(),
    }
}

/// What can be said before the body is read: 414, 431, and under `/v1` 401, which comes before 404 and 405, and 403.
async fn admit(
    api: &Api,
    method: &Method,
    uri: &Uri,
    route: Option<&MatchedPath>,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Standing, Problem> {
    let uri_length = uri.path_and_query().map_or(0, |text| text.as_str().len());
    if uri_length > MOST_URI {
        return Err(uri_too_long());
    }
    // A line is a name, a colon, a space, a value and a line break.
    let head = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
    if head + uri_length > MOST_HEAD {
        return Err(headers_too_large());
    }
    let path = uri.path();
    if path != "/v1" && !path.starts_with("/v1/") {
        return Ok(Standing::Nobody);
    }
    let may = route.and_then(|route| access::may(method, route.as_str()));
    match (auth::bearer(api, headers, now).await?, may) {
        (Some(bearer), Some(may)) if bearer.caller.roles.meets(may) => Ok(Standing::Known(bearer)),
        // A link opens to whoever has it, with whatever key.
        _ if auth::bears_link(method, uri) => Ok(Standing::Nobody),
        (Some(_), Some(_)) => Err(Problem::forbidden()),
        (Some(_), None) => Ok(Standing::Unlisted),
        (None, _) => Err(Problem::unauthorized()),
    }
}

fn record(
    api: &Api,
    method: &Method,
    route: Option<&MatchedPath>,
    response: &Response,
    request_id: RequestId,
    began: Timestamp,
) {
    let route = route.map_or("none", MatchedPath::as_str);
    let status = response.status().as_u16();
    let seconds = api.clock.now().since(began).as_secs_f64();
    let labels = metrics::Request { method: known(method), route: route.to_owned(), status };
    api.metrics.requests.get_or_create(&labels).inc();
    api.metrics.seconds.get_or_create(&metrics::Route { route: labels.route }).observe(seconds);
    // 503 is told by whoever refused; a flood of refusals must not become a flood of lines.
    if status == 500 {
        tracing::error!(%request_id, %method, route, status, seconds, "request failed");
    } else {
        tracing::debug!(%request_id, %method, route, status, seconds, "request answered");
    }
}

/// A client can make up methods; series are made of these only.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// The answer to a path that nobody serves.
pub(crate) async fn not_found(request: Request) -> Problem {
    let (parts, unread) = request.into_parts();
    body::discard(&parts.headers, unread);
    Problem::not_found()
}

/// The answer to a method that its path does not have; the router adds `Allow`.
pub(crate) async fn method_not_allowed(request: Request) -> Problem {
    let (parts, unread) = request.into_parts();
    body::discard(&parts.headers, unread);
    Problem::new(&table::METHOD_NOT_ALLOWED, "Allow lists the methods of this URL.")
}

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let Bearer { caller, bound } = Bearer::from_request_parts(parts, api).await?;
        if bound.is_some() {
            // The table lets a bound key in, and the handler would show it everything of its tenant.
            tracing::error!(method = %parts.method, path = parts.uri.path(), "a call knows nothing of bound keys");
            return Err(Problem::forbidden());
        }
        Ok(caller)
    }
}

impl FromRequestParts<Arc<Api>> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Api>) -> Result<Self, Problem> {
        match parts.extensions.get::<Standing>() {
            Some(Standing::Known(bearer)) => Ok(*bearer),
            Some(Standing::Unlisted) => {
                tracing::error!(method = %parts.method, path = parts.uri.path(), "a route is missing in the table of who may call");
                Err(Problem::forbidden())
            }
            Some(Standing::Nobody) | None => Err(Problem::unauthorized()),
        }
    }
}

/// Who calls, if a key came along: for what a signed link opens, too.
pub(crate) struct MaybeCaller(pub(crate) Option<Caller>);

impl FromRequestParts<Arc<Api>> for MaybeCaller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Api>) -> Result<Self, Self::Rejection> {
        Ok(Self(match parts.extensions.get::<Standing>() {
            Some(Standing::Known(Bearer { caller, bound: None })) => Some(*caller),
            _ => None,
        }))
    }
}

/// The id in the path. Text that is no id of this kind is an id that nobody has.
pub(crate) struct Id<T>(pub(crate) T);

impl<T: std::str::FromStr> FromRequestParts<Arc<Api>> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, api).await.map_err(|_| Problem::not_found())?;
        let id = params.iter().next().and_then(|(_, text)| text.parse().ok());
        id.map(Self).ok_or_else(Problem::not_found)
    }
}
