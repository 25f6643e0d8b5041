//! What there is to call, and what everything behind it shares.

use std::sync::{Arc, atomic::AtomicBool};

use axum::{Router, middleware::from_fn_with_state};
use bytes::Bytes;
use domain::{
    callback_url::UrlPolicy,
    chance::{Clock, Dice},
    rate::Rate,
    result_link::ResultLinks,
    task::TaskName,
    vault::Vault,
};
use prometheus_client::registry::Registry;
use storage::Engine;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    auth::BootstrapKey,
    cors, deliveries, endpoints, feeds, gone,
    health::{self, Standing},
    jobs,
    keyring::KeyRing,
    keys,
    metrics::Metrics,
    nodes, openapi as description, problem,
    queue::Arrivals,
    quota::Quota,
    request, reseal, results, secrets, submit,
    tasks::{self, Tasks},
    tenants,
    waits::Waits,
};

/// What the server gives.
pub struct Parts {
    /// Where everything is kept.
    pub engine: Arc<dyn Engine>,
    /// What can be submitted.
    pub tasks: Arc<Tasks>,
    /// The two clocks.
    pub clock: Arc<dyn Clock>,
    /// For ids, secrets and nonces.
    pub dice: Arc<dyn Dice>,
    /// Seals and opens signing secrets.
    pub vault: Arc<Vault>,
    /// Signs and checks links to results.
    pub links: Arc<ResultLinks>,
    /// Put before every link; empty, or without a slash at its end.
    pub public_url: String,
    /// Judges callback URLs.
    pub url_policy: Arc<UrlPolicy>,
    /// `auth.bootstrap_key`, as given, if there is one.
    pub bootstrap_key: Option<String>,
    /// The keys in use; the engine knows it as a listener.
    pub keys: Arc<KeyRing>,
    /// Whose pages may call; `*` for anybody's.
    pub cors_origins: Vec<String>,
    /// What a request may be.
    pub limits: Limits,
    /// This crate's numbers, registered by the caller (see [`Metrics::register`]).
    pub metrics: Metrics,
    /// What `/metrics` shows.
    pub registry: Arc<Registry>,
    /// Who waits for jobs; the engine knows it as a listener.
    pub waits: Arc<Waits>,
    /// Set when the node stops taking work: `readyz` says so.
    pub draining: Arc<AtomicBool>,
    /// This node among the others, for `readyz`.
    pub standing: Arc<dyn Standing>,
}

/// What a request may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest request body, in bytes.
    pub max_body: usize,
    /// What a tenant may submit in a time; `None` is no limit.
    pub submit_per_tenant: Option<Rate>,
    /// How many jobs of a tenant may wait; 0 is no limit.
    pub waiting_per_tenant: u64,
    /// Endpoints of a tenant; 0 is no limit.
    pub endpoints_per_tenant: u32,
}

/// What every handler sees.
pub(crate) struct Api {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) dice: Arc<dyn Dice>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) links: Arc<ResultLinks>,
    pub(crate) public_url: String,
    pub(crate) url_policy: Arc<UrlPolicy>,
    pub(crate) bootstrap_key: Option<BootstrapKey>,
    pub(crate) keys: Arc<KeyRing>,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    pub(crate) registry: Arc<Registry>,
    pub(crate) waits: Arc<Waits>,
    pub(crate) draining: Arc<AtomicBool>,
    pub(crate) standing: Arc<dyn Standing>,
    pub(crate) arrivals: Arrivals,
    pub(crate) quota: Quota,
    /// What `/openapi.json` answers.
    pub(crate) document: Bytes,
}

impl Api {
    /// True if the operator still has this task.
    pub(crate) fn knows(&self, name: &TaskName) -> bool {
        self.tasks.now().task(name.as_str()).is_some()
    }
}

