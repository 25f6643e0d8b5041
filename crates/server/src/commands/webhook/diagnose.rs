//! Why a webhook is not genuine. `domain::signature` judges; this looks for the step that a person got wrong.

use std::time::Duration;

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD},
};
use domain::{
    duration,
    secret::{NotASecret, Scheme, Secret},
    signature::{self, Verifier, VerifyError},
};

use super::rewritten;

/// The steps of a verification, in their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Step {
    Id,
    Timestamp,
    SecretPrefix,
    SecretBase64,
    SignatureVersion,
    SignatureBase64,
    Body,
    Signature,
}

impl Step {
    pub(crate) const ALL: [Step; 8] = [
        Step::Id,
        Step::Timestamp,
        Step::SecretPrefix,
        Step::SecretBase64,
        Step::SignatureVersion,
        Step::SignatureBase64,
        Step::Body,
        Step::Signature,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Step::Id => "id",
            Step::Timestamp => "timestamp",
            Step::SecretPrefix => "secret prefix",
            Step::SecretBase64 => "secret base64",
            Step::SignatureVersion => "signature version",
            Step::SignatureBase64 => "signature base64",
            Step::Body => "body",
            Step::Signature => "signature",
        }
    }
}

/// The first step that fails, and what to do about it. Holds nothing of a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) step: Step,
    pub(crate) detail: String,
}

impl Fault {
    fn new(step: Step, detail: impl Into<String>) -> Self {
        Self { step, detail: detail.into() }
    }
}

/// A webhook as it arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'a> {
    pub(crate) id: &'a str,
    pub(crate) timestamp: &'a str,
    pub(crate) signatures: &'a str,
    pub(crate) body: &'a [u8],
}

/// Reads what signs, or says what is wrong with its text.
pub(crate) fn read_secret(text: &str) -> Result<Secret, Fault> {
    match read_verifier(text)? {
        Verifier::Secret(secret) => Ok(secret),
        Verifier::Public(_) => {
            let detail =
                "whpk_ is the public half of a pair, which verifies and signs nothing; give its whsk_";
            Err(Fault::new(Step::SecretPrefix, detail))
        }
    }
}

/// Reads what verifies, or says what is wrong with its text.
pub(crate) fn read_verifier(text: &str) -> Result<Verifier, Fault> {
    let (step, detail) = match Verifier::parse(text) {
        Ok(verifier) => return Ok(verifier),
        Err(_) if text.trim() != text => {
            (Step::SecretPrefix, "the secret has white space around it; copy it without".to_owned())
        }
        Err(NotASecret::Prefix) => (Step::SecretPrefix, about_prefix(text)),
        Err(NotASecret::Base64) => {
            let (prefix, rest) = text.split_once('_').unwrap_or_default();
            (Step::SecretBase64, about_base64(&format!("what follows {prefix}_"), rest))
        }
        Err(NotASecret::Size) => (
            Step::SecretBase64,
            "what follows whsec_ must decode to 24 to 64 bytes; was it cut off?".to_owned(),
        ),
        Err(error @ NotASecret::Pair) => (Step::SecretBase64, error.to_string()),
    };
    Err(Fault::new(step, detail))
}

fn about_prefix(text: &str) -> String {
    let what = if text.starts_with("rbk_") {
        "this is an API key; the signing secret is another: GET /v1/signing-secret"
    } else if Secret::parse(&format!("whsec_{text}")).is_ok() {
        "it lacks its prefix; write whsec_ before it"
    } else {
        "a signing secret starts with whsec_; what verifies v1a, with whpk_"
    };
    what.to_owned()
}

/// Why a text is not base64 as the standard wants it.
fn about_base64(what: &str, text: &str) -> String {
    let hint = if text.bytes().all(|b| b.is_ascii_hexdigit()) && text.len() == 64 {
        "this is hexadecimal"
    } else if BASE64_URL_SAFE.decode(text).is_ok() || BASE64_URL_SAFE_NO_PAD.decode(text).is_ok() {
        if text.contains(['-', '_']) {
            "this is the URL-safe alphabet (- and _)"
        } else {
            "its padding (=) is missing"
        }
    } else if BASE64_STANDARD_NO_PAD.decode(text).is_ok() {
        "its padding (=) is missing"
    } else {
        "a character or more is wrong or missing"
    };
    format!("{what} must be base64 in the standard alphabet (+ and /), with padding; {hint}")
}

/// Verifies as a receiver does.
///
/// # Errors
/// With the first step that fails.
pub(crate) fn judge(
    received: Received<'_>,
    by: &[Verifier],
    now_seconds: i64,
    tolerance: Duration,
) -> Result<(), Fault> {
    let Received { id, timestamp, signatures, body } = received;
    match signature::verify_by(id, timestamp, body, signatures, by, now_seconds, tolerance) {
        Ok(()) => Ok(()),
        Err(VerifyError::Id) if id.is_empty() => {
            Err(Fault::new(Step::Id, "webhook-id is empty or was not sent"))
        }
        Err(VerifyError::Id) => Err(Fault::new(
            Step::Id,
            "webhook-id holds a dot, which would let bytes move between id, timestamp and body",
        )),
        Err(VerifyError::Timestamp) => Err(Fault::new(
            Step::Timestamp,
            "webhook-timestamp must be whole seconds since 1970, in digits alone",
        )),
        Err(VerifyError::TooOld | VerifyError::TooNew) => {
            let rest = not_matching(received, by);
            Err(about_age(timestamp, now_seconds, tolerance, rest.as_ref()))
        }
        Err(VerifyError::NoMatch) => Err(not_matching(received, by).unwrap_or_else(unknown)),
    }
}

