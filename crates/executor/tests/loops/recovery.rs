//! Crashes and lost commits.

use domain::{
    chance::Moment,
    lane::{Caps, Group, Lanes},
};
use ringback_executor::Answer;
use storage::{Listener, Wake};

use super::harness::{Ground, seconds};

#[tokio::test]
async fn a_crash_costs_an_attempt_and_the_last_one_loses_the_job() {
    let ground = Ground::new();
    let mut node = ground.start_ready().await;
    let id = node.run("sleep", r#"{"for": "1h"}"#).await;
    for attempt in 1..=3 {
        node.settle().await;
        assert_eq!(node.shows(id).await, format!("running {attempt}"));
        node.crash().await;
        node = ground.start().await;
    }
    node.settle().await;
    assert_eq!(node.shows(id).await, "failed 3 lost");
}

#[tokio::test]
async fn the_backlog_of_a_dead_process_is_found_at_the_start() {
    let ground = Ground::new();
    let node = ground.start().await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        // Nobody has stepped: nothing is born claimed, all of it waits.
        ids.push(node.run("echo", "1").await);
    }
    node.crash().await;
    let node = ground.start().await;
    node.settle().await;
    for id in ids {
        assert_eq!(node.shows(id).await, "succeeded 1");
    }
}

#[tokio::test]
async fn a_row_claimed_by_a_lost_commit_is_given_back_uncounted_and_run() {
    let ground = Ground::new();
    let node = ground.start().await;
    let id = node.run("echo", "1").await;
    let runs = node.run("sleep", r#"{"for": "5s"}"#).await;
    // As if the claim's answer had been lost: the row is ours, and the executor has never heard of it.
    let job = node.get(id).await;
    let at = Moment::of(&*ground.clock);
    let mut lanes = Lanes::new(Caps::UNBOUNDED);
    lanes.set_group(Group(0), 1);
    lanes.touch(job.lane(), Group(0), at.now);
    let claims = node.engine.claim_jobs(lanes.pick(at.now, 1), at).await.unwrap();
    assert_eq!(claims[0].claimed.len(), 1);
    node.settle().await;
    assert_eq!((node.shows(id).await, node.shows(runs).await), ("running 1".into(), "running 1".into()));
    node.executor.woken(&[Wake::Uncertain]);
    node.settle().await;
    assert_eq!((node.shows(id).await, node.shows(runs).await), ("succeeded 1".into(), "running 1".into()));
    node.advance(seconds(5)).await;
    assert_eq!(node.shows(runs).await, "succeeded 1");
}

#[tokio::test]
async fn an_end_is_written_over_an_outage_and_the_work_is_not_done_twice() {
    let ground = Ground::new();
    let node = ground.start_ready().await;
    ground.upstream.answer(Answer { status: 200, body: Some("1".into()), ..Default::default() });
    let (slept, retried) =
        (node.run("sleep", r#"{"for": "5s"}"#).await, node.run("fail", r#"{"times": 1}"#).await);
    node.settle().await;
    let called = node.run("http", "1").await;
    let outage = ground.outage();
    for _ in 0..30 {
        // Every repeat is refused; a claim of the retry that is due too.
        node.advance(seconds(1)).await;
    }
    let shown = [node.shows(slept).await, node.shows(called).await, node.shows(retried).await];
    assert_eq!(shown, ["running 1", "running 1", "queued 1"]);
    drop(outage);
    node.advance(seconds(5)).await;
    let shown = [node.shows(slept).await, node.shows(called).await, node.shows(retried).await];
    assert_eq!(shown, ["succeeded 1", "succeeded 1", "succeeded 2"]);
    assert_eq!(ground.upstream.requests().len(), 1);
}
