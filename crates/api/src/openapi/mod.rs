//! The API's description: OpenAPI 3.1, built from what stands beside each handler.
//!
//! A call is described by the `#[utoipa::path]` on its handler and served by the same line of the router, so that there
//! is no call without a description. That names what is the call's own: its answers, the names of their headers, and in
//! `x-problems` the slugs of its own problems. What is the same everywhere is added here: what headers mean
//! ([`headers`]), the problems that every call can answer ([`refusals`]), who may call, and what we send ([`webhooks`]).

pub(crate) mod access;
pub(crate) mod delivery;
pub(crate) mod endpoint;
mod headers;
pub(crate) mod job;
pub(crate) mod node;
mod page;
mod refusals;
pub(crate) mod shape;
pub(crate) mod task;
mod webhooks;

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde_json::Value;
use utoipa::{
    OpenApi as _,
    openapi::{
        HttpMethod, OpenApi, RefOr, SecurityRequirement, Server,
        path::{Operation, PathItem},
    },
};

use crate::{jobs, problem, router::Api};

/// This description
///
/// OpenAPI 3.1, with what we send in `callbacks` and `webhooks`.
#[utoipa::path(
    get, path = "/openapi.json", tag = "operating", operation_id = "openapi",
    responses((status = 200, description = "It.", body = shape::Anything, headers(("Cache-Control")))),
)]
pub(crate) async fn serve(State(api): State<Arc<Api>>) -> Response {
    let mut response = jobs::json(StatusCode::OK, api.document.clone());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response
}

/// What is there before the first call is added.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Ringback",
        description = "Submit work, get `202 Accepted`, be called back: signed, retried, never lost.\n\n\
            Every error is a problem (RFC 9457) whose `type` is a page of this server.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "jobs", description = "Submit, follow, cancel, run again."),
        (name = "deliveries", description = "What was sent, what came back, once more, and no more."),
        (name = "tasks", description = "What can be submitted, how busy it is, and pausing it."),
        (name = "endpoints", description = "Registered callbacks, and what they were sent."),
        (name = "secrets", description = "What signs the webhooks."),
        (name = "access", description = "Keys and tenants."),
        (name = "operating", description = "Is it alive, is it ready, what does it do. No key needed."),
    ),
    components(schemas(crate::problem::Body<'static>)),
)]
struct Base;

/// The same for people
#[utoipa::path(
    get, path = "/docs", tag = "operating", operation_id = "docs",
    responses((status = 200, description = "A page.", content((String = "text/html; charset=utf-8")), headers(
        ("Cache-Control"), ("Content-Security-Policy"), ("X-Content-Type-Options"),
    ))),
)]
pub(crate) async fn docs(State(api): State<Arc<Api>>) -> Response {
    // Seldom read, so made when it is.
    let document = serde_json::from_slice(&api.document).unwrap_or_default();
    problem::html(page::html(&document))
}

/// Where an operation names the places in its body at which a callback's URL may stand, as JSON pointers.
const CALLBACKS: &str = "x-callbacks";

/// The empty description that the router starts with.
pub(crate) fn base() -> OpenApi {
    Base::openapi()
}

/// The whole of it, as JSON.
pub(crate) fn finish(mut document: OpenApi, public_url: &str) -> String {
    if !public_url.is_empty() {
        document.servers = Some(vec![Server::new(public_url)]);
    }
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            complete(path, method, operation);
        }
    }
    document.webhooks = Some(webhooks::all());
    let components = document.components.get_or_insert_default();
    refusals::components(components);
    webhooks::components(components);
    crate::auth::describe(components);
    // Plain data always makes JSON.
    serde_json::to_string(&document).unwrap_or_default()
}

fn complete(path: &str, method: HttpMethod, operation: &mut Operation) {
    let kinds = refusals::of(path, method, operation);
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            headers::describe(response);
        }
    }
    refusals::describe(operation, &kinds);
    let places = operation.extensions.as_mut().and_then(|all| all.remove(CALLBACKS));
    if let Some(Value::Array(places)) = places {
        let pointers = places.iter().filter_map(Value::as_str);
        operation.callbacks.insert("events".to_owned(), RefOr::T(webhooks::callback(pointers)));
    }
    if operation.security.is_none() {
        let key = SecurityRequirement::new::<_, _, String>("key", []);
        operation.security = Some(if path.starts_with("/v1/") { vec![key] } else { Vec::new() });
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (HttpMethod, &mut Operation)> {
    let all = [
        (HttpMethod::Get, &mut item.get),
        (HttpMethod::Post, &mut item.post),
        (HttpMethod::Put, &mut item.put),
        (HttpMethod::Patch, &mut item.patch),
        (HttpMethod::Delete, &mut item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}
