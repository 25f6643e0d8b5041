//! The result: number tokens as written, large and foreign results at their own URL, the signed link.

use std::time::Duration;

use ringback_tests::{Config, Engine, Peer, Reply, Ringback, both_engines, clock};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{echo, sleep};

both_engines!(numbers_come_back_as_written, a_large_result_has_a_url_of_its_own);

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn numbers_come_back_as_written(engine: Engine) {
    let receiver = Peer::start().await;
    let server = Ringback::on(engine).await;
    let api = server.api();
    let input =
        r#"{"price": 1.10, "big": 123456789012345678901234567890, "e": 1E2, "neg": -0.0, "text": "\u00e9é"}"#;
    let body = format!(r#"{{"task": "echo", "input": {input}, "callback": "{}"}}"#, receiver.url("/hook"));
    let id = api.post("/v1/jobs", body).await.expect(202).json()["id"].as_str().unwrap().to_owned();
    let webhook = receiver.first("/hook").await;
    assert!(webhook.text().contains(input), "{}", webhook.text());
    assert!(api.get(&format!("/v1/jobs/{id}")).await.text().contains(input));
    assert_eq!(api.get(&format!("/v1/jobs/{id}/input")).await.expect(200).text(), input);
    let result = api.get(&format!("/v1/jobs/{id}/result")).await.expect(200);
    assert_eq!(result.text(), input);
    assert_eq!(result.header("content-type"), Some("application/json"));
    assert_eq!(result.header("etag"), Some(&*format!("\"{}\"", hex(input.as_bytes()))));
}

async fn a_large_result_has_a_url_of_its_own(engine: Engine) {
    let (receiver, upstream) = (Peer::start().await, Peer::start().await);
    let large = format!("\"{}\"", "x".repeat(64 * 1024));
    upstream.script("/work", [Reply::json(&large)]);
    let server = Ringback::start(Config::on(engine).http_task("work", &upstream.url("/work"))).await;
    let api = server.api();
    let id = api.accepted(&json!({ "task": "work", "callback": receiver.url("/hook") })).await;
    let event = receiver.first("/hook").await.json();
    let job = &event["data"]["job"];
    assert_eq!(job["result"], Value::Null);
    assert_eq!(job["result_info"]["size"], large.len());
    assert_eq!(job["result_info"]["sha256"], hex(large.as_bytes()));
    assert_eq!(job["result_info"]["content_type"], "application/json");

    let link = job["links"]["result"].as_str().unwrap();
    let stranger = api.with_key(None);
    let answer = stranger.get(link).await.expect(200);
    assert_eq!(answer.text(), large);
    assert_eq!(api.get(&format!("/v1/jobs/{id}/result")).await.expect(200).text(), large);

    // Seven days, and only this job, this expiry, this signature.
    let (path, query) = link.split_once('?').unwrap();
    let (exp, sig) = query.split_once('&').unwrap();
    let seconds: u64 = exp.strip_prefix("exp=").unwrap().parse().unwrap();
    let week = Duration::from_secs(7 * 24 * 3600);
    assert!(seconds.abs_diff((clock::wall() + week).as_secs()) < 60, "{exp}");
    let signature = sig.strip_prefix("sig=").unwrap();
    let other = if signature.starts_with('A') { "B" } else { "A" };
    for bad in [
        format!("{path}?exp={}&{sig}", seconds + 1),
        format!("{path}?{exp}&sig={other}{}", &signature[1..]),
        format!("{path}?exp=1000000000&{sig}"),
        format!("{path}?{exp}"),
        path.to_owned(),
    ] {
        stranger.get(&bad).await.problem(401, "unauthorized");
    }
    let another = api.accepted(&json!({ "task": "work" })).await;
    api.ended(&another).await;
    stranger.get(&format!("/v1/jobs/{another}/result?{query}")).await.problem(401, "unauthorized");
    // The signature opens the result and nothing else.
    stranger.get(&format!("/v1/jobs/{id}?{query}")).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn up_to_64_kib_of_json_are_inlined() {
    let upstream = Peer::start().await;
    let largest = format!("\"{}\"", "x".repeat(64 * 1024 - 2));
    upstream.script("/work", [Reply::json(&largest)]);
    let server = Ringback::start(Config::sqlite().http_task("work", &upstream.url("/work"))).await;
    let id = server.api().accepted(&json!({ "task": "work" })).await;
    let job = server.api().ended(&id).await;
    assert_eq!(job["result"].as_str().map(str::len), Some(64 * 1024 - 2));
}

#[tokio::test]
async fn a_result_need_not_be_json() {
    let upstream = Peer::start().await;
    let bytes: Vec<u8> = (0..=255).collect();
    upstream.script("/work", [Reply::ok().header("content-type", "image/png").body(bytes.clone())]);
    let server = Ringback::start(Config::sqlite().http_task("work", &upstream.url("/work"))).await;
    let api = server.api();
    let id = api.accepted(&json!({ "task": "work" })).await;
    let job = api.ended(&id).await;
    assert_eq!(job["status"], "succeeded");
    assert_eq!(job["result"], Value::Null);
    assert_eq!(
        job["result_info"],
        json!({ "size": 256, "sha256": hex(&bytes), "content_type": "image/png" })
    );
    let result = api.get(&format!("/v1/jobs/{id}/result")).await.expect(200);
    assert_eq!(result.body, bytes);
    assert_eq!(result.header("content-type"), Some("image/png"));
}

#[tokio::test]
async fn a_result_that_is_not_there_says_why() {
    let receiver = Peer::start().await;
    let server = Ringback::sqlite().await;
    let api = server.api();
    let id = api.accepted(&sleep("30s")).await;
    let waiting = api.get(&format!("/v1/jobs/{id}/result")).await.expect(202);
    assert!(waiting.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    api.call(&format!("/v1/jobs/{id}/cancel")).await;
    api.job_is(&id, "canceled").await;
    api.get(&format!("/v1/jobs/{id}/result")).await.problem(409, "job-not-succeeded");

    let id = api.accepted(&json!({ "task": "fail", "input": { "permanent": true } })).await;
    let job = api.ended(&id).await;
    let problem = api.get(&format!("/v1/jobs/{id}/result")).await.problem(409, "job-not-succeeded");
    assert_eq!(problem["error"], job["error"]);

    let id = api.accepted(&echo(json!(1), &receiver)).await;
    api.ended(&id).await;
    let etag = api.get(&format!("/v1/jobs/{id}/result")).await.expect(200).header("etag").unwrap().to_owned();
    let again = api.get_with(&format!("/v1/jobs/{id}/result"), &[("if-none-match", &etag)]).await.expect(304);
    assert!(again.body.is_empty());
}

#[tokio::test]
async fn more_than_max_result_fails_for_good() {
    let upstream = Peer::start().await;
    upstream.script("/work", [Reply::json(&format!("\"{}\"", "x".repeat(5000)))]);
    let spec = format!(r#"run = "http", url = "{}", max_result = "4KiB""#, upstream.url("/work"));
    let server = Ringback::start(Config::sqlite().task("work", &spec)).await;
    let id = server.api().accepted(&json!({ "task": "work" })).await;
    let job = server.api().ended(&id).await;
    assert_eq!(job["status"], "failed");
    assert_eq!(job["error"]["type"], "/problems/result-too-large");
    assert_eq!(job["attempt"], 1);
    assert_eq!(upstream.requests("/work").len(), 1);
}
