//! Where each sealed value lives, and with that the associated data that binds it there: whoever seals and whoever
//! opens call the same function.

use zeroize::Zeroizing;

use crate::{
    callback::Sealed,
    header_rule::CustomHeaders,
    id::{EndpointId, JobId, Tenant},
    secret::Secret,
    vault::{Vault, VaultError, aad},
};

/// The place of a sealed value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// A tenant's own, current or previous.
    Tenant(Tenant),
    /// One given with a callback of this job.
    Callback(Tenant, JobId),
    /// An endpoint's own, current or previous.
    Endpoint(Tenant, EndpointId),
    /// The headers of an endpoint.
    EndpointHeaders(Tenant, EndpointId),
    /// The headers given with a callback of this job.
    CallbackHeaders(Tenant, JobId),
}

impl Place {
    fn aad(self) -> Vec<u8> {
        match self {
            Place::Tenant(tenant) => aad("tenants", b"secret", tenant),
            Place::Callback(tenant, job) => aad("jobs", &job.to_bytes(), tenant),
            Place::Endpoint(tenant, endpoint) => aad("endpoints", &endpoint.to_bytes(), tenant),
            Place::EndpointHeaders(tenant, endpoint) => {
                aad("endpoints.headers", &endpoint.to_bytes(), tenant)
            }
            Place::CallbackHeaders(tenant, job) => aad("jobs.headers", &job.to_bytes(), tenant),
        }
    }

    /// Seals a secret for this place. `nonce` is random.
    pub fn seal(self, vault: &Vault, secret: &Secret, nonce: [u8; 24]) -> Sealed {
        // The text form: it says itself what it is, and any size of key reads back by the one rule there is.
        let text = Zeroizing::new(secret.expose());
        Sealed(vault.seal(text.as_bytes(), &self.aad(), nonce))
    }

    /// Opens what was sealed for this place.
    ///
    /// # Errors
    /// If we have not the key, or it was not sealed for this place.
    pub fn open(self, vault: &Vault, sealed: &Sealed) -> Result<Secret, VaultError> {
        let text = vault.open(&sealed.0, &self.aad())?;
        std::str::from_utf8(&text)
            .ok()
            .and_then(|text| Secret::parse_any(text).ok())
            .ok_or(VaultError::Damaged)
    }

    /// Seals headers for this place. `nonce` is random.
    pub fn seal_headers(self, vault: &Vault, headers: &CustomHeaders, nonce: [u8; 24]) -> Sealed {
        // Strings always make JSON.
        let text = Zeroizing::new(serde_json::to_vec(headers).unwrap_or_default());
        Sealed(vault.seal(&text, &self.aad(), nonce))
    }

    /// Opens what [`Place::seal_headers`] made for this place.
    ///
    /// # Errors
    /// If we have not the key, or it was not sealed for this place.
    pub fn open_headers(self, vault: &Vault, sealed: &Sealed) -> Result<CustomHeaders, VaultError> {
        let text = vault.open(&sealed.0, &self.aad())?;
        serde_json::from_slice(&text).map_err(|_| VaultError::Damaged)
    }

    /// The same value under the vault's current key; `None` if that sealed it already. `nonce` is random.
    ///
    /// # Errors
    /// If we have not its key, or it was not sealed for this place.
    pub fn reseal(
        self,
        vault: &Vault,
        sealed: &Sealed,
        nonce: [u8; 24],
    ) -> Result<Option<Sealed>, VaultError> {
        if vault.is_current(&sealed.0) {
            return Ok(None);
        }
        let plaintext = vault.open(&sealed.0, &self.aad())?;
        Ok(Some(Sealed(vault.seal(&plaintext, &self.aad(), nonce))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::MasterKey;

    #[test]
    fn opens_in_its_own_place_only() {
        let vault = Vault::new(MasterKey::from_bytes([1; 32]));
        let secret = Secret::from_bytes([7; 32]);
        let places = [
            Place::Tenant(Tenant(1)),
            Place::Tenant(Tenant(2)),
            Place::Callback(Tenant(1), JobId::from_u128(1)),
            Place::Callback(Tenant(1), JobId::from_u128(2)),
            Place::Callback(Tenant(2), JobId::from_u128(1)),
            Place::Endpoint(Tenant(1), EndpointId::from_u128(1)),
            Place::Endpoint(Tenant(2), EndpointId::from_u128(1)),
            Place::EndpointHeaders(Tenant(1), EndpointId::from_u128(1)),
            Place::EndpointHeaders(Tenant(2), EndpointId::from_u128(1)),
            Place::CallbackHeaders(Tenant(1), JobId::from_u128(1)),
            Place::CallbackHeaders(Tenant(1), JobId::from_u128(2)),
            Place::CallbackHeaders(Tenant(2), JobId::from_u128(1)),
        ];
        for sealed_for in places {
            let sealed = sealed_for.seal(&vault, &secret, [3; 24]);
            for opened_at in places {
                let opened = opened_at.open(&vault, &sealed).map(|secret| secret.expose());
                let expected = (opened_at == sealed_for).then(|| secret.expose()).ok_or(VaultError::Damaged);
                assert_eq!(opened, expected, "{sealed_for:?} at {opened_at:?}");
            }
        }
    }

    #[test]
    fn headers_read_back_and_are_not_there_to_be_read() {
        let vault = Vault::new(MasterKey::from_bytes([1; 32]));
        let pairs = [("x-tag", "a\tb"), ("authorization", "Bearer hunter2")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let headers = CustomHeaders::judge(pairs).unwrap();
        let place = Place::CallbackHeaders(Tenant(1), JobId::from_u128(1));
        let sealed = place.seal_headers(&vault, &headers, [3; 24]);
        assert_eq!(place.open_headers(&vault, &sealed), Ok(headers));
        assert!(!sealed.0.windows(7).any(|window| window == b"hunter2"));
    }

    #[test]
    fn is_sealed_anew_once() {
        let [old, new] = [1, 2].map(|byte| MasterKey::from_bytes([byte; 32]));
        let place = Place::Callback(Tenant(1), JobId::from_u128(1));
        let secret = Secret::from_bytes([7; 32]);
        let sealed = place.seal(&Vault::new(old.clone()), &secret, [3; 24]);
        let both = Vault::new(new.clone()).with_previous(old.clone());
        let resealed = place.reseal(&both, &sealed, [4; 24]).unwrap().expect("it was under the old key");
        assert_eq!(place.reseal(&both, &resealed, [5; 24]), Ok(None));
        let only = Vault::new(new);
        assert_eq!(place.open(&only, &resealed).map(|secret| secret.expose()), Ok(secret.expose()));
        assert!(matches!(place.reseal(&only, &sealed, [6; 24]), Err(VaultError::OtherKey { .. })));
        let elsewhere = Place::Callback(Tenant(2), JobId::from_u128(1));
        assert_eq!(elsewhere.reseal(&both, &sealed, [7; 24]), Err(VaultError::Damaged));
    }
}
