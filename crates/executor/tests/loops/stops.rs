//! Cancel, drain, give-back and a lease in doubt.

use std::sync::atomic::Ordering;

use domain::{
    chance::{Clock, Moment},
    event::Event,
    id::EventId,
    job::{Ended, Ending, Links},
};
use storage::{Cancel, Canceled, Finish, Guard};

use super::harness::{Ground, Node, seconds};

async fn cancel(ground: &Ground, node: &Node, id: domain::id::JobId) -> Canceled {
    let job = node.get(id).await;
    let at = Moment::of(&*ground.clock);
    let ended = Ended {
        attempt: job.attempt(),
        started_at: job.started_at(),
        finished_at: at.wall,
        ending: Ending::Canceled,
    };
    let links = Links::new("", id);
    let event = Event::ended(EventId::new(at.now, 5), &job, &ended, &links);
    let guard = Guard::Queued { attempt: job.attempt() };
    node.engine
        .cancel(Cancel { finish: Finish { job, guard, ended, result: None, event, links, at } })
        .await
        .unwrap()
}

#[tokio::test]
async fn running_work_stops_when_it_is_canceled() {
    let ground = Ground::new();
    let node = ground.start_ready().await;
    let (sleeping, calling) = (node.run("sleep", r#"{"for": "1h"}"#).await, node.run("http", "1").await);
    node.settle().await;
    assert_eq!(ground.upstream.hanging(), 1);
    for id in [sleeping, calling] {
        assert_eq!(cancel(&ground, &node, id).await, Canceled::Requested);
    }
    node.settle().await;
    for id in [sleeping, calling] {
        assert_eq!(node.shows(id).await, "canceled 1");
        assert!(node.get(id).await.cancel_requested_at.is_some());
        assert_eq!(cancel(&ground, &node, id).await, Canceled::TooLate);
    }
    assert_eq!(ground.upstream.hanging(), 0, "the request is dropped");
    assert!(node.executor.idle());
}

#[tokio::test]
async fn draining_starts_nothing_and_lets_what_runs_end() {
    let ground = Ground::new();
    let node = ground.start_ready().await;
    let runs = node.run("sleep", r#"{"for": "5s"}"#).await;
    node.settle().await;
    node.executor.drain();
    let waits = node.run("echo", "1").await;
    node.settle().await;
    assert_eq!((node.shows(runs).await, node.shows(waits).await), ("running 1".into(), "queued 0".into()));
    assert!(!node.executor.idle());
    node.advance(seconds(5)).await;
    assert_eq!(node.shows(runs).await, "succeeded 1");
    assert!(node.executor.idle());
    node.executor.until_idle().await;
}

#[tokio::test]
async fn what_cannot_end_in_the_grace_goes_back_uncounted() {
    let ground = Ground::new();
    let node = ground.start_ready().await;
    let ids = [node.run("sleep", r#"{"for": "1h"}"#).await, node.run("http", "1").await];
    node.settle().await;
    node.executor.drain();
    node.executor.give_back().await;
    for id in ids {
        assert_eq!(node.shows(id).await, "queued 0");
    }
    assert_eq!(ground.upstream.hanging(), 0);
}

#[tokio::test]
async fn while_the_lease_is_in_doubt_nothing_starts_and_nothing_ends() {
    let ground = Ground::new();
    let node = ground.start_ready().await;
    let id = node.run("sleep", r#"{"for": "5s"}"#).await;
    node.settle().await;
    ground.may_act.store(false, Ordering::SeqCst);
    let waits = node.run("echo", "1").await;
    for _ in 0..3 {
        node.advance(seconds(5)).await;
    }
    assert_eq!((node.shows(id).await, node.shows(waits).await), ("running 1".into(), "queued 0".into()));
    ground.may_act.store(true, Ordering::SeqCst);
    node.advance(seconds(1)).await;
    assert_eq!((node.shows(id).await, node.shows(waits).await), ("succeeded 1".into(), "succeeded 1".into()));
    assert!(ground.clock.now() == ground.clock.wall());
}
