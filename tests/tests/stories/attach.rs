//! Callbacks that are added later, to a job in each state, and beside its end.

use std::time::Duration;

use ringback_tests::{Config, Engine, Peer, Reply, Ringback, both_engines, verify, wait};
use serde_json::{Value, json};

use super::{echo, sleep};

both_engines!(a_running_job_calls_back, an_ended_job_calls_back_at_once, many_beside_the_end_hear_of_it_once);

async fn a_running_job_calls_back(engine: Engine) {
    let receiver = Peer::start().await;
    let server = Ringback::on(engine).await;
    let api = server.api();
    let id = api.accepted(&sleep("60s")).await;
    api.job_is(&id, "running").await;
    let callbacks = format!("/v1/jobs/{id}/callbacks");
    let own = format!("whsec_{}", "A".repeat(44));
    let callback = json!({
        "url": receiver.url("/own"), "events": ["job.canceled"], "secret": own, "headers": { "x-mine": "1" },
    });
    let job = api.post(&callbacks, callback.to_string()).await.expect(202).json();
    let shown = json!([{ "url": receiver.url("/own"), "events": ["job.canceled"] }]);
    assert_eq!(job["callbacks"], shown, "no header and no secret is shown");
    // A URL alone asks for the three that end a job.
    let job = api.post(&callbacks, json!(receiver.url("/plain")).to_string()).await.expect(202).json();
    assert_eq!(job["callbacks"].as_array().unwrap().len(), 2);
    // The same URL and events twice is one callback.
    let job = api.post(&callbacks, json!({ "url": receiver.url("/plain") }).to_string()).await.expect(202);
    assert_eq!(job.json()["callbacks"].as_array().unwrap().len(), 2);
    api.call(&format!("/v1/jobs/{id}/cancel")).await;
    let webhook = receiver.first("/own").await;
    verify::assert_genuine(&own, &webhook);
    assert_eq!(webhook.header("x-mine"), "1");
    assert_eq!(receiver.first("/plain").await.webhook_id(), webhook.webhook_id(), "one event");
    receiver.stays_at("/plain", 1, Duration::from_millis(300)).await;
    assert_eq!(api.deliveries(&id).await.len(), 2);
}

async fn an_ended_job_calls_back_at_once(engine: Engine) {
    let receiver = Peer::start().await;
    let mut server = Ringback::on(engine).await;
    let id = server.api().accepted(&echo(json!({ "price": 1 }), &receiver)).await;
    let first = receiver.first("/hook").await;
    server.crash().await;
    let api = server.api();
    let callbacks = format!("/v1/jobs/{id}/callbacks");
    let job = api.post(&callbacks, json!(receiver.url("/late")).to_string()).await.expect(202).json();
    assert_eq!((&job["status"], job["callbacks"].as_array().unwrap().len()), (&json!("succeeded"), 2));
    let late = receiver.first("/late").await;
    verify::assert_genuine(&api.signing_secret().await, &late);
    assert_eq!((late.webhook_id(), late.text()), (first.webhook_id(), first.text()));
    // What is asked for and did not happen is never sent.
    let failed = json!({ "url": receiver.url("/failed"), "events": ["job.failed"] });
    api.post(&callbacks, failed.to_string()).await.expect(202);
    api.post(&callbacks, json!(receiver.url("/late")).to_string()).await.expect(202);
    receiver.stays_at("/late", 1, Duration::from_millis(300)).await;
    assert!(receiver.requests("/failed").is_empty());
    wait::until("both deliveries have ended", || async {
        let all = api.deliveries(&id).await;
        (all.len() == 2 && all.iter().all(|d| d["status"] == "succeeded")).then_some(())
    })
    .await;
}

