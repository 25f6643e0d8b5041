//! Recoveries: sending an endpoint again what it missed, with progress, a rate, and a stop.

use std::sync::Arc;

use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use domain::{
    chance::Moment,
    endpoint::{Plan, Recovery},
    id::{EndpointId, RecoveryId},
    time::Timestamp,
};
use serde_json::value::RawValue;

use super::{fields, find};
use crate::{
    auth::Caller,
    body, jobs, object,
    openapi::{
        endpoint::{NewRecovery, Recovery as Shape},
        shape,
    },
    problem::{Faults, Problem, table},
    query::Query,
    request::Id,
    router::Api,
};

/// Send an endpoint again what it missed
///
/// What is `failed`, by number, up to the last number given so far; each with its policy anew.
#[utoipa::path(
    post, path = "/v1/endpoints/{id}/recover", tag = "endpoints", operation_id = "recoverEndpoint",
    params(("id" = shape::EndpointId, Path)),
    request_body = Option<NewRecovery>,
    responses((status = 202, description = "It has begun.", body = Shape, headers(("Location"), ("Cache-Control")))),
)]
pub(crate) async fn begin(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Id(endpoint): Id<EndpointId>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, unread) = request.into_parts();
    let json = body::optional_json(&parts.headers, unread, api.limits.max_body).await?;
    Query::none(&parts.uri)?;
    let at = Moment::of(&*api.clock);
    let id = RecoveryId::new(at.now, api.dice.bits());
    let (since, until, rate, created_at) = (None, None, None, at.wall);
    let mut plan = Plan { id, tenant: caller.tenant, endpoint, reason: None, since, until, rate, created_at };
    if let Some(json) = &json {
        read(json.text(), &mut plan)?;
    }
    find(&api, caller, endpoint).await?;
    if !api.engine.begin_recovery(plan, at).await? {
        return Err(Problem::new(&table::VALIDATION_FAILED, "The endpoint is disabled: enable it first."));
    }
    let recovery = api.engine.recovery(caller.tenant, id).await?.ok_or_else(Problem::not_found)?;
    let mut response = answer(StatusCode::ACCEPTED, &recovery);
    let location = format!("{}/v1/endpoints/{endpoint}/recoveries/{id}", api.public_url);
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

fn read(text: &str, plan: &mut Plan) -> Result<(), Problem> {
    let mut faults = Faults::default();
    if let Some([since, until, rate]) = object::members(text, &["since", "until", "rate"], "", &mut faults) {
        plan.since = time(since, "/since", &mut faults);
        plan.until = time(until, "/until", &mut faults);
        plan.rate = rate.and_then(|raw| fields::rate(raw, "/rate", &mut faults));
    }
    if let (Some(since), Some(until)) = (plan.since, plan.until)
        && until <= since
    {
        faults.add("/until", "must be after since");
    }
    faults.finish()
}

fn time(raw: Option<&RawValue>, at: &str, faults: &mut Faults) -> Option<Timestamp> {
    let time = object::string(raw?).and_then(|text| text.parse().ok());
    if time.is_none() {
        faults.add(at, "must be an RFC 3339 time");
    }
    time
}

fn answer(status: StatusCode, recovery: &Recovery) -> Response {
    // Plain data always makes JSON.
    let mut response = jobs::json(status, serde_json::to_vec(&recovery.view()).unwrap_or_default());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

type Ids = Result<Path<(String, String)>, PathRejection>;

/// The recovery that the path names, of the endpoint that it names.
async fn named(api: &Api, caller: Caller, ids: Ids) -> Result<Recovery, Problem> {
    let Ok(Path((endpoint, id))) = ids else { return Err(Problem::not_found()) };
    let (Ok(endpoint), Ok(id)) = (endpoint.parse::<EndpointId>(), id.parse::<RecoveryId>()) else {
        return Err(Problem::not_found());
    };
    let found = api.engine.recovery(caller.tenant, id).await?;
    found.filter(|recovery| recovery.plan.endpoint == endpoint).ok_or_else(Problem::not_found)
}

/// How far a recovery is
#[utoipa::path(
    get, path = "/v1/endpoints/{id}/recoveries/{recovery}", tag = "endpoints", operation_id = "getRecovery",
    params(("id" = shape::EndpointId, Path), ("recovery" = shape::RecoveryId, Path)),
    responses((status = 200, description = "The recovery.", body = Shape, headers(("Cache-Control")))),
)]
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    ids: Ids,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::none(&uri)?;
    Ok(answer(StatusCode::OK, &named(&api, caller, ids).await?))
}

/// Stop a recovery
///
/// What is due again stays so. One that is over stays as it is.
#[utoipa::path(
    delete, path = "/v1/endpoints/{id}/recoveries/{recovery}", tag = "endpoints", operation_id = "stopRecovery",
    params(("id" = shape::EndpointId, Path), ("recovery" = shape::RecoveryId, Path)),
    responses((status = 204, description = "It goes no further.")),
)]
pub(crate) async fn stop(
    State(api): State<Arc<Api>>,
    caller: Caller,
    ids: Ids,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::none(&uri)?;
    let recovery = named(&api, caller, ids).await?;
    api.engine.stop_recovery(caller.tenant, recovery.plan.id, Moment::of(&*api.clock)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
