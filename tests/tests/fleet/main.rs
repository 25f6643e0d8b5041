//! Stories of two and three nodes over one PostgreSQL: who does what, what one hears of another, and what becomes of the
//! work when one of them dies, freezes or cannot reach the database.
//!
//! `RINGBACK_FLEET_SEED` replays the run under faults, `RINGBACK_FLEET_FAULTS` sets how many there are (6).

mod balancer;
mod chaos;
mod database;
mod endpoints;
mod faults;
mod heals;
mod members;
mod network;
mod outages;
mod pooler;
mod takeover;
mod wakes;

use std::time::Duration;

use ringback_tests::{Config, Engine, Peer, Ringback};
use serde_json::{Value, json};

/// How long a silent node keeps its work here.
const LEASE: Duration = Duration::from_secs(2);

/// Within this after its lease a dead node's work is somebody else's.
const TAKEN_OVER: Duration = Duration::from_secs(2);

fn config() -> Config {
    Config::on(Engine::Postgres).with("node.lease", r#""2s""#).with("node.drain", r#""5s""#)
}

/// Two nodes over a fresh database.
async fn two(config: &Config) -> [Ringback; 2] {
    let first = Ringback::start(config.clone()).await;
    let second = first.beside(config.clone()).await;
    [first, second]
}

/// A configuration whose task `work` is done by `upstream`, so many at once.
fn with_work(config: Config, upstream: &Peer, concurrency: u32) -> Config {
    config.task(
        "work",
        &format!(
            r#"run = "http", url = "{}", timeout = "60s", concurrency = {concurrency}, retry = {{ initial = "20ms", max_interval = "200ms", max_attempts = 8 }}"#,
            upstream.url("/work")
        ),
    )
}

fn work(input: Value, receiver: &Peer) -> Value {
    json!({ "task": "work", "input": input, "callback": receiver.url("/hook") })
}

/// Every node, as this one knows them.
async fn nodes(of: &Ringback) -> Vec<Value> {
    let list = of.api().get("/v1/nodes").await.expect(200).json();
    list["items"].as_array().expect("a list has items").clone()
}

/// The row of this process.
async fn own(of: &Ringback) -> Value {
    let end = format!(":{}", of.pid());
    let mine = nodes(of)
        .await
        .into_iter()
        .find(|node| node["name"].as_str().is_some_and(|name| name.ends_with(&end)));
    mine.unwrap_or_else(|| panic!("no node is called …{end}"))
}
