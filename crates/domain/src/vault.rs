//! Secrets at rest: XChaCha20-Poly1305 under the master key of the configuration, bound to the row they belong to.
//!
//! Sealed: `version (1) ‖ key id (4) ‖ nonce (24) ‖ ciphertext and tag`. The key id says which master key opens it,
//! so that a wrong key is told from a damaged row, and so that two keys can be in use while one replaces the other.

use std::fmt;

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305,
    aead::{Aead, Payload},
};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::id::Tenant;

const VERSION: u8 = 1;
const NONCE: usize = 24;
const HEAD: usize = 1 + 4 + NONCE;

/// With or without padding: tools that make 32 random bytes print either.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The key that everything secret in storage is sealed under. Wiped from memory when dropped, silent in `Debug`.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; 32]>);

/// The text was not a master key. Holds nothing of it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a master key is 32 bytes in base64, as `openssl rand -base64 32` prints")]
pub struct NotAMasterKey;

impl MasterKey {
    /// Reads 32 bytes of base64, padded or not.
    ///
    /// # Errors
    /// For anything else.
    pub fn parse(text: &str) -> Result<Self, NotAMasterKey> {
        let bytes = Zeroizing::new(BASE64.decode(text).map_err(|_| NotAMasterKey)?);
        let key: Zeroizing<[u8; 32]> =
            Zeroizing::new(bytes.as_slice().try_into().map_err(|_| NotAMasterKey)?);
        Ok(Self(key))
    }

    /// A new key, from random bytes of the operating system.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The text that the configuration holds. For the commands that make a key.
    pub fn expose(&self) -> String {
        BASE64.encode(self.0.as_slice())
    }

    fn id(&self) -> KeyId {
        let hash = Sha256::digest(self.0.as_slice());
        KeyId([hash[0], hash[1], hash[2], hash[3]])
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.0).into())
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// Names a master key without telling it: the first bytes of its SHA-256. Shown in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyId([u8; 4]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// Why a sealed value does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// It was sealed under a key that we were not given.
    #[error(
        "sealed under master key {sealed}, but secrets.master_key is {configured}: start with the key that this \
         storage was made with, or give it as secrets.previous_master_key"
    )]
    OtherKey {
        /// The key that opens it.
        sealed: KeyId,
        /// The key that we seal under.
        configured: KeyId,
    },
    /// The bytes were changed, or belong to another row.
    #[error("the sealed bytes were changed, or belong to another row")]
    Damaged,
    /// Too short to be sealed bytes, or of a version that a later release wrote.
    #[error("not sealed by this version")]
    Version,
}

/// Seals and opens. The current key seals; it and every previous one open.
#[derive(Clone, Debug)]
pub struct Vault {
    current: (KeyId, MasterKey),
    previous: Vec<(KeyId, MasterKey)>,
}

impl Vault {
    /// Seals and opens under one key.
    pub fn new(current: MasterKey) -> Self {
        Self { current: (current.id(), current), previous: Vec::new() }
    }

    /// Opens what was sealed under an earlier key too.
    #[must_use]
    pub fn with_previous(mut self, previous: MasterKey) -> Self {
        self.previous.push((previous.id(), previous));
        self
    }

    /// Seals `plaintext` under the current key. `aad` says where it belongs (see [`aad`]) and has to be the same when
    /// it is opened. `nonce` is random: 24 bytes are enough never to meet one twice.
    pub fn seal(&self, plaintext: &[u8], aad: &[u8], nonce: [u8; NONCE]) -> Vec<u8> {
        let (id, key) = &self.current;
        let ciphertext = key
            .cipher()
            .encrypt(&nonce.into(), Payload { msg: plaintext, aad })
            .expect("sealing fails only beyond 256 GiB");
        [&[VERSION], &id.0[..], &nonce, &ciphertext].concat()
    }

    /// Opens what [`Vault::seal`] made with the same `aad`.
    ///
    /// # Errors
    /// If we have not the key, or the bytes or their place are not the ones that were sealed.
    pub fn open(&self, sealed: &[u8], aad: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let (head, msg) = sealed.split_first_chunk::<HEAD>().ok_or(VaultError::Version)?;
        let [version, a, b, c, d, nonce @ ..] = *head;
        if version != VERSION {
            return Err(VaultError::Version);
        }
        let id = KeyId([a, b, c, d]);
        let other = VaultError::OtherKey { sealed: id, configured: self.current.0 };
        let mut keys = std::iter::once(&self.current).chain(&self.previous);
        let (_, key) = keys.find(|(known, _)| *known == id).ok_or(other)?;
        let plaintext = key.cipher().decrypt(&nonce.into(), Payload { msg, aad });
        plaintext.map(Zeroizing::new).map_err(|_| VaultError::Damaged)
    }

    /// Whether these sealed bytes are under the current key.
    pub fn is_current(&self, sealed: &[u8]) -> bool {
        sealed.first() == Some(&VERSION) && sealed.get(1..5) == Some(&self.current.0.0)
    }

    /// A key for one purpose from the current master key, and one from each previous one, by HKDF-SHA256 (RFC 5869) with
    /// `info` as its context.
    pub fn derive(&self, info: &str) -> ([u8; 32], Vec<[u8; 32]>) {
        let derive = |(_, key): &(KeyId, MasterKey)| {
            let mut derived = [0; 32];
            Hkdf::<Sha256>::new(None, key.0.as_slice())
                .expand(info.as_bytes(), &mut derived)
                .expect("32 bytes are within HKDF's bound");
            derived
        };
        (derive(&self.current), self.previous.iter().map(derive).collect())
    }
}