/// Each is read by the transaction that ends the job, or finds it ended.
async fn many_beside_the_end_hear_of_it_once(engine: Engine) {
    let receiver = Peer::start().await;
    let upstream = Peer::start().await;
    let server = Ringback::start(Config::on(engine).http_task("work", &upstream.url("/work"))).await;
    let api = server.api();
    for round in 0..3 {
        let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
        upstream.script("/work", [Reply::ok().behind(&gate)]);
        let id = api.accepted(&json!({ "task": "work" })).await;
        upstream.wait_for("/work", round + 1).await;
        let adding: Vec<_> = (0..16)
            .map(|n| {
                let (api, gate) = (api.clone(), gate.clone());
                let (id, url) = (id.clone(), receiver.url(&format!("/{round}/{n}")));
                tokio::spawn(async move {
                    if n == 4 {
                        gate.add_permits(1);
                    }
                    api.post(&format!("/v1/jobs/{id}/callbacks"), json!(url).to_string()).await.expect(202);
                })
            })
            .collect();
        for added in adding {
            added.await.unwrap();
        }
        api.ended(&id).await;
        for n in 0..16 {
            receiver.first(&format!("/{round}/{n}")).await;
        }
        assert_eq!(api.deliveries(&id).await.len(), 16);
    }
    for round in 0..3 {
        for n in 0..16 {
            assert_eq!(receiver.requests(&format!("/{round}/{n}")).len(), 1);
        }
    }
}

#[tokio::test]
async fn what_cannot_be_attached_is_refused_with_its_pointer() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    let id = api.accepted(&sleep("60s")).await;
    let callbacks = format!("/v1/jobs/{id}/callbacks");
    for (body, slug, pointer) in [
        (json!({}), "validation-failed", "/url"),
        (json!({ "url": "ftp://a.example/" }), "callback-url-invalid", "/url"),
        (json!("ftp://a.example/"), "callback-url-invalid", ""),
        (json!("https://10.0.0.1/"), "callback-address-blocked", ""),
        (json!({ "url": "https://a.example/", "extra": 1 }), "validation-failed", "/extra"),
        (json!({ "url": "https://a.example/", "events": ["nope"] }), "validation-failed", "/events/0"),
        (
            json!({ "url": "https://a.example/", "headers": { "host": "x" } }),
            "header-forbidden",
            "/headers/host",
        ),
        (json!([1]), "validation-failed", ""),
    ] {
        api.post(&callbacks, body.to_string()).await.problem_at(422, slug, pointer);
    }
    api.post(&callbacks, "{").await.problem(400, "malformed-json");
    api.post(&format!("{callbacks}?a=1"), "\"https://a.example/\"").await.problem(422, "validation-failed");
    let unknown = "/v1/jobs/job_01jdxyzxyzxyzxyzxyzxyzxyzx/callbacks";
    api.post(unknown, "\"https://a.example/\"").await.problem(404, "not-found");
    assert_eq!(api.job(&id).await["callbacks"], json!([]));
    for n in 0..20 {
        api.post(&callbacks, format!("\"https://a.example/{n}\"")).await.expect(202);
    }
    api.post(&callbacks, "\"https://a.example/20\"").await.problem(422, "validation-failed");
    api.post(&callbacks, "\"https://a.example/7\"").await.expect(202);
}

#[tokio::test]
async fn the_tag_changes_and_who_waits_for_that_is_told() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    let id = api.accepted(&sleep("60s")).await;
    let path = format!("/v1/jobs/{id}");
    let tag = api.get(&path).await.header("etag").unwrap().to_owned();
    let waiting = {
        let (api, path, tag) = (api.clone(), path.clone(), tag.clone());
        tokio::spawn(
            async move { api.get_with(&format!("{path}?wait=30"), &[("if-none-match", &tag)]).await },
        )
    };
    api.post(&format!("{path}/callbacks"), "\"https://a.example/\"").await.expect(202);
    let answer = waiting.await.unwrap().expect(200);
    assert_ne!(answer.header("etag"), Some(&*tag));
    assert_eq!(answer.json()["callbacks"][0]["url"], Value::from("https://a.example/"));
}
