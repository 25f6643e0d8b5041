//! Work that ends, fails, waits and takes turns.

use domain::{
    callback::Callbacks,
    id::Tenant,
    job::{Ending, Job, Priority, Status},
    task::TaskSpec,
};
use storage::{DeliveryFilter, Listener, Wake};

use super::harness::{Ground, seconds};

#[tokio::test]
async fn an_echo_is_born_claimed_and_ends_with_its_number_tokens() {
    let node = Ground::new().start_ready().await;
    let id = node.run("echo", r#"{"price": 1.10}"#).await;
    assert_eq!(node.shows(id).await, "running 1");
    node.settle().await;
    let job = node.get(id).await;
    let Some(Ending::Succeeded(result)) = job.ended().map(|ended| &ended.ending) else { panic!("{job:?}") };
    assert_eq!(result.inline.as_ref().unwrap().get(), r#"{"price": 1.10}"#);
    assert!(node.executor.idle());
}

#[tokio::test]
async fn a_retry_comes_at_its_stored_time_and_not_before() {
    let node = Ground::new().start_ready().await;
    let id = node.run("fail", r#"{"times": 1}"#).await;
    node.settle().await;
    assert_eq!(node.shows(id).await, "queued 1");
    node.advance(seconds(9)).await;
    assert_eq!(node.shows(id).await, "queued 1");
    node.advance(seconds(1)).await;
    assert_eq!(node.shows(id).await, "succeeded 2");
}

#[tokio::test]
async fn attempts_run_out_and_permanent_failures_need_none() {
    let node = Ground::new().start_ready().await;
    let (tried, once) = (node.run("fail", "null").await, node.run("fail", r#"{"permanent": true}"#).await);
    for _ in 0..4 {
        node.advance(seconds(10)).await;
    }
    assert_eq!(node.shows(tried).await, "failed 3 task-failed");
    assert_eq!(node.shows(once).await, "failed 1 task-failed");
}

#[tokio::test]
async fn bad_input_and_large_results_fail_for_good() {
    let node = Ground::new().start_ready().await;
    let bad = node.run("sleep", r#"{"for": 2}"#).await;
    let large = node.run("echo", &format!("\"{}\"", "x".repeat(1023))).await;
    node.settle().await;
    assert_eq!(node.shows(bad).await, "failed 1 input-invalid");
    assert_eq!(node.shows(large).await, "failed 1 result-too-large");
}

#[tokio::test]
async fn no_more_run_at_once_than_may_and_all_get_their_turn() {
    let node = Ground::new().start_ready().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(node.run("sleep", r#"{"for": "2s"}"#).await);
    }
    node.settle().await;
    for running in [2, 2, 1, 0] {
        assert_eq!(node.running(&ids).await, running);
        node.advance(seconds(2)).await;
    }
    for id in ids {
        assert_eq!(node.get(id).await.status(), Status::Succeeded);
    }
}

#[tokio::test]
async fn a_lower_priority_number_goes_first() {
    let node = Ground::new().start_ready().await;
    let long = r#"{"for": "5s"}"#;
    let busy = [node.run("sleep", long).await, node.run("sleep", long).await];
    node.advance(seconds(1)).await;
    let later = node.run("sleep", long).await;
    node.advance(seconds(1)).await;
    let last = node.run("sleep", long).await;
    node.advance(seconds(1)).await;
    let urgent = Job { priority: Priority::new(0).unwrap(), ..node.job("sleep") };
    let urgent = node.submit(urgent, long).await;
    node.settle().await;
    assert_eq!((node.running(&busy).await, node.running(&[later, last, urgent]).await), (2, 0));
    node.advance(seconds(2)).await;
    assert_eq!((node.running(&[urgent, later]).await, node.shows(last).await.as_str()), (2, "queued 0"));
}

#[tokio::test]
async fn a_job_waits_for_its_time() {
    let node = Ground::new().start_ready().await;
    let due = node.get(node.run("echo", "1").await).await.created_at + seconds(30);
    let id = node.submit_due(node.job("echo"), "1", due).await;
    node.advance(seconds(29)).await;
    assert_eq!(node.shows(id).await, "queued 0");
    node.advance(seconds(1)).await;
    assert_eq!(node.shows(id).await, "succeeded 1");
}

#[tokio::test]
async fn an_attempt_may_take_its_timeout_and_no_longer() {
    let node = Ground::new().start_ready().await;
    let short = Job { timeout: seconds(3), max_attempts: 2, ..node.job("sleep") };
    let id = node.submit(short, r#"{"for": "1h"}"#).await;
    node.settle().await;
    node.advance(seconds(2)).await;
    assert_eq!(node.shows(id).await, "running 1");
    node.advance(seconds(1)).await;
    assert_eq!(node.shows(id).await, "queued 1");
    node.advance(seconds(10)).await;
    assert_eq!(node.shows(id).await, "running 2");
    node.advance(seconds(3)).await;
    assert_eq!(node.shows(id).await, "failed 2 timeout");
}

#[tokio::test]
async fn what_expired_is_never_started() {
    let node = Ground::new().start_ready().await;
    let busy = [node.run("sleep", r#"{"for": "1m"}"#).await, node.run("sleep", r#"{"for": "1m"}"#).await];
    let job = node.job("sleep");
    let expires_at = Some(job.created_at + seconds(5));
    let id = node.submit(Job { expires_at, ..job }, r#"{"for": "1s"}"#).await;
    node.advance(seconds(4)).await;
    assert_eq!(node.shows(id).await, "queued 0");
    node.advance(seconds(1)).await;
    assert_eq!(node.shows(id).await, "failed 0 expired");
    assert_eq!(node.running(&busy).await, 2, "running work is left alone");
}

#[tokio::test]
async fn the_start_is_told_once_and_only_to_who_asked() {
    let node = Ground::new().start_ready().await;
    let callback = |events: &str| {
        let text = format!(r#"{{"url": "https://partner.example/hooks", "events": {events}}}"#);
        serde_json::from_str(&text).unwrap()
    };
    let callbacks =
        Callbacks::new(vec![callback(r#"["job.started", "job.succeeded"]"#), callback(r#"["job.failed"]"#)]);
    let id = node.submit(Job { callbacks, ..node.job("fail") }, r#"{"times": 1}"#).await;
    node.advance(seconds(10)).await;
    assert_eq!(node.shows(id).await, "succeeded 2");
    let filter = DeliveryFilter {
        tenant: Tenant::DEFAULT,
        job: Some(id),
        endpoint: None,
        event: None,
        status: None,
        outcome: None,
        created_after: None,
        created_before: None,
        before: None,
        limit: 100,
    };
    let told: Vec<_> = node
        .engine
        .deliveries(filter)
        .await
        .unwrap()
        .items
        .iter()
        .rev()
        .map(|delivery| delivery.kind.name())
        .collect();
    assert_eq!(told, ["job.started", "job.succeeded"]);
}

#[tokio::test]
async fn nothing_of_a_paused_task_is_started_until_it_is_resumed() {
    let ground = Ground::new();
    let node = ground.start_ready().await;
    let sleeping = node.run("sleep", r#"{"for": "5s"}"#).await;
    node.settle().await;
    let at = domain::chance::Clock::wall(&*ground.clock);
    for task in ["sleep", "echo"] {
        node.engine.pause_task(task.parse().unwrap(), at).await.unwrap();
    }
    // Said and heard: from here on nothing is born claimed.
    let echo = node.run("echo", "1").await;
    assert_eq!(node.shows(echo).await, "queued 0");
    node.advance(seconds(6)).await;
    assert_eq!(
        (node.shows(sleeping).await, node.shows(echo).await),
        ("succeeded 1".into(), "queued 0".into())
    );
    let fail = node.run("fail", r#"{"permanent": true}"#).await;
    node.settle().await;
    assert_eq!(node.shows(fail).await, "failed 1 task-failed", "others go on");
    // Another life knows, too.
    node.crash().await;
    let node = ground.start_ready().await;
    assert_eq!(node.shows(echo).await, "queued 0");
    node.engine.resume_task("echo".parse().unwrap()).await.unwrap();
    node.settle().await;
    assert_eq!(node.shows(echo).await, "succeeded 1");
}

#[tokio::test]
async fn what_another_node_said_is_heard_at_the_next_look() {
    let ground = Ground::new();
    let node = ground.start_ready().await;
    let elsewhere = ground.elsewhere();
    elsewhere.execute("INSERT INTO paused_tasks (task, paused_at) VALUES ('echo', 1)", []).unwrap();
    node.executor.woken(&[Wake::TasksChanged]);
    node.settle().await;
    let echo = node.run("echo", "1").await;
    node.settle().await;
    assert_eq!(node.shows(echo).await, "queued 0");
    elsewhere.execute("DELETE FROM paused_tasks", []).unwrap();
    node.executor.woken(&[Wake::TasksChanged]);
    node.settle().await;
    assert_eq!(node.shows(echo).await, "succeeded 1");
}

#[tokio::test]
async fn jobs_of_a_removed_task_wait_for_it_to_come_back() {
    let ground = Ground::new();
    let node = ground.start_ready().await;
    let sleeping = node.run("sleep", r#"{"for": "5s"}"#).await;
    node.settle().await;
    let without: Vec<_> = ground.tasks.iter().filter(|task| task.name.as_str() == "fail").cloned().collect();
    node.executor.reload(&without);
    node.settle().await;
    let waiting = node.run("echo", "1").await;
    node.advance(seconds(6)).await;
    assert_eq!(node.shows(sleeping).await, "succeeded 1", "what runs ends as it began");
    assert_eq!(node.shows(waiting).await, "queued 0");
    let mut more = ground.tasks.clone();
    more.push(TaskSpec { name: "new".parse().unwrap(), ..ground.tasks[0].clone() });
    let new = node.run("new", "2").await;
    node.settle().await;
    assert_eq!(node.shows(new).await, "queued 0");
    node.executor.reload(&more);
    node.settle().await;
    assert_eq!(
        (node.shows(waiting).await, node.shows(new).await),
        ("succeeded 1".into(), "succeeded 1".into())
    );
}
