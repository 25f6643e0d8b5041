use std::time::Duration;

use serde_json::json;

use crate::harness::{Call, World, id};

const BODY: &str = r#"{"task":"echo","input":{"price": 1.10}}"#;

#[tokio::test]
async fn accepted_with_every_header_of_the_contract() {
    for (public_url, traceparent) in [("", true), ("https://jobs.example.com", false)] {
        let world = World::at(public_url).await;
        let mut call = Call::post("/v1/jobs", BODY).with("prefer", "respond-async");
        if traceparent {
            call = call.with("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        }
        let answer = world.send(call).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let job = answer.json();
        let location = format!("{public_url}/v1/jobs/{}", job["id"].as_str().unwrap());
        assert_eq!(answer.header("location"), location);
        assert_eq!(answer.header("content-location"), location);
        assert_eq!(answer.header("link"), format!("<{location}>; rel=\"status\""));
        assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("vary"), "Prefer, Authorization");
        assert_eq!(answer.header("content-type"), "application/json");
        assert!(answer.header("ringback-request-id").starts_with("req_"));
        assert_eq!(answer.header("idempotency-replayed"), "");
        assert_eq!(answer.header("preference-applied"), "");
        assert_eq!(job["links"]["self"], location);
        let stored = world.engine.job(domain::id::Tenant::DEFAULT, id(&job)).await.unwrap().unwrap();
        assert_eq!(stored.traceparent.is_some(), traceparent);
        let input = world.get(&format!("/v1/jobs/{}/input", id(&job))).await;
        assert_eq!((input.text(), input.header("content-type")), (r#"{"price": 1.10}"#, "application/json"));
    }
}

#[tokio::test]
async fn a_queued_job_says_where_it_stands() {
    let world = World::new().await;
    world.running().await;
    let positions = async |world: &World, job: domain::id::JobId| {
        world.get(&format!("/v1/jobs/{job}")).await.json()["queue"]["position"].clone()
    };
    let mut queued = Vec::new();
    for n in 1..=3 {
        world.clock.advance(Duration::from_millis(5));
        let job = world.submit(json!({"task": "echo"})).await;
        assert_eq!((&job["status"], &job["queue"]["position"]), (&json!("queued"), &json!(n)));
        queued.push(id(&job));
    }
    for (n, job) in queued.into_iter().enumerate() {
        assert_eq!(positions(&world, job).await, n + 1);
    }
}

#[tokio::test]
async fn waits_for_the_end_if_asked_to() {
    let world = World::new().await;
    // Ends while the client waits.
    let call = Call::post("/v1/jobs", BODY).with("prefer", "respond-async, wait=61");
    let (answer, ()) = tokio::join!(world.send(call), async {
        let job = loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let list = world.get("/v1/jobs?status=running").await.json();
            if let Some(job) = list["items"].get(0) {
                break id(job);
            }
        };
        world.succeed(job, "application/json", b"1.10").await;
    });
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("preference-applied"), "wait=60");
    assert!(answer.header("content-location").starts_with("/v1/jobs/job_"));
    assert!(answer.text().contains(r#""result":1.10,"#), "{}", answer.text());
    assert_eq!(answer.header("retry-after"), "");

    // Does not.
    let answer = world.send(Call::post("/v1/jobs", BODY).with("prefer", "wait=1")).await;
    assert_eq!((answer.status.as_u16(), answer.header("preference-applied")), (202, ""));
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_nothing() {
    let world = World::new().await;
    let call = Call::post("/v1/jobs", BODY).with("prefer", "wait=60");
    tokio::time::timeout(Duration::from_millis(300), world.send(call)).await.unwrap_err();
    let list = world.get("/v1/jobs").await.json();
    assert_eq!(list["items"][0]["status"], "running");
    assert!(list["items"][0]["cancel_requested_at"].is_null());
}

#[tokio::test]
async fn one_key_one_job() {
    let world = World::new().await;
    let keyed = |key: &str| Call::post("/v1/jobs", BODY).with("idempotency-key", key);
    let first = world.send(keyed("abc")).await;
    assert_eq!((first.status.as_u16(), first.header("idempotency-replayed")), (202, ""));
    let job = id(&first.json());
    world.succeed(job, "application/json", b"1").await;

    // Quoted or not, the same key; today's state; 202 unless somebody waits.
    for key in ["abc", "\"abc\""] {
        let again = world.send(keyed(key)).await;
        assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (202, "true"), "{again:?}");
        assert_eq!(again.header("location"), first.header("location"));
        assert_eq!((id(&again.json()), &again.json()["status"]), (job, &json!("succeeded")));
    }
    let waited = world.send(keyed("abc").with("prefer", "wait=5")).await;
    assert_eq!((waited.status.as_u16(), waited.header("preference-applied")), (200, "wait=5"));
    assert_eq!(waited.header("idempotency-replayed"), "true");

    let other = Call::post("/v1/jobs", r#"{"task":"echo"}"#).with("idempotency-key", "abc");
    world.send(other).await.is_problem(422, "idempotency-key-reused");
    let typed = keyed("abc").without("content-type").with("content-type", "application/json; charset=utf-8");
    world.send(typed).await.is_problem(422, "idempotency-key-reused");

    // A refusal uses up no key.
    let refused = Call::post("/v1/jobs", r#"{"task":"nope"}"#).with("idempotency-key", "fresh");
    world.send(refused).await.is_problem(422, "unknown-task");
    assert_eq!(world.send(keyed("fresh")).await.status, 202);

    for keys in [&[""][..], &["\"\""], &["a b"], &["\"a"], &[&"x".repeat(256)], &["a", "a"]] {
        let call =
            keys.iter().fold(Call::post("/v1/jobs", BODY), |call, key| call.with("idempotency-key", key));
        world.send(call).await.is_problem(400, "idempotency-key-invalid");
    }
    assert_eq!(world.send(keyed(&"x".repeat(255))).await.status, 202);
}

#[tokio::test]
async fn eight_at_once_with_one_key_make_one_job() {
    let world = World::new().await;
    let call = || world.send(Call::post("/v1/jobs", BODY).with("idempotency-key", "k"));
    let answers = tokio::join!(call(), call(), call(), call(), call(), call(), call(), call());
    let answers =
        [&answers.0, &answers.1, &answers.2, &answers.3, &answers.4, &answers.5, &answers.6, &answers.7];
    assert!(
        answers.iter().all(|answer| answer.status == 202 && answer.json()["id"] == answers[0].json()["id"])
    );
    assert_eq!(answers.iter().filter(|answer| answer.header("idempotency-replayed") == "true").count(), 7);
    assert_eq!(world.get("/v1/jobs").await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_finds_its_job_when_the_body_is_not_acceptable_any_more() {
    let world = World::new().await;
    let call = || {
        let body = r#"{"task":"echo","expires_at":"2026-01-01T00:01:00Z"}"#;
        Call::post("/v1/jobs", body).with("idempotency-key", "k")
    };
    let first = world.send(call()).await;
    assert_eq!(first.status, 202, "{first:?}");
    world.clock.advance(Duration::from_secs(120));
    let again = world.send(call()).await;
    assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (202, "true"), "{again:?}");
    assert_eq!(again.json()["id"], first.json()["id"]);
    let fresh = call().without("idempotency-key");
    world.send(fresh).await.is_problem(422, "validation-failed");
}

#[tokio::test]
async fn run_again_under_the_rules_of_today() {
    let world = World::new().await;
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let body = json!({
        "task": "echo", "input": [1], "metadata": {"k": "v"}, "priority": 2, "timeout": "5s", "max_attempts": 2,
        "callback": {"url": "https://hooks.example.com/", "secret": secret},
    });
    let old = world.running_with(body).await;
    world.send(Call::poke(&format!("/v1/jobs/{old}/rerun"))).await.is_problem(409, "job-not-finished");
    world.fail(old).await;
    let answer = world.send(Call::poke(&format!("/v1/jobs/{old}/rerun")).with("idempotency-key", "r")).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let job = answer.json();
    assert_ne!(id(&job), old);
    assert_eq!(answer.header("location"), format!("/v1/jobs/{}", id(&job)));
    for (member, value) in [
        ("rerun_of", json!(old)),
        ("metadata", json!({"k": "v"})),
        ("priority", json!(2)),
        ("timeout", json!("5s")),
        ("max_attempts", json!(2)),
    ] {
        assert_eq!(job[member], value, "{member}");
    }
    assert_eq!(world.get(&format!("/v1/jobs/{}/input", id(&job))).await.text(), "[1]");
    // The secret is bound to its job: it was sealed anew.
    let stored = world.engine.job(domain::id::Tenant::DEFAULT, id(&job)).await.unwrap().unwrap();
    let sealed = stored.callbacks.get(0).unwrap().secret.clone().unwrap();
    let place = domain::seal::Place::Callback(stored.tenant, stored.id);
    assert_eq!(place.open(&world.vault, &sealed).unwrap().expose(), secret);

    let again = world.send(Call::poke(&format!("/v1/jobs/{old}/rerun")).with("idempotency-key", "r")).await;
    assert_eq!((again.header("idempotency-replayed"), id(&again.json())), ("true", id(&job)));
    world
        .send(Call::post(&format!("/v1/jobs/{old}/rerun"), r#"{"x":1}"#))
        .await
        .is_problem(422, "validation-failed");
    world
        .send(Call::poke("/v1/jobs/job_00000000000000000000000000/rerun"))
        .await
        .is_problem(404, "not-found");
}
