//! Feeds: what an endpoint is sent, by number, and what happened to a tenant, in the order of commits. Whoever reads one
//! to its end has missed nothing.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, Uri, header},
    response::Response,
};
use domain::{
    id::{EndpointId, EventId},
    time::Timestamp,
};
use serde::Serialize;
use storage::{EventMark, FeedItem, StorageError};

use crate::{
    auth::{Bearer, Caller},
    cursor, jobs,
    openapi::{
        endpoint::{EndpointFeed as EndpointFeedShape, TenantFeed as TenantFeedShape},
        shape,
    },
    prefer::Wait,
    problem::Problem,
    query::Query,
    request::Id,
    router::Api,
    waits::Ear,
};

/// How often somebody who waits looks again: what another node committed is heard of by no wake-up.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Serialize)]
struct Item<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<i64>,
    webhook_id: EventId,
    r#type: &'static str,
    timestamp: Timestamp,
    body: &'a str,
}

impl<'a> Item<'a> {
    fn all(items: &'a [FeedItem]) -> Vec<Self> {
        let item = |item: &'a FeedItem| Item {
            sequence: item.sequence,
            webhook_id: item.event,
            r#type: item.kind.name(),
            timestamp: item.timestamp,
            body: &item.body,
        };
        items.iter().map(item).collect()
    }
}

#[derive(Serialize)]
struct EndpointFeed<'a> {
    items: Vec<Item<'a>>,
    last: i64,
    pruned_before: i64,
}

#[derive(Serialize)]
struct TenantFeed<'a> {
    items: Vec<Item<'a>>,
    next_cursor: String,
}

fn answer(feed: &impl Serialize) -> Response {
    // Plain data always makes JSON.
    let mut response = jobs::json(StatusCode::OK, serde_json::to_vec(feed).unwrap_or_default());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What an endpoint was sent, by number
///
/// Whoever reads it to its end has missed nothing.
#[utoipa::path(
    get, path = "/v1/endpoints/{id}/feed", tag = "endpoints", operation_id = "endpointFeed",
    params(
        ("id" = shape::EndpointId, Path),
        ("after" = Option<u64>, Query, description = "Behind this number; 0 for all."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100),
        ("wait" = inline(Option<shape::Seconds>), Query, description = "Seconds to wait for one; over 60 counts as 60."),
    ),
    responses((status = 200, description = "Its events.", body = EndpointFeedShape, headers(("Cache-Control")))),
)]
pub(crate) async fn of_endpoint(
    State(api): State<Arc<Api>>,
    bearer: Bearer,
    Id(id): Id<EndpointId>,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::read(&uri, &["after", "limit", "wait"]);
    let number = |text: &str| text.parse::<i64>().ok().filter(|after| *after >= 0);
    let after = query.with("after", "a number of the sequence, 0 for all", number).unwrap_or(0);
    let (limit, wait) = (query.limit(), query.wait());
    query.finish()?;
    if !bearer.sees(Some(id)) {
        return Err(Problem::not_found());
    }
    let tenant = bearer.caller.tenant;
    let ear = api.waits.listen(tenant).filter(|_| wait.is_some());
    let read = || api.engine.feed(tenant, id, after, limit);
    let feed = hold(ear, wait, read, |feed| feed.as_ref().is_none_or(|feed| !feed.items.is_empty())).await?;
    let feed = feed.ok_or_else(Problem::not_found)?;
    let storage::Feed { items, last, pruned_before } = &feed;
    Ok(answer(&EndpointFeed { items: Item::all(items), last: *last, pruned_before: *pruned_before }))
}

/// What happened, in the order of commits
///
/// There is always a next cursor, for whoever goes on listening.
#[utoipa::path(
    get, path = "/v1/events", tag = "endpoints", operation_id = "events",
    params(
        ("cursor" = Option<shape::Cursor>, Query),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100),
        ("wait" = inline(Option<shape::Seconds>), Query, description = "Seconds to wait for one; over 60 counts as 60."),
    ),
    responses((status = 200, description = "Events.", body = TenantFeedShape, headers(("Cache-Control")))),
)]
pub(crate) async fn of_tenant(
    State(api): State<Arc<Api>>,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::read(&uri, &["cursor", "limit", "wait"]);
    let after: EventMark = query.cursor().unwrap_or_default();
    let (limit, wait) = (query.limit(), query.wait());
    query.finish()?;
    let ear = api.waits.listen(caller.tenant).filter(|_| wait.is_some());
    let read = || api.engine.events(caller.tenant, after, limit);
    let events = hold(ear, wait, read, |events| !events.items.is_empty()).await?;
    Ok(answer(&TenantFeed { items: Item::all(&events.items), next_cursor: cursor::write(events.next) }))
}

/// What `read` gives once it `is_it`, or when the wait is over. Whoever finds no ear does not wait.
async fn hold<T, F: Future<Output = Result<T, StorageError>>>(
    ear: Option<Ear>,
    wait: Option<Wait>,
    read: impl Fn() -> F,
    is_it: impl Fn(&T) -> bool,
) -> Result<T, StorageError> {
    let mut found = read().await?;
    let (Some(ear), Some(wait)) = (ear, wait) else { return Ok(found) };
    let mut over = std::pin::pin!(tokio::time::sleep(wait.span()));
    while !is_it(&found) {
        let last = tokio::select! {
            () = ear.woken() => false,
            () = tokio::time::sleep(LOOK) => false,
            () = &mut over => true,
        };
        found = read().await?;
        if last {
            break;
        }
    }
    Ok(found)
}
