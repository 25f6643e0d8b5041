//! Concurrency and priority.

use std::sync::Arc;

use ringback_tests::{Config, Engine, Peer, Reply, Ringback, both_engines};
use serde_json::json;
use tokio::sync::Semaphore;

both_engines!(a_task_runs_no_more_at_once_than_it_may, the_more_urgent_goes_first);

async fn a_task_runs_no_more_at_once_than_it_may(engine: Engine) {
    let upstream = Peer::start().await;
    let gate = Arc::new(Semaphore::new(0));
    upstream.script("/work", [Reply::json("1").behind(&gate)]);
    let spec =
        format!(r#"run = "http", url = "{}", concurrency = 2, timeout = "60s""#, upstream.url("/work"));
    let server = Ringback::start(Config::on(engine).task("two", &spec)).await;
    let api = server.api();
    let mut jobs = Vec::new();
    for _ in 0..6 {
        jobs.push(api.accepted(&json!({ "task": "two" })).await);
    }
    for released in 0..6 {
        upstream.wait_for("/work", (released + 2).min(6)).await;
        if released == 0 {
            upstream.stays_at("/work", 2, std::time::Duration::from_millis(500)).await;
            assert_eq!(api.job(&jobs[5]).await["status"], "queued");
        }
        assert!(upstream.requests("/work").len() <= released + 2);
        gate.add_permits(1);
    }
    for id in &jobs {
        assert_eq!(api.ended(id).await["status"], "succeeded");
    }
    assert_eq!(upstream.requests("/work").len(), 6);
}

async fn the_more_urgent_goes_first(engine: Engine) {
    let upstream = Peer::start().await;
    let gate = Arc::new(Semaphore::new(0));
    upstream.script("/work", [Reply::json("1").behind(&gate)]);
    let spec =
        format!(r#"run = "http", url = "{}", concurrency = 1, timeout = "60s""#, upstream.url("/work"));
    let server = Ringback::start(Config::on(engine).task("one", &spec)).await;
    let api = server.api();
    api.accepted(&json!({ "task": "one", "input": "first" })).await;
    upstream.first("/work").await;
    for (input, priority) in [("last", 9), ("usual-1", 5), ("usual-2", 5), ("urgent", 0)] {
        api.accepted(&json!({ "task": "one", "input": input, "priority": priority })).await;
    }
    gate.add_permits(5);
    let order: Vec<_> =
        upstream.wait_for("/work", 5).await.iter().map(|r| r.json().as_str().unwrap().to_owned()).collect();
    assert_eq!(order, ["first", "urgent", "usual-1", "usual-2", "last"]);
}
