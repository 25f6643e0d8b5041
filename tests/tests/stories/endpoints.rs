//! Endpoints: registered once, told of many jobs, under numbers without a gap.

use std::time::Duration;

use http::Method;
use ringback_tests::{Api, Config, Engine, Peer, Reply, Ringback, both_engines, verify, wait};
use serde_json::{Value, json};

use super::{assert_id, assert_time};

both_engines!(
    is_told_of_every_job,
    a_job_names_it,
    a_disabled_one_misses_nothing,
    a_410_disables_it,
    a_deleted_one_gets_nothing,
    a_rotation_overlaps,
    it_is_sent_no_more_at_once_than_it_allows,
    what_it_missed_is_recovered_on_request,
    a_recovery_goes_on_after_a_crash,
    it_is_sent_no_faster_than_it_allows,
    its_order_is_kept_through_failures_and_crashes
);

async fn registered(api: &Api, endpoint: Value) -> Value {
    let answer = api.post("/v1/endpoints", endpoint.to_string()).await.expect(201);
    let location = answer.header("location").expect("it says where").to_owned();
    let endpoint = answer.json();
    assert!(location.ends_with(&path(&endpoint, "")), "{location}");
    endpoint
}

fn path(endpoint: &Value, rest: &str) -> String {
    format!("/v1/endpoints/{}{rest}", endpoint["id"].as_str().expect("an endpoint has an id"))
}

async fn patch(api: &Api, endpoint: &Value, change: Value) -> Value {
    let headers = [("content-type", "application/json")];
    api.send(Method::PATCH, &path(endpoint, ""), &headers, change.to_string()).await.expect(200).json()
}

fn sequences(requests: &[ringback_tests::Request]) -> Vec<u64> {
    requests.iter().map(|request| request.header("webhook-sequence").parse().expect("a number")).collect()
}

/// Every delivery to an endpoint, oldest first.
async fn deliveries(api: &Api, endpoint: &Value) -> Vec<Value> {
    let list =
        api.get(&format!("/v1/deliveries?limit=100&endpoint={}", endpoint["id"].as_str().unwrap())).await;
    let mut items = list.expect(200).json()["items"].as_array().expect("a list").clone();
    items.reverse();
    items
}

