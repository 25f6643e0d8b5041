//! `dev`'s own receiver: `POST /play/{name}` verifies what arrives as any receiver should, and says so on the terminal.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    routing::post,
};
use domain::{chance::Clock, id::Tenant, seal::Place, secret::Secret, signature, vault::Vault};
use http::{HeaderMap, StatusCode};
use storage::Engine;

/// How far a webhook's timestamp may be from our clock, as the Standard Webhooks libraries have it.
const TOLERANCE: Duration = Duration::from_secs(300);

/// What the receiver needs for verifying: what a partner would have been given.
#[derive(Clone)]
pub(crate) struct Play {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Play {
    pub(crate) fn router(self) -> Router {
        Router::new().route("/play/{name}", post(receive)).with_state(Arc::new(self))
    }

    /// The tenant's secrets as they are now, so that a rotation is followed.
    async fn secrets(&self) -> Option<Vec<Secret>> {
        let sealed = self.engine.signing_secrets(Tenant::DEFAULT).await.ok()??;
        let previous = sealed.previous.map(|(sealed, _)| sealed);
        let open = |sealed| Place::Tenant(Tenant::DEFAULT).open(&self.vault, &sealed).ok();
        Some(std::iter::once(sealed.current).chain(previous).filter_map(open).collect())
    }
}

async fn receive(
    State(play): State<Arc<Play>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let Some(secrets) = play.secrets().await else { return StatusCode::SERVICE_UNAVAILABLE };
    let secrets: Vec<&Secret> = secrets.iter().collect();
    let now = play.clock.wall().seconds();
    let verified =
        signature::verify(id, timestamp, &body, header("webhook-signature"), &secrets, now, TOLERANCE);
    let kind = serde_json::from_slice::<serde_json::Value>(&body)
        .ok()
        .and_then(|event| Some(event.get("type")?.as_str()?.to_owned()))
        .unwrap_or_else(|| "no JSON".into());
    match verified {
        Ok(()) => {
            tell(&format!("  /play/{name}  verified ✓ {id}  {kind}"));
            StatusCode::NO_CONTENT
        }
        Err(error) => {
            tell(&format!("  /play/{name}  not verified ✗ {id}  {kind}: {error}"));
            StatusCode::UNAUTHORIZED
        }
    }
}

/// `dev` speaks on standard output: its story is what it is for.
#[allow(clippy::print_stdout)]
pub(crate) fn tell(line: &str) {
    println!("{line}");
}
