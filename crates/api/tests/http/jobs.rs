use std::time::Duration;

use serde_json::json;

use crate::harness::{Call, World, id};

#[tokio::test]
async fn one_job_with_its_tag() {
    let world = World::new().await;
    let job = world.running().await;
    let uri = format!("/v1/jobs/{job}");
    let answer = world.get(&uri).await;
    assert_eq!(answer.status, 200);
    let tag = answer.header("etag").to_owned();
    assert!(tag.starts_with("W/\""), "{tag}");
    assert_eq!(answer.header("cache-control"), "private, no-cache");
    assert_eq!(answer.header("retry-after"), "1");

    let other = format!("\"x\", {tag}");
    for known in [tag.as_str(), "*", &other, tag.trim_start_matches("W/")] {
        let unchanged = world.send(Call::get(&uri).with("if-none-match", known)).await;
        assert_eq!((unchanged.status.as_u16(), unchanged.body.len()), (304, 0), "{known}");
        assert_eq!(unchanged.header("etag"), tag);
    }
    let head = world.send(Call::new(axum::http::Method::HEAD, &uri, axum::body::Body::empty())).await;
    assert_eq!((head.status.as_u16(), head.body.len(), head.header("etag")), (200, 0, tag.as_str()));

    world.succeed(job, "application/json", b"{}").await;
    let ended = world.send(Call::get(&uri).with("if-none-match", &tag)).await;
    assert_eq!((ended.status.as_u16(), ended.header("retry-after")), (200, ""));
    assert_ne!(ended.header("etag"), tag);
}

#[tokio::test]
async fn waits_for_the_end_or_for_a_change() {
    let world = World::new().await;
    let job = world.running().await;
    let uri = format!("/v1/jobs/{job}");
    let tag = world.get(&uri).await.header("etag").to_owned();

    // Nothing happens: today's state when the time is over.
    for call in [Call::get(&format!("{uri}?wait=1")), Call::get(&uri).with("prefer", "wait=1")] {
        let answer = world.send(call).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (200, &json!("running")));
    }
    let unchanged = world.send(Call::get(&format!("{uri}?wait=1")).with("if-none-match", &tag)).await;
    assert_eq!(unchanged.status, 304);

    // A cancel request is a change, but not the end.
    let changed = world.send(Call::get(&format!("{uri}?wait=60")).with("if-none-match", &tag));
    let until_ended = format!("{uri}?wait=60");
    let end = world.get(&until_ended);
    let (changed, ended, ()) = tokio::join!(changed, end, async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(world.send(Call::poke(&format!("{uri}/cancel"))).await.status, 202);
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.succeed(job, "text/plain", b"done").await;
    });
    assert_eq!((changed.status.as_u16(), &changed.json()["status"]), (200, &json!("running")));
    assert!(changed.json()["cancel_requested_at"].is_string());
    assert_eq!((ended.status.as_u16(), &ended.json()["status"]), (200, &json!("succeeded")));

    world.get(&format!("{uri}?wait=x")).await.is_problem(422, "validation-failed");
    assert_eq!(world.get(&format!("{uri}?wait=0")).await.status, 200);
}

#[tokio::test]
async fn canceled_while_it_waits_or_asked_to_stop() {
    let world = World::new().await;
    let running = world.running().await;
    let queued = id(&world.submit(json!({"task": "echo"})).await);
    let cancel = |job| world.send(Call::poke(&format!("/v1/jobs/{job}/cancel")));

    let answer = cancel(queued).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (200, &json!("canceled")));
    cancel(queued).await.is_problem(409, "job-finished");

    for _ in 0..2 {
        let answer = cancel(running).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (202, &json!("running")));
        assert!(answer.json()["cancel_requested_at"].is_string());
    }
    world.succeed(running, "application/json", b"1").await;
    cancel(running).await.is_problem(409, "job-finished");
    assert_eq!(world.get(&format!("/v1/jobs/{running}")).await.json()["result"], 1);
    cancel("job_00000000000000000000000000".parse().unwrap()).await.is_problem(404, "not-found");
    world
        .send(Call::post(&format!("/v1/jobs/{running}/cancel"), "[]"))
        .await
        .is_problem(422, "validation-failed");
}

#[tokio::test]
async fn lists_newest_first_page_by_page() {
    let world = World::new().await;
    let mut made = Vec::new();
    for n in 0..5 {
        world.clock.advance(Duration::from_secs(1));
        let task =
            if n == 2 { json!({"task": "strict", "input": {"pages": 1}}) } else { json!({"task": "echo"}) };
        made.push(world.submit(task).await["id"].clone());
    }
    made.reverse();
    let ids = |list: &serde_json::Value| -> Vec<_> {
        list["items"].as_array().unwrap().iter().map(|job| job["id"].clone()).collect()
    };
    let all = world.get("/v1/jobs").await.json();
    assert_eq!((ids(&all), &all["next_cursor"]), (made.clone(), &json!(null)));
    assert!(all["items"][0]["queue"]["position"].is_number());

    let (mut seen, mut uri) = (Vec::new(), "/v1/jobs?limit=2".to_owned());
    loop {
        let page = world.get(&uri).await.json();
        seen.extend(ids(&page));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        uri = format!("/v1/jobs?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, made);

    for (query, expected) in [
        ("task=strict", &made[2..3]),
        ("status=running", &made[4..]),
        ("status=succeeded", &[]),
        ("created_after=2026-01-01T00:00:03Z", &made[..2]),
        ("created_before=2026-01-01T00:00:02Z", &made[4..]),
        ("created_after=2026-01-01T02:00:03%2B02:00&status=queued", &made[..2]),
    ] {
        assert_eq!(ids(&world.get(&format!("/v1/jobs?{query}")).await.json()), expected, "{query}");
    }
    for query in [
        "limit=0",
        "limit=101",
        "limit=x",
        "limit=1&limit=1",
        "status=done",
        "task=",
        "cursor=x",
        "created_after=now",
        "batch=bat_1",
        "page=2",
        "status=running&=",
        "validate_only=true",
    ] {
        let problem = world.get(&format!("/v1/jobs?{query}")).await.is_problem(422, "validation-failed");
        assert!(problem["errors"][0]["parameter"].is_string(), "{problem}");
    }
}
