//! One dead receiver never delays another.

use std::time::Duration;

use ringback_tests::{Config, Engine, Peer, Reply, Ringback, both_engines, clock};
use serde_json::json;

both_engines!(a_dead_receiver_delays_nobody);

async fn a_dead_receiver_delays_nobody(engine: Engine) {
    let (dead, alive) = (Peer::start().await, Peer::start().await);
    dead.script("/hook", [Reply::hang()]);
    let server = Ringback::start(Config::on(engine).with("delivery.timeout", r#""20s""#)).await;
    let api = server.api();
    for n in 0..300 {
        api.accepted(&json!({ "task": "echo", "input": n, "callback": dead.url("/hook") })).await;
    }
    dead.wait_for("/hook", 1).await;
    let mut took = Vec::new();
    for n in 0..40 {
        let start = clock::now();
        api.accepted(&json!({ "task": "echo", "input": n, "callback": alive.url("/hook") })).await;
        took.push(alive.wait_for("/hook", n + 1).await[n].at.duration_since(start));
    }
    took.sort();
    assert!(took[39] < Duration::from_secs(1), "the slowest of {took:?}");
    assert!(took[20] < Duration::from_millis(150), "the median of {took:?}");
    let open = dead.connections();
    assert!(open <= 32, "{open} connections to one host: per_lane_in_flight is the most");
}

/// Nor do many dead receivers together.
#[tokio::test]
async fn fifty_dead_receivers_delay_nobody() {
    let alive = Peer::start().await;
    let mut dead = Vec::new();
    for _ in 0..50 {
        let peer = Peer::start().await;
        peer.script("/hook", [Reply::hang()]);
        dead.push(peer);
    }
    let server = Ringback::start(Config::sqlite().with("delivery.timeout", r#""20s""#)).await;
    let api = server.api();
    for _ in 0..10 {
        for peer in &dead {
            api.accepted(&json!({ "task": "echo", "callback": peer.url("/hook") })).await;
        }
    }
    let start = clock::now();
    api.accepted(&json!({ "task": "echo", "callback": alive.url("/hook") })).await;
    let took = alive.first("/hook").await.at.duration_since(start);
    assert!(took < Duration::from_secs(1), "{took:?}");
}
