//! Crashes, lost leases, lost outcomes, stops.

use std::sync::atomic::Ordering;

use domain::{
    callback::Callback,
    chance::{Clock, Moment},
    lane::Group,
    retry::RetryPolicy,
};
use storage::{Listener, Wake};

use super::harness::{Ground, callback, seconds, status};

#[tokio::test]
async fn a_restart_sends_again_what_the_dead_process_had_out() {
    let ground = Ground::new();
    let node = ground.start().await;
    ground.world.hang("a.example");
    ground.world.script("b.example", [status(500)]);
    let (out, waiting) = (node.deliver("a.example").await, node.deliver("b.example").await);
    node.settle().await;
    assert_eq!(node.shows(out).await, "in flight");
    node.crash().await;

    let node = ground.start().await;
    ground.world.let_go("a.example", 2);
    node.settle().await;
    assert_eq!(node.shows(out).await, "interrupted, delivered, succeeded");
    assert_eq!(node.shows(waiting).await, "http_status, waiting");
    node.advance(seconds(5)).await;
    assert_eq!(node.shows(waiting).await, "http_status, delivered, succeeded");
    let requests = ground.world.requests("a.example");
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].body, requests[1].body);
}

#[tokio::test]
async fn nothing_is_sent_or_settled_while_the_lease_is_in_doubt() {
    let ground = Ground::new();
    let node = ground.start().await;
    ground.world.hang("a.example");
    let out = node.deliver("a.example").await;
    node.settle().await;
    ground.may_act.store(false, Ordering::SeqCst);
    ground.world.let_go("a.example", 1);
    let new = node.deliver("b.example").await;
    node.steps().await;
    assert_eq!(node.shows(out).await, "in flight", "answered, and not settled");
    assert_eq!(node.shows(new).await, "waiting", "neither born claimed nor claimed");
    assert_eq!(ground.world.requests("b.example").len(), 0);

    ground.may_act.store(true, Ordering::SeqCst);
    node.advance(seconds(1)).await;
    assert_eq!(node.shows(out).await, "delivered, succeeded");
    assert_eq!(node.shows(new).await, "delivered, succeeded");
    assert_eq!(ground.world.requests("a.example").len(), 1);
}

#[tokio::test]
async fn a_stale_answer_changes_nothing() {
    let ground = Ground::new();
    let node = ground.start().await;
    ground.world.hang("a.example");
    let id = node.deliver("a.example").await;
    node.settle().await;
    // Somebody else took the row over and has it again.
    node.engine.give_back(None, Some(vec![]), Moment::of(&*ground.clock)).await.unwrap();
    node.settle().await;
    assert_eq!(node.shows(id).await, "interrupted, in flight");
    ground.world.script("a.example", [status(410), status(200)]);
    ground.world.let_go("a.example", 2);
    node.settle().await;
    assert_eq!(node.shows(id).await, "interrupted, delivered, succeeded", "the 410 came to a lost attempt");
}

#[tokio::test]
async fn after_a_lost_outcome_what_nobody_holds_is_given_back() {
    let ground = Ground::new();
    let node = ground.start().await;
    ground.world.hang("a.example");
    let held = node.deliver("a.example").await;
    node.settle().await;
    // A claim whose answer is lost: the row says that this node sends it, and nobody does.
    ground.may_act.store(false, Ordering::SeqCst);
    let stray = node.deliver("b.example").await;
    let lane = callback("b.example").lane(super::harness::TENANT);
    let mut lanes = domain::lane::Lanes::new(domain::lane::Caps { start: 8, most: 8, ahead: 0 });
    lanes.set_group(Group(0), 8);
    let at = Moment::of(&*ground.clock);
    lanes.touch(lane, Group(0), at.now);
    let claims = node.engine.claim_deliveries(lanes.pick(at.now, 1), at).await.unwrap();
    assert_eq!(claims[0].claimed.len(), 1);
    ground.may_act.store(true, Ordering::SeqCst);
    node.settle().await;
    assert_eq!(node.shows(stray).await, "in flight");

    node.dispatcher.woken(&[Wake::Uncertain]);
    node.settle().await;
    assert_eq!(node.shows(stray).await, "interrupted, delivered, succeeded");
    assert_eq!(node.shows(held).await, "in flight", "it is held, so it stays");
    ground.world.let_go("a.example", 1);
    node.settle().await;
    assert_eq!(node.shows(held).await, "delivered, succeeded");
}

#[tokio::test]
async fn a_drain_ends_what_is_out_and_begins_nothing() {
    let ground = Ground::new();
    let node = ground.start().await;
    ground.world.hang("a.example");
    let out = node.deliver("a.example").await;
    node.settle().await;
    node.dispatcher.drain();
    let new = node.deliver("b.example").await;
    node.settle().await;
    assert!(!node.dispatcher.idle());
    ground.world.let_go("a.example", 1);
    let stopped = tokio::time::timeout(seconds(5), node.dispatcher.until_idle());
    let (stopped, ()) = tokio::join!(stopped, node.settle());
    stopped.expect("idle");
    assert_eq!(node.shows(out).await, "delivered, succeeded");
    assert_eq!(node.shows(new).await, "waiting");
}

#[tokio::test]
async fn what_outlasts_the_grace_is_given_back() {
    let ground = Ground::new();
    let node = ground.start().await;
    ground.world.hang("a.example");
    let out = node.deliver("a.example").await;
    node.settle().await;
    node.dispatcher.give_back().await;
    node.steps().await;
    assert_eq!(node.shows(out).await, "interrupted, waiting");
    assert_eq!(ground.world.requests("a.example").len(), 1);
}

#[tokio::test]
async fn the_loop_sleeps_until_a_commit_or_a_timer() {
    let ground = Ground::new();
    let node = ground.start().await;
    let stop = std::sync::Arc::new(tokio::sync::Notify::new());
    let running = tokio::spawn({
        let (dispatcher, stop) = (node.dispatcher.clone(), stop.clone());
        async move { dispatcher.run(stop.notified()).await }
    });
    assert_eq!(node.dispatcher.step().await, None, "nothing to wake up for");
    let began = tokio::time::Instant::now();
    let id = node.deliver("a.example").await;
    while node.shows(id).await != "delivered, succeeded" {
        assert!(began.elapsed() < seconds(5));
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    stop.notify_one();
    tokio::time::timeout(seconds(5), running).await.expect("stopped").unwrap();
}

#[tokio::test]
async fn a_settlement_that_storage_refuses_is_repeated_and_the_request_is_not() {
    let ground = Ground::new();
    let node = ground.start().await;
    ground.world.hang("a.example");
    ground.world.script("a.example", [status(500)]);
    let retry = RetryPolicy::Schedule { delays: vec![seconds(60)], jitter: 0.0 };
    let id = node.ends(vec![Callback { retry: Some(retry), ..callback("a.example") }]).await[0];
    node.settle().await;
    ground.break_storage();
    let answered_at = ground.clock.now();
    ground.world.let_go("a.example", 1);
    for _ in 0..5 {
        node.steps().await;
        assert_eq!(node.shows(id).await, "in flight");
        ground.clock.advance(seconds(1));
    }
    ground.mend_storage();
    node.advance(seconds(8)).await;
    assert_eq!(
        node.due(id).await,
        answered_at + seconds(60),
        "counted from the answer, however late it was written"
    );
    assert_eq!(ground.world.requests("a.example").len(), 1);
}
