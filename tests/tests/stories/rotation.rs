//! The master key and its rotation: what is sealed at rest, sealed anew while the server runs, whatever is killed meanwhile.

use http::Method;
use ringback_tests::{Config, Engine, Peer, Reply, Ringback, both_engines, config, verify, wait};
use serde_json::{Value, json};

both_engines!(a_rotation_survives_being_killed, what_changes_meanwhile_stays, what_cannot_be_opened_is_said);

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD: &str = r#""cmluZ2JhY2sgdGVzdHMnIG93biBtYXN0ZXIga2V5IC4=""#;
const NEW: &str = r#""YW5vdGhlciBtYXN0ZXIga2V5IG9mIHRoZSB0ZXN0cy4=""#;

fn with_new(engine: Engine) -> Config {
    Config::on(engine).with("secrets.master_key", NEW)
}

fn with_both(engine: Engine) -> Config {
    with_new(engine).with("secrets.previous_master_key", OLD)
}

/// A job whose callback brings a secret and a header.
fn confidential(receiver: &Peer) -> Value {
    let callback = json!({
        "url": receiver.url("/hook"), "secret": SECRET, "headers": { "authorization": "Bearer hunter2" },
    });
    json!({ "task": "echo", "callback": callback })
}

/// Runs `secrets rotate` against the server: what it counted, or why not.
async fn rotate(server: &Ringback) -> Result<Value, String> {
    let base = server.api().base().to_owned();
    let arguments = ["secrets", "rotate", "-o", "jsonl", "--url", &base, "--key", config::KEY];
    server.run(&arguments).map(|text| serde_json::from_str(&text).expect("one object"))
}

async fn restart(server: &mut Ringback, config: &Config) {
    server.kill();
    server.reconfigure(config);
    server.launch().await;
}

/// Sent again, it bears what its callback brought.
async fn assert_sent_whole(server: &Ringback, receiver: &Peer, job: &str) {
    let delivery = settled(server, job).await;
    let before = receiver.requests("/hook").len();
    server.api().call(&format!("/v1/deliveries/{delivery}/resend")).await.expect(202);
    let request = receiver.wait_for("/hook", before + 1).await.remove(before);
    verify::assert_genuine(SECRET, &request);
    assert_eq!(request.header("authorization"), "Bearer hunter2");
    settled(server, job).await;
}

/// The delivery of a job, once the last attempt that anybody asked for was taken: what a crash interrupted comes again.
async fn settled(server: &Ringback, job: &str) -> String {
    let api = server.api();
    let delivery = api.delivery_is(job, "succeeded").await["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/deliveries/{delivery}");
    wait::until("nothing is on its way", || async {
        let shown = api.get(&path).await.expect(200).json();
        let last = shown["attempts"].as_array().unwrap().last().cloned().unwrap_or_default();
        (last["outcome"] == "delivered" && shown["next_attempt_at"].is_null()).then_some(())
    })
    .await;
    delivery
}

