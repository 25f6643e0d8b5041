//! Endpoints that several nodes send to: what their owners allow holds for all nodes together, and what one node began
//! another ends.

use std::time::Duration;

use ringback_tests::{Api, Peer, Reply, Request, Ringback, wait};
use serde_json::{Value, json};

use super::{config, two};

pub(crate) async fn registered(api: &Api, endpoint: Value) -> String {
    let answer = api.post("/v1/endpoints", endpoint.to_string()).await.expect(201);
    format!("/v1/endpoints/{}", answer.json()["id"].as_str().expect("an endpoint has an id"))
}

fn numbers(requests: &[Request]) -> Vec<u64> {
    requests.iter().map(|request| request.header("webhook-sequence").parse().expect("a number")).collect()
}

/// The most of these that were out at once, if each was out for so long.
fn most_at_once(requests: &[Request], each: Duration) -> usize {
    let out = |at: std::time::Instant| requests.iter().filter(|r| r.at <= at && at - r.at < each).count();
    requests.iter().map(|request| out(request.at)).max().unwrap_or(0)
}

#[tokio::test]
async fn no_more_are_out_from_all_nodes_than_the_endpoint_allows() {
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::ok().after(Duration::from_millis(100))]);
    let [mut first, second] = two(&config()).await;
    registered(first.api(), json!({ "url": receiver.url("/hook"), "max_in_flight": 2 })).await;
    for n in 0..20 {
        let node = if n % 2 == 0 { &first } else { &second };
        node.api().accepted(&json!({ "task": "echo", "input": n })).await;
    }
    receiver.wait_for("/hook", 20).await;
    // Whichever of them serves it: the other one goes on.
    first.stop().await;
    for n in 20..30 {
        second.api().accepted(&json!({ "task": "echo", "input": n })).await;
    }
    let requests = receiver.wait_for("/hook", 30).await;
    assert_eq!(most_at_once(&requests, Duration::from_millis(95)), 2);
    let mut all = numbers(&requests);
    all.sort_unstable();
    assert_eq!(all, (1..=30).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_one_node_began_to_recover_another_ends() {
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::status(500)]);
    let [mut first, second] = two(&config().with("delivery.retry", "{ schedule = [] }")).await;
    let endpoint = registered(first.api(), json!({ "url": receiver.url("/hook") })).await;
    for _ in 0..4 {
        let id = first.api().accepted(&json!({ "task": "echo" })).await;
        first.api().delivery_is(&id, "failed").await;
    }
    receiver.script("/hook", [Reply::ok()]);
    let recover = format!("{endpoint}/recover");
    let answer = first.api().post(&recover, r#"{"rate":"1/1s"}"#).await.expect(202);
    let location = answer.header("location").unwrap().to_owned();
    receiver.wait_for("/hook", 5).await;
    first.kill();
    wait::until("the recovery is over", || async {
        let recovery = second.api().get(&location).await.expect(200).json();
        (recovery["state"] == "finished" && recovery["recovered"] == 4).then_some(())
    })
    .await;
    wait::until("all are there", || async {
        let list = second.api().get("/v1/deliveries").await.expect(200).json();
        let items = list["items"].as_array().expect("a list has items");
        items.iter().all(|delivery| delivery["status"] == "succeeded").then_some(())
    })
    .await;
    // What was out when it died may have come twice.
    let mut all = numbers(&receiver.requests("/hook")[4..]);
    assert!(all.len() <= 5, "{all:?}");
    all.sort_unstable();
    all.dedup();
    assert_eq!(all, [1, 2, 3, 4]);
}

