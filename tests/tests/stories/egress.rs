//! Egress: judged on the address that is dialled, whatever the URL looked like when it was accepted.

use ringback_tests::{Config, Peer, Ringback};
use serde_json::json;

fn one_attempt(config: Config) -> Config {
    config.with("delivery.retry", "{ schedule = [] }")
}

/// `localhost` passes the rule for names, and its address is still judged.
#[tokio::test]
async fn a_name_that_resolves_to_a_denied_address_is_not_dialled() {
    let receiver = Peer::start().await;
    let config =
        Config::sqlite().without("delivery.allow_cidrs").with("delivery.allow_hosts", r#"["localhost"]"#);
    let server = Ringback::start(one_attempt(config)).await;
    let url = format!("http://localhost:{}/hook", receiver.address().port());
    let id = server.api().accepted(&json!({ "task": "echo", "callback": url })).await;
    let delivery = server.api().delivery_is(&id, "failed").await;
    assert_eq!(delivery["attempts"][0]["outcome"], "address_blocked", "{delivery:#}");
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_name_that_resolves_to_an_allowed_address_is_dialled() {
    let receiver = Peer::start().await;
    let server = Ringback::start(Config::sqlite().with("delivery.allow_hosts", r#"["localhost"]"#)).await;
    let url = format!("http://localhost:{}/hook", receiver.address().port());
    server.api().accepted(&json!({ "task": "echo", "callback": url })).await;
    let webhook = receiver.first("/hook").await;
    assert_eq!(webhook.header("host"), format!("localhost:{}", receiver.address().port()));
}

/// Accepted under one configuration, sent under another: the address counts when it is dialled.
#[tokio::test]
async fn an_address_is_judged_again_at_every_attempt() {
    let receiver = Peer::start().await;
    let open = Config::sqlite();
    let mut server = Ringback::start(open.clone()).await;
    let job = json!({ "task": "echo", "callback": receiver.url("/hook"), "delay": "2s" });
    let id = server.api().accepted(&job).await;
    server.stop().await;
    server.reconfigure(&one_attempt(open.without("delivery.allow_cidrs")));
    server.launch().await;
    let delivery = server.api().delivery_is(&id, "failed").await;
    assert_eq!(delivery["attempts"][0]["outcome"], "address_blocked", "{delivery:#}");
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_name_that_is_none_fails_as_dns() {
    let hosts = r#"["*.invalid"]"#;
    let server = Ringback::start(one_attempt(Config::sqlite().with("delivery.allow_hosts", hosts))).await;
    let job = json!({ "task": "echo", "callback": "http://nobody.invalid/hook" });
    let id = server.api().accepted(&job).await;
    let delivery = server.api().delivery_is(&id, "failed").await;
    let outcome = delivery["attempts"][0]["outcome"].as_str().unwrap();
    // Where no name server answers at all, the look-up ends at its deadline.
    assert!(matches!(outcome, "dns" | "timeout"), "{delivery:#}");
}

#[tokio::test]
async fn environment_proxies_are_ignored() {
    let (receiver, proxy) = (Peer::start().await, Peer::start().await);
    let mut server = Ringback::prepare(Config::sqlite());
    let url = proxy.url("");
    server.wrap(&[
        "env",
        &format!("http_proxy={url}"),
        &format!("HTTP_PROXY={url}"),
        &format!("ALL_PROXY={url}"),
    ]);
    server.launch().await;
    server.api().accepted(&json!({ "task": "echo", "callback": receiver.url("/hook") })).await;
    receiver.first("/hook").await;
    assert_eq!(proxy.connections(), 0);
}
