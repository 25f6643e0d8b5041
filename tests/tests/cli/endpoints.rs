//! `ringback endpoint …`: a command for each of the contract's calls.

use ringback_tests::{Peer, Reply, wait};
use serde_json::{Value, json};

use super::{Shell, server};

#[tokio::test]
async fn an_endpoint_is_registered_shown_changed_and_deleted() {
    let server = server().await;
    let shell = Shell { server: &server };
    let receiver = Peer::start().await;
    let (url, other) = (receiver.url("/hook"), receiver.url("/other"));
    let headers = server.directory().join("headers.json");
    std::fs::write(&headers, r#"{"authorization": "Basic bm90IHNob3du"}"#).expect("a file");
    let headers = format!("@{}", headers.display());
    let create = ["endpoint", "create", &url, "--description", "the shop", "--headers", &headers, "--events"];
    let made =
        shell.run(&[&create[..], &["job.succeeded,job.failed", "-o", "jsonl"]].concat()).await.expect(0);
    let endpoint = made.json();
    let id = endpoint["id"].as_str().expect("an id");
    assert!(endpoint["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")), "{made:?}");
    assert_eq!(endpoint["events"], json!(["job.succeeded", "job.failed"]));

    let listed = shell.run(&["endpoint", "list"]).await.expect(0);
    assert!(listed.out.starts_with("ID ") && listed.out.contains(id) && listed.out.contains("the shop"));
    let shown = shell.run(&["endpoint", "get", id]).await.expect(0);
    assert!(shown.out.contains("breaker") && !shown.out.contains("whsec_"), "{}", shown.out);
    assert!(!shown.out.contains("bm90"), "headers are never shown: {}", shown.out);

    let changed =
        ["endpoint", "update", id, &other, "--timeout", "3s", "--reset", "description", "-o", "jsonl"];
    let changed = shell.run(&changed).await.expect(0).json();
    let members = ["url", "timeout", "description"].map(|member| changed[member].clone());
    assert_eq!(members, [json!(other), json!("3s"), json!("")], "{changed}");
    server.api().accepted(&json!({ "task": "echo" })).await;
    assert_eq!(receiver.first("/other").await.header("authorization"), "Basic bm90IHNob3du");

    shell.run(&["endpoint", "delete", id]).await.expect(0);
    shell.run(&["endpoint", "get", id]).await.expect(3).says("`endpoint`");
    let quiet = shell.run(&["endpoint", "create", &url, "-q"]).await.expect(0);
    assert!(quiet.out.starts_with("ep_") && quiet.out.lines().count() == 1 && quiet.err.is_empty());

    shell.run(&["endpoint", "update", quiet.out.trim()]).await.expect(2).says("nothing to change");
    shell.run(&["endpoint", "create", "nowhere"]).await.expect(2).says("/url");
    shell.run(&["endpoint", "create", &url, "--events", "job.exploded"]).await.expect(2).says("/events/0");
    shell.run(&["endpoint", "create", &url, "--retry", "often"]).await.expect(2).says("--retry is not");
    shell.run(&["endpoint", "get", "../jobs"]).await.expect(2).says("is not an id");
}

