//! Whole rows under the vault's current key: what a row holds is sealed anew where another key sealed it.

use std::sync::Arc;

use crate::{
    callback::{Callback, Callbacks, Sealed},
    endpoint::{Endpoint, Settings},
    id::{JobId, Tenant},
    seal::Place,
    vault::{Vault, VaultError},
};

/// Seals the values of one row and knows whether that changed any.
struct Row<'a, N> {
    vault: &'a Vault,
    nonce: N,
    changed: bool,
}

impl<N: FnMut() -> [u8; 24]> Row<'_, N> {
    fn value(&mut self, place: Place, sealed: &Sealed) -> Result<Sealed, VaultError> {
        let resealed = place.reseal(self.vault, sealed, (self.nonce)())?;
        self.changed |= resealed.is_some();
        Ok(resealed.unwrap_or_else(|| sealed.clone()))
    }

    fn optional(&mut self, place: Place, sealed: Option<&Sealed>) -> Result<Option<Sealed>, VaultError> {
        sealed.map(|sealed| self.value(place, sealed)).transpose()
    }
}

/// A job's callbacks with everything in them sealed under the vault's current key; `None` if it all was. `nonce` gives
/// random ones.
///
/// # Errors
/// If we have not the key of something, or it was not sealed for this job.
pub fn reseal_callbacks(
    vault: &Vault,
    (tenant, job): (Tenant, JobId),
    callbacks: &Callbacks,
    nonce: impl FnMut() -> [u8; 24],
) -> Result<Option<Callbacks>, VaultError> {
    let mut row = Row { vault, nonce, changed: false };
    let resealed = callbacks.try_map(|callback| {
        let secret = row.optional(Place::Callback(tenant, job), callback.secret.as_ref())?;
        let headers = row.optional(Place::CallbackHeaders(tenant, job), callback.headers.as_ref())?;
        Ok(Callback { secret, headers, ..callback.clone() })
    })?;
    Ok(row.changed.then_some(resealed))
}

