//! Endpoints: registered callbacks that receive events of many jobs.

mod fields;
pub(crate) mod recovery;
mod sample;
pub(crate) mod secret;

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use domain::{
    chance::Moment,
    delivery::Reason,
    endpoint::{DisabledReason, Endpoint, Health, Plan, State as EndpointState, View},
    event::{Event, EventKind},
    id::{EndpointId, EventId, RecoveryId},
    lane::{Breaker, Lane, Standing},
    secret::{Scheme, Secret},
};
use serde::Serialize;
use storage::{EndpointFilter, Ping, Put, PutEndpoint, StorageError};
use zeroize::Zeroizing;

use crate::{
    auth::{Bearer, Caller},
    body, cursor, deliveries,
    jobs::{self, List},
    object,
    openapi::{
        delivery::Delivery,
        endpoint::{Endpoint as EndpointShape, EndpointChange, EndpointList, NewEndpoint, PingOf},
        shape,
    },
    problem::{Faults, Problem},
    query::Query,
    quota,
    request::Id,
    router::Api,
    submit::judge_url,
};
use fields::{Change, Terms};

/// How often a change decides again on an endpoint that changes under its hands.
const TRIES: usize = 8;

/// The endpoint object of the contract.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    view: View<'a>,
    #[serde(flatten)]
    health: Health,
    breaker: &'static str,
    /// In the answer to its registration alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
    /// Beside it: what verifies.
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
}

/// What keeps an endpoint's lane from sending. The node that serves it knows; every other one, and one that has just
/// started, reads it from what is recorded.
pub(super) async fn standing(api: &Api, endpoint: EndpointId) -> Result<Standing, StorageError> {
    let known = api.engine.standing(Lane::of_endpoint(endpoint), api.clock.now());
    if known.breaker != Breaker::Closed {
        return Ok(known);
    }
    let breaker = Breaker::recorded(&api.engine.endpoint_record(endpoint).await?);
    Ok(Standing { breaker, ..known })
}

async fn shown<'a>(api: &Api, endpoint: &'a Endpoint) -> Result<Shown<'a>, Problem> {
    let health = api.engine.endpoint_health(endpoint.id, Moment::of(&*api.clock)).await?;
    let breaker = match standing(api, endpoint.id).await?.breaker {
        Breaker::Closed => "closed",
        Breaker::Open(_) => "open",
        Breaker::HalfOpen => "half_open",
    };
    Ok(Shown { view: endpoint.view(), health, breaker, secret: None, public_key: None })
}