#[tokio::test]
async fn its_order_is_kept_while_nodes_come_and_go() {
    let receiver = Peer::start().await;
    receiver.script(
        "/hook",
        std::iter::repeat_n([200, 500, 200, 200], 40)
            .flatten()
            .map(|status| Reply::status(status).after(Duration::from_millis(30))),
    );
    let config =
        config().with("delivery.retry", r#"{ schedule = ["100ms", "200ms", "300ms"], jitter = 0.0 }"#);
    let [mut first, mut second] = two(&config).await;
    registered(first.api(), json!({ "url": receiver.url("/hook"), "ordered": true })).await;
    for round in 0..3 {
        for n in 0..6 {
            let node = if n % 2 == 0 { &first } else { &second };
            node.api().accepted(&json!({ "task": "echo", "input": n })).await;
        }
        receiver.wait_for("/hook", round * 6 + 2).await;
        // Killed, and replaced by another.
        first.kill();
        let third = second.beside(config.clone()).await;
        first = std::mem::replace(&mut second, third);
    }
    wait::until("all are there", || async {
        let list = second.api().get("/v1/deliveries").await.expect(200).json();
        let items = list["items"].as_array().expect("a list has items");
        (items.len() == 18 && items.iter().all(|delivery| delivery["status"] == "succeeded")).then_some(())
    })
    .await;
    let mut all = numbers(&receiver.requests("/hook"));
    all.dedup();
    assert_eq!(all, (1..=18).collect::<Vec<_>>());
    drop(first);
}

#[tokio::test]
async fn no_more_come_from_all_nodes_than_the_rate_says() {
    let receiver = Peer::start().await;
    let [first, second] = two(&config()).await;
    registered(first.api(), json!({ "url": receiver.url("/hook"), "rate_limit": "5/1s" })).await;
    for n in 0..20 {
        let node = if n % 2 == 0 { &first } else { &second };
        node.api().accepted(&json!({ "task": "echo", "input": n })).await;
    }
    let requests = receiver.wait_for("/hook", 20).await;
    // Until the first node has heard of the second, both may serve it, and each begins with one: not counted.
    for (n, one) in requests.iter().enumerate().skip(5) {
        let count = requests[n..].iter().filter(|r| r.at - one.at < Duration::from_millis(900)).count();
        assert!(count <= 5, "{count} within a second");
    }
}

/// Waits until both nodes say so of all these.
async fn all_say(nodes: &[Ringback; 2], endpoints: &[String], breaker: &str) {
    for (node, endpoint) in nodes.iter().flat_map(|node| endpoints.iter().map(move |path| (node, path))) {
        wait::until(&format!("the breaker is {breaker}"), async || {
            (node.api().get(endpoint).await.expect(200).json()["breaker"] == breaker).then_some(())
        })
        .await;
    }
}

/// Each endpoint is served by one node of the two; whichever is asked says the same of all.
#[tokio::test]
async fn how_a_breaker_stands_is_said_by_every_node() {
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::status(500)]);
    let nodes = two(&config().with("delivery.retry", r#"{ schedule = ["1h"] }"#)).await;
    let mut endpoints = Vec::new();
    for _ in 0..6 {
        endpoints.push(registered(nodes[0].api(), json!({ "url": receiver.url("/hook") })).await);
    }
    all_say(&nodes, &endpoints, "closed").await;
    for _ in 0..5 {
        nodes[0].api().accepted(&json!({ "task": "echo" })).await;
    }
    all_say(&nodes, &endpoints, "open").await;
    let late = nodes[0].api().accepted(&json!({ "task": "echo" })).await;
    for node in &nodes {
        let waits = wait::until("what comes later waits for it", async || {
            let late = node.api().deliveries(&late).await;
            let waiting = late.iter().filter(|delivery| delivery["waiting_for"] == "breaker").count();
            (waiting == endpoints.len()).then_some(late)
        })
        .await;
        assert!(waits.iter().all(|delivery| delivery["next_attempt_at"].is_string()), "{waits:#?}");
    }
    receiver.script("/hook", [Reply::hang()]);
    all_say(&nodes, &endpoints, "half_open").await;
    receiver.script("/hook", [Reply::ok()]);
    for endpoint in &endpoints {
        nodes[1].api().call(&format!("{endpoint}/ping")).await.expect(202);
    }
    all_say(&nodes, &endpoints, "closed").await;
}
