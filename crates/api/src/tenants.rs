//! Tenants: made, listed, deleted. Operators only.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use domain::{
    access::Label,
    id::{Tenant, TenantId},
    seal::Place,
    secret::Secret,
    time::Timestamp,
};
use serde::Serialize;
use storage::{NewTenant, TenantDeleted, TenantEntry, TenantMade};
use zeroize::Zeroizing;

use crate::{
    auth::Caller,
    body, cursor,
    jobs::{self, List},
    object,
    openapi::{
        access::{NewTenant as TenantDraft, Tenant as TenantShape, TenantList},
        shape,
    },
    problem::{Faults, Problem, table},
    query::Query,
    request::Id,
    router::Api,
};

/// How often a number is tried that somebody else was quicker to take.
const TRIES: usize = 16;

#[derive(Serialize)]
struct View<'a> {
    id: TenantId,
    name: &'a Label,
    created_at: Timestamp,
}

impl<'a> View<'a> {
    fn of(tenant: &'a TenantEntry) -> Self {
        Self { id: tenant.id, name: &tenant.name, created_at: tenant.created_at }
    }
}

/// Make a tenant
#[utoipa::path(
    post, path = "/v1/tenants", tag = "access", operation_id = "createTenant",
    request_body = TenantDraft,
    responses((status = 201, description = "It is made.", body = TenantShape, headers(("Cache-Control")))),
)]
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    _: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, unread) = request.into_parts();
    let json = body::json(&parts.headers, unread, api.limits.max_body).await?;
    Query::none(&parts.uri)?;
    let name = name(json.text())?;
    let (id, created_at) = (TenantId::new(api.clock.wall(), api.dice.bits()), api.clock.wall());
    for _ in 0..TRIES {
        let tenant = api.engine.next_tenant().await?;
        let secret = first_secret(&api, tenant);
        let new = NewTenant { tenant, id, name: name.clone(), secret, created_at };
        match api.engine.create_tenant(new).await? {
            TenantMade::Made => {
                tracing::info!(%id, %name, "tenant made");
                let view = serde_json::to_vec(&View { id, name: &name, created_at }).unwrap_or_default();
                let mut response = jobs::json(StatusCode::CREATED, view);
                response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                return Ok(response);
            }
            TenantMade::NameTaken => {
                let mut faults = Faults::default();
                faults.add("/name", "another tenant has this name");
                faults.finish()?;
            }
            TenantMade::NumberTaken => {}
        }
    }
    Err(Problem::overloaded())
}

fn name(text: &str) -> Result<Label, Problem> {
    let mut faults = Faults::default();
    let name = match object::members(text, &["name"], "", &mut faults) {
        Some([Some(raw)]) => object::parsed(raw, "/name", &mut faults),
        Some([None]) => {
            faults.add("/name", "required");
            None
        }
        None => None,
    };
    faults.finish()?;
    // Without a name there was a fault.
    name.ok_or_else(Problem::internal)
}

/// What it signs with from the beginning.
fn first_secret(api: &Api, tenant: Tenant) -> domain::callback::Sealed {
    let (mut key, mut nonce) = (Zeroizing::new([0; 32]), [0; 24]);
    api.dice.fill(&mut *key);
    api.dice.fill(&mut nonce);
    Place::Tenant(tenant).seal(&api.vault, &Secret::from_bytes(*key), nonce)
}

/// Tenants, newest first
#[utoipa::path(
    get, path = "/v1/tenants", tag = "access", operation_id = "listTenants",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100),
        ("cursor" = Option<shape::Cursor>, Query),
    ),
    responses((status = 200, description = "A page.", body = TenantList, headers(("Cache-Control")))),
)]
pub(crate) async fn list(State(api): State<Arc<Api>>, _: Caller, uri: Uri) -> Result<Response, Problem> {
    let mut query = Query::read(&uri, &["limit", "cursor"]);
    let (before, limit) = (query.cursor(), query.limit());
    query.finish()?;
    let page = api.engine.tenants(before, limit).await?;
    let next_cursor = page.items.last().filter(|_| page.more).map(|tenant| cursor::write(tenant.id));
    Ok(List { items: page.items.iter().map(View::of).collect(), next_cursor }.into_response())
}

/// Delete a tenant
///
/// With its keys, once it has nothing left to do.
#[utoipa::path(
    delete, path = "/v1/tenants/{id}", tag = "access", operation_id = "deleteTenant",
    params(("id" = shape::TenantId, Path)),
    request_body = Option<shape::Nothing>,
    responses((status = 204, description = "It is gone.")),
    extensions(("x-problems" = json!(["tenant-in-use"]))),
)]
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    _: Caller,
    Id(id): Id<TenantId>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, unread) = request.into_parts();
    body::empty_object(&parts.headers, unread, api.limits.max_body).await?;
    Query::none(&parts.uri)?;
    let tenant = api.engine.tenant(id).await?.ok_or_else(Problem::not_found)?;
    if tenant.tenant == Tenant::DEFAULT {
        let detail = "The tenant “default” stays: auth.bootstrap_key is its admin.";
        return Err(Problem::new(&table::TENANT_IN_USE, detail));
    }
    match api.engine.delete_tenant(id, api.clock.wall()).await? {
        TenantDeleted::Deleted => {
            tracing::info!(%id, name = %tenant.name, "tenant deleted");
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        TenantDeleted::Missing => Err(Problem::not_found()),
        TenantDeleted::Busy => Err(Problem::new(
            &table::TENANT_IN_USE,
            "It has jobs or deliveries that have not ended. Revoke its keys, cancel what it has left or wait, and ask again.",
        )),
    }
}
