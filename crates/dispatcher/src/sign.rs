//! Signs what goes out: with the endpoint's secret or the callback's own if it brought one, else with the tenant's, and
//! with the previous one while that overlaps; and opens the headers that it brought. Secrets are read when an attempt is
//! signed; a reading serves for a second.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::{
    chance::Moment,
    header_rule::CustomHeaders,
    id::Tenant,
    seal::Place,
    signature::{SigningKey, sign_with},
    time::Timestamp,
    vault::{Vault, VaultError},
};
use storage::{ClaimedDelivery, Engine, StorageError};

/// How long a reading serves: a rotation on another node is heard of by no wake-up. One on this node ends it at once.
const FRESH: Duration = Duration::from_secs(1);
/// Readings are kept for so many tenants; beyond them all are read anew.
const KEPT: usize = 10_000;

pub(crate) struct Signer {
    engine: Arc<dyn Engine>,
    vault: Arc<Vault>,
    readings: Mutex<Readings>,
    /// One reads at a time: the others find what it read.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Readings {
    of: HashMap<Tenant, Reading>,
    /// Counts what [`Signer::forget`] was told, so that no reading from before a change is kept after it.
    changes: u64,
}

#[derive(Clone)]
struct Reading {
    keys: Arc<TenantKeys>,
    read_at: Timestamp,
}

struct TenantKeys {
    /// The current one, and then the previous one.
    keys: Vec<SigningKey>,
    /// On the wall clock, which is where it is shown.
    previous_until: Option<Timestamp>,
}

/// Why there is no signature: nothing that the receiver has a part in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsigned {
    #[error("the signing secret cannot be read: {0}")]
    Storage(#[from] StorageError),
    #[error("a signing secret or headers cannot be opened: {0}")]
    Vault(#[from] VaultError),
    #[error("there is no such tenant any more")]
    NoTenant,
}

impl Signer {
    pub(crate) fn new(engine: Arc<dyn Engine>, vault: Arc<Vault>) -> Self {
        Self { engine, vault, readings: Mutex::default(), reading: tokio::sync::Mutex::default() }
    }

    /// The tenant's secret changed.
    pub(crate) fn forget(&self, tenant: Tenant) {
        let mut readings = self.readings();
        readings.changes += 1;
        readings.of.remove(&tenant);
    }

    /// The value of `webhook-signature`.
    pub(crate) async fn sign(
        &self,
        delivery: &ClaimedDelivery,
        id: &str,
        at: Moment,
    ) -> Result<String, Unsigned> {
        let (body, seconds) = (delivery.body.as_bytes(), at.wall.seconds());
        if let Some(endpoint) = &delivery.endpoint {
            let place = Place::Endpoint(delivery.hold.tenant, endpoint.id);
            let previous = endpoint.previous.iter().filter(|(_, until)| at.wall < *until).map(|(old, _)| old);
            let keys: Result<Vec<_>, _> = std::iter::once(&endpoint.secret)
                .chain(previous)
                .map(|sealed| place.open(&self.vault, sealed).map(|secret| SigningKey::new(&secret)))
                .collect();
            return Ok(sign_with(id, seconds, body, &keys?));
        }
        if let (Some(sealed), Some(job)) = (&delivery.target.secret, delivery.job) {
            let place = Place::Callback(delivery.hold.tenant, job);
            let key = SigningKey::new(&place.open(&self.vault, sealed)?);
            return Ok(sign_with(id, seconds, body, &[key]));
        }
        let keys = self.keys(delivery.hold.tenant, at.now).await?;
        let overlaps = keys.previous_until.is_some_and(|until| at.wall < until);
        let signing = if overlaps { &keys.keys[..] } else { &keys.keys[..1] };
        Ok(sign_with(id, seconds, body, signing))
    }

    /// The headers that the callback brought.
    pub(crate) fn headers(&self, delivery: &ClaimedDelivery) -> Result<CustomHeaders, Unsigned> {
        let Some(sealed) = &delivery.target.headers else { return Ok(CustomHeaders::default()) };
        let tenant = delivery.hold.tenant;
        let place = match (&delivery.endpoint, delivery.job) {
            (Some(endpoint), _) => Place::EndpointHeaders(tenant, endpoint.id),
            (None, Some(job)) => Place::CallbackHeaders(tenant, job),
            (None, None) => return Ok(CustomHeaders::default()),
        };
        Ok(place.open_headers(&self.vault, sealed)?)
    }

    async fn keys(&self, tenant: Tenant, now: Timestamp) -> Result<Arc<TenantKeys>, Unsigned> {
        if let Some(keys) = self.kept(tenant, now) {
            return Ok(keys);
        }
        let _reading = self.reading.lock().await;
        if let Some(keys) = self.kept(tenant, now) {
            return Ok(keys);
        }
        let changes = self.readings().changes;
        let secrets = self.engine.signing_secrets(tenant).await?.ok_or(Unsigned::NoTenant)?;
        let place = Place::Tenant(tenant);
        let mut keys = vec![SigningKey::new(&place.open(&self.vault, &secrets.current)?)];
        let previous_until = match &secrets.previous {
            Some((sealed, until)) => {
                keys.push(SigningKey::new(&place.open(&self.vault, sealed)?));
                Some(*until)
            }
            None => None,
        };
        let keys = Arc::new(TenantKeys { keys, previous_until });
        let mut readings = self.readings();
        if readings.changes == changes {
            if readings.of.len() >= KEPT {
                readings.of.clear();
            }
            readings.of.insert(tenant, Reading { keys: keys.clone(), read_at: now });
        }
        Ok(keys)
    }

    fn kept(&self, tenant: Tenant, now: Timestamp) -> Option<Arc<TenantKeys>> {
        let readings = self.readings();
        let reading = readings.of.get(&tenant)?;
        (now.since(reading.read_at) < FRESH).then(|| reading.keys.clone())
    }

    fn readings(&self) -> MutexGuard<'_, Readings> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
