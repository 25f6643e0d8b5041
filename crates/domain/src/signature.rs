//! Signatures of Standard Webhooks 1.0: HMAC-SHA256 or Ed25519 over `{webhook-id}.{webhook-timestamp}.{body}`.

use std::{fmt, sync::Arc, time::Duration};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::secret::{NotASecret, PublicKey, Secret};

/// The only version of symmetric signatures, …
const VERSION: &str = "v1";
/// … and of asymmetric ones.
const ASYMMETRIC: &str = "v1a";

/// A secret made ready to sign: the two hash states that HMAC derives from the key, kept over many attempts, or the pair.
#[derive(Clone)]
pub struct SigningKey(Ready);

#[derive(Clone)]
enum Ready {
    Hmac(Hmac<Sha256>),
    Pair(Arc<Ed25519KeyPair>),
}

impl SigningKey {
    /// Prepares a secret.
    pub fn new(secret: &Secret) -> Self {
        Self(match secret.pair() {
            Some(pair) => Ready::Pair(Arc::new(pair)),
            None => Ready::Hmac(hmac(secret)),
        })
    }

    /// Adds one signature to a header's value.
    fn sign(&self, id: &str, timestamp: &str, body: &[u8], header: &mut String) {
        match &self.0 {
            Ready::Hmac(hmac) => {
                header.push_str(VERSION);
                header.push(',');
                STANDARD.encode_string(mac(hmac, id, timestamp, body), header);
            }
            Ready::Pair(pair) => {
                header.push_str(ASYMMETRIC);
                header.push(',');
                STANDARD.encode_string(pair.sign(&signed(id, timestamp, body)), header);
            }
        }
    }
}

fn hmac(secret: &Secret) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret.key()).expect("HMAC takes a key of any size")
}

fn parts<'a>(id: &'a str, timestamp: &'a str, body: &'a [u8]) -> [&'a [u8]; 5] {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body]
}

