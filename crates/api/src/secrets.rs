//! The tenant's own signing secret: what signs webhooks whose callback brought none.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, Uri, header},
    response::Response,
};
use domain::{callback::Sealed, duration, seal::Place, secret::Secret, time::Timestamp};
use serde::Serialize;
use storage::SigningSecrets;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::{
    auth::Caller,
    body, jobs, object,
    openapi::shape,
    problem::{Faults, Problem},
    query::Query,
    router::Api,
};

/// How long both secrets sign when nothing is said, and at most.
const OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);
const MOST_OVERLAP: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What signs, and what signed before while that still verifies.
#[derive(Serialize, ToSchema)]
#[schema(as = SigningSecrets)]
pub(crate) struct View<'a> {
    #[schema(value_type = shape::SigningSecret)]
    secret: &'a str,
    /// Of an endpoint that is signed by Ed25519: what verifies.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = shape::PublicKey)]
    public_key: Option<String>,
    previous: Option<Previous<'a>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PreviousSecret)]
pub(crate) struct Previous<'a> {
    #[schema(value_type = shape::SigningSecret)]
    secret: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = shape::PublicKey)]
    public_key: Option<String>,
    #[schema(value_type = shape::Time)]
    expires_at: Timestamp,
}

/// What [`rotate`] reads.
#[derive(ToSchema)]
#[schema(as = Rotation)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape of the document")]
pub(crate) struct Overlap {
    /// How long both sign: `24h` if nothing is said, at most `30d`.
    #[schema(value_type = Option<shape::Span>)]
    overlap: Option<String>,
}

/// The secret that signs for you
#[utoipa::path(
    get, path = "/v1/signing-secret", tag = "secrets", operation_id = "getSigningSecret",
    responses((status = 200, description = "The tenant's own: for callbacks without a secret.", body = View<'static>,
        headers(("Cache-Control")))),
    extensions(("x-problems" = json!(["not-found"]))),
)]
pub(crate) async fn get(State(api): State<Arc<Api>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    Query::none(&uri)?;
    let secrets = api.engine.signing_secrets(caller.tenant).await?.ok_or_else(Problem::not_found)?;
    show(&api, Place::Tenant(caller.tenant), &secrets)
}

/// Make a new one
///
/// Both sign until the overlap is over.
#[utoipa::path(
    post, path = "/v1/signing-secret/rotate", tag = "secrets", operation_id = "rotateSigningSecret",
    request_body = Option<Overlap>,
    responses((status = 200, description = "Both.", body = View<'static>, headers(("Cache-Control")))),
    extensions(("x-problems" = json!(["not-found"]))),
)]
pub(crate) async fn rotate(
    State(api): State<Arc<Api>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, unread) = request.into_parts();
    let json = body::optional_json(&parts.headers, unread, api.limits.max_body).await?;
    Query::none(&parts.uri)?;
    let overlap = overlap(json.as_ref().map(|json| json.text()))?;
    let (mut key, mut nonce) = (Zeroizing::new([0; 32]), [0; 24]);
    api.dice.fill(&mut *key);
    api.dice.fill(&mut nonce);
    let secret = Place::Tenant(caller.tenant).seal(&api.vault, &Secret::from_bytes(*key), nonce);
    let until = api.clock.now() + overlap;
    let secrets = api.engine.rotate_signing_secret(caller.tenant, secret, until).await?;
    show(&api, Place::Tenant(caller.tenant), &secrets.ok_or_else(Problem::not_found)?)
}

/// The body of a rotation: how long both secrets sign.
pub(crate) fn overlap(text: Option<&str>) -> Result<Duration, Problem> {
    let Some(text) = text else { return Ok(OVERLAP) };
    let mut faults = Faults::default();
    let mut overlap = OVERLAP;
    if let Some([Some(raw)]) = object::members(text, &["overlap"], "", &mut faults) {
        match object::string(raw).and_then(|text| duration::parse(&text).ok()) {
            Some(span) if span <= MOST_OVERLAP => overlap = span,
            Some(_) => faults.add("/overlap", "at most 30d"),
            None => faults.add("/overlap", "must be a duration such as \"24h\""),
        }
    }
    faults.finish().map(|()| overlap)
}

/// The secrets of a tenant or an endpoint, in the open.
pub(crate) fn show(api: &Api, place: Place, secrets: &SigningSecrets) -> Result<Response, Problem> {
    let open = |sealed: &Sealed| match place.open(&api.vault, sealed) {
        Ok(secret) => {
            let public = secret.public().map(|public| public.to_string());
            Ok((Zeroizing::new(secret.expose()), public))
        }
        Err(error) => {
            tracing::error!(%error, "a signing secret does not open");
            Err(Problem::internal())
        }
    };
    let now = api.clock.now();
    let (current, public_key) = open(&secrets.current)?;
    let previous = match secrets.previous.as_ref().filter(|(_, until)| *until > now) {
        Some((sealed, until)) => Some((open(sealed)?, *until)),
        None => None,
    };
    let previous = previous.as_ref().map(|((secret, public_key), until)| Previous {
        secret,
        public_key: public_key.clone(),
        expires_at: *until,
    });
    let view = View { secret: &current, public_key, previous };
    let mut response = jobs::json(StatusCode::OK, serde_json::to_vec(&view).unwrap_or_default());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