async fn is_told_of_every_job(engine: Engine) {
    let receiver = Peer::start().await;
    let server = Ringback::on(engine).await;
    let api = server.api();
    let endpoint = registered(
        api,
        json!({ "url": receiver.url("/hook"), "description": "Orders", "headers": { "x-token": "hidden-value" } }),
    )
    .await;
    assert_id(&endpoint["id"], "ep");
    assert_time(&endpoint["created_at"]);
    assert_eq!(endpoint["events"], json!(["job.succeeded", "job.failed", "job.canceled"]));
    assert_eq!((&endpoint["state"], &endpoint["tasks"]), (&json!("enabled"), &Value::Null));
    let secret = endpoint["secret"].as_str().expect("the secret is in this answer");

    let mut jobs = Vec::new();
    for n in 0..5 {
        jobs.push(api.accepted(&json!({ "task": "echo", "input": n })).await);
    }
    jobs.push(api.accepted(&json!({ "task": "fail", "input": { "permanent": true } })).await);
    let requests = receiver.wait_for("/hook", 6).await;
    let mut numbers = sequences(&requests);
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    for request in &requests {
        verify::assert_genuine(secret, request);
        assert_eq!(request.header("x-token"), "hidden-value");
        assert!(jobs.contains(&request.json()["data"]["job"]["id"].as_str().unwrap().to_owned()));
    }
    let delivery = api.delivery_is(&jobs[0], "succeeded").await;
    assert_eq!(delivery["endpoint"], endpoint["id"]);
    assert_eq!(
        delivery["sequence"].to_string(),
        requests.iter().find(|r| r.webhook_id() == delivery["event"]).unwrap().header("webhook-sequence")
    );

    let shown = wait::until("six attempts are counted", || async {
        let shown = api.get(&path(&endpoint, "")).await.expect(200);
        (shown.json()["success_rate"] == 1.0 && shown.json()["waiting"] == 0).then_some(shown)
    })
    .await;
    assert!(shown.json()["p50_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{}", shown.text());
    let list = api.get("/v1/endpoints").await.expect(200);
    assert_eq!(list.json()["items"][0]["id"], endpoint["id"]);
    for answer in [&shown, &list] {
        assert!(!answer.text().contains(&secret[6..]) && !answer.text().contains("hidden-value"));
    }
    let kept = api.get(&path(&endpoint, "/secret")).await.expect(200).json();
    assert_eq!(kept, json!({ "secret": secret, "previous": null }));
}

async fn a_job_names_it(engine: Engine) {
    let receiver = Peer::start().await;
    let server = Ringback::on(engine).await;
    let api = server.api();
    let quiet = registered(api, json!({ "url": receiver.url("/quiet"), "events": [] })).await;
    let callback = json!({ "endpoint": quiet["id"], "events": ["job.started", "job.succeeded"] });
    let id = api.accepted(&json!({ "task": "echo", "callback": callback })).await;
    api.accepted(&json!({ "task": "echo" })).await;
    let requests = receiver.wait_for("/quiet", 2).await;
    let kinds: Vec<_> = requests.iter().map(|request| request.json()["type"].clone()).collect();
    assert!(kinds.contains(&json!("job.started")) && kinds.contains(&json!("job.succeeded")), "{kinds:?}");
    assert_eq!(api.job(&id).await["callbacks"], json!([callback]));
    receiver.stays_at("/quiet", 2, Duration::from_millis(300)).await;

    api.send(Method::DELETE, &path(&quiet, ""), &[], "").await.expect(204);
    for unknown in [quiet["id"].as_str().unwrap(), "ep_01jdxyzxyzxyzxyzxyzxyzxyzx", "hook"] {
        let job = json!({ "task": "echo", "callback": { "endpoint": unknown } });
        api.submit(&job).await.problem_at(422, "validation-failed", "/callback/endpoint");
    }
    let both =
        json!({ "task": "echo", "callback": { "endpoint": quiet["id"], "url": receiver.url("/hook") } });
    api.submit(&both).await.problem_at(422, "validation-failed", "/callback/url");
}

#[tokio::test]
async fn filters_by_event_and_task() {
    let receiver = Peer::start().await;
    let server = Ringback::sqlite().await;
    let api = server.api();
    registered(api, json!({ "url": receiver.url("/starts"), "events": ["job.started"] })).await;
    registered(api, json!({ "url": receiver.url("/all"), "events": ["*"] })).await;
    registered(api, json!({ "url": receiver.url("/fail"), "tasks": ["fail"] })).await;
    api.accepted(&json!({ "task": "echo" })).await;
    api.accepted(&json!({ "task": "fail", "input": { "permanent": true } })).await;
    receiver.wait_for("/all", 4).await;
    receiver.wait_for("/starts", 2).await;
    let failed = receiver.first("/fail").await;
    assert_eq!(failed.json()["type"], "job.failed");
    receiver.stays_at("/fail", 1, Duration::from_millis(300)).await;
    assert_eq!((receiver.requests("/all").len(), receiver.requests("/starts").len()), (4, 2));
}

async fn a_disabled_one_misses_nothing(engine: Engine) {
    let receiver = Peer::start().await;
    let mut server = Ringback::on(engine).await;
    let api = server.api().clone();
    let endpoint = registered(&api, json!({ "url": receiver.url("/hook") })).await;
    let stopped = patch(&api, &endpoint, json!({ "state": "disabled" })).await;
    assert_eq!((&stopped["state"], &stopped["disabled_reason"]), (&json!("disabled"), &json!("requested")));
    let notice = receiver.first("/hook").await;
    assert_eq!(notice.json()["type"], "endpoint.disabled");
    assert!(notice.headers.iter().all(|(name, _)| name != "webhook-sequence"));
    for _ in 0..3 {
        let id = api.accepted(&json!({ "task": "echo" })).await;
        let delivery = api.delivery_is(&id, "failed").await;
        assert_eq!((&delivery["reason"], &delivery["attempt"]), (&json!("endpoint_disabled"), &json!(0)));
    }
    receiver.stays_at("/hook", 1, Duration::from_millis(300)).await;
    server.crash().await;
    let api = server.api().clone();
    let started = patch(&api, &endpoint, json!({ "state": "enabled" })).await;
    assert_eq!((&started["state"], &started["disabled_reason"]), (&json!("enabled"), &Value::Null));
    let requests = receiver.wait_for("/hook", 4).await;
    let mut numbers = sequences(&requests[1..]);
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3]);
    for delivery in deliveries(&api, &endpoint).await {
        if delivery["sequence"].is_number() {
            let whole = wait::until("it is recovered", || async {
                let whole = api.delivery(delivery["id"].as_str().unwrap()).await;
                (whole["status"] == "succeeded").then_some(whole)
            })
            .await;
            assert_eq!(whole["attempts"][0]["trigger"], "recovery");
        }
    }
    patch(&api, &endpoint, json!({ "state": "disabled" })).await;
    let id = api.accepted(&json!({ "task": "echo" })).await;
    api.delivery_is(&id, "failed").await;
    patch(&api, &endpoint, json!({ "state": "enabled", "recover": false })).await;
    receiver.stays_at("/hook", 5, Duration::from_millis(500)).await;
    assert_eq!(api.deliveries(&id).await[0]["status"], "failed");
}