fn answer(status: StatusCode, shown: &Shown<'_>) -> Response {
    // Plain data always makes JSON.
    let mut response = jobs::json(status, serde_json::to_vec(shown).unwrap_or_default());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(super) async fn find(api: &Api, caller: Caller, id: EndpointId) -> Result<Endpoint, Problem> {
    api.engine.endpoint(caller.tenant, id).await?.ok_or_else(Problem::not_found)
}

/// Register an endpoint
#[utoipa::path(
    post, path = "/v1/endpoints", tag = "endpoints", operation_id = "createEndpoint",
    request_body = NewEndpoint,
    responses((status = 201, description = "It is registered. Its secret is in this answer and in `…/secret`, nowhere else.",
        body = EndpointShape, headers(("Location"), ("Cache-Control")))),
    extensions(
        ("x-problems" = json!(["unknown-task", "callback-url-invalid", "callback-url-forbidden",
            "callback-address-blocked", "header-forbidden", "rate-limited"])),
        ("x-callbacks" = json!(["/url"])),
    ),
)]
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, unread) = request.into_parts();
    let json = body::json(&parts.headers, unread, api.limits.max_body).await?;
    Query::none(&parts.uri)?;
    let at = Moment::of(&*api.clock);
    let id = EndpointId::new(at.now, api.dice.bits());
    let (settings, given) = {
        let seal = |headers: &_| secret::seal_headers(&api, caller.tenant, id, headers);
        let known = api.tasks.now();
        fields::read_new(json.text(), &Terms { urls: &api.url_policy, tasks: &known.specs, seal: &seal })?
    };
    let secret = given.unwrap_or_else(|| fresh_secret(&api, settings.signature));
    let endpoint = Endpoint {
        id,
        tenant: caller.tenant,
        created_at: at.wall,
        version: 1,
        settings,
        secret: secret::seal(&api, caller.tenant, id, &secret),
        previous: None,
        disabled: None,
    };
    let most = Some(api.limits.endpoints_per_tenant).filter(|most| *most > 0);
    let new = Some(most.unwrap_or(u32::MAX));
    let put = PutEndpoint { endpoint: endpoint.clone(), new, recover: None, event: None, at };
    match api.engine.put_endpoint(put).await? {
        Put::Done => {}
        Put::Full => return Err(quota::no_more_endpoints(api.limits.endpoints_per_tenant)),
        // Nobody else draws its id.
        Put::Changed | Put::Missing | Put::Waits => return Err(Problem::internal()),
    }
    let text = Zeroizing::new(secret.expose());
    let public_key = secret.public().map(|public| public.to_string());
    let mut response = answer(
        StatusCode::CREATED,
        &Shown { secret: Some(&text), public_key, ..shown(&api, &endpoint).await? },
    );
    if let Ok(location) = HeaderValue::try_from(format!("{}/v1/endpoints/{id}", api.public_url)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

fn fresh_secret(api: &Api, scheme: Scheme) -> Secret {
    let mut key = Zeroizing::new([0; 32]);
    api.dice.fill(&mut *key);
    Secret::of_scheme(scheme, *key)
}

/// Endpoints, newest first
#[utoipa::path(
    get, path = "/v1/endpoints", tag = "endpoints", operation_id = "listEndpoints",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100),
        ("cursor" = Option<shape::Cursor>, Query),
    ),
    responses((status = 200, description = "A page.", body = EndpointList, headers(("Cache-Control")))),
)]
pub(crate) async fn list(State(api): State<Arc<Api>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    let mut query = Query::read(&uri, &["limit", "cursor"]);
    let filter = EndpointFilter { tenant: caller.tenant, before: query.cursor(), limit: query.limit() };
    query.finish()?;
    let page = api.engine.endpoints(filter).await?;
    let next_cursor = page.items.last().filter(|_| page.more).map(|endpoint| cursor::write(endpoint.id));
    let mut items = Vec::with_capacity(page.items.len());
    for endpoint in &page.items {
        items.push(shown(&api, endpoint).await?);
    }
    Ok(List { items, next_cursor }.into_response())
}

/// An endpoint and its numbers
#[utoipa::path(
    get, path = "/v1/endpoints/{id}", tag = "endpoints", operation_id = "getEndpoint",
    params(("id" = shape::EndpointId, Path)),
    responses((status = 200, description = "The endpoint.", body = EndpointShape, headers(("Cache-Control")))),
)]
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Id(id): Id<EndpointId>,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::none(&uri)?;
    let endpoint = find(&api, caller, id).await?;
    Ok(answer(StatusCode::OK, &shown(&api, &endpoint).await?))
}

/// Change an endpoint
///
/// RFC 7396: what is absent stays, `null` is the default again.
#[utoipa::path(
    patch, path = "/v1/endpoints/{id}", tag = "endpoints", operation_id = "updateEndpoint",
    params(("id" = shape::EndpointId, Path)),
    request_body = EndpointChange,
    responses((status = 200, description = "As it is now.", body = EndpointShape, headers(("Cache-Control")))),
    extensions(("x-problems" = json!(["unknown-task", "callback-url-invalid", "callback-url-forbidden",
        "callback-address-blocked", "header-forbidden"]))),
)]
pub(crate) async fn update(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Id(id): Id<EndpointId>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, unread) = request.into_parts();
    let json = body::json(&parts.headers, unread, api.limits.max_body).await?;
    Query::none(&parts.uri)?;
    let change = |endpoint: Endpoint, at: Moment| -> Result<PutEndpoint, Problem> {
        let known = api.tasks.now();
        let seal = |headers: &_| secret::seal_headers(&api, caller.tenant, endpoint.id, headers);
        let terms = Terms { urls: &api.url_policy, tasks: &known.specs, seal: &seal };
        let Change { settings, state, recover } =
            fields::read_change(json.text(), &endpoint.settings, &terms)?;
        let was = endpoint.disabled;
        let disabled = match state {
            None => was,
            Some(EndpointState::Enabled) => None,
            Some(_) => was.or(Some(DisabledReason::Requested)),
        };
        let endpoint = Endpoint { settings, disabled, ..endpoint };
        let recovers = was.is_some() && disabled.is_none() && recover;
        let stops = was.is_none() && disabled.is_some();
        Ok(PutEndpoint {
            new: None,
            recover: recovers.then(|| Plan {
                id: RecoveryId::new(at.now, api.dice.bits()),
                tenant: endpoint.tenant,
                endpoint: endpoint.id,
                reason: Some(Reason::EndpointDisabled),
                since: None,
                until: None,
                rate: None,
                created_at: at.wall,
            }),
            event: stops.then(|| Event::endpoint_disabled(&endpoint, at.wall)),
            endpoint,
            at,
        })
    };
    let endpoint = put(&api, caller, id, change).await?;
    Ok(answer(StatusCode::OK, &shown(&api, &endpoint).await?))
}

