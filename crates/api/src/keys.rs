//! API keys: made, listed, revoked. Their secret is shown once.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use domain::{
    access::{ApiKey, KeyId, Label, Role},
    id::{EndpointId, Tenant, TenantId},
    time::Timestamp,
};
use serde::Serialize;
use storage::{KeyEntry, KeyFilter, KeyMade, NewKey};
use zeroize::Zeroizing;

use crate::{
    auth::Caller,
    body, cursor,
    jobs::{self, List},
    object,
    openapi::{
        access::{Key, KeyList, NewKey as KeyDraft},
        shape,
    },
    problem::{Faults, Problem},
    query::Query,
    request::Id,
    router::Api,
};

const NO_TENANT: &str = "there is no such tenant";
const NO_ENDPOINT: &str = "the tenant has no such endpoint";

#[derive(Serialize)]
struct View<'a> {
    id: KeyId,
    /// In the answer that made it, and nowhere else.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    role: Role,
    name: Option<&'a Label>,
    tenant: TenantId,
    /// The one that it is bound to.
    endpoint: Option<EndpointId>,
    created_at: Timestamp,
}

impl<'a> View<'a> {
    fn of(entry: &'a KeyEntry, key: Option<&'a str>) -> Self {
        Self {
            id: entry.id,
            key,
            role: entry.role,
            name: entry.name.as_ref(),
            tenant: entry.tenant_id,
            endpoint: entry.endpoint,
            created_at: entry.created_at,
        }
    }
}

/// Make a key
///
/// The key is in this answer, and nowhere else.
#[utoipa::path(
    post, path = "/v1/keys", tag = "access", operation_id = "createKey",
    request_body = KeyDraft,
    responses((status = 201, description = "It is made.", body = Key, headers(("Cache-Control")))),
)]
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, unread) = request.into_parts();
    let json = body::json(&parts.headers, unread, api.limits.max_body).await?;
    Query::none(&parts.uri)?;
    let Draft { role, name, tenant, endpoint } = draft(json.text())?;
    let is_operator = caller.roles.has(Role::Operator);
    if !is_operator && (role == Role::Operator || tenant.is_some()) {
        return Err(Problem::forbidden());
    }
    let tenant = match tenant {
        None => caller.tenant,
        Some(id) => number(&api, id).await?.ok_or_else(|| fault("/tenant", NO_TENANT))?,
    };
    let mut secret = Zeroizing::new([0; 32]);
    api.dice.fill(&mut *secret);
    let key = ApiKey::new(KeyId::new(api.clock.wall(), api.dice.bits()), *secret);
    let (id, hash, created_at) = (key.id(), key.hash(), api.clock.wall());
    let new = NewKey { id, tenant, role, name, hash, created_at, endpoint };
    match api.engine.create_key(new).await? {
        KeyMade::Made => {}
        KeyMade::NoTenant => return Err(fault("/tenant", NO_TENANT)),
        KeyMade::NoEndpoint => return Err(fault("/endpoint", NO_ENDPOINT)),
    }
    // With its tenant or its endpoint it is gone a moment later.
    let gone =
        || if endpoint.is_some() { fault("/endpoint", NO_ENDPOINT) } else { fault("/tenant", NO_TENANT) };
    let made = api.engine.key(id).await?.ok_or_else(gone)?;
    let text = Zeroizing::new(key.expose());
    let view = serde_json::to_vec(&View::of(&made, Some(&text))).unwrap_or_default();
    let mut response = jobs::json(StatusCode::CREATED, view);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

struct Draft {
    role: Role,
    name: Option<Label>,
    tenant: Option<TenantId>,
    endpoint: Option<EndpointId>,
}

