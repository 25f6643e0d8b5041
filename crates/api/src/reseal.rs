//! Seals what is in storage under the current master key, a page a call, so that whoever drives it may stop and begin again
//! at any moment: each row is under one key or the other, and both open.

mod cursor;

use std::{fmt, sync::Arc};

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use domain::{
    id::{EndpointId, JobId, Tenant},
    reseal::{reseal_callbacks, reseal_endpoint},
    seal::Place,
    vault::VaultError,
};
use serde::Serialize;
use storage::{Reseal, SigningSecrets};
use utoipa::ToSchema;

use crate::{auth::Caller, body, jobs, openapi::shape, problem::Problem, query::Query, router::Api};
use cursor::At;

/// Rows that one call looks at: some milliseconds of the writer's time if all of them have to be written.
const PAGE: u32 = 500;

/// How far it is.
#[derive(Serialize, ToSchema)]
#[schema(as = Resealed)]
pub(crate) struct View {
    /// Rows looked at.
    examined: usize,
    /// Rows that were under another key and are under the current one now.
    resealed: usize,
    /// Rows that no key of this server opens: they are as they were.
    unopened: usize,
    /// Where to go on; `null` once everything was looked at.
    #[schema(value_type = Option<shape::Cursor>)]
    next_cursor: Option<String>,
}

/// What one call found.
#[derive(Default)]
struct Step {
    examined: usize,
    /// To be written.
    rows: Vec<Reseal>,
    unopened: usize,
}

impl Step {
    fn add(&mut self, what: impl fmt::Display, anew: Result<Option<Reseal>, VaultError>) {
        self.examined += 1;
        match anew {
            Ok(row) => self.rows.extend(row),
            Err(error) => {
                // The first of a page stands for the others: there may be as many as there are jobs.
                if self.unopened == 0 {
                    tracing::warn!(row = %what, %error, "cannot be sealed anew");
                }
                self.unopened += 1;
            }
        }
    }
}

/// Seal a page anew
///
/// Seals what is under the previous master key under the current one: signing secrets, and secrets and headers of endpoints
/// and callbacks. Begin without a cursor and go on with `next_cursor`; both keys open meanwhile, and a second walk finds
/// nothing left.
#[utoipa::path(
    post, path = "/v1/secrets/reseal", tag = "secrets", operation_id = "resealSecrets",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "500 if nothing is said."),
        ("cursor" = Option<shape::Cursor>, Query),
    ),
    request_body = Option<shape::Nothing>,
    responses((status = 200, description = "How far it is.", body = View)),
)]
pub(crate) async fn reseal(
    State(api): State<Arc<Api>>,
    _: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, unread) = request.into_parts();
    body::empty_object(&parts.headers, unread, api.limits.max_body).await?;
    let mut query = Query::read(&parts.uri, &["cursor", "limit"]);
    let at = query.with("cursor", "not a next_cursor of this call", At::read).unwrap_or_default();
    let limit = if query.text("limit").is_some() { query.limit() } else { PAGE };
    query.finish()?;
    let (step, next) = match at {
        At::Tenants(after) => of_tenants(&api, after, limit).await?,
        At::Endpoints(tenant, after) => of_endpoints(&api, (tenant, after), limit).await?,
        At::Jobs(tenant, after) => of_jobs(&api, (tenant, after), limit).await?,
    };
    let Step { examined, rows, unopened } = step;
    let changed = rows.len();
    let written = if rows.is_empty() { Vec::new() } else { api.engine.reseal(rows).await? };
    let resealed = written.iter().filter(|written| **written).count();
    // What changed under our hands is looked at once more.
    let next = if resealed < changed { Some(at) } else { next };
    let view = View { examined, resealed, unopened, next_cursor: next.map(At::write) };
    // Plain data always makes JSON.
    Ok(jobs::json(StatusCode::OK, serde_json::to_vec(&view).unwrap_or_default()))
}

fn nonce(api: &Api) -> [u8; 24] {
    let mut nonce = [0; 24];
    api.dice.fill(&mut nonce);
    nonce
}

async fn of_tenants(api: &Api, after: Tenant, limit: u32) -> Result<(Step, Option<At>), Problem> {
    let page = api.engine.sealed_secrets(after, limit).await?;
    let next = match page.last().filter(|_| page.len() == limit as usize) {
        Some((last, _)) => At::Tenants(*last),
        None => At::Endpoints(Tenant(0), EndpointId::from_u128(0)),
    };
    let mut step = Step::default();
    for (tenant, from) in page {
        step.add(format_args!("tenant {}", tenant.0), secrets(api, tenant, from));
    }
    Ok((step, Some(next)))
}

fn secrets(api: &Api, tenant: Tenant, from: SigningSecrets) -> Result<Option<Reseal>, VaultError> {
    let place = Place::Tenant(tenant);
    let current = place.reseal(&api.vault, &from.current, nonce(api))?;
    let previous = match &from.previous {
        Some((sealed, until)) => place.reseal(&api.vault, sealed, nonce(api))?.map(|anew| (anew, *until)),
        None => None,
    };
    if current.is_none() && previous.is_none() {
        return Ok(None);
    }
    let to = SigningSecrets {
        current: current.unwrap_or_else(|| from.current.clone()),
        previous: previous.or_else(|| from.previous.clone()),
    };
    Ok(Some(Reseal::Secrets { tenant, from, to }))
}

async fn of_endpoints(
    api: &Api,
    after: (Tenant, EndpointId),
    limit: u32,
) -> Result<(Step, Option<At>), Problem> {
    let page = api.engine.sealed_endpoints(after, limit).await?;
    let next = match page.last().filter(|_| page.len() == limit as usize) {
        Some(last) => At::Endpoints(last.tenant, last.id),
        None => At::Jobs(Tenant(0), JobId::from_u128(0)),
    };
    let mut step = Step::default();
    for endpoint in page {
        let anew = reseal_endpoint(&api.vault, &endpoint, || nonce(api));
        step.add(endpoint.id, anew.map(|anew| anew.map(|anew| Reseal::Endpoint(Box::new(anew)))));
    }
    Ok((step, Some(next)))
}

async fn of_jobs(api: &Api, after: (Tenant, JobId), limit: u32) -> Result<(Step, Option<At>), Problem> {
    let page = api.engine.sealed_callbacks(after, limit).await?;
    let last = page.last().filter(|_| page.len() == limit as usize);
    let next = last.map(|(tenant, job, _)| At::Jobs(*tenant, *job));
    let mut step = Step::default();
    for (tenant, job, from) in page {
        let anew = reseal_callbacks(&api.vault, (tenant, job), &from, || nonce(api));
        step.add(job, anew.map(|to| to.map(|to| Reseal::Callbacks { tenant, job, from, to })));
    }
    Ok((step, next))
}
