//! The nodes of this installation, for its operator: who is there, and who is to take no new work.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{StatusCode, Uri},
    response::Response,
};
use domain::time::Timestamp;
use serde::Serialize;
use storage::{Drained, NodeRow, Roster};

use crate::{
    auth::Caller,
    body, jobs,
    openapi::{
        node::{Node as NodeShape, NodeList},
        shape,
    },
    problem::Problem,
    query::Query,
    request::Id,
    router::Api,
};

#[derive(Serialize)]
struct View<'a> {
    /// Drawn when its process joined first.
    id: String,
    name: &'a str,
    version: &'a str,
    /// `ready`, `draining` from when it was asked to, or `lost`: its lease is over, its work is being taken over.
    status: &'static str,
    /// Counts its lives: one more each time it lost its lease and joined again.
    epoch: i64,
    started_at: Timestamp,
    lease_expires_at: Timestamp,
    drain_requested_at: Option<Timestamp>,
    /// How many jobs of each task it may run at once, out of the task's concurrency.
    slots: BTreeMap<&'a str, u32>,
}

fn view<'a>(row: &'a NodeRow, roster: &Roster) -> View<'a> {
    View {
        id: row.fence.node.to_string(),
        name: &row.name,
        version: &row.version,
        status: match row {
            row if row.lease_until <= roster.now => "lost",
            row if row.drain_at.is_some() || !row.takes => "draining",
            _ => "ready",
        },
        epoch: row.fence.epoch,
        started_at: row.started_at,
        lease_expires_at: row.lease_until,
        drain_requested_at: row.drain_at,
        slots: row.holds.iter().map(|(task, slots)| (task.as_str(), slots)).collect(),
    }
}

/// List nodes
///
/// All on one page.
#[utoipa::path(
    get, path = "/v1/nodes", tag = "operating", operation_id = "listNodes",
    responses((status = 200, description = "Every node.", body = NodeList)),
)]
pub(crate) async fn list(State(api): State<Arc<Api>>, _: Caller, uri: Uri) -> Result<Response, Problem> {
    Query::none(&uri)?;
    let roster = api.engine.roster().await?;
    let items = roster.nodes.iter().map(|row| view(row, &roster)).collect();
    let list = jobs::List::<View<'_>> { items, next_cursor: None };
    // Plain data always makes JSON.
    Ok(jobs::json(StatusCode::OK, serde_json::to_vec(&list).unwrap_or_default()))
}

/// Look at a node
#[utoipa::path(
    get, path = "/v1/nodes/{id}", tag = "operating", operation_id = "getNode",
    params(("id" = String, Path)),
    responses((status = 200, description = "The node.", body = NodeShape)),
)]
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    _: Caller,
    Id(id): Id<i64>,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::none(&uri)?;
    show(&api, id, StatusCode::OK).await
}

/// Let a node take no new work
///
/// It stays, and ends or gives back what it has. Repeated it changes nothing.
#[utoipa::path(
    post, path = "/v1/nodes/{id}/drain", tag = "operating", operation_id = "drainNode",
    params(("id" = String, Path)),
    request_body = Option<shape::Nothing>,
    responses((status = 202, description = "It is asked to.", body = NodeShape)),
)]
pub(crate) async fn drain(
    State(api): State<Arc<Api>>,
    _: Caller,
    Id(id): Id<i64>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, unread) = request.into_parts();
    body::empty_object(&parts.headers, unread, api.limits.max_body).await?;
    Query::none(&parts.uri)?;
    match api.engine.drain(id).await? {
        Drained::Missing => Err(Problem::not_found()),
        Drained::Asked => show(&api, id, StatusCode::ACCEPTED).await,
    }
}

async fn show(api: &Api, id: i64, status: StatusCode) -> Result<Response, Problem> {
    let roster = api.engine.roster().await?;
    let row = roster.node(id).ok_or_else(Problem::not_found)?;
    Ok(jobs::json(status, serde_json::to_vec(&view(row, &roster)).unwrap_or_default()))
}
