//! What an operator sees: health, readiness, metrics, logs.

use ringback_tests::{Engine, Peer, Ringback, both_engines};
use serde_json::{Value, json};

use super::echo;

both_engines!(health_needs_no_key);

async fn health_needs_no_key(engine: Engine) {
    let receiver = Peer::start().await;
    let server = Ringback::on(engine).await;
    let id = server.api().accepted(&echo(json!(1), &receiver)).await;
    server.api().delivery_is(&id, "succeeded").await;
    let stranger = server.api().with_key(None);
    stranger.get("/livez").await.expect(200);
    let ready = stranger.get("/readyz").await.expect(200);
    assert!(ready.json().is_object(), "{}", ready.text());
    let metrics = stranger.get("/metrics").await.expect(200);
    let text = metrics.text();
    assert!(text.lines().filter(|line| line.starts_with("ringback_")).count() > 10, "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("ringback_"), "{line}");
        for label in ["tenant=", "url=", "key=", "127.0.0.1"] {
            assert!(!line.contains(label), "{line}");
        }
    }
    assert!(text.trim_end().ends_with("# EOF"), "OpenMetrics ends with # EOF");
}

#[tokio::test]
async fn logs_are_json_lines() {
    let receiver = Peer::start().await;
    let mut server = Ringback::sqlite().await;
    let id = server.api().accepted(&echo(json!(1), &receiver)).await;
    server.api().delivery_is(&id, "succeeded").await;
    server.stop().await;
    for line in server.log().lines().filter(|line| !line.starts_with("---")) {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
    assert!(!server.log().contains("ERROR"), "{}", server.log());
}