async fn a_410_disables_it(engine: Engine) {
    let receiver = Peer::start().await;
    receiver.script("/gone", [Reply::status(410)]);
    let server = Ringback::on(engine).await;
    let api = server.api();
    let gone = registered(api, json!({ "url": receiver.url("/gone") })).await;
    registered(
        api,
        json!({ "url": receiver.url("/ops"), "events": ["endpoint.disabled", "delivery.failed"] }),
    )
    .await;
    let id = api.accepted(&json!({ "task": "echo" })).await;
    let told = receiver.wait_for("/ops", 2).await;
    let of = |kind: &str| told.iter().find(|request| request.json()["type"] == kind).unwrap().json();
    let disabled = of("endpoint.disabled");
    assert_eq!(disabled["data"]["endpoint"]["id"], gone["id"]);
    assert_eq!(disabled["data"]["endpoint"]["disabled_reason"], "gone");
    let dead = of("delivery.failed");
    let delivery = api.delivery_is(&id, "failed").await;
    assert_eq!(dead["data"]["delivery"]["id"], delivery["id"]);
    assert_eq!((&dead["data"]["delivery"]["reason"], &delivery["reason"]), (&json!("gone"), &json!("gone")));
    let shown = api.get(&path(&gone, "")).await.expect(200).json();
    assert_eq!((&shown["state"], &shown["disabled_reason"]), (&json!("disabled"), &json!("gone")));
    assert_eq!(shown["last_error"]["status"], 410);
}

