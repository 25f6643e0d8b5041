//! Signing secrets, in the form of Standard Webhooks 1.0: `whsec_` and the base64 of 24 to 64 bytes, or `whsk_` and that of an
//! Ed25519 pair, whose public half is `whpk_`.

use std::{fmt, str::FromStr};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::delivery::words;

const PREFIX: &str = "whsec_";
const PAIR_PREFIX: &str = "whsk_";
const PUBLIC_PREFIX: &str = "whpk_";

words! {
    /// How webhooks to an endpoint are signed.
    Scheme, NotAScheme:
    /// HMAC-SHA256: `v1`, under a secret that both sides know.
    Hmac = 0, "hmac";
    /// Ed25519: `v1a`, by a key of ours alone.
    Ed25519 = 1, "ed25519";
}

/// The sizes of a key that Standard Webhooks allows, in bytes.
const KEY_SIZES: std::ops::RangeInclusive<usize> = 24..=64;

/// What signs: a symmetric secret, or an Ed25519 pair. Wiped from memory when dropped; shows itself only when asked to by
/// name.
#[derive(Clone)]
pub struct Secret(Kind);

#[derive(Clone)]
enum Kind {
    Symmetric(Zeroizing<Vec<u8>>),
    /// Its seed, of which the rest follows.
    Pair(Zeroizing<[u8; 32]>),
}

/// The public half of an Ed25519 pair: verifies, and signs nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicKey([u8; 32]);

/// Why a text is no secret. Holds nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotASecret {
    /// It does not start as a symmetric secret does.
    #[error("a signing secret starts with whsec_")]
    Prefix,
    /// What follows the prefix is not what every reference library decodes: standard alphabet, padded, canonical.
    #[error("a signing secret is whsec_ and then base64 in the standard alphabet, with padding")]
    Base64,
    /// The key is too short to be safe, or longer than the standard allows.
    #[error("a signing secret holds 24 to 64 bytes")]
    Size,
    /// An Ed25519 key of another length, or of two halves that do not belong together.
    #[error(
        "whsk_ holds an Ed25519 key: its 32 bytes, or 64 with the public half behind them; whpk_ the public 32"
    )]
    Pair,
}

impl Secret {
    /// Reads `whsec_<base64>`.
    ///
    /// # Errors
    /// If receivers' libraries would not read it, or its size is outside the standard's.
    pub fn parse(text: &str) -> Result<Self, NotASecret> {
        let encoded = text.strip_prefix(PREFIX).ok_or(NotASecret::Prefix)?;
        let key = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| NotASecret::Base64)?);
        if KEY_SIZES.contains(&key.len()) { Ok(Self(Kind::Symmetric(key))) } else { Err(NotASecret::Size) }
    }

    /// Reads `whsec_…`, or `whsk_…`: the 32 bytes of an Ed25519 key, alone or with its public half behind them.
    ///
    /// # Errors
    /// As [`Secret::parse`], and if the halves do not belong together.
    pub fn parse_any(text: &str) -> Result<Self, NotASecret> {
        let Some(encoded) = text.strip_prefix(PAIR_PREFIX) else { return Self::parse(text) };
        let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| NotASecret::Base64)?);
        let (seed, public) = bytes.split_at_checked(32).ok_or(NotASecret::Pair)?;
        let secret = Self::pair_from_seed(seed.try_into().map_err(|_| NotASecret::Pair)?);
        let belongs = public.is_empty() || secret.public().is_some_and(|half| half.0 == *public);
        if belongs { Ok(secret) } else { Err(NotASecret::Pair) }
    }

    /// One of this scheme, from random bytes of the operating system.
    pub fn of_scheme(scheme: Scheme, bytes: [u8; 32]) -> Self {
        match scheme {
            Scheme::Hmac => Self::from_bytes(bytes),
            Scheme::Ed25519 => Self::pair_from_seed(bytes),
        }
    }

    fn pair_from_seed(seed: [u8; 32]) -> Self {
        Self(Kind::Pair(Zeroizing::new(seed)))
    }

    /// How it signs.
    pub fn scheme(&self) -> Scheme {
        match self.0 {
            Kind::Symmetric(_) => Scheme::Hmac,
            Kind::Pair(_) => Scheme::Ed25519,
        }
    }

    /// What verifies where this signs; `None`: itself.
    pub fn public(&self) -> Option<PublicKey> {
        let mut public = [0; 32];
        public.copy_from_slice(self.pair()?.public_key().as_ref());
        Some(PublicKey(public))
    }

    /// The pair, ready to sign.
    pub(crate) fn pair(&self) -> Option<Ed25519KeyPair> {
        match &self.0 {
            Kind::Symmetric(_) => None,
            Kind::Pair(seed) => {
                Some(Ed25519KeyPair::from_seed_unchecked(&**seed).expect("any 32 bytes are a seed"))
            }
        }
    }

    /// A secret of our own making, from random bytes of the operating system.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Kind::Symmetric(Zeroizing::new(bytes.to_vec())))
    }

    /// The text that receivers configure, `whsec_…`, or that of a pair, `whsk_…`, with its public half behind the other. For
    /// the few answers that may show it.
    pub fn expose(&self) -> String {
        match &self.0 {
            Kind::Symmetric(key) => {
                let mut text = PREFIX.to_owned();
                STANDARD.encode_string(key, &mut text);
                text
            }
            Kind::Pair(seed) => {
                let mut both = Zeroizing::new(seed.to_vec());
                both.extend(self.public().map(|half| half.0).unwrap_or_default());
                let mut text = PAIR_PREFIX.to_owned();
                STANDARD.encode_string(&*both, &mut text);
                text
            }
        }
    }

    /// The bytes that sign.
    pub fn key(&self) -> &[u8] {
        match &self.0 {
            Kind::Symmetric(key) => key,
            Kind::Pair(seed) => &**seed,
        }
    }
}

