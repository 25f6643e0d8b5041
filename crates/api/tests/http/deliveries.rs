use std::time::Duration;

use domain::{
    chance::{Clock, Moment},
    delivery::{Attempt, Next, Outcome, Reason, Response, Trigger},
};
use serde_json::{Value, json};
use storage::{ClaimedDelivery, Settle, Written};

use crate::harness::{Call, World};

async fn settle(world: &World, delivery: ClaimedDelivery, status: u16, next: Next) {
    let at = Moment::of(&*world.clock);
    let outcome = if status == 200 { Outcome::Delivered } else { Outcome::HttpStatus };
    let attempt = Attempt {
        outcome,
        status: Some(status),
        error: None,
        response: Some(Response::new(vec![("x-a".into(), "b".into())], b"thanks", false)),
        ..Attempt::interrupted(delivery.hold.attempt, Trigger::Policy, delivery.started_at, at.wall)
    };
    let written = world
        .engine
        .settle(Settle {
            hold: delivery.hold,
            attempt,
            next,
            endpoint: None,
            not_before: None,
            dead_letter: None,
            at,
        })
        .await
        .unwrap();
    assert_eq!(written, Written::Done);
}

async fn sent(world: &World) -> (String, ClaimedDelivery) {
    let job = world.running_with(json!({"task": "echo", "callback": "https://hooks.example.com/x"})).await;
    world.succeed(job, "application/json", b"1.10").await;
    let delivery = world.delivery();
    (format!("/v1/deliveries/{}", delivery.hold.delivery), delivery)
}

