//! How far the walk over what is sealed is, and the same as a cursor.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use domain::id::{EndpointId, JobId, Tenant};

/// Behind which row: first all tenants, then all endpoints, then all jobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum At {
    Tenants(Tenant),
    Endpoints(Tenant, EndpointId),
    Jobs(Tenant, JobId),
}

impl Default for At {
    fn default() -> Self {
        Self::Tenants(Tenant(0))
    }
}

impl At {
    pub(super) fn read(text: &str) -> Option<Self> {
        let bytes: [u8; 25] = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (stage, rest) = bytes.split_first()?;
        let (tenant, id) = rest.split_first_chunk::<8>()?;
        let (tenant, id) = (Tenant(i64::from_be_bytes(*tenant)), u128::from_be_bytes(id.try_into().ok()?));
        match stage {
            b't' if id == 0 => Some(Self::Tenants(tenant)),
            b'e' => Some(Self::Endpoints(tenant, EndpointId::from_u128(id))),
            b'j' => Some(Self::Jobs(tenant, JobId::from_u128(id))),
            _ => None,
        }
    }

    pub(super) fn write(self) -> String {
        let (stage, tenant, id) = match self {
            Self::Tenants(tenant) => (b't', tenant, [0; 16]),
            Self::Endpoints(tenant, id) => (b'e', tenant, id.to_bytes()),
            Self::Jobs(tenant, id) => (b'j', tenant, id.to_bytes()),
        };
        BASE64_URL_SAFE_NO_PAD.encode([&[stage][..], &tenant.0.to_be_bytes(), &id].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_read_back() {
        for at in [
            At::default(),
            At::Tenants(Tenant(i64::MAX)),
            At::Endpoints(Tenant(7), EndpointId::from_u128(u128::MAX)),
            At::Jobs(Tenant(7), JobId::from_u128(u128::MAX)),
        ] {
            assert_eq!(At::read(&at.write()), Some(at));
        }
        for text in ["", "x", &At::default().write()[1..], &"é".repeat(17), &"A".repeat(34)] {
            assert_eq!(At::read(text), None, "{text}");
        }
    }
}