async fn a_deleted_one_gets_nothing(engine: Engine) {
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::status(500)]);
    let server = Ringback::start(Config::on(engine).with("delivery.retry", r#"{ schedule = ["1h"] }"#)).await;
    let api = server.api();
    let endpoint = registered(api, json!({ "url": receiver.url("/hook") })).await;
    let id = api.accepted(&json!({ "task": "echo" })).await;
    api.delivery_where(&id, "waits", |delivery| delivery["next_attempt_at"].is_string()).await;
    api.send(Method::DELETE, &path(&endpoint, ""), &[], "").await.expect(204);
    let delivery = api.delivery_is(&id, "failed").await;
    assert_eq!((&delivery["reason"], &delivery["attempt"]), (&json!("endpoint_deleted"), &json!(1)));
    for path in [path(&endpoint, ""), path(&endpoint, "/secret")] {
        api.get(&path).await.problem(404, "not-found");
    }
    api.send(Method::DELETE, &path(&endpoint, ""), &[], "").await.problem(404, "not-found");
    api.accepted(&json!({ "task": "echo" })).await;
    receiver.stays_at("/hook", 1, Duration::from_millis(300)).await;
}

async fn a_rotation_overlaps(engine: Engine) {
    let receiver = Peer::start().await;
    let server = Ringback::on(engine).await;
    let api = server.api();
    let old = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let endpoint = registered(api, json!({ "url": receiver.url("/hook"), "secret": old })).await;
    let rotated = api.post(&path(&endpoint, "/rotate-secret"), r#"{"overlap":"24h"}"#).await.expect(200);
    let kept = api.get(&path(&endpoint, "/secret")).await.expect(200).json();
    let new = kept["secret"].as_str().unwrap();
    assert_ne!(new, old);
    assert_eq!(kept["previous"]["secret"], old);
    assert!(!rotated.text().contains(&new[6..]));
    api.accepted(&json!({ "task": "echo" })).await;
    let both = receiver.first("/hook").await;
    verify::assert_genuine(old, &both);
    verify::assert_genuine(new, &both);
    api.post(&path(&endpoint, "/rotate-secret"), r#"{"overlap":"0s"}"#).await.expect(200);
    let last = api.get(&path(&endpoint, "/secret")).await.expect(200).json();
    assert_eq!(last["previous"], Value::Null);
    api.accepted(&json!({ "task": "echo" })).await;
    let one = &receiver.wait_for("/hook", 2).await[1];
    verify::assert_genuine(last["secret"].as_str().unwrap(), one);
    assert!(!verify::accepts(new, one));
}

#[tokio::test]
async fn a_ping_brings_a_sample_of_any_event() {
    let receiver = Peer::start().await;
    let server = Ringback::sqlite().await;
    let api = server.api();
    let endpoint = registered(api, json!({ "url": receiver.url("/hook"), "events": [] })).await;
    let secret = endpoint["secret"].as_str().unwrap();
    let kinds = [
        ("endpoint.ping", "endpoint"),
        ("job.started", "job"),
        ("job.succeeded", "job"),
        ("job.failed", "job"),
        ("job.canceled", "job"),
        ("endpoint.disabled", "endpoint"),
        ("delivery.failed", "delivery"),
    ];
    for (n, (kind, object)) in kinds.into_iter().enumerate() {
        let body = if n == 0 { String::new() } else { json!({ "type": kind }).to_string() };
        let answer = match n {
            0 => api.call(&path(&endpoint, "/ping")).await,
            _ => api.post(&path(&endpoint, "/ping"), body).await,
        };
        let answer = answer.expect(202);
        assert_eq!(answer.json()["event_type"], kind);
        assert!(answer.header("location").unwrap().ends_with(answer.json()["id"].as_str().unwrap()));
        let request = &receiver.wait_for("/hook", n + 1).await[n];
        verify::assert_genuine(secret, request);
        assert_eq!(request.json()["type"], kind);
        assert!(request.json()["data"][object].is_object(), "{}", request.text());
        assert!(request.headers.iter().all(|(name, _)| name != "webhook-sequence"));
    }
    api.post(&path(&endpoint, "/ping"), r#"{"type":"job.done"}"#).await.problem_at(
        422,
        "validation-failed",
        "/type",
    );
}

async fn what_it_missed_is_recovered_on_request(engine: Engine) {
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::status(500)]);
    let server = Ringback::start(Config::on(engine).with("delivery.retry", "{ schedule = [] }")).await;
    let api = server.api();
    let endpoint = registered(api, json!({ "url": receiver.url("/hook") })).await;
    let mut jobs = Vec::new();
    for _ in 0..4 {
        let id = api.accepted(&json!({ "task": "echo" })).await;
        api.delivery_is(&id, "failed").await;
        jobs.push(id);
    }
    receiver.script("/hook", [Reply::ok()]);
    let recover = path(&endpoint, "/recover");
    let answer = api.post(&recover, r#"{"rate":"2/1s"}"#).await.expect(202);
    let location = answer.header("location").unwrap().to_owned();
    assert_id(&answer.json()["id"], "rec");
    assert_eq!((&answer.json()["rate"], &answer.json()["last"]), (&json!("2/1s"), &json!(4)));
    let requests = receiver.wait_for("/hook", 8).await;
    assert!(requests[7].at.duration_since(requests[4].at) >= Duration::from_millis(900), "two a second");
    let finished = wait::until("the recovery is over", || async {
        let recovery = api.get(&location).await.expect(200).json();
        (recovery["state"] == "finished").then_some(recovery)
    })
    .await;
    assert_eq!((&finished["recovered"], &finished["reached"]), (&json!(4), &json!(4)));
    assert_time(&finished["finished_at"]);
    for job in &jobs {
        let delivery = api.delivery_is(job, "succeeded").await;
        assert_eq!(delivery["attempts"][1]["trigger"], "recovery");
    }
    api.send(Method::DELETE, &location, &[], "").await.expect(204);
    assert_eq!(api.get(&location).await.json()["state"], "finished", "what is over stays so");
    api.get(&format!("{location}x")).await.problem(404, "not-found");
    for (body, pointer) in [
        (r#"{"since":"yesterday"}"#, "/since"),
        (r#"{"until":1}"#, "/until"),
        (r#"{"rate":"fast"}"#, "/rate"),
        (r#"{"speed":1}"#, "/speed"),
    ] {
        api.post(&recover, body).await.problem_at(422, "validation-failed", pointer);
    }
    patch(api, &endpoint, json!({ "state": "disabled" })).await;
    api.call(&recover).await.problem(422, "validation-failed");
}

async fn a_recovery_goes_on_after_a_crash(engine: Engine) {
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::status(500)]);
    let mut server = Ringback::start(Config::on(engine).with("delivery.retry", "{ schedule = [] }")).await;
    let api = server.api().clone();
    let endpoint = registered(&api, json!({ "url": receiver.url("/hook") })).await;
    // A probe takes one at a time from the fifth on: each has failed for good before the next is made.
    for _ in 0..4 {
        let id = api.accepted(&json!({ "task": "echo" })).await;
        api.delivery_is(&id, "failed").await;
    }
    receiver.script("/hook", [Reply::ok()]);
    let answer = api.post(&path(&endpoint, "/recover"), r#"{"rate":"1/1s"}"#).await.expect(202);
    let location = answer.header("location").unwrap().to_owned();
    receiver.wait_for("/hook", 5).await;
    server.crash().await;
    let api = server.api().clone();
    let finished = wait::until("the recovery is over", || async {
        let recovery = api.get(&location).await.expect(200).json();
        (recovery["state"] == "finished").then_some(recovery)
    })
    .await;
    assert_eq!((&finished["recovered"], &finished["reached"]), (&json!(4), &json!(4)));
    wait::until("all are there", || async {
        let all = deliveries(&api, &endpoint).await;
        all.iter().all(|delivery| delivery["status"] == "succeeded").then_some(())
    })
    .await;
    // What was out when it died may have come twice, and late, nothing else.
    let mut numbers = sequences(&receiver.requests("/hook")[4..]);
    assert!(numbers.len() <= 5, "{numbers:?}");
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, [1, 2, 3, 4]);
    // One that is stopped goes no further: there is nothing left of it to do.
    let answer = api.post(&path(&endpoint, "/recover"), "{}").await.expect(202);
    let location = answer.header("location").unwrap().to_owned();
    api.send(Method::DELETE, &location, &[], "").await.expect(204);
    let over = api.get(&location).await.expect(200).json();
    assert!(over["state"] == "stopped" || over["state"] == "finished", "{over}");
    assert_eq!(over["recovered"], 0);
}

/// The most requests for `/hook` behind the first so many that were out at once, when each is answered after 200 ms.
async fn most_at_once(receiver: &Peer, first: usize, count: usize) -> usize {
    let requests = receiver.wait_for("/hook", count).await.split_off(first);
    let within = Duration::from_millis(190);
    let out = |at: std::time::Instant| requests.iter().filter(|r| r.at <= at && at - r.at < within).count();
    requests.iter().map(|request| out(request.at)).max().unwrap_or(0)
}

async fn it_is_sent_no_more_at_once_than_it_allows(engine: Engine) {
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::ok().after(Duration::from_millis(200))]);
    let mut server = Ringback::on(engine).await;
    let api = server.api().clone();
    let endpoint = registered(&api, json!({ "url": receiver.url("/hook"), "max_in_flight": 1 })).await;
    assert_eq!(endpoint["max_in_flight"], 1);
    for _ in 0..5 {
        api.accepted(&json!({ "task": "echo" })).await;
    }
    assert_eq!(most_at_once(&receiver, 0, 3).await, 1);
    server.kill();
    // What it had out is out no more.
    let before = receiver.requests("/hook").len();
    server.launch().await;
    let api = server.api().clone();
    assert_eq!(most_at_once(&receiver, before, before + 2).await, 1, "a start knows it, too");
    let changed = patch(&api, &endpoint, json!({ "max_in_flight": null })).await;
    assert_eq!(changed["max_in_flight"], Value::Null);
}

async fn it_is_sent_no_faster_than_it_allows(engine: Engine) {
    let receiver = Peer::start().await;
    let mut server = Ringback::on(engine).await;
    let api = server.api().clone();
    let endpoint = registered(&api, json!({ "url": receiver.url("/hook"), "rate_limit": "4/1s" })).await;
    assert_eq!(endpoint["rate_limit"], "4/1s");
    for n in 0..12 {
        api.accepted(&json!({ "task": "echo", "input": n })).await;
    }
    let waiting = wait::until("one waits for its turn", || async {
        let all = deliveries(&api, &endpoint).await;
        all.into_iter().find(|delivery| delivery["waiting_for"] == "rate")
    })
    .await;
    assert_time(&waiting["next_attempt_at"]);
    receiver.wait_for("/hook", 4).await;
    server.kill();
    // A start does not know what the process before it sent a moment ago.
    let before = receiver.requests("/hook").len();
    server.launch().await;
    let requests = receiver.wait_for("/hook", 12).await;
    for life in [&requests[..before], &requests[before..]] {
        for (n, first) in life.iter().enumerate() {
            // What the way here takes may bring two nearer to one another.
            let within = Duration::from_millis(900);
            let count = life[n..].iter().filter(|r| r.at - first.at < within).count();
            assert!(count <= 4, "{count} within a second");
        }
    }
    patch(server.api(), &endpoint, json!({ "rate_limit": null })).await;
}

/// What a receiver may have had out, and its answer lost, when the server died.
fn without_repetitions(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.dedup();
    numbers
}

async fn its_order_is_kept_through_failures_and_crashes(engine: Engine) {
    let receiver = Peer::start().await;
    // Every third attempt fails, and every one takes a moment, so that a crash finds one out.
    receiver.script(
        "/hook",
        std::iter::repeat_n([200, 502, 200, 200, 500, 200], 30)
            .flatten()
            .map(|status| Reply::status(status).after(Duration::from_millis(20))),
    );
    let config = Config::on(engine)
        .with(
            "delivery.retry",
            r#"{ schedule = ["100ms", "200ms", "300ms", "400ms", "500ms"], jitter = 0.0 }"#,
        )
        .with("node.lease", r#""2s""#);
    let mut server = Ringback::start(config).await;
    let endpoint = registered(server.api(), json!({ "url": receiver.url("/hook"), "ordered": true })).await;
    assert_eq!(endpoint["ordered"], true);
    let mut jobs = 0;
    for _ in 0..4 {
        for _ in 0..5 {
            server.api().accepted(&json!({ "task": "echo", "input": jobs })).await;
            jobs += 1;
        }
        receiver.wait_for("/hook", jobs / 2).await;
        server.crash().await;
    }
    let api = server.api().clone();
    wait::until("all are there", || async {
        let all = deliveries(&api, &endpoint).await;
        (all.len() == jobs && all.iter().all(|delivery| delivery["status"] == "succeeded")).then_some(())
    })
    .await;
    let numbers = without_repetitions(sequences(&receiver.requests("/hook")));
    assert_eq!(
        numbers,
        (1..=jobs as u64).collect::<Vec<_>>(),
        "each begins when the one before it is through"
    );
    // A later resend goes at once under its old number, whatever waits.
    receiver.script("/hook", [Reply::status(500)]);
    patch(&api, &endpoint, json!({ "retry": { "schedule": ["1h"] } })).await;
    let stuck = api.accepted(&json!({ "task": "echo" })).await;
    let stuck = api.delivery_where(&stuck, "waits", |delivery| delivery["attempt"] == 1).await;
    let behind = api.accepted(&json!({ "task": "echo" })).await;
    let behind = api.delivery_where(&behind, "waits", |delivery| delivery["waiting_for"] == "order").await;
    assert_eq!((&behind["attempt"], &behind["next_attempt_at"]), (&json!(0), &Value::Null));
    let first = deliveries(&api, &endpoint).await[0].clone();
    api.call(&format!("/v1/deliveries/{}/resend", first["id"].as_str().unwrap())).await.expect(202);
    wait::until("the first again", || async {
        let requests = receiver.requests("/hook");
        (requests.last()?.header("webhook-sequence") == "1").then_some(())
    })
    .await;
    let headers = [("content-type", "application/json")];
    let change = json!({ "ordered": false }).to_string();
    let refused = api.send(Method::PATCH, &path(&endpoint, ""), &headers, change).await;
    refused.problem_at(422, "validation-failed", "/ordered");
    assert_eq!(stuck["sequence"], jobs + 1);
}

#[tokio::test]
async fn its_own_policy_holds_and_a_change_is_kept() {
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::status(500)]);
    let server = Ringback::sqlite().await;
    let api = server.api();
    let retry = json!({ "schedule": ["100ms"], "jitter": 0.0 });
    let endpoint =
        registered(api, json!({ "url": receiver.url("/hook"), "retry": retry, "timeout": "3s" })).await;
    assert_eq!((&endpoint["retry"]["schedule"], &endpoint["timeout"]), (&json!(["100ms"]), &json!("3s")));
    let id = api.accepted(&json!({ "task": "echo" })).await;
    let failed = api.delivery_is(&id, "failed").await;
    assert_eq!((&failed["reason"], failed["attempts"].as_array().unwrap().len()), (&json!("exhausted"), 2));
    let changed =
        patch(api, &endpoint, json!({ "url": receiver.url("/new"), "description": "New", "retry": null }))
            .await;
    assert_eq!((&changed["description"], &changed["retry"]), (&json!("New"), &Value::Null));
    assert_eq!(changed["timeout"], "3s", "what is absent stays");
    api.accepted(&json!({ "task": "echo" })).await;
    receiver.first("/new").await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_a_pointer() {
    let receiver = Peer::start().await;
    let server = Ringback::sqlite().await;
    let api = server.api();
    let url = receiver.url("/hook");
    for (endpoint, slug, pointer) in [
        (json!({}), "validation-failed", "/url"),
        (json!({ "url": "hooks.example.com" }), "callback-url-invalid", "/url"),
        (json!({ "url": "https://10.0.0.1/" }), "callback-address-blocked", "/url"),
        (json!({ "url": url, "headers": { "host": "x" } }), "header-forbidden", "/headers/host"),
        (json!({ "url": url, "events": ["job.done"] }), "validation-failed", "/events/0"),
        (json!({ "url": url, "events": ["endpoint.ping"] }), "validation-failed", "/events/0"),
        (json!({ "url": url, "tasks": ["nope"] }), "unknown-task", "/tasks/0"),
        (json!({ "url": url, "tasks": [] }), "validation-failed", "/tasks"),
        (json!({ "url": url, "secret": "whsec_AAAA" }), "validation-failed", "/secret"),
        (json!({ "url": url, "timeout": "2m" }), "validation-failed", "/timeout"),
        (json!({ "url": url, "retry": { "schedule": "5s" } }), "validation-failed", "/retry/schedule"),
        (json!({ "url": url, "description": "x".repeat(1_025) }), "validation-failed", "/description"),
        (json!({ "url": url, "max_in_flight": 0 }), "validation-failed", "/max_in_flight"),
        (json!({ "url": url, "max_in_flight": "2" }), "validation-failed", "/max_in_flight"),
        (json!({ "url": url, "rate_limit": "fast" }), "validation-failed", "/rate_limit"),
        (json!({ "url": url, "rate_limit": 5 }), "validation-failed", "/rate_limit"),
        (json!({ "url": url, "ordered": "yes" }), "validation-failed", "/ordered"),
        (json!({ "url": url, "state": "disabled" }), "validation-failed", "/state"),
        (json!({ "url": url, "colour": "red" }), "validation-failed", "/colour"),
    ] {
        api.post("/v1/endpoints", endpoint.to_string()).await.problem_at(422, slug, pointer);
    }
    let endpoint = registered(api, json!({ "url": url })).await;
    let headers = [("content-type", "application/json")];
    for (change, pointer) in [
        (json!({ "url": null }), "/url"),
        (json!({ "state": "paused" }), "/state"),
        (json!({ "recover": true }), "/recover"),
        (json!({ "secret": "whsec_AAAA" }), "/secret"),
    ] {
        let answer = api.send(Method::PATCH, &path(&endpoint, ""), &headers, change.to_string()).await;
        answer.problem_at(422, "validation-failed", pointer);
    }
    let job = json!({ "task": "echo", "callback": { "url": url, "events": ["endpoint.disabled"] } });
    api.submit(&job).await.problem_at(422, "validation-failed", "/callback/events/0");
}