/// Changes an endpoint as `change` says; decides again where somebody else was faster.
async fn put(
    api: &Api,
    caller: Caller,
    id: EndpointId,
    change: impl Fn(Endpoint, Moment) -> Result<PutEndpoint, Problem>,
) -> Result<Endpoint, Problem> {
    for _ in 0..TRIES {
        let found = find(api, caller, id).await?;
        let next = Endpoint { version: found.version + 1, ..found };
        let put = change(next, Moment::of(&*api.clock))?;
        let endpoint = put.endpoint.clone();
        match api.engine.put_endpoint(put).await? {
            Put::Done => return Ok(endpoint),
            Put::Missing => return Err(Problem::not_found()),
            Put::Changed | Put::Full => {}
            Put::Waits => {
                let mut faults = Faults::default();
                faults.add("/ordered", "can be changed only while nothing waits for it or is in flight");
                faults.finish()?;
            }
        }
    }
    Err(Problem::overloaded())
}

/// Delete an endpoint
#[utoipa::path(
    delete, path = "/v1/endpoints/{id}", tag = "endpoints", operation_id = "deleteEndpoint",
    params(("id" = shape::EndpointId, Path)),
    responses((status = 204, description = "It is gone. What waited for it has failed.")),
)]
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Id(id): Id<EndpointId>,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::none(&uri)?;
    if api.engine.remove_endpoint(caller.tenant, id, Moment::of(&*api.clock)).await? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(Problem::not_found())
    }
}

/// Ask it to answer
///
/// Sends a sample at once, whatever waits.
#[utoipa::path(
    post, path = "/v1/endpoints/{id}/ping", tag = "endpoints", operation_id = "pingEndpoint",
    params(("id" = shape::EndpointId, Path)),
    request_body = Option<PingOf>,
    responses((status = 202, description = "The delivery.", body = Delivery, headers(("Location"), ("Cache-Control")))),
    extensions(("x-problems" = json!(["callback-url-invalid", "callback-url-forbidden", "callback-address-blocked"]))),
)]
pub(crate) async fn ping(
    State(api): State<Arc<Api>>,
    bearer: Bearer,
    Id(id): Id<EndpointId>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, unread) = request.into_parts();
    let json = body::optional_json(&parts.headers, unread, api.limits.max_body).await?;
    Query::none(&parts.uri)?;
    let kind = json.map_or(Ok(EventKind::EndpointPing), |json| kind_of(json.text()))?;
    if !bearer.sees(Some(id)) {
        return Err(Problem::not_found());
    }
    let caller = bearer.caller;
    let endpoint = find(&api, caller, id).await?;
    // What is allowed may have changed since the URL was accepted.
    let mut faults = Faults::default();
    judge_url(endpoint.settings.target.url.as_str(), "", &api.url_policy, &mut faults);
    faults.finish()?;
    let at = Moment::of(&*api.clock);
    let event = sample::of(&api, kind, &endpoint, EventId::new(at.now, api.dice.bits()), at);
    let ping = Ping { tenant: caller.tenant, endpoint: id, event, kind, at };
    let delivery = api.engine.ping(ping).await?.ok_or_else(Problem::not_found)?;
    deliveries::accepted(&api, caller, delivery).await
}

fn kind_of(text: &str) -> Result<EventKind, Problem> {
    let mut faults = Faults::default();
    let mut kind = EventKind::EndpointPing;
    if let Some([Some(raw)]) = object::members(text, &["type"], "", &mut faults) {
        match object::string(raw).map(|text| text.parse()) {
            Some(Ok(given)) => kind = given,
            Some(Err(error)) => faults.add("/type", error.to_string()),
            None => faults.add("/type", "must be a string"),
        }
    }
    faults.finish().map(|()| kind)
}