/// What a sealed value is bound to: a value copied to another table, row or tenant does not open there.
pub fn aad(table: &str, row: &[u8], tenant: Tenant) -> Vec<u8> {
    // The length in front keeps one table's name and row from being read as another's.
    [&(table.len() as u64).to_be_bytes()[..], table.as_bytes(), &tenant.0.to_be_bytes(), row].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> MasterKey {
        MasterKey::from_bytes([byte; 32])
    }

    const NONCE_7: [u8; 24] = [7; 24];

    #[test]
    fn opens_what_it_sealed() {
        let vault = Vault::new(key(1));
        for plaintext in [&b""[..], b"x", &[0xab; 1000]] {
            let sealed = vault.seal(plaintext, b"here", NONCE_7);
            assert_eq!(sealed.len(), 1 + 4 + 24 + plaintext.len() + 16);
            assert_eq!((sealed[0], &sealed[5..29]), (1, &NONCE_7[..]));
            assert_eq!(vault.open(&sealed, b"here").as_deref().map(Vec::as_slice), Ok(plaintext));
        }
    }

    /// From appendix A.3.1 of draft-irtf-cfrg-xchacha-03.
    #[test]
    fn seals_as_the_draft_does() {
        let bytes: [u8; 32] = std::array::from_fn(|n| 0x80 + n as u8);
        let nonce: [u8; 24] = std::array::from_fn(|n| 0x40 + n as u8);
        let aad = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
        let plaintext =
            b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the \
                          future, sunscreen would be it.";
        let sealed = Vault::new(MasterKey::from_bytes(bytes)).seal(plaintext, &aad, nonce);
        assert_eq!(sealed[29..37], [0xbd, 0x6d, 0x17, 0x9d, 0x3e, 0x83, 0xd4, 0x3b]);
        assert_eq!(sealed[sealed.len() - 16..][..4], [0xc0, 0x87, 0x59, 0x24]);
    }

    #[test]
    fn opens_nothing_that_was_changed() {
        let vault = Vault::new(key(1));
        let sealed = vault.seal(b"secret", b"here", NONCE_7);
        assert_eq!(vault.open(&sealed, b"there"), Err(VaultError::Damaged));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            let error = vault.open(&changed, b"here").unwrap_err();
            match at {
                0 => assert_eq!(error, VaultError::Version),
                1..5 => assert!(matches!(error, VaultError::OtherKey { .. })),
                _ => assert_eq!(error, VaultError::Damaged),
            }
            let error = vault.open(&sealed[..at], b"here").unwrap_err();
            assert_eq!(error, if at < HEAD { VaultError::Version } else { VaultError::Damaged });
        }
    }

    #[test]
    fn tells_a_wrong_key_and_what_to_do() {
        let sealed = Vault::new(key(1)).seal(b"secret", b"here", NONCE_7);
        let error = Vault::new(key(2)).open(&sealed, b"here").unwrap_err();
        assert_eq!(error, VaultError::OtherKey { sealed: key(1).id(), configured: key(2).id() });
        assert_eq!(
            error.to_string(),
            "sealed under master key 72cd6e84, but secrets.master_key is 75877bb4: start with the key that this \
             storage was made with, or give it as secrets.previous_master_key"
        );
        let both = Vault::new(key(2)).with_previous(key(3)).with_previous(key(1));
        assert_eq!(both.open(&sealed, b"here").as_deref().map(Vec::as_slice), Ok(&b"secret"[..]));
        let resealed = both.seal(b"secret", b"here", NONCE_7);
        assert!(Vault::new(key(2)).open(&resealed, b"here").is_ok());
        assert!(both.is_current(&resealed) && !both.is_current(&sealed) && !both.is_current(&[]));
    }

    #[test]
    fn reads_a_master_key_and_never_shows_it() {
        let padded = format!("{}=", "A".repeat(43));
        for text in [padded.as_str(), &"A".repeat(43)] {
            let key = MasterKey::parse(text).unwrap();
            assert_eq!(key.expose(), padded);
            assert_eq!(format!("{key:?}"), "MasterKey(…)");
            assert!(!format!("{:?}", Vault::new(key)).contains("AAAA"));
        }
        for text in ["", "AAAA", &"A".repeat(42), &"A".repeat(44), &format!("{padded}\n"), &"-".repeat(43)] {
            assert_eq!(MasterKey::parse(text).map(|_| ()), Err(NotAMasterKey), "{text}");
        }
    }

    #[test]
    fn derives_a_key_for_each_purpose() {
        let derived = |vault: Vault| vault.derive("result-link");
        let [one, two] = [1, 2].map(|byte| derived(Vault::new(key(byte))).0);
        assert_eq!(derived(Vault::new(key(1)).with_previous(key(2))), (one, vec![two]));
        assert_ne!(Vault::new(key(1)).derive("other").0, one);
        assert!(one != two && one != [1; 32]);
    }

    #[test]
    fn binds_to_table_row_and_tenant() {
        let here = aad("secrets", b"row", Tenant(1));
        for other in [
            aad("secret", b"srow", Tenant(1)),
            aad("secretsx", b"row", Tenant(1)),
            aad("secrets", b"row2", Tenant(1)),
            aad("secrets", b"", Tenant(1)),
            aad("secrets", b"row", Tenant(2)),
        ] {
            assert_ne!(here, other);
        }
    }
}
