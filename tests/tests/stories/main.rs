//! Stories: what a caller, a receiver, an upstream and an operator see of one job, end to end, against the real binary.
//!
//! Each file is one part of the contract. Nothing here sleeps for something to happen: it waits for it, with a deadline.
//! Where something must *not* happen, the story says for how long it looked.

mod apart;
mod attach;
mod breaker;
mod callback_urls;
mod cancel;
mod concurrency;
mod deletion;
mod delivery;
mod described;
mod egress;
mod endpoints;
mod error_table;
mod errors;
mod etag;
mod feeds;
mod fields;
mod foreign;
mod forgetful;
mod heals;
mod health;
mod hostile;
mod idempotency;
mod isolation;
mod keys;
mod limits;
mod lists;
mod moves;
mod operating;
mod pairs;
mod progress;
mod quotas;
mod receiver;
mod rerun;
mod resend;
mod restart;
mod result;
mod retry;
mod roles;
mod rotation;
mod secrets;
mod submit;
mod tasks;
mod tenants;
mod timing;
mod tracing;
mod upstream;
mod validate_only;
mod wait;

use std::time::Duration;

use ringback_tests::{Peer, Request, clock};
use serde_json::{Value, json};

/// A job of the task `echo` with this input, calling back at `/hook` of the receiver.
fn echo(input: Value, receiver: &Peer) -> Value {
    json!({ "task": "echo", "input": input, "callback": receiver.url("/hook") })
}

/// A job of the task `sleep`.
fn sleep(duration: &str) -> Value {
    json!({ "task": "sleep", "input": { "for": duration } })
}

/// The time between the arrivals of two requests.
fn gap(earlier: &Request, later: &Request) -> Duration {
    later.at.duration_since(earlier.at)
}

/// An RFC 3339 time this far from now.
fn from_now(after: Duration) -> String {
    let micros = (clock::wall() + after).as_micros();
    domain::time::Timestamp::from_micros(i64::try_from(micros).expect("a time of this century")).to_string()
}

/// The microseconds since the epoch of a time in an answer.
fn micros(time: &Value) -> i64 {
    let text = time.as_str().unwrap_or_else(|| panic!("not a time: {time}"));
    let parsed: domain::time::Timestamp = text.parse().unwrap_or_else(|_| panic!("not a time: {text}"));
    parsed.micros()
}

/// Asserts RFC 3339 in UTC with microseconds: `2026-11-23T11:12:13.123456Z`.
#[track_caller]
fn assert_time(time: &Value) {
    let text = time.as_str().unwrap_or_else(|| panic!("not a time: {time}"));
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000000Z", "{text}");
}

/// Asserts a TypeID: the prefix, `_`, and 26 characters of Crockford base32.
#[track_caller]
fn assert_id(id: &Value, prefix: &str) {
    let text = id.as_str().unwrap_or_else(|| panic!("not an id: {id}"));
    let suffix = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_'));
    let suffix = suffix.unwrap_or_else(|| panic!("no {prefix}_ in {text}"));
    assert_eq!(suffix.len(), 26, "{text}");
    assert!(suffix.chars().all(|c| "0123456789abcdefghjkmnpqrstvwxyz".contains(c)), "{text}");
}