fn about_age(timestamp: &str, now: i64, tolerance: Duration, rest: Option<&Fault>) -> Fault {
    let sent: i64 = timestamp.parse().unwrap_or(i64::MAX);
    let off = duration::show(Duration::from_secs(sent.abs_diff(now).min(u64::from(u32::MAX))));
    let within = duration::show(tolerance);
    let mut detail = if sent / 1_000 > now / 2 {
        "webhook-timestamp must be in seconds; this is milliseconds".to_owned()
    } else if sent < now {
        format!(
            "webhook-timestamp is {off} old, and {within} are allowed. If the webhook was kept, allow more with \
             --tolerance; if it has just arrived, this machine's clock is wrong"
        )
    } else {
        format!("webhook-timestamp is {off} ahead, and {within} are allowed: one of the two clocks is wrong")
    };
    match rest {
        None => detail.push_str(". All else is right"),
        Some(fault) => detail.push_str(&format!(". Besides: {}", fault.detail)),
    }
    Fault::new(Step::Timestamp, detail)
}

/// What is wrong beside the age; `None` if nothing is.
fn not_matching(received: Received<'_>, by: &[Verifier]) -> Option<Fault> {
    let signed = |body: &[u8], by: &[Verifier]| {
        let Received { id, timestamp, signatures, .. } = received;
        let sent = timestamp.parse().unwrap_or_default();
        signature::verify_by(id, timestamp, body, signatures, by, sent, Duration::MAX).is_ok()
    };
    if signed(received.body, by) {
        return None;
    }
    let (pairs, secrets): (Vec<_>, Vec<_>) = by.iter().partition(|by| is_of_a_pair(by));
    if let Err(fault) = form(received.signatures, !secrets.is_empty() || pairs.is_empty(), !pairs.is_empty())
    {
        return Some(fault);
    }
    // A receiver, or a sender of one's own, that took the secret's text for the key.
    let texts = secrets.iter().flat_map(|by| match by {
        Verifier::Secret(secret) => {
            let text = secret.expose();
            let bare = text["whsec_".len()..].to_owned();
            vec![text, bare]
        }
        Verifier::Public(_) => Vec::new(),
    });
    let undecoded: Vec<Verifier> = texts
        .filter_map(|text| Secret::parse(&format!("whsec_{}", BASE64_STANDARD.encode(text))).ok())
        .map(Verifier::Secret)
        .collect();
    if signed(received.body, &undecoded) {
        let detail =
            "it was signed with the secret's text; the key is what the base64 after whsec_ decodes to";
        return Some(Fault::new(Step::SecretBase64, detail));
    }
    if let Some((_, how)) = rewritten::forms(received.body).into_iter().find(|(form, _)| signed(form, by)) {
        let detail = format!(
            "re-serialised or changed on its way here: the signature is right for {how}. Verify the bytes as they \
             arrived, before anything reads them as JSON"
        );
        return Some(Fault::new(Step::Body, detail));
    }
    Some(unknown())
}

fn unknown() -> Fault {
    Fault::new(
        Step::Signature,
        "no signature matches: another secret signed it, or the id, the timestamp or the body is not what was sent. \
         Compare the secret with GET /v1/signing-secret (a callback may have its own), and verify the raw body",
    )
}

/// True of what verifies `v1a`.
fn is_of_a_pair(by: &Verifier) -> bool {
    match by {
        Verifier::Secret(secret) => secret.scheme() == Scheme::Ed25519,
        Verifier::Public(_) => true,
    }
}

/// Whether `webhook-signature` holds anything that could match what verifies `v1`, or `v1a`.
fn form(signatures: &str, symmetric: bool, asymmetric: bool) -> Result<(), Fault> {
    let version = |detail: &str| Err(Fault::new(Step::SignatureVersion, detail));
    let all: Vec<&str> = signatures.split(' ').filter(|one| !one.is_empty()).collect();
    let version_of = |one: &&str| match one.split_once(',')? {
        ("v1", rest) if symmetric => Some(("v1", rest.to_owned(), 32)),
        ("v1a", rest) if asymmetric => Some(("v1a", rest.to_owned(), 64)),
        _ => None,
    };
    let ours: Vec<(&str, String, usize)> = all.iter().filter_map(version_of).collect();
    if all.is_empty() {
        return version("webhook-signature is empty or was not sent");
    }
    if ours.is_empty() && all.iter().any(|one| one.starts_with("v1a,")) {
        return version(
            "webhook-signature has asymmetric signatures (v1a) alone; a whsec_ secret verifies v1",
        );
    }
    if ours.is_empty() && !symmetric {
        return version("no signature starts with `v1a,`, which alone a whpk_ verifies");
    }
    if ours.is_empty() {
        return version("no signature starts with `v1,`; several are separated by spaces");
    }
    let mut fault = String::new();
    for (version, one, size) in ours {
        match BASE64_STANDARD.decode(&one) {
            Ok(bytes) if bytes.len() == size => return Ok(()),
            Ok(bytes) => {
                fault = format!("a signature must decode to {size} bytes; this one has {}", bytes.len());
            }
            Err(_) => fault = about_base64(&format!("what follows `{version},`"), &one),
        }
    }
    Err(Fault::new(Step::SignatureBase64, fault))
}

#[cfg(test)]
mod tests;
