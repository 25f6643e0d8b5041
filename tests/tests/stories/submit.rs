//! The main job: accepted, run, called back; every header of the 202.

use ringback_tests::{Config, Engine, Peer, Ringback, both_engines, config, verify, wait};
use serde_json::{Value, json};

use super::{assert_id, assert_time, echo};

both_engines!(from_202_to_a_verified_webhook);

async fn from_202_to_a_verified_webhook(engine: Engine) {
    let receiver = Peer::start().await;
    let server = Ringback::on(engine).await;
    let api = server.api();

    let accepted = api.submit(&echo(json!({ "page": 4 }), &receiver)).await.expect(202);
    let job = accepted.json();
    let id = job["id"].as_str().unwrap();
    let location = format!("/v1/jobs/{id}");
    assert_eq!(accepted.header("location"), Some(&*location));
    assert_eq!(accepted.header("content-location"), Some(&*location));
    assert_eq!(accepted.header("link"), Some(&*format!("<{location}>; rel=\"status\"")));
    assert!(accepted.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    assert_eq!(accepted.header("cache-control"), Some("no-store"));
    let vary = accepted.header("vary").unwrap().to_ascii_lowercase();
    assert!(vary.contains("prefer") && vary.contains("authorization"), "{vary}");
    assert_eq!(accepted.header("content-type"), Some("application/json"));
    assert_eq!(accepted.header("idempotency-replayed"), None);
    assert_eq!(accepted.header("preference-applied"), None);

    let webhook = receiver.first("/hook").await;
    verify::assert_genuine(&api.signing_secret().await, &webhook);
    assert_eq!(webhook.method, "POST");
    assert_eq!(webhook.header("content-type"), "application/json");
    assert_eq!(webhook.header("user-agent"), format!("Ringback/{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(webhook.header("host"), receiver.address().to_string());
    assert!(webhook.header_all("accept-encoding").is_empty());
    assert_id(&json!(webhook.webhook_id()), "evt");
    webhook.header_map();

    let event = webhook.json();
    assert_eq!(event["type"], "job.succeeded");
    assert_time(&event["timestamp"]);
    let told = &event["data"]["job"];
    assert_eq!(told["id"], id);
    assert_eq!(told["status"], "succeeded");
    assert_eq!(told["result"], json!({ "page": 4 }));
    for absent in ["callbacks", "queue", "progress"] {
        assert!(told.get(absent).is_none(), "{absent} in {told}");
    }

    let ended = api.ended(id).await;
    assert_eq!(ended["status"], "succeeded");
    assert_eq!(ended["result"], json!({ "page": 4 }));
    let delivery = api.delivery_is(id, "succeeded").await;
    assert_eq!(delivery["event"], webhook.webhook_id());
    assert_eq!(delivery["body"], webhook.text());
}

#[tokio::test]
async fn the_job_has_every_member_of_the_contract() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    let job = api.submit(&json!({ "task": "sleep", "input": { "for": "20s" } })).await.expect(202).json();
    let members = [
        "id",
        "task",
        "status",
        "attempt",
        "max_attempts",
        "priority",
        "timeout",
        "metadata",
        "progress",
        "result",
        "result_info",
        "error",
        "created_at",
        "run_at",
        "started_at",
        "finished_at",
        "expires_at",
        "cancel_requested_at",
        "rerun_of",
        "batch",
        "queue",
        "callbacks",
        "links",
    ];
    for member in members {
        assert!(job.get(member).is_some(), "{member} is missing in {job}");
    }
    assert_eq!(job.as_object().unwrap().len(), members.len(), "{job}");
    assert_id(&job["id"], "job");
    assert_time(&job["created_at"]);
    assert_eq!(job["task"], "sleep");
    assert_eq!(job["priority"], 5);
    assert_eq!(job["metadata"], json!({}));
    assert_eq!(job["callbacks"], json!([]));
    for null in [
        "progress",
        "result",
        "result_info",
        "error",
        "run_at",
        "finished_at",
        "expires_at",
        "rerun_of",
        "batch",
    ] {
        assert_eq!(job[null], Value::Null, "{null}");
    }
    let id = job["id"].as_str().unwrap();
    assert_eq!(job["links"]["self"], format!("/v1/jobs/{id}"));
    assert_eq!(job["links"]["input"], format!("/v1/jobs/{id}/input"));
    assert_eq!(job["links"]["cancel"], format!("/v1/jobs/{id}/cancel"));
    assert_eq!(job["links"]["deliveries"], format!("/v1/deliveries?job={id}"));
    let running = api.job_is(id, "running").await;
    assert_eq!(running["attempt"], 1);
    assert_time(&running["started_at"]);
}

#[tokio::test]
async fn links_are_absolute_where_the_public_url_is_known() {
    let receiver = Peer::start().await;
    let server =
        Ringback::start(Config::sqlite().with("server.public_url", r#""https://jobs.example""#)).await;
    let api = server.api();
    let accepted = api.submit(&echo(json!(1), &receiver)).await.expect(202);
    let id = accepted.json()["id"].as_str().unwrap().to_owned();
    let location = format!("https://jobs.example/v1/jobs/{id}");
    assert_eq!(accepted.header("location"), Some(&*location));
    assert_eq!(accepted.header("content-location"), Some(&*location));
    assert_eq!(accepted.json()["links"]["self"], location);
    let event = receiver.first("/hook").await.json();
    assert!(
        event["data"]["job"]["links"]["result"]
            .as_str()
            .unwrap()
            .starts_with(&format!("{location}/result?exp="))
    );
}

#[tokio::test]
async fn a_job_needs_nothing_but_a_task() {
    let server = Ringback::sqlite().await;
    let id = server.api().accepted(&json!({ "task": "echo" })).await;
    let job = server.api().ended(&id).await;
    assert_eq!(job["status"], "succeeded");
    assert_eq!(job["result"], Value::Null);
    let input = server.api().get(&format!("/v1/jobs/{id}/input")).await.expect(200);
    assert_eq!(input.text(), "null");
    assert!(server.api().deliveries(&id).await.is_empty());
}

#[tokio::test]
async fn a_callback_names_its_events() {
    let receiver = Peer::start().await;
    let server = Ringback::sqlite().await;
    let job = json!({
        "task": "echo",
        "callback": { "url": receiver.url("/both"), "events": ["job.started", "job.succeeded"] },
    });
    let id = server.api().accepted(&job).await;
    let requests = receiver.wait_for("/both", 2).await;
    let mut kinds: Vec<_> = requests.iter().map(|r| r.json()["type"].as_str().unwrap().to_owned()).collect();
    kinds.sort();
    assert_eq!(kinds, ["job.started", "job.succeeded"]);
    let shown = server.api().job(&id).await;
    assert_eq!(
        shown["callbacks"],
        json!([{ "url": receiver.url("/both"), "events": ["job.started", "job.succeeded"] }])
    );

    let only =
        json!({ "task": "echo", "callback": { "url": receiver.url("/failed"), "events": ["job.failed"] } });
    let id = server.api().accepted(&only).await;
    server.api().ended(&id).await;
    assert!(server.api().deliveries(&id).await.is_empty(), "nobody asked for job.succeeded");
}

#[tokio::test]
async fn a_job_starts_once_however_often_it_is_tried() {
    let receiver = Peer::start().await;
    let server = Ringback::sqlite().await;
    let callback = json!({ "url": receiver.url("/hook"), "events": ["job.started", "job.succeeded"] });
    let job = json!({ "task": "fail", "input": { "times": 2 }, "callback": callback });
    let id = server.api().accepted(&job).await;
    assert_eq!(server.api().ended(&id).await["attempt"], 3);
    let requests = receiver.wait_for("/hook", 2).await;
    let kinds: Vec<_> = requests.iter().map(|r| r.json()["type"].clone()).collect();
    assert_eq!(kinds, ["job.started", "job.succeeded"]);
    let started = &requests[0].json()["data"]["job"];
    assert_eq!((&started["status"], &started["attempt"]), (&json!("running"), &json!(1)));
    receiver.stays_at("/hook", 2, std::time::Duration::from_millis(300)).await;
}

#[tokio::test]
async fn failed_work_is_told_with_its_error() {
    let receiver = Peer::start().await;
    let server = Ringback::sqlite().await;
    let job = json!({ "task": "fail", "input": { "permanent": true }, "callback": receiver.url("/hook") });
    let id = server.api().accepted(&job).await;
    let event = receiver.first("/hook").await.json();
    assert_eq!(event["type"], "job.failed");
    let job = server.api().job(&id).await;
    assert_eq!(job["status"], "failed");
    assert_eq!(job["error"], event["data"]["job"]["error"]);
    for member in ["type", "title", "detail"] {
        assert!(job["error"][member].is_string(), "{job}");
    }
    assert_eq!(job["attempt"], 1);
}

/// Nothing between 202 and the webhook waits for a timer.
#[tokio::test]
async fn an_idle_machine_calls_back_at_once() {
    let receiver = Peer::start().await;
    let server = Ringback::sqlite().await;
    let mut took = Vec::new();
    for n in 1..=20 {
        let start = ringback_tests::clock::now();
        server.api().accepted(&echo(json!(n), &receiver)).await;
        let requests = receiver.wait_for("/hook", n).await;
        took.push(requests[n - 1].at.duration_since(start));
    }
    took.sort();
    assert!(took[10].as_millis() < 100, "the median of {took:?}");
}

#[tokio::test]
async fn both_engines_refuse_to_start_half_configured() {
    for (key, hint) in [("secrets.master_key", "master"), ("auth.bootstrap_key", "key")] {
        let mut server = Ringback::prepare(Config::sqlite().without(key));
        server.spawn();
        let (status, _) = server.ends_within(wait::PATIENCE).await;
        assert!(!status.success());
        assert!(server.log().contains(hint), "{key}: {}", server.log());
    }
}

#[tokio::test]
async fn postgres_is_migrated_on_purpose_only() {
    let config = Config::on(Engine::Postgres);
    let mut server = Ringback::prepare(config.clone());
    // A database that nobody migrated.
    let url = testkit::postgres::Cluster::shared().fresh_database();
    config.write(server.config_file(), &url);
    server.spawn();
    let (status, _) = server.ends_within(wait::PATIENCE).await;
    assert!(!status.success());
    assert!(server.log().contains("ringback migrate"), "{}", server.log());
}

#[tokio::test]
async fn the_configuration_is_checked_by_a_command() {
    let server = Ringback::prepare(Config::sqlite());
    server.run(&["config", "check"]).expect("a good configuration");
    let server = Ringback::prepare(Config::sqlite().with("delivery.no_such_key", "1"));
    let error = server.run(&["config", "check"]).expect_err("an unknown key");
    assert!(error.contains("no_such_key"), "{error}");
    assert!(!error.contains(config::KEY), "the key is not shown");
}
