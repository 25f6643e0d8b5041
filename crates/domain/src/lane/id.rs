//! What a lane is called in rows.

use sha2::{Digest, Sha256};

use crate::id::{EndpointId, Tenant};

/// A lane's id: 63 bits, stored in rows. The low four are its priority, 0 first; the next two say that it is an endpoint's,
/// and which of its two; the rest is hashed, and two lanes that met would only share turns. The derivation is part of the
/// storage format.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Lane(pub i64);

const PRIORITY: i64 = 0b1111;
const ENDPOINT: i64 = 0b01_0000;
const BESIDE: i64 = 0b10_0000;

impl Lane {
    /// The lane of a job. Two tenants share a lane if their `fairness_key` is the same text: whoever takes the key
    /// from a submission puts the tenant into it.
    pub fn of_job(task: &str, fairness_key: &str, priority: u8) -> Self {
        Self::hashed("job", &[task.as_bytes(), fairness_key.as_bytes()], priority)
    }

    /// The lane of a registered endpoint's deliveries.
    pub fn of_endpoint(endpoint: EndpointId) -> Self {
        Self(Self::hashed("endpoint", &[&endpoint.to_bytes()], 0).0 | ENDPOINT)
    }

    /// The lane beside it: of what waits for no order, cap or breaker, such as a ping.
    pub fn beside_endpoint(endpoint: EndpointId) -> Self {
        Self(Self::of_endpoint(endpoint).0 | BESIDE)
    }

    /// The lane of deliveries to a callback URL: one a tenant and origin. `host` as the `url` crate writes it.
    pub fn of_host(tenant: Tenant, https: bool, host: &str, port: u16) -> Self {
        let (tenant, port) = (tenant.0.to_be_bytes(), port.to_be_bytes());
        Self::hashed("host", &[&tenant, &[u8::from(https)], &port, host.as_bytes()], 0)
    }

    /// 0 first; lower numbers go before higher ones of the same group.
    pub const fn priority(self) -> u8 {
        (self.0 & PRIORITY) as u8
    }

    /// What both lanes of an endpoint have in common: they are served by the same node, and by no other. `None` of every
    /// other lane.
    pub(crate) fn endpoint(self) -> Option<u64> {
        (self.0 & ENDPOINT != 0).then_some((self.0 & !(PRIORITY | BESIDE)) as u64)
    }

    fn hashed(kind: &str, parts: &[&[u8]], priority: u8) -> Self {
        let mut hash = Sha256::new().chain_update(kind);
        for part in parts {
            // Each part's length before it, so that no two lists of parts are the same bytes.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hash.finalize()[..8]);
        let bits = i64::from_be_bytes(first) & i64::MAX & !(PRIORITY | ENDPOINT | BESIDE);
        Self(bits | i64::from(priority).min(PRIORITY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_63_bits_with_the_priority_at_its_low_end() {
        for priority in 0..=9 {
            let lane = Lane::of_job("report", "acme", priority);
            assert!(lane.0 >= 0);
            assert_eq!(lane.priority(), priority);
            assert_eq!(lane.0 >> 4, Lane::of_job("report", "acme", 0).0 >> 4);
        }
        assert_eq!(Lane::of_job("report", "acme", 200).priority(), 15);
        assert_eq!(Lane::of_endpoint(EndpointId::from_u128(7)).priority(), 0);
        assert_eq!(Lane::of_host(Tenant(1), true, "a.example", 443).priority(), 0);
    }

    #[test]
    fn both_lanes_of_an_endpoint_are_known_as_its() {
        let id = EndpointId::from_u128(7);
        let (lane, beside) = (Lane::of_endpoint(id), Lane::beside_endpoint(id));
        assert!(lane.endpoint().is_some());
        assert_eq!(lane.endpoint(), beside.endpoint());
        assert_ne!(lane.endpoint(), Lane::of_endpoint(EndpointId::from_u128(8)).endpoint());
        for other in [Lane::of_job("report", "acme", 9), Lane::of_host(Tenant(1), true, "a.example", 443)] {
            assert_eq!(other.endpoint(), None);
        }
    }

    #[test]
    fn stays_what_is_stored() {
        assert_eq!(Lane::of_job("report", "acme", 5), Lane(3_026_972_737_837_405_253));
        assert_eq!(Lane::of_endpoint(EndpointId::from_u128(7)), Lane(8_802_817_998_128_449_360));
        assert_eq!(Lane::of_host(Tenant(1), true, "a.example", 443), Lane(7_847_294_166_443_843_904));
    }

    #[test]
    fn differs_in_every_part() {
        let lanes = [
            Lane::of_job("ab", "c", 0),
            Lane::of_job("a", "bc", 0),
            Lane::of_job("", "abc", 0),
            Lane::of_host(Tenant(1), true, "a.example", 443),
            Lane::of_host(Tenant(2), true, "a.example", 443),
            Lane::of_host(Tenant(1), false, "a.example", 443),
            Lane::of_host(Tenant(1), true, "b.example", 443),
            Lane::of_host(Tenant(1), true, "a.example", 8443),
            Lane::of_endpoint(EndpointId::from_u128(1)),
            Lane::of_endpoint(EndpointId::from_u128(2)),
            Lane::beside_endpoint(EndpointId::from_u128(1)),
            Lane::beside_endpoint(EndpointId::from_u128(2)),
        ];
        assert_eq!(std::collections::BTreeSet::from(lanes).len(), lanes.len());
    }
}