#[tokio::test]
async fn one_with_its_attempts_and_the_exact_body() {
    let world = World::new().await;
    let (uri, delivery) = sent(&world).await;
    let open = world.get(&uri).await.json();
    for (member, value) in [
        ("id", json!(delivery.hold.delivery)),
        ("event", json!(delivery.event)),
        ("event_type", json!("job.succeeded")),
        ("job", json!(delivery.job)),
        ("endpoint", Value::Null),
        ("url", json!("https://hooks.example.com/x")),
        ("status", json!("pending")),
        ("reason", Value::Null),
        ("sequence", Value::Null),
        ("attempt", json!(1)),
        ("next_attempt_at", Value::Null),
        ("waiting_for", Value::Null),
        ("finished_at", Value::Null),
        ("body", json!(&*delivery.body)),
    ] {
        assert_eq!(open[member], value, "{member}");
    }
    assert_eq!(open["attempts"].as_array().unwrap().len(), 1);
    assert_eq!((&open["attempts"][0]["number"], &open["attempts"][0]["outcome"]), (&json!(1), &Value::Null));
    assert!(open["body"].as_str().unwrap().contains(r#""result":1.10,"#));

    world.send(Call::poke(&format!("{uri}/resend"))).await.is_problem(409, "resend-in-flight");
    let due = world.clock.now() + Duration::from_secs(5);
    let progress = domain::delivery::Progress { steps: 1, ..delivery.progress };
    settle(&world, delivery, 500, Next::Again { due, progress }).await;
    let waiting = world.get(&uri).await.json();
    assert_eq!((&waiting["waiting_for"], &waiting["next_attempt_at"]), (&json!("timer"), &json!(due)));
    let attempt = &waiting["attempts"][0];
    assert_eq!((&attempt["outcome"], &attempt["status"]), (&json!("http_status"), &json!(500)));
    assert_eq!(attempt["response"]["body"], "thanks");
    assert!(attempt["ended_at"].is_string());
}

#[tokio::test]
async fn resent_from_the_dead_letters() {
    let world = World::new().await;
    let (uri, delivery) = sent(&world).await;
    settle(&world, delivery, 410, Next::Failed(Reason::Gone)).await;
    let failed = world.get(&uri).await.json();
    assert_eq!((&failed["status"], &failed["reason"]), (&json!("failed"), &json!("gone")));
    assert!(failed["finished_at"].is_string());

    let answer = world.send(Call::poke(&format!("{uri}/resend"))).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (202, uri.as_str()));
    assert_eq!((&answer.json()["status"], &answer.json()["id"]), (&json!("pending"), &failed["id"]));
    world
        .send(Call::poke("/v1/deliveries/dlv_00000000000000000000000000/resend"))
        .await
        .is_problem(404, "not-found");
    world
        .send(Call::post(&format!("{uri}/resend"), r#"{"now":true}"#))
        .await
        .is_problem(422, "validation-failed");
}

#[tokio::test]
async fn lists_by_filter() {
    let world = World::new().await;
    let mut made = Vec::new();
    for n in 0..3 {
        world.clock.advance(Duration::from_secs(1));
        let (_, delivery) = sent(&world).await;
        made.push((
            delivery.hold.delivery.to_string(),
            delivery.job.unwrap().to_string(),
            delivery.event.to_string(),
        ));
        let next = if n == 1 { Next::Failed(Reason::Gone) } else { Next::Succeeded };
        settle(&world, delivery, if n == 1 { 410 } else { 200 }, next).await;
    }
    let [a, b, c] = &made[..] else { panic!() };
    for (query, expected) in [
        ("".to_owned(), vec![c, b, a]),
        ("status=succeeded".into(), vec![c, a]),
        ("status=failed".into(), vec![b]),
        ("outcome=http_status".into(), vec![b]),
        ("outcome=delivered&status=succeeded".into(), vec![c, a]),
        (format!("job={}", b.1), vec![b]),
        (format!("event={}", c.2), vec![c]),
        ("created_after=2026-01-01T00:00:02.5Z".into(), vec![c]),
    ] {
        let list = world.get(&format!("/v1/deliveries?{query}")).await.json();
        let ids: Vec<_> =
            list["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
        assert_eq!(ids, expected.iter().map(|one| one.0.as_str()).collect::<Vec<_>>(), "{query}");
        assert!(list["items"].as_array().unwrap().iter().all(|item| item.get("attempts").is_none()));
    }
    let page = world.get("/v1/deliveries?limit=2").await.json();
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = world.get(&format!("/v1/deliveries?limit=2&cursor={cursor}")).await.json();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (1, &Value::Null));
    world.get(&format!("/v1/jobs?cursor={cursor}")).await.is_problem(422, "validation-failed");
    for query in ["job=x", "event=job_1", "status=queued", "outcome=bad", "endpoint=ep_1"] {
        world.get(&format!("/v1/deliveries?{query}")).await.is_problem(422, "validation-failed");
    }
}

#[tokio::test]
async fn the_signing_secret_is_shown_and_rotated() {
    let world = World::new().await;
    let first = world.get("/v1/signing-secret").await;
    assert_eq!(first.header("cache-control"), "no-store");
    let first = first.json();
    assert!(first["secret"].as_str().unwrap().starts_with("whsec_") && first["previous"].is_null());

    let rotated = world.send(Call::post("/v1/signing-secret/rotate", r#"{"overlap":"1h"}"#)).await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
    let rotated = rotated.json();
    assert_ne!(rotated["secret"], first["secret"]);
    assert_eq!(rotated["previous"]["secret"], first["secret"]);
    assert_eq!(rotated["previous"]["expires_at"], "2026-01-01T01:00:00.000000Z");
    assert_eq!(world.get("/v1/signing-secret").await.json(), rotated);
    world.clock.advance(Duration::from_secs(3_600));
    assert!(world.get("/v1/signing-secret").await.json()["previous"].is_null());

    let by_default = world.send(Call::poke("/v1/signing-secret/rotate")).await.json();
    assert_eq!(by_default["previous"]["expires_at"], "2026-01-02T01:00:00.000000Z");
    for body in [r#"{"overlap":1}"#, r#"{"overlap":"31d"}"#, r#"{"x":1}"#, "[]"] {
        world.send(Call::post("/v1/signing-secret/rotate", body)).await.is_problem(422, "validation-failed");
    }
}
