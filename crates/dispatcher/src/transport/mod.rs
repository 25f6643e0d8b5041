//! One request to a receiver: what goes out, what came of it, and the one way in which the dispatcher reaches the
//! network.

mod address;
mod body;
mod classify;
mod client;
mod connector;
mod dial;
mod error;
mod guard;
mod places;
mod resolver;
mod stream;
#[cfg(test)]
mod tests;
mod tls;

use std::{net::IpAddr, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use domain::delivery::{Outcome, Response, Timings};
use http::{HeaderMap, Uri};

pub use self::{
    client::{HttpTransport, TransportSettings},
    error::SetupError,
};

/// One POST, signed and complete but for what HTTP itself adds (`host`, `content-length`).
#[derive(Clone, Debug)]
pub struct Request {
    /// Where to: an accepted callback URL.
    pub uri: Uri,
    /// Its headers.
    pub headers: HeaderMap,
    /// The stored bytes.
    pub body: Bytes,
    /// How long it may take in all, from the name look-up to the last byte of the answer.
    pub timeout: Duration,
}

/// What came of a request.
#[derive(Clone, Debug)]
pub struct Sent {
    /// In one word.
    pub outcome: Outcome,
    /// The receiver's status, if a whole response head came.
    pub status: Option<u16>,
    /// What went wrong.
    pub error: Option<String>,
    /// Who was dialled.
    pub remote_address: Option<IpAddr>,
    /// Where the time went; `queue` is not the transport's to know.
    pub timings: Timings,
    /// What came back, cut at the contract's bounds.
    pub response: Option<Response>,
}

impl Sent {
    /// No answer came, for this reason.
    pub fn failed(outcome: Outcome, error: impl Into<String>) -> Self {
        Self {
            outcome,
            status: None,
            error: Some(error.into()),
            remote_address: None,
            timings: Timings::default(),
            response: None,
        }
    }

    /// A whole response head came: 2xx is delivered, any other status is not.
    pub fn answered(status: u16, response: Response) -> Self {
        let delivered = (200..300).contains(&status);
        Self {
            outcome: if delivered { Outcome::Delivered } else { Outcome::HttpStatus },
            status: Some(status),
            error: (!delivered).then(|| format!("The receiver answered {status}.")),
            remote_address: None,
            timings: Timings::default(),
            response: Some(response),
        }
    }

    /// The first value of a response header; the name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = &self.response.as_ref()?.headers;
        headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

/// The outside, as the dispatcher sees it: a seeded world puts a script in its place.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Makes this one request: once, whatever happens, and within its timeout.
    async fn send(&self, request: Request) -> Sent;
}
