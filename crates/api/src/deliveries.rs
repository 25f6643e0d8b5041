//! Deliveries: what was sent, what came back, once more, and no more.

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use domain::{
    chance::Moment,
    delivery::{Attempt, Delivery as Stored, State as DeliveryState, Timings, Trigger, View},
    id::DeliveryId,
    lane::{Lane, Standing},
    time::Timestamp,
};
use serde::Serialize;
use storage::{DeliveryCanceled, DeliveryDetail, DeliveryFilter, Resent, StorageError};

use crate::{
    auth::{Bearer, Caller},
    body, cursor, endpoints,
    jobs::{self, List},
    openapi::{
        delivery::{Delivery, DeliveryList},
        shape,
    },
    problem::{Faults, Problem, table},
    query::Query,
    request::Id,
    router::Api,
    submit::judge_url,
};

/// A delivery with what lists leave out.
#[derive(Serialize)]
struct Detail<'a> {
    #[serde(flatten)]
    view: View<'a>,
    /// Oldest first.
    attempts: Vec<Shown<'a>>,
    /// `null` once it was erased.
    body: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Shown<'a> {
    Closed(&'a Attempt),
    Open(Open),
}

/// An attempt whose request is out.
#[derive(Serialize)]
struct Open {
    number: u32,
    trigger: Trigger,
    started_at: Timestamp,
    ended_at: Option<()>,
    outcome: Option<()>,
    status: Option<()>,
    error: Option<()>,
    remote_address: Option<()>,
    timings_ms: Timings,
    response: Option<()>,
}

/// What keeps lanes from sending, each looked up once.
#[derive(Default)]
struct Standings(HashMap<Lane, Standing>);

impl Standings {
    /// With what it waits for.
    async fn view<'a>(&mut self, api: &Api, delivery: &'a Stored) -> Result<View<'a>, StorageError> {
        let (now, lane) = (api.clock.now(), delivery.lane);
        if !matches!(delivery.state, DeliveryState::Waiting { .. }) {
            return Ok(delivery.view(now));
        }
        let standing = match (self.0.get(&lane), delivery.endpoint) {
            (Some(known), _) => *known,
            (None, Some(endpoint)) if lane == Lane::of_endpoint(endpoint) => {
                endpoints::standing(api, endpoint).await?
            }
            (None, _) => api.engine.standing(lane, now),
        };
        self.0.insert(lane, standing);
        Ok(delivery.view(now).behind(standing))
    }
}

async fn detail(api: &Api, detail: &DeliveryDetail) -> Result<Vec<u8>, StorageError> {
    let mut attempts: Vec<_> = detail.attempts.iter().map(Shown::Closed).collect();
    if let DeliveryState::InFlight { started_at, trigger, .. } = detail.delivery.state {
        attempts.push(Shown::Open(Open {
            number: detail.delivery.attempt,
            trigger,
            started_at,
            ended_at: None,
            outcome: None,
            status: None,
            error: None,
            remote_address: None,
            timings_ms: Timings::default(),
            response: None,
        }));
    }
    let shown = Detail {
        view: Standings::default().view(api, &detail.delivery).await?,
        attempts,
        body: Some(&*detail.body).filter(|body| !body.is_empty()),
    };
    // Plain data always makes JSON.
    Ok(serde_json::to_vec(&shown).unwrap_or_default())
}

/// A delivery that the bearer may know of.
async fn find(api: &Api, bearer: Bearer, id: DeliveryId) -> Result<DeliveryDetail, Problem> {
    let found = api.engine.delivery(bearer.caller.tenant, id).await?;
    found.filter(|found| bearer.sees(found.delivery.endpoint)).ok_or_else(Problem::not_found)
}