fn mac(hmac: &Hmac<Sha256>, id: &str, timestamp: &str, body: &[u8]) -> [u8; 32] {
    let mut mac = hmac.clone();
    for part in parts(id, timestamp, body) {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// What is signed, in one piece: Ed25519 reads it twice.
fn signed(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    parts(id, timestamp, body).concat()
}

/// What a receiver verifies by.
#[derive(Clone, Debug)]
pub enum Verifier {
    /// What signs verifies, too.
    Secret(Secret),
    /// The public half of what signs.
    Public(PublicKey),
}

impl Verifier {
    /// Reads `whsec_…`, `whsk_…` or `whpk_…`.
    ///
    /// # Errors
    /// If it is none of them.
    pub fn parse(text: &str) -> Result<Self, NotASecret> {
        match PublicKey::parse(text) {
            Err(NotASecret::Prefix) => Secret::parse_any(text).map(Verifier::Secret),
            public => public.map(Verifier::Public),
        }
    }

    fn public(&self) -> Option<PublicKey> {
        match self {
            Verifier::Secret(secret) => secret.public(),
            Verifier::Public(public) => Some(*public),
        }
    }

    /// True if one of the signatures is right.
    fn accepts(&self, id: &str, timestamp: &str, body: &[u8], signatures: &str) -> bool {
        let given = |version: &'static str| {
            signatures
                .split(' ')
                .filter_map(move |signature| signature.strip_prefix(version)?.strip_prefix(','))
                .filter_map(|encoded| STANDARD.decode(encoded).ok())
        };
        match (self.public(), self) {
            (Some(public), _) => {
                let (key, signed) =
                    (UnparsedPublicKey::new(&ED25519, public.bytes()), signed(id, timestamp, body));
                given(ASYMMETRIC).any(|given| key.verify(&signed, &given).is_ok())
            }
            (None, Verifier::Secret(secret)) => {
                let genuine = mac(&hmac(secret), id, timestamp, body);
                given(VERSION).any(|given| bool::from(genuine.ct_eq(given.as_slice())))
            }
            (None, Verifier::Public(_)) => false,
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// The value of `webhook-signature`: one signature for each secret, in their order (the current one first).
/// `timestamp` is in seconds since the epoch.
pub fn sign(id: &str, timestamp: i64, body: &[u8], secrets: &[&Secret]) -> String {
    let keys: Vec<_> = secrets.iter().map(|secret| SigningKey::new(secret)).collect();
    sign_with(id, timestamp, body, &keys)
}

/// [`sign`] with secrets that were prepared before.
pub fn sign_with(id: &str, timestamp: i64, body: &[u8], keys: &[SigningKey]) -> String {
    let timestamp = timestamp.to_string();
    let mut header = String::with_capacity(keys.len() * 48);
    for key in keys {
        if !header.is_empty() {
            header.push(' ');
        }
        key.sign(id, &timestamp, body, &mut header);
    }
    header
}

/// The step at which a webhook was found not to be genuine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Empty, or with a `.`, which would let bytes move between the id, the timestamp and the body.
    #[error("webhook-id is empty or holds a dot")]
    Id,
    /// Not whole seconds since the epoch.
    #[error("webhook-timestamp is not a whole number of seconds since 1970")]
    Timestamp,
    /// Before now by more than the tolerance.
    #[error("webhook-timestamp is too old")]
    TooOld,
    /// After now by more than the tolerance.
    #[error("webhook-timestamp is too far in the future")]
    TooNew,
    /// No signature of a known version is right under any of the secrets.
    #[error("no signature in webhook-signature matches")]
    NoMatch,
}

/// Verifies a webhook as a receiver does. `timestamp` and `signatures` are the headers as received; a signature
/// counts if it is right under any of `secrets`; signatures of other versions are passed over.
///
/// # Errors
/// With the first step that fails. Which bytes of a signature differ shows neither there nor in the time taken.
pub fn verify(
    id: &str,
    timestamp: &str,
    body: &[u8],
    signatures: &str,
    secrets: &[&Secret],
    now_seconds: i64,
    tolerance: Duration,
) -> Result<(), VerifyError> {
    let verifiers: Vec<_> = secrets.iter().map(|secret| Verifier::Secret((*secret).clone())).collect();
    verify_by(id, timestamp, body, signatures, &verifiers, now_seconds, tolerance)
}

/// [`verify`] by public keys, too.
///
/// # Errors
/// As there.
pub fn verify_by(
    id: &str,
    timestamp: &str,
    body: &[u8],
    signatures: &str,
    verifiers: &[Verifier],
    now_seconds: i64,
    tolerance: Duration,
) -> Result<(), VerifyError> {
    if id.is_empty() || id.contains('.') {
        return Err(VerifyError::Id);
    }
    judge_age(timestamp, now_seconds, tolerance)?;
    // Each is tried, so that the time taken does not say which.
    let matches = verifiers.iter().filter(|by| by.accepts(id, timestamp, body, signatures)).count();
    if matches > 0 { Ok(()) } else { Err(VerifyError::NoMatch) }
}

fn judge_age(timestamp: &str, now_seconds: i64, tolerance: Duration) -> Result<(), VerifyError> {
    if !timestamp.bytes().all(|b| b.is_ascii_digit()) {
        return Err(VerifyError::Timestamp);
    }
    let sent: i64 = timestamp.parse().map_err(|_| VerifyError::Timestamp)?;
    match tolerance.as_secs() {
        most if sent.abs_diff(now_seconds) <= most => Ok(()),
        _ if sent < now_seconds => Err(VerifyError::TooOld),
        _ => Err(VerifyError::TooNew),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SECOND: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SENT: i64 = 1_614_265_330;
    const FIVE_MINUTES: Duration = Duration::from_secs(300);

    fn secret(text: &str) -> Secret {
        Secret::parse(text).unwrap()
    }

    #[test]
    fn makes_the_published_signatures() {
        for (text, id, timestamp, body, expected) in [
            (FIRST, ID, SENT, BODY, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
            (
                SECOND,
                "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
                1_649_367_553,
                br#"{"email":"test@example.com","username":"test_user"}"#,
                "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
            ),
            (FIRST, ID, SENT, b"", "v1,v48jdbgvh29KJz2Qc+ghw8G6vG3nAKnujWBg8oM/62A="),
        ] {
            let secret = secret(text);
            assert_eq!(sign(id, timestamp, body, &[&secret]), expected);
            assert_eq!(sign_with(id, timestamp, body, &[SigningKey::new(&secret)]), expected);
            let stamp = timestamp.to_string();
            assert_eq!(verify(id, &stamp, body, expected, &[&secret], timestamp, FIVE_MINUTES), Ok(()));
        }
    }

    #[test]
    fn signs_under_each_secret_the_current_one_first() {
        let (current, previous) = (secret(FIRST), secret(SECOND));
        let both = sign(ID, SENT, BODY, &[&current, &previous]);
        let [one, two] = [&current, &previous].map(|s| sign(ID, SENT, BODY, &[s]));
        assert_eq!(both, format!("{one} {two}"));
        assert_eq!(sign(ID, SENT, BODY, &[]), "");
    }

    #[test]
    fn takes_any_right_signature_under_any_secret() {
        let (ours, other) = (secret(FIRST), secret(SECOND));
        let right = sign(ID, SENT, BODY, &[&ours]);
        let wrong = sign(ID, SENT, BODY, &[&other]);
        for (header, secrets, expected) in [
            (right.clone(), vec![&ours], Ok(())),
            (format!("{wrong} {right}"), vec![&ours], Ok(())),
            (format!("{right} {wrong}"), vec![&ours], Ok(())),
            (format!("v1a,x v2,y v1 , v1, v1,? {right}"), vec![&ours], Ok(())),
            (right.clone(), vec![&other, &ours], Ok(())),
            (wrong.clone(), vec![&ours], Err(VerifyError::NoMatch)),
            (right.clone(), vec![&other], Err(VerifyError::NoMatch)),
            (right.clone(), vec![], Err(VerifyError::NoMatch)),
            (String::new(), vec![&ours], Err(VerifyError::NoMatch)),
            ("v1,".to_owned(), vec![&ours], Err(VerifyError::NoMatch)),
            (right.replacen("v1,", "v2,", 1), vec![&ours], Err(VerifyError::NoMatch)),
            (right.replacen("v1,", "v1a,", 1), vec![&ours], Err(VerifyError::NoMatch)),
            (right.replacen("v1,", "", 1), vec![&ours], Err(VerifyError::NoMatch)),
            (right[..right.len() - 4].to_owned(), vec![&ours], Err(VerifyError::NoMatch)),
            (right.trim_end_matches('=').to_owned(), vec![&ours], Err(VerifyError::NoMatch)),
        ] {
            let verdict = verify(ID, &SENT.to_string(), BODY, &header, &secrets, SENT, FIVE_MINUTES);
            assert_eq!(verdict, expected, "{header}");
        }
    }

    #[test]
    fn a_pair_signs_and_its_public_half_verifies() {
        let pair = Secret::parse_any("whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=").unwrap();
        let (by, mac) = (Verifier::Public(pair.public().unwrap()), secret(FIRST));
        let header = sign(ID, SENT, BODY, &[&pair, &mac]);
        assert!(header.starts_with("v1a,") && header.contains(" v1,"), "{header}");
        let stamp = SENT.to_string();
        let judge = |header: &str, body: &[u8], by: &Verifier| {
            verify_by(ID, &stamp, body, header, std::slice::from_ref(by), SENT, FIVE_MINUTES)
        };
        for by in [&by, &Verifier::Secret(pair.clone()), &Verifier::Secret(mac)] {
            assert_eq!(judge(&header, BODY, by), Ok(()));
            assert_eq!(judge(&header, b"{}", by), Err(VerifyError::NoMatch));
        }
        let other = Verifier::Public(
            Secret::parse_any(&format!("whsk_{}=", "A".repeat(43))).unwrap().public().unwrap(),
        );
        assert_eq!(judge(&header, BODY, &other), Err(VerifyError::NoMatch));
        assert_eq!(judge(&header.replace("v1a,", "v1,"), BODY, &by), Err(VerifyError::NoMatch));
        assert!(Verifier::parse("whpk_AAAA").is_err() && Verifier::parse(FIRST).is_ok());
    }

    #[test]
    fn says_which_step_fails() {
        let secret = secret(FIRST);
        let header = sign(ID, SENT, BODY, &[&secret]);
        for (id, timestamp, body, now, expected) in [
            (ID, "1614265330", BODY, SENT + 300, Ok(())),
            (ID, "1614265330", BODY, SENT - 300, Ok(())),
            ("", "1614265330", BODY, SENT, Err(VerifyError::Id)),
            ("msg.1", "1614265330", BODY, SENT, Err(VerifyError::Id)),
            (ID, "", BODY, SENT, Err(VerifyError::Timestamp)),
            (ID, "soon", BODY, SENT, Err(VerifyError::Timestamp)),
            (ID, "+1614265330", BODY, SENT, Err(VerifyError::Timestamp)),
            (ID, "-1614265330", BODY, SENT, Err(VerifyError::Timestamp)),
            (ID, " 1614265330", BODY, SENT, Err(VerifyError::Timestamp)),
            (ID, "1614265330.0", BODY, SENT, Err(VerifyError::Timestamp)),
            (ID, "99999999999999999999", BODY, SENT, Err(VerifyError::Timestamp)),
            (ID, "1614265330", BODY, SENT + 301, Err(VerifyError::TooOld)),
            (ID, "1614265330", BODY, i64::MAX, Err(VerifyError::TooOld)),
            (ID, "1614265330", BODY, SENT - 301, Err(VerifyError::TooNew)),
            (ID, "9223372036854775807", BODY, i64::MIN, Err(VerifyError::TooNew)),
            (ID, "1614265331", BODY, SENT, Err(VerifyError::NoMatch)),
            (ID, "01614265330", BODY, SENT, Err(VerifyError::NoMatch)),
            ("msg_other", "1614265330", BODY, SENT, Err(VerifyError::NoMatch)),
            (ID, "1614265330", b"{\"test\": 2432232315}", SENT, Err(VerifyError::NoMatch)),
            (ID, "1614265330", b"", SENT, Err(VerifyError::NoMatch)),
        ] {
            let verdict = verify(id, timestamp, body, &header, &[&secret], now, FIVE_MINUTES);
            assert_eq!(verdict, expected, "{id} {timestamp} {now}");
        }
    }

    #[test]
    fn shows_nothing_of_the_key() {
        assert_eq!(format!("{:?}", SigningKey::new(&secret(FIRST))), "SigningKey(…)");
    }
}