#[tokio::test]
async fn an_endpoint_is_silenced_and_gets_what_it_missed() {
    let server = server().await;
    let shell = Shell { server: &server };
    let receiver = Peer::start().await;
    let made = shell.run(&["endpoint", "create", &receiver.url("/hook"), "-q"]).await.expect(0);
    let id = made.out.trim();

    let disabled = shell.run(&["endpoint", "disable", id, "-o", "jsonl"]).await.expect(0).json();
    assert_eq!((&disabled["state"], &disabled["disabled_reason"]), (&json!("disabled"), &json!("requested")));
    let job = server.api().accepted(&json!({ "task": "echo" })).await;
    server.api().delivery_is(&job, "failed").await;
    shell.run(&["endpoint", "recover", id]).await.expect(2).says("disabled");
    let enabled =
        shell.run(&["endpoint", "enable", id, "--no-recover", "-o", "jsonl"]).await.expect(0).json();
    assert_eq!(enabled["state"], "enabled");

    let recovery =
        ["endpoint", "recover", id, "--since", "2026-01-01T00:00:00Z", "--rate", "10/1s", "-o", "jsonl"];
    let recovery = shell.run(&recovery).await.expect(0).json();
    let recovery = recovery["id"].as_str().expect("an id");
    server.api().delivery_is(&job, "succeeded").await;
    wait::until("the recovery is over", || async {
        let shown = shell.run(&["endpoint", "recovery", "get", id, recovery, "-o", "jsonl"]).await.expect(0);
        (shown.json()["state"] == "finished").then_some(())
    })
    .await;
    shell.run(&["endpoint", "recovery", "stop", id, recovery]).await.expect(0);
    shell.run(&["endpoint", "recovery", "get", id, "rec_nope"]).await.expect(3);

    // Enabled as it is by default, it gets what it missed without being asked.
    shell.run(&["endpoint", "disable", id]).await.expect(0);
    let job = server.api().accepted(&json!({ "task": "echo" })).await;
    server.api().delivery_is(&job, "failed").await;
    shell.run(&["endpoint", "enable", id]).await.expect(0);
    server.api().delivery_is(&job, "succeeded").await;

    let feed = shell.run(&["endpoint", "feed", id, "-o", "json"]).await.expect(0).json();
    assert_eq!((&feed["last"], feed["items"].as_array().map(Vec::len)), (&json!(2), Some(2)), "{feed}");
    let rest = shell.run(&["endpoint", "feed", id, "--after", "1", "--wait", "1500ms"]).await.expect(0);
    assert!(rest.out.starts_with("SEQUENCE ") && rest.out.lines().count() == 2, "{}", rest.out);
}

#[tokio::test]
async fn a_ping_is_signed_by_a_secret_that_is_shown_and_replaced() {
    let server = server().await;
    let shell = Shell { server: &server };
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::ok()]);
    let made =
        shell.run(&["endpoint", "create", &receiver.url("/hook"), "-o", "jsonl"]).await.expect(0).json();
    let id = made["id"].as_str().expect("an id");
    let secret = shell.run(&["endpoint", "secret", id, "-q"]).await.expect(0);
    assert_eq!(secret.out.trim(), made["secret"]);

    let rotated = shell.run(&["endpoint", "rotate", id, "--overlap", "1h", "-o", "jsonl"]).await.expect(0);
    assert_eq!((&rotated.json()["id"], &rotated.json()["secret"]), (&json!(id), &Value::Null));
    let both = shell.run(&["endpoint", "secret", id, "-o", "jsonl"]).await.expect(0).json();
    assert_eq!(both["previous"]["secret"], made["secret"]);

    let ping =
        shell.run(&["endpoint", "ping", id, "--type", "job.failed", "-o", "jsonl"]).await.expect(0).json();
    let delivery = ping["id"].as_str().expect("an id");
    let request = receiver.first("/hook").await;
    assert_eq!(request.json()["type"], "job.failed");
    assert_eq!(
        shell.run(&["delivery", "get", delivery, "-o", "jsonl"]).await.expect(0).json()["endpoint"],
        id
    );
    shell.run(&["endpoint", "ping", id, "--type", "job.exploded"]).await.expect(2).says("/type");

    // Whoever has either of the two verifies it.
    let header = |name: &str| format!("{name}: {}", request.header(name));
    let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(header);
    let mut verify: Vec<&str> = headers.iter().flat_map(|header| ["-H", header]).collect();
    for secret in [&both["secret"], &both["previous"]["secret"]] {
        verify.truncate(6);
        verify.extend(["--secret", secret.as_str().expect("a secret"), request.text()]);
        shell.run(&[&["verify"][..], &verify].concat()).await.expect(0);
    }
}
