//! What an answer or an error is called. The words are the contract's.

use std::{error::Error as StdError, io};

use domain::delivery::{Outcome, Response};
use http::response;
use hyper_util::client::legacy::Error;

use super::{
    Sent,
    body::Read,
    error::{ConnectError, is_ours},
};

/// A complete response head came.
pub(crate) fn answer(head: &response::Parts, body: &Read) -> Sent {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    Sent::answered(head.status.as_u16(), Response::new(headers, &body.bytes, !body.to_its_end))
}

/// No complete response head came.
pub(crate) fn error(error: &Error) -> Sent {
    if let Some(connect) = find::<ConnectError>(error) {
        let failed = Sent::failed(connect.failure.outcome(), connect.failure.to_string());
        return Sent { remote_address: connect.address, timings: connect.timings, ..failed };
    }
    let (outcome, detail) = match find::<hyper::Error>(error) {
        Some(http) => broken(http),
        None => (Outcome::Reset, "the connection broke".to_owned()),
    };
    Sent::failed(outcome, detail)
}

/// The connection stood; what came over it was no answer.
fn broken(error: &hyper::Error) -> (Outcome, String) {
    if error.is_parse_too_large() {
        let detail = "the head of the answer is over 16 KiB or 100 fields".to_owned();
        return (Outcome::ResponseTooLarge, detail);
    }
    if error.is_parse() {
        return (Outcome::Protocol, format!("the answer is not HTTP/1.1: {error}"));
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        return (Outcome::Tls, format!("TLS failed after the handshake: {tls}"));
    }
    match find::<io::Error>(error) {
        Some(io) if is_ours(io, None) => (Outcome::LocalResource, format!("our own sockets ran out: {io}")),
        Some(io) => (Outcome::Reset, format!("the connection broke before the answer was complete: {io}")),
        None => (Outcome::Reset, "the connection was closed before the answer was complete".to_owned()),
    }
}

/// The first cause of type `E`, the error itself included. Errors inside an `io::Error` are looked at too: that is where
/// TLS puts its own.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inner.map(|inner| inner as &(dyn StdError + 'static)).or_else(|| error.source());
    }
    None
}
