use std::time::Duration;

use serde_json::json;

use crate::harness::{Call, World, id};

#[tokio::test]
async fn a_result_as_the_work_gave_it() {
    let world = World::new().await;
    for (content_type, bytes, inlined) in [
        ("application/json", b"{\"price\": 1.10}".to_vec(), true),
        ("text/plain; charset=utf-8", b"hello".to_vec(), false),
        ("application/octet-stream", vec![0xff; 100_000], false),
        ("application/json", format!("[{}1]", "1,".repeat(50_000)).into_bytes(), false),
    ] {
        let job = world.running().await;
        let uri = format!("/v1/jobs/{job}/result");
        let early = world.get(&uri).await;
        assert_eq!((early.status.as_u16(), early.header("retry-after")), (202, "1"));
        world.succeed(job, content_type, &bytes).await;
        let answer = world.get(&uri).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, content_type));
        assert!(answer.body == bytes);
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        let shown = world.get(&format!("/v1/jobs/{job}")).await.json();
        assert_eq!(
            answer.header("etag"),
            format!("\"{}\"", shown["result_info"]["sha256"].as_str().unwrap())
        );
        assert_eq!(
            (shown["result"].is_null(), &shown["result_info"]["size"]),
            (!inlined, &json!(bytes.len()))
        );
        let known = world.send(Call::get(&uri).with("if-none-match", answer.header("etag"))).await;
        assert_eq!((known.status.as_u16(), known.body.len()), (304, 0));
    }
}

#[tokio::test]
async fn no_result_of_what_did_not_succeed() {
    let world = World::new().await;
    let failed = world.running().await;
    world.fail(failed).await;
    let problem = world.get(&format!("/v1/jobs/{failed}/result")).await.is_problem(409, "job-not-succeeded");
    assert_eq!(problem["error"]["type"], "/problems/task-failed");

    let canceled = id(&world.submit(json!({"task": "echo", "delay": "1h"})).await);
    world.send(Call::poke(&format!("/v1/jobs/{canceled}/cancel"))).await;
    let problem =
        world.get(&format!("/v1/jobs/{canceled}/result")).await.is_problem(409, "job-not-succeeded");
    assert!(problem.as_object().unwrap().contains_key("error") && problem["error"].is_null());
}

#[tokio::test]
async fn a_signed_link_needs_no_key() {
    let world = World::new().await;
    let job = world.running_with(json!({"task": "echo", "callback": "https://hooks.example.com/"})).await;
    world.succeed(job, "text/plain", b"large").await;
    // As the event bears it.
    let body: serde_json::Value = serde_json::from_str(&world.delivery().body).unwrap();
    let link = body["data"]["job"]["links"]["result"].as_str().unwrap().to_owned();
    let bare = |uri: &str| world.send(Call::get(uri).without("authorization"));
    let answer = bare(&link).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "large"));

    let (path, _) = link.split_once('?').unwrap();
    let other = world.running().await;
    for wrong in [
        path.to_owned(),
        format!("{path}?exp=1&sig=x"),
        format!("{path}?sig="),
        format!("{link}x"),
        link.replace(&job.to_string(), &other.to_string()),
        link.replace("exp=1", "exp=2"),
        link.replace("/result", "/input"),
        link.replace("/result", "/resultx"),
    ] {
        let answer = bare(&wrong).await;
        answer.is_problem(401, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), "Bearer", "{wrong}");
    }
    // Late for a stranger, never for a caller with a key.
    world.clock.advance(Duration::from_secs(8 * 24 * 60 * 60));
    bare(&link).await.is_problem(401, "unauthorized");
    assert_eq!(world.get(&link).await.status, 200);
    world.get(&format!("{path}?x=1")).await.is_problem(422, "validation-failed");
}
