//! What one node does, another hears of: by `NOTIFY` at once, and where nobody can listen within a second or two.

use std::time::Duration;

use ringback_tests::{Config, Peer, Reply, Ringback, clock};
use serde_json::{Value, json};

use super::{config, own, with_work, work};

/// What takes a hint, and what takes a look.
const HINTED: Duration = Duration::from_secs(1);
pub(crate) const LOOKED: Duration = Duration::from_secs(4);

#[tokio::test]
async fn with_notifications() {
    heard(config(), HINTED).await;
}

#[tokio::test]
async fn without_notifications() {
    heard(config().with("storage.pooled", "true"), LOOKED).await;
}

async fn heard(config: Config, within: Duration) {
    let url = testkit::postgres::Cluster::shared().fresh_database();
    Ringback::over(config.clone(), &url).run(&["migrate"]).expect("ringback migrate");
    heard_over(config, &url, within).await;
}

/// One node runs everything, since it was there first and the other one is asked to drain; the other is asked everything.
pub(crate) async fn heard_over(config: Config, url: &str, within: Duration) {
    let (upstream, receiver) = (Peer::start().await, Peer::start().await);
    upstream.answer("/work", |request| match request.json() {
        Value::Number(millis) => {
            Reply::json("1").after(Duration::from_millis(millis.as_u64().unwrap_or_default()))
        }
        _ => Reply::hang(),
    });
    // Deliveries wait for the node that sends: none is born claimed where one is draining.
    let config = with_work(config, &upstream, 8);
    let mut runs = Ringback::over(config.clone(), url);
    runs.launch().await;
    let asked = runs.beside(config).await;
    let id = own(&asked).await["id"].as_str().unwrap().to_owned();
    asked.api().call(&format!("/v1/nodes/{id}/drain")).await.expect(202);
    ringback_tests::wait::until("it drains", || async {
        (asked.api().get("/readyz").await.status == 503).then_some(())
    })
    .await;

    // A job that became due.
    let start = clock::now();
    let job = asked.api().accepted(&work(json!("hang"), &receiver)).await;
    upstream.first("/work").await;
    assert!(start.elapsed() < within, "started after {:?}", start.elapsed());

    // A request to stop.
    let start = clock::now();
    asked.api().call(&format!("/v1/jobs/{job}/cancel")).await.expect(202);
    receiver.first("/hook").await;
    assert!(start.elapsed() < within + within / 4, "canceled after {:?}", start.elapsed());
    assert_eq!(asked.api().job(&job).await["status"], "canceled");

    // A job that somebody waits for.
    let start = clock::now();
    let job = json!({ "task": "work", "input": 500 });
    let headers = [("prefer", "wait=20")];
    let waited = asked.api().post_with("/v1/jobs", &headers, job.to_string()).await.expect(200).json();
    assert_eq!(waited["status"], "succeeded");
    assert!(start.elapsed() < within * 2 + Duration::from_millis(500), "heard after {:?}", start.elapsed());

    // A delivery that is to be sent again.
    let delivery = asked.api().get("/v1/deliveries").await.expect(200).json()["items"][0]["id"].clone();
    let start = clock::now();
    asked.api().call(&format!("/v1/deliveries/{}/resend", delivery.as_str().unwrap())).await.expect(202);
    receiver.wait_for("/hook", 2).await;
    assert!(start.elapsed() < within, "sent after {:?}", start.elapsed());

    // A task that was paused, and is resumed.
    asked.api().call("/v1/tasks/work/pause").await.expect(200);
    tokio::time::sleep(within).await;
    let job = asked.api().accepted(&json!({ "task": "work", "input": 0 })).await;
    tokio::time::sleep(within).await;
    assert_eq!(asked.api().job(&job).await["status"], "queued");
    let start = clock::now();
    asked.api().call("/v1/tasks/work/resume").await.expect(200);
    asked.api().ended(&job).await;
    assert!(start.elapsed() < within * 2, "resumed after {:?}", start.elapsed());

    // A secret that was rotated: the next delivery bears both signatures.
    asked.api().call("/v1/signing-secret/rotate").await.expect(200);
    tokio::time::sleep(within.min(Duration::from_millis(1_100))).await;
    asked.api().call(&format!("/v1/deliveries/{}/resend", delivery.as_str().unwrap())).await.expect(202);
    let last = receiver.wait_for("/hook", 3).await.pop().unwrap();
    assert_eq!(last.header("webhook-signature").split(' ').count(), 2);
}
