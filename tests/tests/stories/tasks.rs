//! Tasks: what there is to submit, how busy it is, pausing it, and reloading it.

use std::process::Command;

use ringback_tests::{Config, Engine, Ringback, both_engines, wait};
use serde_json::{Value, json};

use super::{assert_time, sleep};

both_engines!(a_paused_task_accepts_and_queues);

async fn a_paused_task_accepts_and_queues(engine: Engine) {
    let mut server = Ringback::on(engine).await;
    let api = server.api().clone();
    let running = api.accepted(&sleep("2s")).await;
    api.job_is(&running, "running").await;
    let task = api.call("/v1/tasks/sleep/pause").await.expect(200).json();
    assert_eq!((&task["name"], &task["paused"]), (&json!("sleep"), &json!(true)));
    api.call("/v1/tasks/sleep/pause").await.expect(200);
    let waiting = api.accepted(&sleep("10ms")).await;
    assert_eq!(api.job(&waiting).await["status"], "queued");
    // What runs ends; others go on.
    let echo = api.accepted(&json!({ "task": "echo" })).await;
    assert_eq!(api.ended(&echo).await["status"], "succeeded");
    assert_eq!(api.ended(&running).await["status"], "succeeded");
    // It is stored.
    server.crash().await;
    let api = server.api();
    assert_eq!(api.get("/v1/tasks/sleep").await.expect(200).json()["paused"], true);
    let born = api.accepted(&sleep("10ms")).await;
    let echo = api.accepted(&json!({ "task": "echo" })).await;
    api.ended(&echo).await;
    for id in [&waiting, &born] {
        assert_eq!(
            (&api.job(id).await["status"], &api.job(id).await["attempt"]),
            (&json!("queued"), &json!(0))
        );
    }
    let task = api.get("/v1/tasks/sleep").await.json();
    assert_eq!((&task["waiting"], &task["running"]), (&json!(2), &json!(0)));
    assert_time(&task["oldest_waiting"]);
    let task = api.call("/v1/tasks/sleep/resume").await.expect(200).json();
    assert_eq!(task["paused"], false);
    for id in [&waiting, &born] {
        assert_eq!(api.ended(id).await["status"], "succeeded");
    }
    api.call("/v1/tasks/sleep/resume").await.expect(200);
}

#[tokio::test]
async fn tasks_say_what_they_take_and_how_busy_they_are() {
    let schema = r#"run = "echo", concurrency = 3, timeout = "90s", input_schema = { type = "object" }"#;
    let server = Ringback::start(Config::sqlite().task("strict", schema)).await;
    let api = server.api();
    let list = api.get("/v1/tasks").await.expect(200);
    assert_eq!(list.header("cache-control"), Some("private, no-cache"));
    let list = list.json();
    let names: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|task| task["name"].as_str().unwrap()).collect();
    assert_eq!((names, &list["next_cursor"]), (vec!["echo", "fail", "sleep", "strict"], &Value::Null));
    let strict = api.get("/v1/tasks/strict").await.expect(200).json();
    assert_eq!(strict, list["items"][3]);
    for (member, expected) in [
        ("paused", json!(false)),
        ("input_schema", json!({ "type": "object" })),
        ("timeout", json!("90s")),
        ("max_attempts", json!(3)),
        ("concurrency", json!(3)),
        ("waiting", json!(0)),
        ("running", json!(0)),
        ("pace", json!(0.0)),
        ("oldest_waiting", Value::Null),
    ] {
        assert_eq!(strict[member], expected, "{member}");
    }
    let id = api.accepted(&json!({ "task": "strict", "input": {} })).await;
    api.ended(&id).await;
    let later = api.accepted(&json!({ "task": "strict", "input": {}, "delay": "1h" })).await;
    let strict = api.get("/v1/tasks/strict").await.json();
    assert!(strict["pace"].as_f64().unwrap() > 0.0);
    assert_eq!(
        (&strict["waiting"], &strict["oldest_waiting"]),
        (&json!(1), &Value::Null),
        "{later} is not due"
    );
    for path in ["/v1/tasks/nope", "/v1/tasks/no%20name"] {
        api.get(path).await.problem(404, "not-found");
    }
    api.call("/v1/tasks/nope/pause").await.problem(404, "not-found");
    api.post("/v1/tasks/echo/pause", r#"{"a":1}"#).await.problem_at(422, "validation-failed", "/a");
    api.get("/v1/tasks?a=1").await.problem(422, "validation-failed");
    api.with_key(None).get("/v1/tasks").await.problem(401, "unauthorized");
}

fn hang_up(server: &Ringback) {
    let sent = Command::new("sh").args(["-c", &format!("kill -HUP {}", server.pid())]).status();
    assert!(sent.is_ok_and(|status| status.success()), "SIGHUP could not be sent");
}

async fn tasks_are(server: &Ringback, expected: &[&str]) {
    wait::until(&format!("tasks are {expected:?}"), || async {
        let list = server.api().get("/v1/tasks").await.expect(200).json();
        let names =
            list["items"].as_array().unwrap().iter().map(|task| task["name"].as_str().unwrap().to_owned());
        (names.collect::<Vec<_>>() == expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_hangup_reloads_tasks_and_jobs_of_a_removed_one_wait() {
    let usual = Config::sqlite();
    let server = Ringback::start(usual.clone()).await;
    let api = server.api();
    let running = api.accepted(&sleep("2s")).await;
    api.job_is(&running, "running").await;
    let waiting = api.accepted(&json!({ "task": "echo", "delay": "1s" })).await;
    server.reconfigure(
        &usual.clone().without("tasks.echo").without("tasks.sleep").task("new", r#"run = "echo""#),
    );
    hang_up(&server);
    tasks_are(&server, &["fail", "new"]).await;
    api.submit(&json!({ "task": "echo" })).await.problem_at(422, "unknown-task", "/task");
    let new = api.accepted(&json!({ "task": "new" })).await;
    assert_eq!(api.ended(&new).await["status"], "succeeded");
    assert_eq!(api.ended(&running).await["status"], "succeeded", "what runs ends as it began");
    // It is due by now, and waits; readyz says so and is ready all the same.
    let ready = wait::until("readyz warns", || async {
        let ready = api.get("/readyz").await.expect(200).json();
        (ready["checks"]["tasks"]["status"] == "warning").then_some(ready)
    })
    .await;
    assert!(ready["checks"]["tasks"]["detail"].as_str().unwrap().contains("echo"), "{ready}");
    assert_eq!(api.job(&waiting).await["status"], "queued");
    // What cannot work changes nothing.
    server.reconfigure(&usual.clone().task("broken", r#"run = "http""#));
    hang_up(&server);
    wait::until("it says so", || async { server.log().contains("tasks not reloaded").then_some(()) }).await;
    tasks_are(&server, &["fail", "new"]).await;
    server.reconfigure(&usual);
    hang_up(&server);
    tasks_are(&server, &["echo", "fail", "sleep"]).await;
    assert_eq!(api.ended(&waiting).await["status"], "succeeded");
    let ready = api.get("/readyz").await.expect(200).json();
    assert_eq!(ready["checks"]["tasks"]["status"], "ok", "{ready}");
}
