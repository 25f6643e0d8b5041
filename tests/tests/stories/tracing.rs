//! Traces and request ids.

use ringback_tests::{Config, Engine, Peer, Ringback, both_engines};
use serde_json::json;

use super::echo;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

both_engines!(a_trace_goes_from_submission_to_webhook);

async fn a_trace_goes_from_submission_to_webhook(engine: Engine) {
    let (receiver, upstream) = (Peer::start().await, Peer::start().await);
    let server = Ringback::start(Config::on(engine).http_task("work", &upstream.url("/work"))).await;
    let sent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let body = json!({ "task": "work", "callback": receiver.url("/hook") }).to_string();
    server.api().post_with("/v1/jobs", &[("traceparent", &sent)], body).await.expect(202);
    for request in [upstream.first("/work").await, receiver.first("/hook").await] {
        let got = request.header("traceparent");
        assert!(got.starts_with(&format!("00-{TRACE}-")) && got.ends_with("-01"), "{got}");
        assert_ne!(got, sent, "a span of ours");
    }
}

#[tokio::test]
async fn a_broken_trace_is_ignored() {
    let receiver = Peer::start().await;
    let server = Ringback::sqlite().await;
    let body = echo(json!(1), &receiver).to_string();
    server.api().post_with("/v1/jobs", &[("traceparent", "00-zz-zz-zz")], body).await.expect(202);
    let all = receiver.first("/hook").await;
    assert!(all.header_all("traceparent").iter().all(|value| !value.contains("zz")));
}

#[tokio::test]
async fn every_answer_and_log_line_of_a_request_bears_its_id() {
    let server = Ringback::sqlite().await;
    let answers = [server.api().get("/v1/jobs/none").await, server.api().get("/v1/jobs/none").await];
    let ids: Vec<_> = answers.iter().map(|a| a.problem(404, "not-found")["request_id"].to_string()).collect();
    assert_ne!(ids[0], ids[1]);
}
