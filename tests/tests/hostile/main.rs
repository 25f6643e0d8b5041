//! Hostile names and receivers, each story in a network of its own that has no way out: see `ringback_tests::island`.
//!
//! What is shown: whatever a name server or a receiver says, no connection goes to an address that is not public or
//! opened by the operator (a listener on every address counts them), and no receiver costs more than the contract's bounds.

mod addresses;
mod desync;
mod names;
mod receivers;
mod tls;

use std::net::IpAddr;

use ringback_tests::{Api, Config, Peer, island};
use serde_json::{Value, json};

/// Public addresses. Nobody here reaches those who really have them.
const PUBLIC: &str = "93.184.216.34";
const PUBLIC6: &str = "2606:2800:220:1::1";

/// A port on which callbacks may be `http`.
const PORT: u16 = 8080;

/// As strict as by default, but for `http`: no ranges, no names. One attempt.
fn strict() -> Config {
    Config::sqlite().without("delivery.allow_cidrs").with("delivery.retry", "{ schedule = [], jitter = 0.0 }")
}

/// A receiver on every address of the island.
async fn everybody() -> Peer {
    Peer::at(island::everywhere(PORT)).await
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Submits a job that calls back at this name, and gives its delivery once that has ended.
async fn called_back(api: &Api, url: &str) -> Value {
    let id = api.accepted(&json!({ "task": "echo", "callback": url })).await;
    api.delivery_where(&id, "has ended", |delivery| delivery["status"] != "pending").await
}

/// The outcome of the only attempt.
#[track_caller]
fn outcome(delivery: &Value) -> &str {
    let attempts = delivery["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 1, "{delivery:#}");
    attempts[0]["outcome"].as_str().expect("it has ended")
}

fn at(name: &str) -> String {
    format!("http://{name}:{PORT}/hook")
}
