//! Who is there, what each may do, and how one is sent away.

use std::time::{Duration, Instant};

use ringback_tests::{Peer, Reply, Request, Ringback, clock, config::KEY, wait};
use serde_json::{Value, json};

use super::{LEASE, TAKEN_OVER, config, nodes, own, two, with_work, work};

#[tokio::test]
async fn every_node_is_listed_by_every_node() {
    let [first, second] = two(&config()).await;
    for node in [&first, &second] {
        let listed = nodes(node).await;
        assert_eq!(listed.len(), 2, "{listed:?}");
        for row in &listed {
            assert_eq!((&row["status"], &row["epoch"]), (&json!("ready"), &json!(1)), "{row}");
            assert_eq!(row["version"], env!("CARGO_PKG_VERSION"));
        }
        let mine = own(node).await;
        let one =
            node.api().get(&format!("/v1/nodes/{}", mine["id"].as_str().unwrap())).await.expect(200).json();
        assert_eq!(one["name"], mine["name"]);
    }
    first.api().get("/v1/nodes/999").await.problem(404, "not-found");
    first.api().get("/v1/nodes/x").await.problem(404, "not-found");
    first.api().with_key(None).get("/v1/nodes").await.problem(401, "unauthorized");
    first.api().call("/v1/nodes/999/drain").await.problem(404, "not-found");
    first.api().post("/v1/nodes/1/drain", r#"{"now":true}"#).await.problem(422, "validation-failed");
}

#[tokio::test]
async fn who_stops_is_gone_from_the_list() {
    let first = Ringback::start(config()).await;
    let mut second = first.beside(config().with("node.lease", r#""30s""#)).await;
    // It hears of its own leaving like everybody, and must not come back for it.
    for turn in 0..12 {
        second.stop().await;
        // Lost until the other one has taken over, which is nothing here.
        let left: Vec<_> = nodes(&first).await.into_iter().filter(|row| row["status"] != "lost").collect();
        assert_eq!(left.len(), 1, "after {turn} others: {left:?}");
        assert!(!second.log().contains("the lease is lost"), "after {turn} others: {}", second.log());
        second.launch().await;
    }
    second.stop().await;
    wait::until("one node is left", || async { (nodes(&first).await.len() == 1).then_some(()) }).await;
}

/// How many of these, each as long as that, were under way at once at most.
fn at_once(requests: &[Request], lasts: Duration) -> usize {
    let at = |moment: Instant| requests.iter().filter(|r| r.at <= moment && moment < r.at + lasts).count();
    requests.iter().map(|request| at(request.at)).max().unwrap_or_default()
}

#[tokio::test]
async fn a_tasks_concurrency_is_that_of_all_nodes_together() {
    let (upstream, receiver) = (Peer::start().await, Peer::start().await);
    let lasts = Duration::from_millis(200);
    upstream.answer("/work", move |_| Reply::json("1").after(lasts));
    let config = with_work(config(), &upstream, 3);
    let first = Ringback::start(config.clone()).await;
    for n in 0..12 {
        first.api().accepted(&work(json!(n), &receiver)).await;
    }
    // It has all slots taken while the second one comes.
    let second = first.beside(config.clone()).await;
    for n in 12..40 {
        let node = if n % 2 == 0 { &first } else { &second };
        node.api().accepted(&work(json!(n), &receiver)).await;
    }
    let requests = {
        receiver.wait_for("/hook", 40).await;
        upstream.requests("/work")
    };
    assert_eq!(requests.len(), 40, "each ran once");
    assert!(at_once(&requests, lasts) <= 3, "{} at once", at_once(&requests, lasts));
    // And what there is, is shared out whole.
    let slots = wait::until("both have their share", || async {
        let slots: Vec<u64> =
            nodes(&first).await.iter().map(|row| row["slots"]["work"].as_u64().unwrap_or(0)).collect();
        (slots.iter().sum::<u64>() == 3 && slots.iter().all(|slots| *slots > 0)).then_some(slots)
    })
    .await;
    assert_eq!(slots.len(), 2);
}

#[tokio::test]
async fn a_task_of_one_slot_runs_somewhere() {
    let (upstream, receiver) = (Peer::start().await, Peer::start().await);
    let lasts = Duration::from_millis(50);
    upstream.answer("/work", move |_| Reply::json("1").after(lasts));
    let [first, second] = two(&with_work(config(), &upstream, 1)).await;
    for n in 0..10 {
        let node = if n % 2 == 0 { &first } else { &second };
        node.api().accepted(&work(json!(n), &receiver)).await;
    }
    receiver.wait_for("/hook", 10).await;
    let requests = upstream.requests("/work");
    assert_eq!((requests.len(), at_once(&requests, lasts)), (10, 1));
}

/// How many webhooks of a node are out now.
async fn out(of: &Ringback) -> u32 {
    let metrics = of.api().get("/metrics").await.expect(200);
    let line =
        metrics.text().lines().find_map(|line| line.strip_prefix("ringback_delivery_attempts_in_flight "));
    line.and_then(|number| number.trim().parse().ok()).expect("a number of attempts in flight")
}

#[tokio::test]
async fn an_endpoint_is_served_by_one_node_and_by_another_when_that_one_dies() {
    let (receiver, partner) = (Peer::start().await, Peer::start().await);
    let holds = std::iter::repeat_with(Reply::hang).take(8);
    partner.script("/endpoint", holds.chain([Reply::ok()]));
    let [mut first, mut second] = two(&config().with("delivery.timeout", r#""30s""#)).await;
    let endpoint = json!({ "url": partner.url("/endpoint") }).to_string();
    let endpoint = first.api().post("/v1/endpoints", endpoint).await.expect(201).json();
    for n in 0..40 {
        let node = if n % 2 == 0 { &first } else { &second };
        node.api().accepted(&json!({ "task": "echo", "callback": receiver.url("/hook") })).await;
    }
    // Each of these was written with one for the endpoint, of which a lane has 8 in flight at first.
    receiver.wait_for("/hook", 40).await;
    partner.wait_for("/endpoint", 8).await;
    partner.stays_at("/endpoint", 8, Duration::from_millis(500)).await;
    let (ours, theirs) = (out(&first).await, out(&second).await);
    assert!(matches!((ours, theirs), (8, 0) | (0, 8)), "{ours} and {theirs}");

    let killed = clock::now();
    let (owner, heir) = if ours == 8 { (&mut first, &second) } else { (&mut second, &first) };
    owner.kill();
    partner.wait_for("/endpoint", 48).await;
    assert!(killed.elapsed() <= LEASE + TAKEN_OVER, "{:?}", killed.elapsed());
    let path = format!("/v1/deliveries?endpoint={}&status=succeeded", endpoint["id"].as_str().unwrap());
    wait::until("all are taken", || async {
        let list = heir.api().get(&path).await.expect(200).json();
        (list["items"].as_array().unwrap().len() == 40).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_drains_ends_what_it_has_and_takes_nothing_new() {
    let (upstream, receiver) = (Peer::start().await, Peer::start().await);
    upstream.answer("/work", |_| Reply::json("1").after(Duration::from_secs(1)));
    let config = with_work(config(), &upstream, 8);
    let first = Ringback::start(config.clone()).await;
    let running = first.api().accepted(&work(json!("running"), &receiver)).await;
    upstream.first("/work").await;
    let second = first.beside(config).await;
    let id = own(&first).await["id"].as_str().unwrap().to_owned();
    // Any node may be asked.
    let url = second.api().base().to_owned();
    let said = second.run(&["node", "drain", &id, "--url", &url, "--key", KEY, "-o", "json"]);
    let said: Value = serde_json::from_str(&said.expect("it is asked")).unwrap();
    assert_eq!((&said["id"], &said["status"]), (&json!(id), &json!("draining")));
    wait::until("it is not ready", || async {
        (first.api().get("/readyz").await.status == 503).then_some(())
    })
    .await;
    let checks = first.api().get("/readyz").await.json();
    assert_eq!(checks["checks"]["draining"]["status"], "failing");
    let other = second.run(&["node", "list", "--url", &url, "--key", KEY]).unwrap();
    assert!(other.contains("draining") && other.contains("ready"), "{other}");
    // It goes on answering; what it accepts is run by the other.
    let job = first.api().accepted(&work(json!("new"), &receiver)).await;
    first.api().ended(&job).await;
    let ran = first.api().ended(&running).await;
    assert_eq!((&ran["status"], &ran["attempt"]), (&json!("succeeded"), &json!(1)), "{ran}");
    receiver.wait_for("/hook", 2).await;
    assert_eq!(upstream.requests("/work").len(), 2);
}
