//! Signing: the tenant's secret and its rotation, a callback's own secret, and that no secret is ever shown.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::Method;
use ringback_tests::{Config, Engine, Peer, Reply, Ringback, both_engines, config, verify};
use serde_json::{Value, json};

use super::{assert_time, echo};

both_engines!(a_rotation_overlaps, a_retry_after_a_rotation_bears_both);

fn signatures(request: &ringback_tests::Request) -> usize {
    let all: Vec<_> = request.header("webhook-signature").split(' ').collect();
    assert!(all.iter().all(|one| one.starts_with("v1,")), "{all:?}");
    all.len()
}

async fn a_rotation_overlaps(engine: Engine) {
    let receiver = Peer::start().await;
    let server = Ringback::on(engine).await;
    let api = server.api();
    let before = api.get("/v1/signing-secret").await.expect(200).json();
    let old = before["secret"].as_str().unwrap();
    assert_eq!(before["previous"], Value::Null);
    assert_eq!(BASE64_STANDARD.decode(old.strip_prefix("whsec_").unwrap()).unwrap().len(), 32);

    let rotated = api.post("/v1/signing-secret/rotate", r#"{"overlap":"2s"}"#).await.expect(200).json();
    let new = rotated["secret"].as_str().unwrap();
    assert_ne!(new, old);
    assert_eq!(rotated["previous"]["secret"], old);
    assert_time(&rotated["previous"]["expires_at"]);
    assert_eq!(api.get("/v1/signing-secret").await.json(), rotated);

    api.accepted(&echo(json!(1), &receiver)).await;
    let overlapping = receiver.first("/hook").await;
    assert_eq!(signatures(&overlapping), 2);
    verify::assert_genuine(old, &overlapping);
    verify::assert_genuine(new, &overlapping);

    tokio::time::sleep(Duration::from_millis(2200)).await;
    api.accepted(&echo(json!(2), &receiver)).await;
    let after = &receiver.wait_for("/hook", 2).await[1];
    assert_eq!(signatures(after), 1);
    verify::assert_genuine(new, after);
    assert!(!verify::accepts(old, after));
    assert_eq!(api.get("/v1/signing-secret").await.json()["previous"], Value::Null);
}

async fn a_retry_after_a_rotation_bears_both(engine: Engine) {
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::status(500), Reply::ok()]);
    let server =
        Ringback::start(Config::on(engine).with("delivery.retry", r#"{ schedule = ["1s"], jitter = 0.0 }"#))
            .await;
    let api = server.api();
    let old = api.signing_secret().await;
    api.accepted(&echo(json!(1), &receiver)).await;
    receiver.first("/hook").await;
    api.post("/v1/signing-secret/rotate", r#"{"overlap":"24h"}"#).await.expect(200);
    let new = api.signing_secret().await;
    let requests = receiver.wait_for("/hook", 2).await;
    assert_eq!((signatures(&requests[0]), signatures(&requests[1])), (1, 2));
    verify::assert_genuine(&old, &requests[0]);
    verify::assert_genuine(&old, &requests[1]);
    verify::assert_genuine(&new, &requests[1]);
    assert_eq!(requests[0].body, requests[1].body);
}

#[tokio::test]
async fn a_callback_may_bring_its_own_secret() {
    let receiver = Peer::start().await;
    let server = Ringback::sqlite().await;
    let api = server.api();
    for bytes in [24, 32, 64] {
        let secret = format!("whsec_{}", BASE64_STANDARD.encode(vec![7_u8; bytes]));
        let path = format!("/{bytes}");
        let callback = json!({ "url": receiver.url(&path), "secret": secret });
        let id = api.accepted(&json!({ "task": "echo", "callback": callback })).await;
        let webhook = receiver.first(&path).await;
        verify::assert_genuine(&secret, &webhook);
        assert!(!verify::accepts(&api.signing_secret().await, &webhook));
        let shown = api.get(&format!("/v1/jobs/{id}")).await;
        assert!(!shown.text().contains(&secret[6..]));
        assert!(!webhook.text().contains(&secret[6..]));
        let delivery = api.delivery_is(&id, "succeeded").await;
        assert!(!delivery.to_string().contains(&secret[6..]));
    }
}

#[tokio::test]
async fn a_bad_secret_is_refused_and_not_echoed() {
    let receiver = Peer::start().await;
    let server = Ringback::sqlite().await;
    let of = |bytes: usize| format!("whsec_{}", BASE64_STANDARD.encode(vec![0x5A_u8; bytes]));
    for secret in
        [of(23), of(65), "whsec_not-base64-but-a-secret!!!!!!!!!!!!!".into(), "hunter2hunter2hunter2".into()]
    {
        let callback = json!({ "url": receiver.url("/hook"), "secret": secret });
        let answer = server.api().submit(&json!({ "task": "echo", "callback": callback })).await;
        answer.problem_at(422, "validation-failed", "/callback/secret");
        assert!(!answer.text().contains(&secret[6..]), "{}", answer.text());
    }
}

/// Every file of a server but its configuration: the database, and what SQLite keeps beside it.
fn files(server: &Ringback) -> Vec<u8> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(server.directory()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            files.extend(std::fs::read(path).unwrap());
        }
    }
    files
}

