//! A node that dies or freezes: its work is taken over, once, and nothing that it still does counts.

use std::time::Duration;

use ringback_tests::{Peer, Reply, Ringback, clock, wait};
use serde_json::json;

use super::{LEASE, TAKEN_OVER, config, nodes, own, with_work, work};

/// The first attempt of everything hangs, the second is answered.
fn hang_first(peer: &Peer, path: &str) {
    peer.script(path, [Reply::hang(), Reply::json("1")]);
}

#[tokio::test]
async fn what_a_killed_node_ran_and_sent_is_taken_over_within_its_lease() {
    let (upstream, receiver) = (Peer::start().await, Peer::start().await);
    hang_first(&upstream, "/work");
    receiver.script("/slow", [Reply::hang(), Reply::ok()]);
    let config = with_work(config(), &upstream, 8).with("delivery.timeout", r#""30s""#);
    let mut first = Ringback::start(config.clone()).await;
    let running = first.api().accepted(&work(json!(1), &receiver)).await;
    upstream.first("/work").await;
    let sending = json!({ "task": "echo", "callback": receiver.url("/slow") });
    let sending = first.api().accepted(&sending).await;
    receiver.first("/slow").await;
    let second = first.beside(config).await;
    let killed = clock::now();
    first.kill();
    upstream.wait_for("/work", 2).await;
    receiver.wait_for("/slow", 2).await;
    assert!(killed.elapsed() <= LEASE + TAKEN_OVER, "{:?}", killed.elapsed());
    let job = second.api().ended(&running).await;
    assert_eq!((&job["status"], &job["attempt"]), (&json!("succeeded"), &json!(2)));
    let delivery = second.api().delivery_is(&sending, "succeeded").await;
    let outcomes: Vec<_> =
        delivery["attempts"].as_array().unwrap().iter().map(|attempt| attempt["outcome"].clone()).collect();
    assert_eq!(outcomes, [json!("interrupted"), json!("delivered")]);
    // Nobody remembers who never comes back.
    wait::until("one node is left", || async { (nodes(&second).await.len() == 1).then_some(()) }).await;
    receiver.stays_at("/hook", 1, Duration::from_millis(500)).await;
}

#[tokio::test]
async fn a_frozen_node_wakes_to_find_its_work_gone_and_joins_again() {
    let (upstream, receiver) = (Peer::start().await, Peer::start().await);
    // Both attempts are answered after the node has been woken: the frozen one's is not what counts.
    upstream.answer("/work", |request| {
        let attempt = request.header("ringback-attempt").to_owned();
        Reply::json(&attempt).after(Duration::from_millis(if attempt == "1" { 5_500 } else { 3_500 }))
    });
    let config = with_work(config(), &upstream, 8);
    let first = Ringback::start(config.clone()).await;
    let id = own(&first).await["id"].clone();
    let job = first.api().accepted(&work(json!(1), &receiver)).await;
    upstream.first("/work").await;
    let second = first.beside(config).await;
    first.signal("STOP");
    let frozen = clock::now();
    upstream.wait_for("/work", 2).await;
    assert!(frozen.elapsed() <= LEASE + TAKEN_OVER, "{:?}", frozen.elapsed());
    first.signal("CONT");
    let ended = second.api().ended(&job).await;
    assert_eq!((&ended["attempt"], &ended["result"]), (&json!(2), &json!(2)), "{ended}");
    let row = wait::until("it joined again", || async {
        let row = own(&first).await;
        (row["epoch"] == 2 && row["status"] == "ready").then_some(row)
    })
    .await;
    assert_eq!(row["id"], id);
    wait::until("it is ready", || async { (first.api().get("/readyz").await.status == 200).then_some(()) })
        .await;
    receiver.wait_for("/hook", 1).await;
    receiver.stays_at("/hook", 1, Duration::from_secs(3)).await;
    assert_eq!(upstream.requests("/work").len(), 2);
    // And it works.
    let again = first.api().accepted(&json!({ "task": "echo", "input": 7 })).await;
    assert_eq!(first.api().ended(&again).await["result"], 7);
}

#[tokio::test]
async fn what_a_stopped_node_leaves_is_taken_at_once() {
    let (upstream, receiver) = (Peer::start().await, Peer::start().await);
    hang_first(&upstream, "/work");
    let config =
        with_work(config(), &upstream, 8).with("node.drain", r#""500ms""#).with("node.lease", r#""30s""#);
    let mut first = Ringback::start(config.clone()).await;
    let job = first.api().accepted(&work(json!(1), &receiver)).await;
    upstream.first("/work").await;
    let second = first.beside(config).await;
    first.stop().await;
    let stopped = clock::now();
    upstream.wait_for("/work", 2).await;
    assert!(stopped.elapsed() < Duration::from_secs(2), "{:?}", stopped.elapsed());
    // It was given back: that start does not count.
    let ended = second.api().ended(&job).await;
    assert_eq!((&ended["status"], &ended["attempt"]), (&json!("succeeded"), &json!(1)));
}