impl PublicKey {
    /// Reads `whpk_<base64>`.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &str) -> Result<Self, NotASecret> {
        let encoded = text.strip_prefix(PUBLIC_PREFIX).ok_or(NotASecret::Prefix)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| NotASecret::Base64)?;
        bytes.try_into().map(Self).map_err(|_| NotASecret::Pair)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC_PREFIX}{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_size(bytes: usize) -> String {
        format!("whsec_{}", STANDARD.encode(vec![0xfb; bytes]))
    }

    #[test]
    fn reads_24_to_64_bytes() {
        for size in 0..=100 {
            let expected = if KEY_SIZES.contains(&size) { Ok(size) } else { Err(NotASecret::Size) };
            assert_eq!(Secret::parse(&of_size(size)).map(|s| s.key().len()), expected, "{size}");
        }
    }

    #[test]
    fn shows_what_it_read_only_when_asked() {
        for text in
            ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", &of_size(25)]
        {
            let secret = Secret::parse(text).unwrap();
            assert_eq!(secret.expose(), text);
            assert_eq!(format!("{secret:?}"), "Secret(…)");
        }
        assert_eq!(Secret::from_bytes([0; 32]).expose(), format!("whsec_{}=", "A".repeat(43)));
    }

    #[test]
    fn a_pair_reads_back_with_or_without_its_public_half() {
        // RFC 8032, 7.1, test 1.
        let seed = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
        let pair = Secret::parse_any(&format!("whsk_{seed}")).unwrap();
        let public = pair.public().unwrap();
        assert_eq!(public.to_string(), "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
        assert_eq!(PublicKey::parse(&public.to_string()), Ok(public));
        assert_eq!((pair.scheme(), Secret::from_bytes([0; 32]).public()), (Scheme::Ed25519, None));
        let again = Secret::parse_any(&pair.expose()).unwrap();
        assert_eq!((again.key(), format!("{again:?}")), (pair.key(), "Secret(…)".to_owned()));
        assert!(Secret::parse(&pair.expose()).is_err(), "where both sides know it");
        let other = Secret::of_scheme(Scheme::Ed25519, [7; 32]);
        let mut halves = pair.key().to_vec();
        halves.extend(other.public().unwrap().bytes());
        for wrong in [halves.clone(), halves[..31].to_vec(), halves[..40].to_vec()] {
            let text = format!("whsk_{}", STANDARD.encode(wrong));
            assert_eq!(Secret::parse_any(&text).map(|_| ()), Err(NotASecret::Pair));
        }
        assert_eq!(PublicKey::parse("whpk_AAAA"), Err(NotASecret::Pair));
    }

    #[test]
    fn refuses_what_receivers_could_not_read_without_echoing_it() {
        let valid = of_size(25);
        for (text, expected) in [
            ("", NotASecret::Prefix),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", NotASecret::Prefix),
            ("WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", NotASecret::Prefix),
            ("whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", NotASecret::Prefix),
            (" whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", NotASecret::Prefix),
            ("whsec_", NotASecret::Size),
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", NotASecret::Base64),
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", NotASecret::Base64),
            ("whsec_MfKQ9r8GKYqrTwjU PD8ILPZIo2LaLaSw", NotASecret::Base64),
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa_-", NotASecret::Base64),
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa\u{e9}w", NotASecret::Base64),
            (valid.trim_end_matches('='), NotASecret::Base64),
            (&format!("{valid}="), NotASecret::Base64),
        ] {
            let error = Secret::parse(text).map(|_| ()).unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!format!("{error} {error:?}").contains("MfKQ"));
        }
    }
}