#[tokio::test]
async fn secrets_are_neither_logged_nor_kept_in_the_open() {
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::status(500)]);
    let mut server = Ringback::sqlite().await;
    let api = server.api().clone();
    let [own, endpoints] =
        [0x5A_u8, 0x5B].map(|byte| format!("whsec_{}", BASE64_STANDARD.encode([byte; 32])));
    let with = |secret: &str, token: &str| json!({ "url": receiver.url("/hook"), "secret": secret, "headers": { "x-token": token, "x-key": "\t~\"" } });
    let callback = with(&own, "a-header-value-to-hide");
    let id = api.accepted(&json!({ "task": "echo", "callback": callback })).await;
    assert_eq!(receiver.first("/hook").await.header("x-token"), "a-header-value-to-hide");
    api.delivery_is(&id, "failed").await;
    let late = json!({ "url": receiver.url("/late"), "headers": { "x-token": "a-late-value-to-hide" } });
    api.post(&format!("/v1/jobs/{id}/callbacks"), late.to_string()).await.expect(202);
    assert_eq!(receiver.first("/late").await.header("x-token"), "a-late-value-to-hide");
    let made = api.post("/v1/endpoints", with(&endpoints, "another-value-to-hide").to_string()).await;
    let endpoint = format!("/v1/endpoints/{}", made.expect(201).json()["id"].as_str().unwrap());
    api.call(&format!("{endpoint}/ping")).await.expect(202);
    let change = json!({ "headers": { "x-token": "a-third-value-to-hide" } });
    let headers = [("content-type", "application/json")];
    api.send(Method::PATCH, &endpoint, &headers, change.to_string()).await.expect(200);
    let rotated = api.call("/v1/signing-secret/rotate").await.expect(200).json();
    let (key, _) = super::keys::make(&api, json!({ "role": "viewer" })).await;

    // While it runs, what was written last is in the log beside the file; after a stop it is in the file.
    let mut on_disk = files(&server);
    assert!(server.directory().join("ringback.db-wal").exists());
    server.stop().await;
    on_disk.extend(files(&server));
    let log = server.log();
    let hidden = |text: &str| {
        assert!(!log.contains(text), "logged: {text}");
        assert!(!on_disk.windows(text.len()).any(|window| window == text.as_bytes()), "on disk: {text}");
    };
    hidden("value-to-hide");
    hidden(config::KEY);
    hidden(&key[21..]);
    let all = [&own, &endpoints, rotated["secret"].as_str().unwrap()];
    for secret in all.into_iter().chain([rotated["previous"]["secret"].as_str().unwrap()]) {
        hidden(&secret[6..]);
        let raw = BASE64_STANDARD.decode(&secret[6..]).unwrap();
        assert!(!on_disk.windows(raw.len()).any(|window| window == raw), "raw secret bytes on disk");
    }
}