fn draft(text: &str) -> Result<Draft, Problem> {
    let mut faults = Faults::default();
    let members = object::members(text, &["role", "name", "tenant", "endpoint"], "", &mut faults);
    let [role, name, tenant, endpoint] = members.unwrap_or_default();
    let role = match role {
        None => {
            faults.add("/role", "required");
            None
        }
        Some(raw) => object::parsed::<Role>(raw, "/role", &mut faults),
    };
    match (role, endpoint) {
        (Some(Role::Receiver), None) => faults.add("/endpoint", "required: a receiver's key is bound to one"),
        (Some(role), Some(_)) if role != Role::Receiver => {
            faults.add("/endpoint", "goes with the role receiver")
        }
        _ => {}
    }
    let endpoint = endpoint.and_then(|raw| object::parsed(raw, "/endpoint", &mut faults));
    let name = name.and_then(|raw| object::parsed(raw, "/name", &mut faults));
    let tenant = tenant.and_then(|raw| object::parsed(raw, "/tenant", &mut faults));
    faults.finish()?;
    // Without a role there was a fault.
    Ok(Draft { role: role.ok_or_else(Problem::internal)?, name, tenant, endpoint })
}

/// A tenant's number in rows.
async fn number(api: &Api, id: TenantId) -> Result<Option<Tenant>, Problem> {
    Ok(api.engine.tenant(id).await?.map(|entry| entry.tenant))
}

fn fault(pointer: &str, detail: &str) -> Problem {
    let mut faults = Faults::default();
    faults.add(pointer, detail);
    faults.finish().err().unwrap_or_else(Problem::internal)
}

/// Keys, newest first
#[utoipa::path(
    get, path = "/v1/keys", tag = "access", operation_id = "listKeys",
    params(
        ("tenant" = Option<shape::TenantId>, Query, description = "An operator's choice."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100),
        ("cursor" = Option<shape::Cursor>, Query),
    ),
    responses((status = 200, description = "A page.", body = KeyList, headers(("Cache-Control")))),
)]
pub(crate) async fn list(State(api): State<Arc<Api>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    let mut query = Query::read(&uri, &["tenant", "limit", "cursor"]);
    let operators = caller.roles.has(Role::Operator);
    let tenant: Option<TenantId> = query.parsed("tenant");
    let (before, limit) = (query.cursor(), query.limit());
    if tenant.is_some() && !operators {
        return Err(Problem::forbidden());
    }
    let tenant = match tenant {
        None => caller.tenant,
        Some(id) => match number(&api, id).await? {
            Some(tenant) => tenant,
            None => {
                query.fault("tenant", NO_TENANT);
                caller.tenant
            }
        },
    };
    query.finish()?;
    let page = api.engine.keys(KeyFilter { tenant, operators, before, limit }).await?;
    let next_cursor = page.items.last().filter(|_| page.more).map(|key| cursor::write(key.id));
    let items = page.items.iter().map(|key| View::of(key, None)).collect();
    Ok(List { items, next_cursor }.into_response())
}

/// Revoke a key
///
/// It stops working at once on this node, and within a second on others.
#[utoipa::path(
    delete, path = "/v1/keys/{id}", tag = "access", operation_id = "revokeKey",
    params(("id" = shape::KeyId, Path)),
    request_body = Option<shape::Nothing>,
    responses((status = 204, description = "It is revoked.")),
)]
pub(crate) async fn revoke(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Id(id): Id<KeyId>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, unread) = request.into_parts();
    body::empty_object(&parts.headers, unread, api.limits.max_body).await?;
    Query::none(&parts.uri)?;
    let key = api.engine.key(id).await?.ok_or_else(Problem::not_found)?;
    // Whoever is admin of a tenant has no say over who operates the installation.
    let is_theirs = key.tenant == caller.tenant && key.role != Role::Operator;
    if !is_theirs && !caller.roles.has(Role::Operator) {
        return Err(Problem::not_found());
    }
    if !api.engine.revoke_key(id).await? {
        return Err(Problem::not_found());
    }
    tracing::info!(key = %id, role = %key.role, "key revoked");
    Ok(StatusCode::NO_CONTENT.into_response())
}
