//! An attempt: one HTTP request made for a delivery, and how it went.

use std::{fmt, net::IpAddr, str::FromStr};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use super::words;
use crate::time::Timestamp;

words! {
    /// What started an attempt.
    Trigger, NotATrigger:
    /// The retry policy, the first attempt included.
    Policy = 0, "policy";
    /// The breaker let one through to see whether the receiver is back.
    Probe = 1, "probe";
    /// The receiver is back, or somebody asked for what it missed.
    Recovery = 2, "recovery";
    /// Somebody asked for it by hand.
    Resend = 3, "resend";
}

words! {
    /// How an attempt went.
    Outcome, NotAnOutcome:
    /// A complete response head with 200–299, whatever the body did after.
    Delivered = 0, "delivered";
    /// Any other status; 101 and 3xx too.
    HttpStatus = 1, "http_status";
    /// The name did not resolve.
    Dns = 2, "dns";
    /// Nobody took the connection.
    Connect = 3, "connect";
    /// The TLS handshake or the certificate failed.
    Tls = 4, "tls";
    /// The total deadline passed.
    Timeout = 5, "timeout";
    /// The connection broke before the response head was complete.
    Reset = 6, "reset";
    /// What came was not HTTP/1.1.
    Protocol = 7, "protocol";
    /// The response head was over 16 KiB or 100 fields.
    ResponseTooLarge = 8, "response_too_large";
    /// Every address of the name is one that we do not dial.
    AddressBlocked = 9, "address_blocked";
    /// We died in it.
    Interrupted = 10, "interrupted";
    /// Our own sockets or descriptors ran out.
    LocalResource = 11, "local_resource";
}

impl Outcome {
    /// True of what says something about us and nothing about the receiver: it is numbered and shown, but uses up no
    /// step of the policy.
    pub const fn is_ours(self) -> bool {
        matches!(self, Outcome::Interrupted | Outcome::LocalResource)
    }
}

/// One attempt, closed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// 1..n without gap.
    pub number: u32,
    /// What started it.
    pub trigger: Trigger,
    /// On stable storage before the request left.
    pub started_at: Timestamp,
    /// When the answer or the failure was known.
    pub ended_at: Timestamp,
    /// How it went.
    pub outcome: Outcome,
    /// The receiver's HTTP status.
    pub status: Option<u16>,
    /// What went wrong, in words, without any of our secrets.
    pub error: Option<String>,
    /// Who was dialled.
    pub remote_address: Option<IpAddr>,
    /// Where the time went.
    pub timings_ms: Timings,
    /// What came back, cut at the bounds of the contract.
    pub response: Option<Response>,
}

impl Attempt {
    /// What an attempt says whose delivery was canceled while its request was out: how it ended is not waited for.
    pub const LET_GO: &str = "The delivery was canceled while this request was out.";

    /// An attempt that was open when its node died.
    pub fn interrupted(number: u32, trigger: Trigger, started_at: Timestamp, ended_at: Timestamp) -> Self {
        Self {
            number,
            trigger,
            started_at,
            ended_at: ended_at.max(started_at),
            outcome: Outcome::Interrupted,
            status: None,
            error: Some("The node that made this attempt stopped in it.".into()),
            remote_address: None,
            timings_ms: Timings::default(),
            response: None,
        }
    }
}

/// Milliseconds per phase; a phase that was not reached, or was skipped by a kept connection, is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// From due to sent.
    pub queue: Option<f64>,
    /// Name look-up.
    pub dns: Option<f64>,
    /// TCP connect.
    pub connect: Option<f64>,
    /// TLS handshake.
    pub tls: Option<f64>,
    /// From the request to the response head.
    pub first_byte: Option<f64>,
    /// All of it, without `queue`.
    pub total: Option<f64>,
}

/// A response as far as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// In the order they came; a value that is not UTF-8 is shown with replacement characters.
    pub headers: Vec<(String, String)>,
    /// The body's first 16 KiB, as `encoding` says.
    pub body: String,
    /// `utf-8` or `base64`.
    pub encoding: Encoding,
    /// True if there was more.
    pub truncated: bool,
}

/// How `body` holds the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// As text.
    #[serde(rename = "utf-8")]
    Utf8,
    /// Since they are no text.
    #[serde(rename = "base64")]
    Base64,
}

impl Response {
    /// From the bytes that were read.
    pub fn new(headers: Vec<(String, String)>, body: &[u8], truncated: bool) -> Self {
        // A cut may fall inside a character: what is left of it does not make the text binary.
        let text = match std::str::from_utf8(body) {
            Ok(text) => Some(text),
            Err(error) if truncated && error.error_len().is_none() => {
                std::str::from_utf8(&body[..error.valid_up_to()]).ok()
            }
            Err(_) => None,
        };
        let (body, encoding) = match text {
            Some(text) => (text.to_owned(), Encoding::Utf8),
            None => (BASE64_STANDARD.encode(body), Encoding::Base64),
        };
        Self { headers, body, encoding, truncated }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_text_where_they_can_be() {
        for (bytes, truncated, body, encoding) in [
            (&b"ok"[..], false, "ok", Encoding::Utf8),
            (b"", false, "", Encoding::Utf8),
            ("aé".as_bytes(), false, "aé", Encoding::Utf8),
            (b"a\xc3", true, "a", Encoding::Utf8),
            (b"a\xc3", false, "YcM=", Encoding::Base64),
            (b"\xff\xfe", true, "//4=", Encoding::Base64),
        ] {
            let response = Response::new(vec![], bytes, truncated);
            assert_eq!((response.body.as_str(), response.encoding), (body, encoding));
        }
    }

    #[test]
    fn words_and_codes_read_back() {
        for &outcome in Outcome::ALL {
            assert_eq!(outcome.name().parse(), Ok(outcome));
            assert_eq!(Outcome::from_code(outcome.code()), Some(outcome));
        }
        assert_eq!("nope".parse::<Outcome>(), Err(NotAnOutcome));
    }
}
