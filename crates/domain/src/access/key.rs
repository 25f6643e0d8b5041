//! An API key: `rbk_`, an id of 16 characters, `_`, and 43 characters of base64url that are the secret.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    id::{NotAnId, read_base32, write_base32},
    time::Timestamp,
};

const PREFIX: &str = "rbk_";

/// Characters of an id: 80 bits.
const ID: usize = 16;

/// What a key is found by and named by. No secret: it is shown in lists and logs.
///
/// 48 bits of the millisecond in which it was made, 32 of chance, in Crockford's base32: ids sort by age.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u128);

impl KeyId {
    /// A new id of this moment; `random` needs 32 unpredictable bits at its low end.
    pub fn new(now: Timestamp, random: u128) -> Self {
        Self(u128::from(now.unix_millis()) << 32 & ((1 << 80) - 1) | random & 0xffff_ffff)
    }

    /// From its 80 bits; what is above them is cut off.
    pub const fn from_u128(value: u128) -> Self {
        Self(value & ((1 << 80) - 1))
    }

    /// Its 80 bits.
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    /// In 16 bytes, in the order that sorts by age.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_base32::<ID>(f, self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        if text.len() == ID { read_base32(text).map(Self) } else { Err(NotAnId) }
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// A key with its secret. Wiped from memory when dropped, silent in `Debug`.
pub struct ApiKey {
    id: KeyId,
    secret: Zeroizing<[u8; 32]>,
}

/// The text was no key of ours. Holds nothing of it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an API key is rbk_, 16 characters, _, and 43 characters of base64url")]
pub struct NotAnApiKey;

impl ApiKey {
    /// A new key; `secret` is random bytes of the operating system.
    pub fn new(id: KeyId, secret: [u8; 32]) -> Self {
        Self { id, secret: Zeroizing::new(secret) }
    }

    /// Reads the text that [`ApiKey::expose`] wrote; each key has one spelling.
    ///
    /// # Errors
    /// For anything else.
    pub fn parse(text: &str) -> Result<Self, NotAnApiKey> {
        let (id, secret) =
            text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).ok_or(NotAnApiKey)?;
        let id = id.parse().map_err(|_| NotAnApiKey)?;
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(secret).map_err(|_| NotAnApiKey)?);
        let secret = Zeroizing::new(bytes.as_slice().try_into().map_err(|_| NotAnApiKey)?);
        Ok(Self { id, secret })
    }

    /// What it is found by.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The whole text. For the one answer that shows it, and the commands that make keys.
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, URL_SAFE_NO_PAD.encode(*self.secret))
    }

    /// SHA-256 of the secret: what is kept of it. The secret is 256 random bits, so that no slower hash is of use.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret.as_slice()).into()
    }

    /// Whether this is the key of which `hash` was kept. Takes as long whatever differs.
    pub fn is(&self, hash: &[u8; 32]) -> bool {
        self.hash().ct_eq(hash).into()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}, …)", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> ApiKey {
        ApiKey::new(KeyId::new(Timestamp::from_micros(1_767_225_600_000_000), 7), [byte; 32])
    }

    #[test]
    fn reads_back_what_it_shows() {
        let text = key(0xfb).expose();
        assert_eq!(text.len(), 4 + 16 + 1 + 43);
        assert_eq!(text, format!("rbk_06dqdpn800000007_{}s", "-_v7".repeat(10) + "-_"), "{text}");
        let read = ApiKey::parse(&text).unwrap();
        assert_eq!((read.id(), read.hash()), (key(0xfb).id(), key(0xfb).hash()));
        assert!(read.is(&key(0xfb).hash()) && !read.is(&key(0xfa).hash()));
        assert_eq!(format!("{read:?}"), "ApiKey(06dqdpn800000007, …)");
    }

    #[test]
    fn refuses_every_other_spelling() {
        let text = key(0).expose();
        let (head, secret) = text.split_at(21);
        for wrong in [
            "".to_owned(),
            "rbk_".to_owned(),
            text.to_uppercase(),
            text[1..].to_owned(),
            format!("{text}A"),
            format!("{text}="),
            format!(" {text}"),
            text[..63].to_owned(),
            // The last character holds two bits that say nothing: only one spelling has them 0.
            format!("{head}{}B", &secret[..42]),
            format!("rbk_{}_{secret}", "u".repeat(16)),
            format!("rbk_{}_{secret}", "0".repeat(15)),
            format!("rbk_{}_{secret}", "0".repeat(17)),
            format!("rbk_{}_{secret}", "é".repeat(8)),
        ] {
            assert_eq!(ApiKey::parse(&wrong).map(|_| ()), Err(NotAnApiKey), "{wrong}");
        }
    }

    #[test]
    fn ids_sort_by_age() {
        let at = |micros, random| KeyId::new(Timestamp::from_micros(micros), random);
        let (early, late) = (at(1_767_225_600_000_000, u128::MAX), at(1_767_225_600_001_000, 0));
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(KeyId::from_u128(late.as_u128()), late);
        assert_eq!(late.to_string().parse(), Ok(late));
    }
}