/// The version of an endpoint that follows it, with everything in it sealed under the vault's current key; `None` if it
/// all was. `nonce` gives random ones.
///
/// # Errors
/// If we have not the key of something, or it was not sealed for this endpoint.
pub fn reseal_endpoint(
    vault: &Vault,
    endpoint: &Endpoint,
    nonce: impl FnMut() -> [u8; 24],
) -> Result<Option<Endpoint>, VaultError> {
    let mut row = Row { vault, nonce, changed: false };
    let signs = Place::Endpoint(endpoint.tenant, endpoint.id);
    let secret = row.value(signs, &endpoint.secret)?;
    let previous = match &endpoint.previous {
        Some((sealed, until)) => Some((row.value(signs, sealed)?, *until)),
        None => None,
    };
    let target = &endpoint.settings.target;
    let headers =
        row.optional(Place::EndpointHeaders(endpoint.tenant, endpoint.id), target.headers.as_ref())?;
    if !row.changed {
        return Ok(None);
    }
    let target = Arc::new(Callback { headers, ..Callback::clone(target) });
    Ok(Some(Endpoint {
        version: endpoint.version + 1,
        secret,
        previous,
        settings: Settings { target, ..endpoint.settings.clone() },
        ..endpoint.clone()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::EventSet, header_rule::CustomHeaders, id::EndpointId, secret::Secret, time::Timestamp,
        vault::MasterKey,
    };

    struct Keys {
        before: Vault,
        both: Vault,
        only: Vault,
    }

    fn keys() -> Keys {
        let [old, new] = [1, 2].map(|byte| MasterKey::from_bytes([byte; 32]));
        Keys {
            before: Vault::new(old.clone()),
            both: Vault::new(new.clone()).with_previous(old),
            only: Vault::new(new),
        }
    }

    fn headers() -> CustomHeaders {
        CustomHeaders::judge([("x-tag".to_owned(), "a".to_owned())]).unwrap()
    }

    fn nonces() -> impl FnMut() -> [u8; 24] {
        let mut nonce = 10;
        move || {
            nonce += 1;
            [nonce; 24]
        }
    }

    #[test]
    fn callbacks_are_sealed_anew_where_they_are_under_another_key() {
        let Keys { before, both, only } = keys();
        let (at, other) = ((Tenant(1), JobId::from_u128(1)), (Tenant(1), JobId::from_u128(2)));
        let headers = headers();
        let plain = Callback {
            url: crate::callback_url::CallbackUrl::stored("https://a.example/").unwrap(),
            events: EventSet::TERMINAL,
            headers: None,
            secret: None,
            retry: None,
            timeout: None,
        };
        let sealed = Callback {
            headers: Some(Place::CallbackHeaders(at.0, at.1).seal_headers(&before, &headers, [1; 24])),
            secret: Some(Place::Callback(at.0, at.1).seal(&before, &Secret::from_bytes([7; 32]), [2; 24])),
            ..plain.clone()
        };
        let all = Callbacks::new(vec![plain.clone(), sealed]);
        let mut next = nonces();
        let anew = reseal_callbacks(&both, at, &all, &mut next).unwrap().expect("two are under the old key");
        let read = Callbacks::stored(anew.as_text()).unwrap();
        let second = read.get(1).unwrap();
        let opened = Place::CallbackHeaders(at.0, at.1).open_headers(&only, second.headers.as_ref().unwrap());
        assert_eq!(opened, Ok(headers));
        assert!(Place::Callback(at.0, at.1).open(&only, second.secret.as_ref().unwrap()).is_ok());
        assert!(reseal_callbacks(&both, at, &anew, &mut next).unwrap().is_none(), "once");
        assert!(reseal_callbacks(&both, at, &Callbacks::new(vec![plain]), &mut next).unwrap().is_none());
        assert!(reseal_callbacks(&only, at, &all, &mut next).is_err(), "the old key is not there");
        assert!(reseal_callbacks(&both, other, &all, &mut next).is_err(), "another job's");
    }

    #[test]
    fn an_endpoint_is_sealed_anew_as_its_next_version() {
        let Keys { before, both, only } = keys();
        let plain = crate::endpoint::tests::endpoint(EventSet::TERMINAL, None);
        let (signs, bears) =
            (Place::Endpoint(plain.tenant, plain.id), Place::EndpointHeaders(plain.tenant, plain.id));
        let [current, previous] = [7, 8].map(|byte| Secret::from_bytes([byte; 32]));
        let until = Timestamp::from_micros(5);
        let target = Callback {
            headers: Some(bears.seal_headers(&before, &headers(), [1; 24])),
            ..Callback::clone(&plain.settings.target)
        };
        let sealed = Endpoint {
            // Rotated under the new key already: the other two are not.
            secret: signs.seal(&both, &current, [2; 24]),
            previous: Some((signs.seal(&before, &previous, [3; 24]), until)),
            settings: Settings { target: Arc::new(target), ..plain.settings.clone() },
            ..plain.clone()
        };
        let anew = reseal_endpoint(&both, &sealed, nonces()).unwrap().expect("two are under the old key");
        assert_eq!((anew.version, &anew.secret), (sealed.version + 1, &sealed.secret));
        let (resealed, still) = anew.previous.clone().unwrap();
        assert_eq!(signs.open(&only, &resealed).map(|secret| secret.expose()), Ok(previous.expose()));
        assert_eq!(still, until);
        let bearing = anew.settings.target.headers.as_ref().unwrap();
        assert_eq!(bears.open_headers(&only, bearing), Ok(headers()));
        assert!(reseal_endpoint(&both, &anew, nonces()).unwrap().is_none(), "once");
        assert!(reseal_endpoint(&only, &sealed, nonces()).is_err(), "the old key is not there");
        let elsewhere = Endpoint { id: EndpointId::from_u128(8), ..sealed };
        assert!(reseal_endpoint(&both, &elsewhere, nonces()).is_err(), "another endpoint's");
    }
}
