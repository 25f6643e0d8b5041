//! Keys as they were read a moment ago, so that a call costs no look into storage.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::{access::KeyId, time::Timestamp};
use storage::{Engine, KeyEntry, Listener, StorageError, Wake};

use crate::auth::{Bearer, Caller};

/// How long a reading serves: a key that another node revoked works here for as long. One that this node revoked is
/// forgotten with the commit.
pub(crate) const FRESH: Duration = Duration::from_secs(1);
/// From this age on one caller reads anew while the others are served, so that a busy key never makes them all wait.
const AGEING: Duration = Duration::from_millis(500);
/// So many readings are kept; a key beyond them is read for every call.
const KEPT: usize = 10_000;

/// What was read of the keys that are in use. The engine knows it as a [`Listener`].
#[derive(Default)]
pub struct KeyRing(Mutex<Readings>);

#[derive(Default)]
struct Readings {
    of: HashMap<KeyId, Reading>,
    /// Counts revocations, so that no reading from before one is kept after it.
    revocations: u64,
}

struct Reading {
    known: Known,
    read_at: Timestamp,
    /// Somebody reads it anew.
    awaited: bool,
}

/// A key, as it is compared and used.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    /// SHA-256 of its secret.
    pub(crate) hash: [u8; 32],
    /// Who bears it.
    pub(crate) bearer: Bearer,
}

impl From<KeyEntry> for Known {
    fn from(key: KeyEntry) -> Self {
        let caller = Caller { tenant: key.tenant, roles: key.role.into() };
        Self { hash: key.hash, bearer: Bearer { caller, bound: key.endpoint } }
    }
}

impl KeyRing {
    /// Nothing has been read yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn lock(&self) -> MutexGuard<'_, Readings> {
        // Nothing that is done under the lock can be half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what was heard of revocations.
    pub(crate) fn revocations(&self) -> u64 {
        self.lock().revocations
    }

    /// The key with this id, as of a second ago or less. A key that is not there is looked for each time, so that a new
    /// one works at once on every node.
    pub(crate) async fn find(
        &self,
        engine: &dyn Engine,
        id: KeyId,
        now: Timestamp,
    ) -> Result<Option<Known>, StorageError> {
        let revocations = {
            let mut readings = self.lock();
            if let Some(known) = readings.serve(id, now) {
                return Ok(Some(known));
            }
            readings.revocations
        };
        match engine.key(id).await {
            Ok(found) => {
                let known = found.map(Known::from);
                self.lock().keep(id, known, now, revocations);
                Ok(known)
            }
            // An outage ends nothing that is still fresh.
            Err(error) => self.lock().fresh(id, now).map(Some).ok_or(error),
        }
    }
}

impl Readings {
    fn fresh(&self, id: KeyId, now: Timestamp) -> Option<Known> {
        let reading = self.of.get(&id)?;
        (now.since(reading.read_at) < FRESH).then_some(reading.known)
    }

    /// `None`: the caller is to read it.
    fn serve(&mut self, id: KeyId, now: Timestamp) -> Option<Known> {
        let reading = self.of.get_mut(&id)?;
        let age = now.since(reading.read_at);
        let is_mine_to_read =
            age >= FRESH || (age >= AGEING && !std::mem::replace(&mut reading.awaited, true));
        (!is_mine_to_read).then_some(reading.known)
    }

    fn keep(&mut self, id: KeyId, known: Option<Known>, now: Timestamp, revocations: u64) {
        let Some(known) = known.filter(|_| self.revocations == revocations) else {
            self.of.remove(&id);
            return;
        };
        if self.of.len() >= KEPT {
            self.of.retain(|_, reading| now.since(reading.read_at) < FRESH);
        }
        if self.of.len() < KEPT || self.of.contains_key(&id) {
            self.of.insert(id, Reading { known, read_at: now, awaited: false });
        }
    }
}

impl Listener for KeyRing {
    fn woken(&self, wakes: &[Wake]) {
        // A commit whose outcome was lost may have been a revocation.
        if wakes.iter().any(|wake| matches!(wake, Wake::KeysRevoked | Wake::Uncertain)) {
            let mut readings = self.lock();
            readings.revocations += 1;
            readings.of.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{
        access::{Role, Roles},
        id::Tenant,
    };

    use super::*;

    fn id(n: u128) -> KeyId {
        KeyId::from_u128(n)
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(millis * 1_000)
    }

    fn known(tenant: i64) -> Option<Known> {
        let caller = Caller { tenant: Tenant(tenant), roles: Roles::from(Role::Admin) };
        Some(Known { hash: [0; 32], bearer: Bearer { caller, bound: None } })
    }

    #[test]
    fn serves_for_a_second_and_is_read_anew_by_one() {
        let mut readings = Readings::default();
        readings.keep(id(1), known(1), at(0), 0);
        for (millis, served) in
            [(0, true), (499, true), (500, false), (500, true), (999, true), (1_000, false), (1_000, false)]
        {
            assert_eq!(readings.serve(id(1), at(millis)).is_some(), served, "{millis}");
        }
        assert!(readings.serve(id(2), at(0)).is_none());
        readings.keep(id(1), known(1), at(1_000), 0);
        assert!(readings.serve(id(1), at(1_499)).is_some());
        readings.keep(id(1), None, at(1_000), 0);
        assert!(readings.serve(id(1), at(1_000)).is_none(), "it is gone");
    }

    #[test]
    fn a_revocation_ends_what_was_read_before_it() {
        let ring = KeyRing::new();
        ring.lock().keep(id(1), known(1), at(0), 0);
        ring.woken(&[Wake::SecretsChanged { tenant: Tenant(1) }]);
        assert!(ring.lock().serve(id(1), at(0)).is_some());
        ring.woken(&[Wake::KeysRevoked]);
        assert!(ring.lock().serve(id(1), at(0)).is_none());
        ring.lock().keep(id(1), known(1), at(0), 0);
        assert!(ring.lock().serve(id(1), at(0)).is_none(), "it was read before the revocation");
        ring.lock().keep(id(1), known(1), at(0), 1);
        assert!(ring.lock().serve(id(1), at(0)).is_some());
        ring.woken(&[Wake::Uncertain]);
        assert!(ring.lock().serve(id(1), at(0)).is_none());
    }

    #[test]
    fn is_bounded() {
        let mut readings = Readings::default();
        for n in 0..KEPT as u128 {
            readings.keep(id(n), known(1), at(0), 0);
        }
        readings.keep(id(u128::MAX), known(1), at(0), 0);
        assert_eq!((readings.of.len(), readings.serve(id(u128::MAX), at(0)).is_some()), (KEPT, false));
        readings.keep(id(u128::MAX), known(1), at(1_000), 0);
        assert_eq!(readings.of.len(), 1, "what is stale makes room");
    }
}
