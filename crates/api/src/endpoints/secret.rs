//! An endpoint's signing secret: shown in one place, replaced with an overlap.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{StatusCode, Uri},
    response::Response,
};
use domain::{
    callback::Sealed,
    endpoint::Endpoint,
    header_rule::CustomHeaders,
    id::{EndpointId, Tenant},
    seal::Place,
    secret::Secret,
};
use storage::{PutEndpoint, SigningSecrets};

use super::{answer, find, fresh_secret, put, shown};
use crate::{
    auth::Caller,
    body,
    openapi::{endpoint::Endpoint as EndpointShape, shape},
    problem::Problem,
    query::Query,
    request::Id,
    router::Api,
    secrets,
};

/// Seals headers for the endpoint that they go to.
pub(super) fn seal_headers(api: &Api, tenant: Tenant, id: EndpointId, headers: &CustomHeaders) -> Sealed {
    let mut nonce = [0; 24];
    api.dice.fill(&mut nonce);
    Place::EndpointHeaders(tenant, id).seal_headers(&api.vault, headers, nonce)
}

/// Seals a secret for the endpoint that it signs for.
pub(super) fn seal(api: &Api, tenant: Tenant, id: EndpointId, secret: &Secret) -> Sealed {
    let mut nonce = [0; 24];
    api.dice.fill(&mut nonce);
    Place::Endpoint(tenant, id).seal(&api.vault, secret, nonce)
}

/// The secret that signs for an endpoint
#[utoipa::path(
    get, path = "/v1/endpoints/{id}/secret", tag = "endpoints", operation_id = "getEndpointSecret",
    params(("id" = shape::EndpointId, Path)),
    responses((status = 200, description = "And the one before, while it overlaps.", body = secrets::View<'static>,
        headers(("Cache-Control")))),
)]
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Id(id): Id<EndpointId>,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::none(&uri)?;
    let Endpoint { secret, previous, .. } = find(&api, caller, id).await?;
    let secrets = SigningSecrets { current: secret, previous };
    secrets::show(&api, Place::Endpoint(caller.tenant, id), &secrets)
}

/// Make a new secret for an endpoint
///
/// Both sign until the overlap is over. The new one is not in this answer: it is shown in one place.
#[utoipa::path(
    post, path = "/v1/endpoints/{id}/rotate-secret", tag = "endpoints", operation_id = "rotateEndpointSecret",
    params(("id" = shape::EndpointId, Path)),
    request_body = Option<secrets::Overlap>,
    responses((status = 200, description = "The endpoint.", body = EndpointShape, headers(("Cache-Control")))),
)]
pub(crate) async fn rotate(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Id(id): Id<EndpointId>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, unread) = request.into_parts();
    let json = body::optional_json(&parts.headers, unread, api.limits.max_body).await?;
    Query::none(&parts.uri)?;
    let overlap = secrets::overlap(json.as_ref().map(|json| json.text()))?;
    let rotated = put(&api, caller, id, |endpoint, at| {
        let fresh = fresh_secret(&api, endpoint.settings.signature);
        let secret = seal(&api, caller.tenant, id, &fresh);
        let previous = Some((endpoint.secret, at.wall + overlap));
        let endpoint = Endpoint { secret, previous, ..endpoint };
        Ok(PutEndpoint { endpoint, new: None, recover: None, event: None, at })
    });
    let endpoint = rotated.await?;
    Ok(answer(StatusCode::OK, &shown(&api, &endpoint).await?))
}
