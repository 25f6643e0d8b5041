//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): one key, one job.

use sha2::{Digest, Sha256};

use crate::id::Tenant;

/// The longest key, in bytes.
const MOST: usize = 255;

/// The key that a client chose: 1–255 visible ASCII characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdempotencyKey(String);

/// Why a header value is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAKey {
    /// Nothing in it.
    #[error("Idempotency-Key is empty")]
    Empty,
    /// More than 255 characters.
    #[error("Idempotency-Key is longer than 255 characters")]
    Long,
    /// A space, a control character, or anything outside ASCII.
    #[error("Idempotency-Key holds something other than visible ASCII")]
    Character,
    /// It starts as a quoted string (RFC 9651 section 3.3.3) and does not end as one.
    #[error("Idempotency-Key is not one quoted string")]
    Quotes,
}

impl IdempotencyKey {
    /// Reads the header's value. The draft has it as a quoted string; many clients send it bare. Both are the same
    /// key.
    ///
    /// # Errors
    /// If it is neither.
    pub fn parse(header: &[u8]) -> Result<Self, NotAKey> {
        let key = match header.trim_ascii() {
            [b'"', quoted @ ..] => unquote(quoted)?,
            bare => bare.to_vec(),
        };
        match String::from_utf8(key) {
            Ok(key) if key.is_empty() => Err(NotAKey::Empty),
            Ok(key) if !key.bytes().all(|b| b.is_ascii_graphic()) => Err(NotAKey::Character),
            Ok(key) if key.len() > MOST => Err(NotAKey::Long),
            Ok(key) => Ok(Self(key)),
            Err(_) => Err(NotAKey::Character),
        }
    }

    /// The key as the client chose it, without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Reads a quoted string from behind its opening quote; nothing may follow the closing one.
fn unquote(text: &[u8]) -> Result<Vec<u8>, NotAKey> {
    let mut key = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' if rest.len() == 0 => return Ok(key),
            b'"' => break,
            b'\\' => key.push(rest.next().filter(|b| b"\"\\".contains(b)).ok_or(NotAKey::Quotes)?),
            _ => key.push(byte),
        }
    }
    Err(NotAKey::Quotes)
}

/// What storage finds a key by, under its tenant: the first 16 bytes of SHA-256, so that rows are of one size.
pub fn digest(tenant: Tenant, key: &IdempotencyKey) -> [u8; 16] {
    // The tenant has a fixed width, so that no tenant and key can be read as another pair.
    let hash = Sha256::new().chain_update(tenant.0.to_be_bytes()).chain_update(key.as_str()).finalize();
    let mut short = [0; 16];
    short.copy_from_slice(&hash[..16]);
    short
}

/// What a repetition must have in common with the first call: SHA-256 over method, path, content type and the body's
/// bytes as received.
pub fn fingerprint(method: &str, path: &str, content_type: &str, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [method.as_bytes(), path.as_bytes(), content_type.as_bytes(), body] {
        // The length in front keeps a byte from moving between two parts unseen.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_same_key_quoted_or_bare() {
        for (header, key) in [
            ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            ("\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            (" \"a\"\t", "a"),
            ("a", "a"),
            ("a\"b", "a\"b"),
            (r#""a\"b""#, "a\"b"),
            (r"a\b", r"a\b"),
            (r#""a\\b""#, r"a\b"),
            (r#""\"""#, "\""),
            ("a,b;c=d", "a,b;c=d"),
            ("a\"", "a\""),
            ("!~", "!~"),
        ] {
            assert_eq!(
                IdempotencyKey::parse(header.as_bytes()).as_ref().map(IdempotencyKey::as_str),
                Ok(key)
            );
        }
    }

    #[test]
    fn refuses_every_other_value() {
        for (header, expected) in [
            (&b""[..], NotAKey::Empty),
            (b"  ", NotAKey::Empty),
            (b"\"\"", NotAKey::Empty),
            (b"\"", NotAKey::Quotes),
            (b"\"a", NotAKey::Quotes),
            (b"\"a\\\"", NotAKey::Quotes),
            (b"\"a\\b\"", NotAKey::Quotes),
            (b"\"a\"b", NotAKey::Quotes),
            (b"\"a\";p=1", NotAKey::Quotes),
            (b"\"a\", \"b\"", NotAKey::Quotes),
            (b"\"a\"\"", NotAKey::Quotes),
            (b"a b", NotAKey::Character),
            (b"a, b", NotAKey::Character),
            (b"\"a b\"", NotAKey::Character),
            (b"a\tb", NotAKey::Character),
            (b"a\x7f", NotAKey::Character),
            (b"a\0", NotAKey::Character),
            ("é".as_bytes(), NotAKey::Character),
            (b"\"\xff\"", NotAKey::Character),
        ] {
            assert_eq!(IdempotencyKey::parse(header), Err(expected), "{}", String::from_utf8_lossy(header));
        }
    }

    #[test]
    fn takes_255_characters_counted_without_quotes_and_escapes() {
        for text in
            ["k".repeat(255), format!("\"{}\"", "k".repeat(255)), format!("\"{}\"", "\\\"".repeat(255))]
        {
            assert_eq!(IdempotencyKey::parse(text.as_bytes()).map(|k| k.as_str().len()), Ok(255));
        }
        for text in ["k".repeat(256), format!("\"{}\"", "k".repeat(256)), "k".repeat(10_000)] {
            assert_eq!(IdempotencyKey::parse(text.as_bytes()), Err(NotAKey::Long));
        }
    }

    #[test]
    fn keeps_tenants_apart() {
        let [a, b] = ["a", "b"].map(|k| IdempotencyKey::parse(k.as_bytes()).unwrap());
        assert_eq!(digest(Tenant(1), &a), digest(Tenant(1), &a));
        assert_ne!(digest(Tenant(1), &a), digest(Tenant(2), &a));
        assert_ne!(digest(Tenant(1), &a), digest(Tenant(1), &b));
    }

    #[test]
    fn fingerprints_each_part_in_its_place() {
        let calls = [
            ("POST", "/v1/jobs", "application/json", "{}"),
            ("PUT", "/v1/jobs", "application/json", "{}"),
            ("POST", "/v1/batches", "application/json", "{}"),
            ("POST", "/v1/jobs", "application/json; charset=utf-8", "{}"),
            ("POST", "/v1/jobs", "application/json", "{ }"),
            ("POST", "/v1/jobs", "application/jso", "n{}"),
            ("POST", "/v1/jobsapplication/json", "", "{}"),
            ("", "POST/v1/jobs", "application/json", "{}"),
        ];
        let prints = calls.map(|(m, p, c, b)| fingerprint(m, p, c, b.as_bytes()));
        for (n, print) in prints.iter().enumerate() {
            let (m, p, c, b) = calls[n];
            assert_eq!(*print, fingerprint(m, p, c, b.as_bytes()));
            assert!(!prints[..n].contains(print));
        }
    }
}
