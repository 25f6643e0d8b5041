//! How far a command is: shown in its job, told to who waits for a change, sent to who asked for it.

use std::time::Duration;

use ringback_tests::{Config, Engine, Peer, Reply, Ringback, both_engines, verify, wait};
use serde_json::{Value, json};

use super::{assert_time, gap};

both_engines!(a_command_says_how_far_it_is);

/// A task that runs this script.
fn script(config: Config, text: &str) -> Config {
    config.task("work", &format!(r#"run = "command", argv = ["/bin/sh", "-c", {}]"#, json!(text)))
}

async fn a_command_says_how_far_it_is(engine: Engine) {
    let text = r#"echo '{"fraction": 0.4, "message": "page 4 of 10"}' >&3
        while [ ! -e go ]; do sleep 0.05; done
        echo '{"fraction": 1}' >&3; echo done"#;
    let server = Ringback::start(script(Config::on(engine), text)).await;
    let api = server.api();
    let id = api.accepted(&json!({ "task": "work" })).await;
    let path = format!("/v1/jobs/{id}");
    let job = wait::until("progress shows", || async {
        let job = api.job(&id).await;
        job["progress"].is_object().then_some(job)
    })
    .await;
    assert_eq!(job["status"], "running");
    let progress = &job["progress"];
    assert_eq!((&progress["fraction"], &progress["message"]), (&json!(0.4), &json!("page 4 of 10")));
    assert_time(&progress["updated_at"]);
    assert_eq!(progress.as_object().unwrap().len(), 3);
    // Nothing new is said: the tag stays.
    let tag = api.get(&path).await.header("etag").unwrap().to_owned();
    tokio::time::timeout(Duration::from_secs(5), async {
        api.get_with(&format!("{path}?wait=1"), &[("if-none-match", &tag)]).await.expect(304)
    })
    .await
    .expect("it waits for a second");
    std::fs::write(server.directory().join("go"), "").unwrap();
    let ended = api.ended(&id).await;
    assert_eq!((&ended["status"], &ended["progress"]["fraction"]), (&json!("succeeded"), &json!(1.0)));
    let last = api.get(&path).await;
    assert_ne!(last.header("etag"), Some(&*tag));
}

#[tokio::test]
async fn who_waits_for_a_change_is_told() {
    let text = r#"while [ ! -e go ]; do sleep 0.05; done; echo '{"message": "on it"}' >&3; sleep 60"#;
    let server = Ringback::start(script(Config::sqlite(), text)).await;
    let api = server.api();
    let id = api.accepted(&json!({ "task": "work" })).await;
    let path = format!("/v1/jobs/{id}");
    api.job_is(&id, "running").await;
    let tag = api.get(&path).await.header("etag").unwrap().to_owned();
    let waiting = {
        let (api, path) = (api.clone(), path.clone());
        tokio::spawn(
            async move { api.get_with(&format!("{path}?wait=30"), &[("if-none-match", &tag)]).await },
        )
    };
    std::fs::write(server.directory().join("go"), "").unwrap();
    let changed = waiting.await.unwrap().expect(200).json();
    assert_eq!(changed["progress"]["message"], "on it");
    assert_eq!(changed["progress"]["fraction"], Value::Null);
    api.call(&format!("{path}/cancel")).await;
}

#[tokio::test]
async fn who_asked_hears_at_most_once_a_second_and_each_is_tried_once() {
    let receiver = Peer::start().await;
    receiver.answer("/hook", |request| {
        if request.text().contains("job.progress") { Reply::status(500) } else { Reply::ok() }
    });
    let text = r#"n=0; while [ $n -lt 60 ]; do n=$((n + 1)); echo '{"fraction": 0.'$((100 + n))'}' >&3; sleep 0.05; done"#;
    let server = Ringback::start(script(Config::sqlite(), text)).await;
    let api = server.api();
    let callback = json!({ "url": receiver.url("/hook"), "events": ["job.progress", "job.succeeded"] });
    let id = api.accepted(&json!({ "task": "work", "callback": callback })).await;
    api.ended(&id).await;
    wait::until("the end is told", || async {
        receiver.requests("/hook").iter().any(|r| r.text().contains("job.succeeded")).then_some(())
    })
    .await;
    let news: Vec<_> =
        receiver.requests("/hook").into_iter().filter(|r| r.text().contains("job.progress")).collect();
    assert!((2..=5).contains(&news.len()), "{} in three seconds", news.len());
    for pair in news.windows(2) {
        assert!(gap(&pair[0], &pair[1]) > Duration::from_millis(800), "{:?}", gap(&pair[0], &pair[1]));
        assert_ne!(pair[0].webhook_id(), pair[1].webhook_id(), "each is an event of its own, tried once");
    }
    let secret = api.signing_secret().await;
    let mut last = 0.0;
    for request in &news {
        verify::assert_genuine(&secret, request);
        assert!(request.header_all("webhook-sequence").is_empty());
        let event = request.json();
        assert_eq!((&event["type"], &event["data"]["job"]["id"]), (&json!("job.progress"), &json!(id)));
        assert!(event["data"]["job"].get("callbacks").is_none());
        let fraction = event["data"]["job"]["progress"]["fraction"].as_f64().unwrap();
        assert!(fraction > last, "the latest wins");
        last = fraction;
    }
    for delivery in api.deliveries(&id).await {
        if delivery["event_type"] == "job.progress" {
            let attempts = delivery["attempts"].as_array().unwrap().len();
            assert!(delivery["status"] == "failed" && attempts <= 1, "{delivery}");
        }
    }
}
