//! Ids: TypeIDs (version 0.3), a prefix, `_`, and 26 characters of Crockford base32 holding a UUIDv7 (RFC 9562).
//! They sort by the time they were made, so that rows go in at the end of their index.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::Timestamp;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The text was not an id of the kind that was asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id of this kind")]
pub struct NotAnId;

fn uuid_v7(now: Timestamp, random: u128) -> u128 {
    let mut bytes = [0; 10];
    bytes.copy_from_slice(&random.to_be_bytes()[6..]);
    uuid::Builder::from_unix_timestamp_millis(now.unix_millis(), &bytes).into_uuid().as_u128()
}

/// The low `5 × N` bits in `N` characters.
pub(crate) fn write_base32<const N: usize>(f: &mut fmt::Formatter<'_>, value: u128) -> fmt::Result {
    let mut text = [0; N];
    for (place, slot) in text.iter_mut().enumerate() {
        *slot = ALPHABET[(value >> (5 * (N - 1 - place)) & 31) as usize];
    }
    f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
}

/// Five bits a character. The caller knows that they fit.
pub(crate) fn read_base32(text: &str) -> Result<u128, NotAnId> {
    text.bytes().try_fold(0_u128, |value, byte| {
        let digit = ALPHABET.iter().position(|&a| a == byte).ok_or(NotAnId)?;
        Ok(value << 5 | digit as u128)
    })
}

fn read_uuid(text: &str) -> Result<u128, NotAnId> {
    // The first of 26 characters holds three bits: 130 − 128.
    if text.len() != 26 || text.as_bytes()[0] > b'7' {
        return Err(NotAnId);
    }
    read_base32(text)
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// What the id starts with, without the `_`.
            pub const PREFIX: &str = $prefix;

            /// A new id of this moment; `random` needs 74 unpredictable bits at its low end.
            pub fn new(now: Timestamp, random: u128) -> Self {
                Self(uuid_v7(now, random))
            }

            /// From the 128 bits of the UUID.
            pub const fn from_u128(value: u128) -> Self {
                Self(value)
            }

            /// The 128 bits of the UUID.
            pub const fn as_u128(self) -> u128 {
                self.0
            }

            /// The UUID's bytes, in the order that sorts by time.
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!($prefix, "_"))?;
                write_base32::<26>(f, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                read_uuid(text.strip_prefix(concat!($prefix, "_")).ok_or(NotAnId)?).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                std::borrow::Cow::<'de, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// A tenant's public id. Rows carry its short number, [`Tenant`].
    TenantId = "ten";
    /// One accepted submission of a task.
    JobId = "job";
    /// Jobs submitted together.
    BatchId = "bat";
    /// A registered callback.
    EndpointId = "ep";
    /// Something that happened; `webhook-id` on the wire.
    EventId = "evt";
    /// One event on its way to one URL.
    DeliveryId = "dlv";
    /// One HTTP request to us, for logs and problems.
    RequestId = "req";
    /// What sends an endpoint again what it missed.
    RecoveryId = "rec";
}

/// A UUIDv7 with the time half of `origin` and a hash for the rest: the same input gives the same id.
fn derived(origin: u128, what: &[u8]) -> u128 {
    use sha2::Digest;
    let hash = sha2::Sha256::new().chain_update(origin.to_be_bytes()).chain_update(what).finalize();
    let mut low = [0; 16];
    low.copy_from_slice(&hash[..16]);
    let millis = i64::try_from(origin >> 80).unwrap_or(0);
    uuid_v7(Timestamp::from_micros(millis * 1_000), u128::from_be_bytes(low))
}

impl DeliveryId {
    /// The id of the `n`-th delivery of an event: derived, so that fanning one event out twice cannot make two.
    pub fn of(event: EventId, n: u32) -> Self {
        Self(derived(event.0, &n.to_be_bytes()))
    }
}

impl DeliveryId {
    /// The id of an event's delivery to an endpoint: one at most, however often it is fanned out.
    pub fn to_endpoint(event: EventId, endpoint: EndpointId) -> Self {
        Self(derived(event.0, &endpoint.to_bytes()))
    }
}

impl EventId {
    /// The id of a delivery's `delivery.failed`: one for each time that it became a dead letter.
    pub fn dead_letter(delivery: DeliveryId, attempt: u32) -> Self {
        Self(derived(delivery.0, &[&b"failed"[..], &attempt.to_be_bytes()].concat()))
    }

    /// The id of an `endpoint.disabled`: of the moment it happened at.
    pub fn disabled(endpoint: EndpointId, at: Timestamp) -> Self {
        let id = Self(derived(endpoint.0, &[&b"disabled"[..], &at.micros().to_be_bytes()].concat()));
        Self(uuid_v7(at, id.0))
    }

    /// The id of a job's `job.started`: derived, so that it happens once whatever is taken over or repeated.
    pub fn started(job: JobId) -> Self {
        Self(derived(job.0, b"started"))
    }
}

/// The short number of a tenant: the first part of every key in storage. `default` is 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tenant(pub i64);

impl Tenant {
    /// The tenant that the bootstrap key is admin of.
    pub const DEFAULT: Tenant = Tenant(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_vectors_of_the_typeid_spec() {
        for (uuid, suffix) in [
            (0, "00000000000000000000000000"),
            (1, "00000000000000000000000001"),
            (10, "0000000000000000000000000a"),
            (32, "00000000000000000000000010"),
            (u128::MAX, "7zzzzzzzzzzzzzzzzzzzzzzzzz"),
            (0x0110_c853_1d09_52d8_d73e_1194_e95b_5f19, "0123456789abcdefghjkmnpqrs"),
            (0x0189_0a5d_ac96_774b_bcce_b302_099a_8057, "01h455vb4pex5vsknk084sn02q"),
        ] {
            let id = JobId::from_u128(uuid);
            assert_eq!(id.to_string(), format!("job_{suffix}"));
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn refuses_every_other_spelling() {
        for text in [
            "",
            "job_",
            "job_0000000000000000000000000",
            "job_000000000000000000000000000",
            "job_8zzzzzzzzzzzzzzzzzzzzzzzzz",
            "job_0000000000000000000000000A",
            "job_0000000000000000000000000u",
            "job_0000000000000000000000000é",
            "evt_00000000000000000000000000",
            "00000000000000000000000000",
        ] {
            assert_eq!(text.parse::<JobId>(), Err(NotAnId), "{text}");
        }
    }

    #[test]
    fn is_version_7_and_sorts_by_time() {
        let [early, late] = [1_000_000, 1_001_000].map(|t| JobId::new(Timestamp::from_micros(t), u128::MAX));
        assert!(early < late);
        assert_eq!(early.as_u128() >> 76 & 0xf, 7);
        assert_eq!(early.as_u128() >> 62 & 0b11, 0b10);
    }

    #[test]
    fn a_delivery_is_derived_from_its_event_and_place() {
        let event = EventId::new(Timestamp::from_micros(5_000_000), 77);
        assert_eq!(DeliveryId::of(event, 0), DeliveryId::of(event, 0));
        assert_ne!(DeliveryId::of(event, 0), DeliveryId::of(event, 1));
        assert_eq!(DeliveryId::of(event, 3).as_u128() >> 80, event.as_u128() >> 80);
    }
}