/// An endpoint that brings both, and hears of nothing but pings.
async fn registered(server: &Ringback, receiver: &Peer) -> String {
    let endpoint = json!({
        "url": receiver.url("/endpoint"), "secret": SECRET, "events": [],
        "headers": { "authorization": "Bearer hunter2" },
    });
    let answer = server.api().post("/v1/endpoints", endpoint.to_string()).await.expect(201);
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// A ping bears what its endpoint brought.
async fn assert_pinged_whole(server: &Ringback, receiver: &Peer, endpoint: &str) {
    let before = receiver.requests("/endpoint").len();
    server.api().call(&format!("/v1/endpoints/{endpoint}/ping")).await.expect(202);
    let request = receiver.wait_for("/endpoint", before + 1).await.remove(before);
    verify::assert_genuine(SECRET, &request);
    assert_eq!(request.header("authorization"), "Bearer hunter2");
}

/// Walks from the start, a row a call, until this many were sealed anew; then `kill -9` meets the next call on its way.
async fn reseal_and_die(server: &mut Ringback, rows: u64) -> u64 {
    let api = server.api().clone();
    let (mut resealed, mut path) = (0, "/v1/secrets/reseal?limit=1".to_owned());
    while resealed < rows {
        let done = api.call(&path).await.expect(200).json();
        assert_eq!(done["unopened"], 0, "{done}");
        resealed += done["resealed"].as_u64().unwrap();
        path = format!("/v1/secrets/reseal?limit=1&cursor={}", done["next_cursor"].as_str().expect("more"));
    }
    let dying = tokio::spawn(async move { api.attempt(Method::POST, &path, &[], "").await });
    // However far the call comes: whoever runs it goes on from the start.
    tokio::task::yield_now().await;
    server.kill();
    let _ = dying.await;
    resealed
}

async fn a_rotation_survives_being_killed(engine: Engine) {
    let receiver = Peer::start().await;
    let mut server = Ringback::on(engine).await;
    let (api, tenant_secret) = (server.api().clone(), server.api().signing_secret().await);
    let endpoint = registered(&server, &receiver).await;
    let mut jobs = Vec::new();
    for _ in 0..12 {
        jobs.push(api.accepted(&confidential(&receiver)).await);
    }
    for job in &jobs {
        api.delivery_is(job, "succeeded").await;
    }
    let event: Value = receiver.first("/hook").await.json();
    let link = event["data"]["job"]["links"]["result"].as_str().unwrap().to_owned();

    // Both keys open; what is new is under the new one, some of the old is sealed anew, and then it dies, again and again.
    restart(&mut server, &with_both(engine)).await;
    jobs.push(server.api().accepted(&confidential(&receiver)).await);
    server.api().with_key(None).get(&link).await.expect(200);
    let mut resealed = 0;
    for rows in [1, 1, 3] {
        resealed += reseal_and_die(&mut server, rows).await;
        server.launch().await;
        assert_pinged_whole(&server, &receiver, &endpoint).await;
        for job in jobs.iter().step_by(3) {
            assert_sent_whole(&server, &receiver, job).await;
        }
    }
    let done = rotate(&server).await.expect("the rest");
    // The tenant, the endpoint, twelve jobs; of the calls that were killed some came through.
    let left = 14 - resealed;
    assert!((left - 3..=left).contains(&done["resealed"].as_u64().unwrap()), "{left} left: {done}");
    assert_eq!((&done["examined"], &done["unopened"]), (&json!(15), &json!(0)), "{done}");
    let again = rotate(&server).await.expect("once more");
    assert_eq!((&again["resealed"], &again["examined"]), (&json!(0), &json!(15)));

    // Now the old key is not needed any more, but for links that were made under it.
    restart(&mut server, &with_new(engine)).await;
    assert_eq!(server.api().signing_secret().await, tenant_secret);
    assert_pinged_whole(&server, &receiver, &endpoint).await;
    for job in &jobs {
        assert_sent_whole(&server, &receiver, job).await;
    }
    server.api().with_key(None).get(&link).await.problem(401, "unauthorized");
    // A rerun seals for its new job what the old one brought.
    let rerun = server.api().call(&format!("/v1/jobs/{}/rerun", jobs[0])).await.expect(202).json();
    let id = rerun["id"].as_str().unwrap();
    server.api().delivery_is(id, "succeeded").await;
    assert_sent_whole(&server, &receiver, id).await;
}

/// Nodes are restarted one after another: while some still seal under the old key, all have to open both.
#[tokio::test]
async fn nodes_change_keys_one_after_another() {
    let engine = Engine::Postgres;
    let receiver = Peer::start().await;
    let before = || Config::on(engine).with("secrets.previous_master_key", NEW);
    let mut first = Ringback::start(before()).await;
    let mut second = first.beside(before()).await;
    let endpoint = registered(&first, &receiver).await;
    let mut jobs = vec![first.api().accepted(&confidential(&receiver)).await];
    restart(&mut second, &with_both(engine)).await;
    for server in [&first, &second] {
        for _ in 0..4 {
            jobs.push(server.api().accepted(&confidential(&receiver)).await);
        }
    }
    for server in [&first, &second] {
        for job in &jobs {
            server.api().delivery_is(job, "succeeded").await;
            assert_sent_whole(server, &receiver, job).await;
        }
        assert_pinged_whole(server, &receiver, &endpoint).await;
    }
    restart(&mut first, &with_both(engine)).await;
    assert_eq!(rotate(&second).await.expect("all of it")["unopened"], 0);
    for server in [&mut first, &mut second] {
        restart(server, &with_new(engine)).await;
    }
    for server in [&first, &second] {
        for job in &jobs {
            assert_sent_whole(server, &receiver, job).await;
        }
        assert_pinged_whole(server, &receiver, &endpoint).await;
    }
}

/// Owners change endpoints, rotate secrets and add callbacks while all is sealed anew: the last word is theirs.
async fn what_changes_meanwhile_stays(engine: Engine) {
    let receiver = Peer::start().await;
    let mut server = Ringback::on(engine).await;
    let mut endpoints = Vec::new();
    for _ in 0..3 {
        endpoints.push(registered(&server, &receiver).await);
    }
    let job = server.api().accepted(&json!({ "task": "echo" })).await;
    server.api().ended(&job).await;
    restart(&mut server, &with_both(engine)).await;
    let mut owners = tokio::task::JoinSet::new();
    for (n, endpoint) in endpoints.iter().enumerate() {
        let (api, path) = (server.api().clone(), format!("/v1/endpoints/{endpoint}"));
        let added = json!({ "url": receiver.url(&format!("/late{n}")), "headers": { "x-turn": "late" } });
        let callbacks = format!("/v1/jobs/{job}/callbacks");
        owners.spawn(async move {
            for turn in 0..12 {
                let change = json!({ "headers": { "x-turn": turn.to_string() } }).to_string();
                let headers = [("content-type", "application/json")];
                api.send(Method::PATCH, &path, &headers, change).await.expect(200);
                if turn % 4 == 0 {
                    api.post(&format!("{path}/rotate-secret"), r#"{"overlap":"0s"}"#).await.expect(200);
                }
            }
            api.post(&callbacks, added.to_string()).await.expect(202);
        });
    }
    while !owners.is_empty() {
        let mut path = "/v1/secrets/reseal?limit=1".to_owned();
        loop {
            let done = server.api().call(&path).await.expect(200).json();
            assert_eq!(done["unopened"], 0, "{done}");
            let Some(next) = done["next_cursor"].as_str() else { break };
            path = format!("/v1/secrets/reseal?limit=1&cursor={next}");
        }
        while let Some(ended) = owners.try_join_next() {
            ended.expect("no owner is refused");
        }
    }
    restart(&mut server, &with_new(engine)).await;
    assert_eq!(rotate(&server).await.expect("nothing is left")["resealed"], 0);
    for (n, endpoint) in endpoints.iter().enumerate() {
        let before = receiver.requests("/endpoint").len();
        let api = server.api();
        let path = format!("/v1/endpoints/{endpoint}");
        let secret = api.get(&format!("{path}/secret")).await.expect(200).json();
        api.call(&format!("{path}/ping")).await.expect(202);
        let request = receiver.wait_for("/endpoint", before + 1).await.remove(before);
        assert_eq!(request.header("x-turn"), "11");
        verify::assert_genuine(secret["secret"].as_str().unwrap(), &request);
        assert_eq!(receiver.first(&format!("/late{n}")).await.header("x-turn"), "late");
    }
}

async fn what_cannot_be_opened_is_said(engine: Engine) {
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::ok()]);
    let mut server = Ringback::on(engine).await;
    let job = server.api().accepted(&confidential(&receiver)).await;
    server.api().delivery_is(&job, "succeeded").await;
    // Without the old key nothing of the tenant's could be signed: it does not start.
    server.kill();
    server.reconfigure(&with_new(engine));
    server.spawn();
    let (status, _) = server.ends_within(ringback_tests::wait::PATIENCE).await;
    assert!(!status.success());
    assert!(server.log().contains("secrets.master_key"), "{}", server.log());

    // The tenants' secrets are sealed anew, the callbacks are not, and the old key is gone too early.
    server.reconfigure(&with_both(engine));
    server.launch().await;
    server.api().call("/v1/secrets/reseal").await.expect(200);
    restart(&mut server, &with_new(engine)).await;
    let error = rotate(&server).await.expect_err("something is under the old key");
    assert!(error.contains("previous_master_key") && error.contains(r#""unopened":1"#), "{error}");
    restart(&mut server, &with_both(engine)).await;
    assert_eq!(rotate(&server).await.expect("all of it")["resealed"], 1);
    restart(&mut server, &with_new(engine)).await;
    assert_sent_whole(&server, &receiver, &job).await;
    for (body, status, slug) in [("{", 400, "malformed-json"), (r#"{"key":"x"}"#, 422, "validation-failed")] {
        server.api().post("/v1/secrets/reseal", body).await.problem(status, slug);
    }
    for wrong in ["?cursor=x", "?limit=0", "?from=1"] {
        let path = format!("/v1/secrets/reseal{wrong}");
        server.api().send(Method::POST, &path, &[], "").await.problem(422, "validation-failed");
    }
}

#[tokio::test]
async fn a_previous_key_that_cannot_be_is_named() {
    for wrong in [OLD, r#""hunter2""#, r#""YW5vdGhlciBtYXN0ZXIga2V5IG9mIHRoZSB0ZXN0cw==""#] {
        let server = Ringback::prepare(Config::sqlite().with("secrets.previous_master_key", wrong));
        let error = server.run(&["config", "check"]).expect_err("it is refused");
        assert!(error.contains("secrets.previous_master_key"), "{wrong}: {error}");
        assert!(!error.contains(wrong.trim_matches('"')), "{error}");
    }
    let server = Ringback::prepare(with_both(Engine::Sqlite));
    server.run(&["config", "check"]).expect("two keys");
    let shown = server.run(&["config", "show"]).expect("what is set");
    assert!(
        shown.contains("secrets.previous_master_key") && !shown.contains(OLD.trim_matches('"')),
        "{shown}"
    );
}
