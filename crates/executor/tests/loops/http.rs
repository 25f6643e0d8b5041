//! `http` tasks: what the upstream sees, and what follows from what it says.

use domain::{
    job::{Ending, Job},
    secret::Secret,
    signature,
};
use ringback_executor::{Answer, Method};

use super::harness::{Ground, seconds};

fn answer(status: u16, body: &'static str) -> Answer {
    let (content_type, body) = (Some("application/json".to_owned()), Some(body.into()));
    Answer { status, content_type, body, ..Answer::default() }
}

#[tokio::test]
async fn the_upstream_gets_the_exact_input_signed_and_its_body_is_the_result() {
    let ground = Ground::new();
    let node = ground.start_ready().await;
    ground.upstream.answer(answer(200, "{\"total\": 1.10}"));
    let traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    let id = node.submit(Job { traceparent, ..node.job("http") }, "{ \"a\": 1.0 }").await;
    node.settle().await;
    let job = node.get(id).await;
    let Some(Ending::Succeeded(result)) = job.ended().map(|ended| &ended.ending) else { panic!("{job:?}") };
    assert_eq!(result.inline.as_ref().unwrap().get(), "{\"total\": 1.10}");

    let request = &ground.upstream.requests()[0];
    let header = |name| &request.headers.iter().find(|(given, _)| *given == name).unwrap().1;
    assert_eq!((request.method, request.url.as_str()), (Method::Post, "http://up.example/work"));
    assert_eq!(&*request.body, b"{ \"a\": 1.0 }");
    assert_eq!(*header("content-type"), "application/json");
    assert_eq!(*header("idempotency-key"), format!("\"{id}\""));
    assert_eq!((header("ringback-job-id"), header("ringback-attempt").as_str()), (&id.to_string(), "1"));
    assert_eq!(*header("ringback-deadline"), (job.created_at + seconds(60)).to_string());
    let trace = header("traceparent");
    assert!(trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && !trace.contains("b7ad6b7169203331"));
    signature::verify(
        header("webhook-id"),
        header("webhook-timestamp"),
        &request.body,
        header("webhook-signature"),
        &[&Secret::from_bytes([9; 32])],
        job.created_at.seconds(),
        seconds(300),
    )
    .unwrap();
    let mut names: Vec<_> = request.headers.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), request.headers.len(), "each header once");
}

#[tokio::test]
async fn retry_after_is_a_floor_and_every_attempt_bears_the_same_key() {
    let ground = Ground::new();
    let node = ground.start_ready().await;
    ground.upstream.answer(Answer { retry_after: Some(b"40".to_vec()), ..answer(503, "") });
    ground.upstream.answer(answer(200, "1"));
    let id = node.run("http", "1").await;
    node.settle().await;
    node.advance(seconds(39)).await;
    assert_eq!(node.shows(id).await, "queued 1");
    node.advance(seconds(1)).await;
    assert_eq!(node.shows(id).await, "succeeded 2");
    let keys: Vec<_> =
        ground.upstream.requests().into_iter().map(|request| request.headers[1].clone()).collect();
    assert_eq!(keys[0], keys[1]);
}

#[tokio::test]
async fn a_refusal_is_final_and_its_own_problem_is_the_error() {
    let ground = Ground::new();
    let node = ground.start_ready().await;
    let problem = Some("application/problem+json".to_owned());
    ground
        .upstream
        .answer(Answer { content_type: problem, ..answer(422, r#"{"type":"/problems/no-paper"}"#) });
    ground.upstream.answer(answer(302, ""));
    let refused = node.run("http", "1").await;
    node.settle().await;
    let redirected = node.run("http", "1").await;
    node.settle().await;
    assert_eq!(node.shows(refused).await, "failed 1 no-paper");
    assert_eq!(node.shows(redirected).await, "failed 1 upstream-failed");
}

#[tokio::test]
async fn accepted_work_is_polled_until_it_ends() {
    let ground = Ground::new();
    let node = ground.start_ready().await;
    let location = Some("/status/7".to_owned());
    ground.upstream.answer(Answer { location, retry_after: Some(b"5".to_vec()), ..answer(202, "") });
    ground.upstream.answer(answer(202, ""));
    ground.upstream.answer(answer(503, ""));
    ground.upstream.answer(answer(200, "\"done\""));
    let id = node.run("http", "1").await;
    node.settle().await;
    // (seconds that pass, requests seen after them): 5 s as asked, then one second each.
    for (pass, requests) in [(4, 1), (1, 2), (1, 3), (1, 4)] {
        node.advance(seconds(pass)).await;
        assert_eq!(ground.upstream.requests().len(), requests);
    }
    assert_eq!(node.shows(id).await, "succeeded 1");
    let polls = &ground.upstream.requests()[1..];
    assert!(polls.iter().all(|poll| poll.method == Method::Get && poll.url.path() == "/status/7"));
}

#[tokio::test]
async fn polling_ends_with_the_attempts_time() {
    let ground = Ground::new();
    let node = ground.start_ready().await;
    for _ in 0..100 {
        ground.upstream.answer(Answer { location: Some("/status/7".to_owned()), ..answer(202, "") });
    }
    let id = node.submit(Job { timeout: seconds(3), max_attempts: 1, ..node.job("http") }, "1").await;
    node.settle().await;
    for _ in 0..3 {
        node.advance(seconds(1)).await;
    }
    assert_eq!(node.shows(id).await, "failed 1 timeout");
    // The work and a poll a second; what the last one asks for is heard no more.
    assert_eq!(ground.upstream.requests().len(), 4);
}
