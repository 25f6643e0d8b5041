//! A receiver that was away is back: what waits for it is brought forward whole, whatever dies meanwhile.

use std::sync::Arc;

use domain::{callback::Callback, id::EndpointId, retry::RetryPolicy};

use super::harness::{Ground, Node, callback, seconds, status};

/// One step of SQLite's.
const STEP: u32 = 200;
/// How many wait in back-off: more than a step takes.
const WAITING: usize = 4 * 60;
const ALL: usize = 5 * 60 + 5;

/// An endpoint whose breaker is open, with more in back-off than one step brings forward: for hours, if nobody did.
async fn away(ground: &Ground, node: &Node) -> EndpointId {
    let hours = RetryPolicy::Schedule { delays: vec![seconds(3 * 3600); 3], jitter: 0.0 };
    let target = Callback { retry: Some(hours), ..callback("a.example") };
    let endpoint = node.endpoint("a.example", |settings| settings.target = Arc::new(target)).await;
    let mostly_failing = [500, 500, 500, 500, 200].into_iter().cycle().take(ALL - 5);
    ground.world.script("a.example", mostly_failing.chain([500; 5]).map(status));
    for _ in 0..ALL / 5 {
        let ends = || node.ends(Vec::new());
        tokio::join!(ends(), ends(), ends(), ends(), ends());
    }
    node.settle().await;
    assert_eq!(ground.world.requests("a.example").len(), ALL);
    assert_eq!(node.succeeded(endpoint).await, ALL - 5 - WAITING);
    endpoint
}

#[tokio::test]
async fn no_success_is_recorded_before_all_that_waits_was_brought_forward() {
    let ground = Ground::new();
    let node = ground.start().await;
    let endpoint = away(&ground, &node).await;
    let before = node.succeeded(endpoint).await;
    ground.break_storage_after(STEP);
    ground.clock.advance(seconds(5));
    node.steps_until(|| ground.world.requests("a.example").len() > ALL + 10).await;
    node.steps().await;
    assert_eq!(node.succeeded(endpoint).await, before, "or whoever comes next finds no outage");
    assert!(!node.dispatcher.idle(), "they are still to be settled");
    let sent = ground.world.requests("a.example").len() - ALL;
    assert!(sent <= 64 + 16, "what a crash would have sent again stays little: {sent}");

    ground.mend_storage();
    ground.clock.advance(seconds(1));
    node.settle().await;
    assert_eq!(node.succeeded(endpoint).await, ALL);
    assert_eq!(ground.world.requests("a.example").len(), ALL + WAITING + 5, "none of them twice");
    assert!(node.dispatcher.idle());
}

#[tokio::test]
async fn what_was_not_brought_forward_yet_is_by_whoever_comes_next() {
    let ground = Ground::new();
    let node = ground.start().await;
    let endpoint = away(&ground, &node).await;
    ground.break_storage_after(STEP);
    ground.clock.advance(seconds(5));
    node.steps_until(|| ground.world.requests("a.example").len() > ALL + 10).await;
    node.steps().await;
    node.crash().await;

    ground.mend_storage();
    let node = ground.start().await;
    assert_eq!(node.succeeded(endpoint).await, ALL, "at once, and not after hours");
}

/// What ends otherwise is recorded at once, and a ping's success waits like any other.
#[tokio::test]
async fn a_ping_that_finds_it_out_waits_too() {
    let ground = Ground::new();
    let node = ground.start().await;
    let endpoint = away(&ground, &node).await;
    let before = node.succeeded(endpoint).await;
    ground.break_storage_after(0);
    node.ping(endpoint).await;
    node.steps_until(|| ground.world.requests("a.example").len() > ALL).await;
    node.steps().await;
    assert_eq!(node.succeeded(endpoint).await, before);
    node.crash().await;
    ground.mend_storage();
    let node = ground.start().await;
    assert_eq!(node.succeeded(endpoint).await, ALL + 1);
}

#[tokio::test]
async fn a_node_that_stops_brings_forward_before_it_is_idle() {
    let ground = Ground::new();
    let node = ground.start().await;
    let endpoint = away(&ground, &node).await;
    let before = node.succeeded(endpoint).await;
    ground.break_storage_after(STEP);
    ground.clock.advance(seconds(5));
    node.steps_until(|| ground.world.requests("a.example").len() > ALL + 10).await;
    node.dispatcher.drain();
    node.steps().await;
    assert!(!node.dispatcher.idle());
    ground.mend_storage();
    ground.clock.advance(seconds(1));
    node.settle().await;
    assert!(node.dispatcher.idle());
    let sent = ground.world.requests("a.example").len() - ALL;
    assert_eq!(node.succeeded(endpoint).await, before + sent, "all that it sent");
    node.crash().await;
    let node = ground.start().await;
    assert_eq!(node.succeeded(endpoint).await, ALL, "the rest is due");
}