/// The API's own calls (who may make them is a line in [`crate::access`]), each with its description, which stands beside its handler: none is served that is not described.
fn calls() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(description::base())
        .routes(routes!(jobs::list, submit::submit))
        .routes(routes!(jobs::get, gone::delete))
        .routes(routes!(results::input))
        .routes(routes!(results::result))
        .routes(routes!(jobs::cancel))
        .routes(routes!(submit::rerun::rerun))
        .routes(routes!(submit::attach::attach))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::get))
        .routes(routes!(deliveries::resend))
        .routes(routes!(deliveries::cancel))
        .routes(routes!(tasks::list))
        .routes(routes!(tasks::get))
        .routes(routes!(tasks::pause))
        .routes(routes!(tasks::resume))
        .routes(routes!(endpoints::list, endpoints::create))
        .routes(routes!(endpoints::get, endpoints::update, endpoints::delete))
        .routes(routes!(endpoints::secret::get))
        .routes(routes!(endpoints::secret::rotate))
        .routes(routes!(endpoints::ping))
        .routes(routes!(endpoints::recovery::begin))
        .routes(routes!(endpoints::recovery::get, endpoints::recovery::stop))
        .routes(routes!(feeds::of_endpoint))
        .routes(routes!(feeds::of_tenant))
        .routes(routes!(secrets::get))
        .routes(routes!(secrets::rotate))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(tenants::list, tenants::create))
        .routes(routes!(tenants::delete))
        .routes(routes!(reseal::reseal))
        .routes(routes!(nodes::list))
        .routes(routes!(nodes::get))
        .routes(routes!(nodes::drain))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
}

/// What is the operator's: it can be moved to an address of its own.
fn operating() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::default()
        .routes(routes!(health::metrics))
        .routes(routes!(description::serve))
        .routes(routes!(description::docs))
        .routes(routes!(problem::page))
}

/// What `GET /openapi.json` answers: OpenAPI 3.1.
pub fn openapi(public_url: &str) -> String {
    description::finish(calls().merge(operating()).into_openapi(), public_url)
}

/// What can be called.
#[derive(Clone)]
pub struct Routers {
    /// All of it.
    pub everything: Router,
    /// The same without the operator's pages, for when those have an address of their own.
    pub without_operating: Router,
}

/// Everything that can be called.
pub fn router(parts: Parts) -> Router {
    routers(parts).everything
}

/// The same, taken apart.
pub fn routers(parts: Parts) -> Routers {
    let cors = cors::layer(&parts.cors_origins);
    let Limits { submit_per_tenant, waiting_per_tenant, .. } = parts.limits;
    let api = Arc::new(Api {
        quota: Quota::new(submit_per_tenant, waiting_per_tenant, parts.clock.clone()),
        engine: parts.engine,
        tasks: parts.tasks,
        clock: parts.clock,
        dice: parts.dice,
        vault: parts.vault,
        links: parts.links,
        document: openapi(&parts.public_url).into(),
        public_url: parts.public_url,
        url_policy: parts.url_policy,
        bootstrap_key: parts.bootstrap_key.as_deref().map(BootstrapKey::new),
        keys: parts.keys,
        limits: parts.limits,
        metrics: parts.metrics,
        registry: parts.registry,
        waits: parts.waits,
        draining: parts.draining,
        standing: parts.standing,
        arrivals: Arrivals::default(),
    });
    let serve = |calls: OpenApiRouter<Arc<Api>>| {
        let (router, _) = calls.split_for_parts();
        let router = router
            .fallback(request::not_found)
            .method_not_allowed_fallback(request::method_not_allowed)
            // On fallbacks too: under /v1 a missing key is told before a missing page.
            .layer(from_fn_with_state(Arc::clone(&api), request::enter))
            .with_state(Arc::clone(&api));
        // A browser's preflight bears no key: it is answered before one is asked for.
        match &cors {
            Some(cors) => router.layer(cors.clone()),
            None => router,
        }
    };
    Routers { everything: serve(calls().merge(operating())), without_operating: serve(calls()) }
}