/// Deliveries, newest first
#[utoipa::path(
    get, path = "/v1/deliveries", tag = "deliveries", operation_id = "listDeliveries",
    params(
        ("job" = Option<shape::JobId>, Query),
        ("endpoint" = Option<shape::EndpointId>, Query),
        ("event" = Option<shape::EventId>, Query),
        ("status" = Option<shape::DeliveryState>, Query),
        ("outcome" = Option<shape::AttemptOutcome>, Query, description = "Of any of its attempts."),
        ("created_after" = Option<shape::Time>, Query),
        ("created_before" = Option<shape::Time>, Query),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100),
        ("cursor" = Option<shape::Cursor>, Query),
    ),
    responses((status = 200, description = "A page, without attempts and bodies.", body = DeliveryList, headers(("Cache-Control")))),
)]
pub(crate) async fn list(State(api): State<Arc<Api>>, bearer: Bearer, uri: Uri) -> Result<Response, Problem> {
    const KNOWN: &[&str] = &[
        "job",
        "endpoint",
        "event",
        "status",
        "outcome",
        "created_after",
        "created_before",
        "limit",
        "cursor",
    ];
    let mut query = Query::read(&uri, KNOWN);
    let asked = query.parsed("endpoint");
    let filter = DeliveryFilter {
        tenant: bearer.caller.tenant,
        job: query.parsed("job"),
        endpoint: asked.or(bearer.bound),
        event: query.parsed("event"),
        status: query.parsed("status"),
        outcome: query.parsed("outcome"),
        created_after: query.parsed("created_after"),
        created_before: query.parsed("created_before"),
        before: query.cursor(),
        limit: query.limit(),
    };
    query.finish()?;
    if !bearer.sees(filter.endpoint) {
        return Ok(List::<View<'_>> { items: Vec::new(), next_cursor: None }.into_response());
    }
    let page = api.engine.deliveries(filter).await?;
    let next_cursor = page.items.last().filter(|_| page.more).map(|delivery| cursor::write(delivery.id));
    let (mut standings, mut items) = (Standings::default(), Vec::with_capacity(page.items.len()));
    for delivery in &page.items {
        items.push(standings.view(&api, delivery).await?);
    }
    Ok(List { items, next_cursor }.into_response())
}

/// A delivery with its attempts and its bytes
#[utoipa::path(
    get, path = "/v1/deliveries/{id}", tag = "deliveries", operation_id = "getDelivery",
    params(("id" = shape::DeliveryId, Path)),
    responses((status = 200, description = "The delivery.", body = Delivery, headers(("Cache-Control")))),
)]
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    bearer: Bearer,
    Id(id): Id<DeliveryId>,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::none(&uri)?;
    let found = find(&api, bearer, id).await?;
    let mut response = jobs::json(StatusCode::OK, detail(&api, &found).await?);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}

/// Send it once more, at once
///
/// The same delivery under the same `webhook-id`. A failed one is pending again with its policy anew; a succeeded one gets
/// one more attempt and stays succeeded.
#[utoipa::path(
    post, path = "/v1/deliveries/{id}/resend", tag = "deliveries", operation_id = "resendDelivery",
    params(("id" = shape::DeliveryId, Path)),
    request_body = Option<shape::Nothing>,
    responses((status = 202, description = "It is due.", body = Delivery,
        headers(("Location"), ("Cache-Control")))),
    extensions(("x-problems" = json!([
        "resend-in-flight", "pruned", "callback-url-invalid", "callback-url-forbidden", "callback-address-blocked"
    ]))),
)]
pub(crate) async fn resend(
    State(api): State<Arc<Api>>,
    bearer: Bearer,
    Id(id): Id<DeliveryId>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, unread) = request.into_parts();
    body::empty_object(&parts.headers, unread, api.limits.max_body).await?;
    Query::none(&parts.uri)?;
    let found = find(&api, bearer, id).await?;
    let caller = bearer.caller;
    // What is allowed may have changed since the URL was accepted.
    let mut faults = Faults::default();
    judge_url(found.delivery.url.as_str(), "", &api.url_policy, &mut faults);
    faults.finish()?;
    match api.engine.resend(caller.tenant, id, Moment::of(&*api.clock)).await? {
        Resent::Due => {}
        Resent::InFlight => {
            return Err(Problem::new(
                &table::RESEND_IN_FLIGHT,
                "A request for this delivery is out right now.",
            ));
        }
        Resent::Erased => {
            return Err(match found.delivery.job {
                Some(job) => api.gone(Some(caller.tenant), job).await,
                None => Problem::not_found(),
            });
        }
        Resent::Missing => return Err(Problem::not_found()),
    }
    accepted(&api, caller, id).await
}

/// 202 with where a delivery is that was asked for.
pub(crate) async fn accepted(api: &Api, caller: Caller, id: DeliveryId) -> Result<Response, Problem> {
    let found = api.engine.delivery(caller.tenant, id).await?.ok_or_else(Problem::not_found)?;
    let mut response = jobs::json(StatusCode::ACCEPTED, detail(api, &found).await?);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(location) = HeaderValue::try_from(format!("{}/v1/deliveries/{id}", api.public_url)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Send it no more
///
/// An attempt that is under way is closed, and whatever it ends with comes to nothing.
#[utoipa::path(
    post, path = "/v1/deliveries/{id}/cancel", tag = "deliveries", operation_id = "cancelDelivery",
    params(("id" = shape::DeliveryId, Path)),
    request_body = Option<shape::Nothing>,
    responses((status = 200, description = "It is canceled.", body = Delivery, headers(("Cache-Control")))),
    extensions(("x-problems" = json!(["delivery-finished"]))),
)]
pub(crate) async fn cancel(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Id(id): Id<DeliveryId>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, unread) = request.into_parts();
    body::empty_object(&parts.headers, unread, api.limits.max_body).await?;
    Query::none(&parts.uri)?;
    match api.engine.cancel_delivery(caller.tenant, id, Moment::of(&*api.clock)).await? {
        DeliveryCanceled::Done => {}
        DeliveryCanceled::TooLate => {
            return Err(Problem::new(&table::DELIVERY_FINISHED, "The delivery is not pending."));
        }
        DeliveryCanceled::Missing => return Err(Problem::not_found()),
    }
    let found = api.engine.delivery(caller.tenant, id).await?.ok_or_else(Problem::not_found)?;
    let mut response = jobs::json(StatusCode::OK, detail(&api, &found).await?);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
