//! Webhooks signed by Ed25519 (`v1a`): who verifies them can forge none.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::Method;
use ringback_tests::{Api, Peer, Request, Ringback, binary, verify};
use serde_json::{Value, json};

async fn registered(api: &Api, endpoint: Value) -> Value {
    api.post("/v1/endpoints", endpoint.to_string()).await.expect(201).json()
}

/// What `cryptography` says of them.
fn foreign(public_key: &str, requests: &[Request]) -> Result<String, String> {
    let webhook = |request: &Request| {
        let header = |name: &str| (name.to_owned(), Value::from(request.header(name)));
        let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(header);
        let headers: serde_json::Map<_, _> = headers.into_iter().collect();
        json!({ "headers": headers, "body": BASE64_STANDARD.encode(&request.body) })
    };
    let run =
        json!({ "public_key": public_key, "webhooks": requests.iter().map(webhook).collect::<Vec<_>>() });
    let mut child = Command::new(verify::python())
        .arg(binary::workspace().join("tests/python/verify_pairs.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Python runs");
    child.stdin.take().expect("it is piped").write_all(run.to_string().as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[tokio::test]
async fn whoever_verifies_by_a_public_key_accepts_them_through_a_rotation() {
    let receiver = Peer::start().await;
    let server = Ringback::sqlite().await;
    let api = server.api();
    let endpoint = registered(api, json!({ "url": receiver.url("/hook"), "signature": "ed25519" })).await;
    let (secret, public) = (endpoint["secret"].as_str().unwrap(), endpoint["public_key"].as_str().unwrap());
    assert!(secret.starts_with("whsk_") && public.starts_with("whpk_") && endpoint["signature"] == "ed25519");
    let path = format!("/v1/endpoints/{}", endpoint["id"].as_str().unwrap());
    let shown = api.get(&path).await.expect(200).json();
    assert!(shown.get("secret").is_none() && shown.get("public_key").is_none());
    api.accepted(&json!({ "task": "echo", "input": { "price": 1.10 } })).await;
    let one = receiver.first("/hook").await;
    assert!(one.header("webhook-signature").starts_with("v1a,"));
    foreign(public, std::slice::from_ref(&one)).unwrap();

    // Our own command, with either half, and with a body that is another.
    let header = |name: &str| format!("{name}: {}", one.header(name));
    let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(header);
    for by in [public, secret] {
        let run = |body: &str| {
            let mut arguments = vec!["verify", body, "--secret", by, "--tolerance", "1h"];
            headers.iter().for_each(|header| arguments.extend(["-H", header]));
            server.run(&arguments)
        };
        run(one.text()).unwrap();
        run("{}").unwrap_err();
    }
    let signed = server.run(&["sign", "{}", "--secret", secret, "--id", "evt_1"]).unwrap();
    assert!(signed.contains("webhook-signature: v1a,"), "{signed}");
    server.run(&["sign", "{}", "--secret", public]).unwrap_err();

    api.post(&format!("{path}/rotate-secret"), r#"{"overlap":"24h"}"#).await.expect(200);
    let kept = api.get(&format!("{path}/secret")).await.expect(200).json();
    assert_eq!(
        (&kept["previous"]["public_key"], &kept["previous"]["secret"]),
        (&json!(public), &json!(secret))
    );
    api.accepted(&json!({ "task": "echo" })).await;
    let both = receiver.wait_for("/hook", 2).await.split_off(1);
    for public in [public, kept["public_key"].as_str().unwrap()] {
        foreign(public, &both).unwrap();
    }
    foreign(kept["public_key"].as_str().unwrap(), &[one]).unwrap_err();
}

#[tokio::test]
async fn its_kind_is_chosen_once_and_its_key_has_to_fit() {
    let receiver = Peer::start().await;
    let server = Ringback::sqlite().await;
    let api = server.api();
    let (url, pair) = (receiver.url("/hook"), "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=");
    let own = registered(api, json!({ "url": url, "signature": "ed25519", "secret": pair })).await;
    assert_eq!(own["public_key"], "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
    let usual = registered(api, json!({ "url": url })).await;
    assert!(usual["signature"] == "hmac" && usual.get("public_key").is_none());
    for (body, pointer) in [
        (json!({ "url": url, "signature": "rsa" }), "/signature"),
        (json!({ "url": url, "signature": 1 }), "/signature"),
        (json!({ "url": url, "secret": pair }), "/secret"),
        (
            json!({ "url": url, "signature": "ed25519", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" }),
            "/secret",
        ),
        (json!({ "url": url, "signature": "ed25519", "secret": "whsk_AAAA" }), "/secret"),
    ] {
        let refused = api.post("/v1/endpoints", body.to_string()).await;
        refused.problem_at(422, "validation-failed", pointer);
    }
    let path = format!("/v1/endpoints/{}", own["id"].as_str().unwrap());
    let headers = [("content-type", "application/json")];
    let change = |signature: &str| {
        let body = json!({ "signature": signature }).to_string();
        api.send(Method::PATCH, &path, &headers, body)
    };
    change("hmac").await.problem_at(422, "validation-failed", "/signature");
    change("ed25519").await.expect(200);
    // A job's own callback is signed by what both sides know.
    let callback = json!({ "task": "echo", "callback": { "url": url, "secret": pair } });
    api.submit(&callback).await.problem_at(422, "validation-failed", "/callback/secret");
}
