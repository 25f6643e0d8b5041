//! Feeds: a receiver proves that it missed nothing.

use std::time::Duration;

use ringback_tests::{Engine, Peer, Ringback, both_engines, clock};
use serde_json::{Value, json};

both_engines!(an_endpoint_reads_what_it_was_sent, a_tenant_reads_everything);

async fn an_endpoint_reads_what_it_was_sent(engine: Engine) {
    let receiver = Peer::start().await;
    let server = Ringback::on(engine).await;
    let api = server.api();
    let endpoint = api.post("/v1/endpoints", json!({ "url": receiver.url("/hook") }).to_string()).await;
    let endpoint = endpoint.expect(201).json();
    let feed = format!("/v1/endpoints/{}/feed", endpoint["id"].as_str().unwrap());
    let empty = json!({ "items": [], "last": 0, "pruned_before": 1 });
    assert_eq!(api.get(&feed).await.expect(200).json(), empty);
    for n in 0..3 {
        api.accepted(&json!({ "task": "echo", "input": n })).await;
    }
    let requests = receiver.wait_for("/hook", 3).await;
    let whole = api.get(&feed).await.expect(200).json();
    assert_eq!((&whole["last"], whole["items"].as_array().unwrap().len()), (&json!(3), 3));
    for item in whole["items"].as_array().unwrap() {
        let id = item["webhook_id"].as_str().unwrap();
        let request = requests.iter().find(|request| request.webhook_id() == id).expect("it was sent");
        assert_eq!(request.header("webhook-sequence"), item["sequence"].to_string());
        assert_eq!(request.text(), item["body"], "the exact bytes");
    }
    let rest = api.get(&format!("{feed}?after=1&limit=1")).await.expect(200).json();
    assert_eq!(rest["items"], json!([whole["items"][1]]));

    let waiting = {
        let (api, path) = (api.clone(), format!("{feed}?after=3&wait=30"));
        tokio::spawn(async move { api.get(&path).await.expect(200).json() })
    };
    api.accepted(&json!({ "task": "echo" })).await;
    assert_eq!(waiting.await.unwrap()["items"][0]["sequence"], 4);
    let began = clock::now();
    assert_eq!(api.get(&format!("{feed}?after=4&wait=1")).await.expect(200).json()["items"], json!([]));
    assert!(began.elapsed() >= Duration::from_secs(1));
    for wrong in ["after=-1", "after=x", "limit=0", "wait=x", "cursor=1"] {
        api.get(&format!("{feed}?{wrong}")).await.problem(422, "validation-failed");
    }
    api.get("/v1/endpoints/ep_01jdxyzxyzxyzxyzxyzxyzxyzx/feed").await.problem(404, "not-found");
}

async fn a_tenant_reads_everything(engine: Engine) {
    let server = Ringback::on(engine).await;
    let api = server.api();
    let mut jobs = Vec::new();
    for n in 0..5 {
        jobs.push(api.accepted(&json!({ "task": "echo", "input": n })).await);
    }
    for job in &jobs {
        api.ended(job).await;
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    while seen.len() < 5 {
        let page = api.get(&format!("/v1/events?limit=2&wait=20{cursor}")).await.expect(200).json();
        for item in page["items"].as_array().unwrap() {
            let body: Value = serde_json::from_str(item["body"].as_str().unwrap()).unwrap();
            assert_eq!((&item["type"], &body["type"]), (&json!("job.succeeded"), &json!("job.succeeded")));
            seen.push(body["data"]["job"]["id"].as_str().unwrap().to_owned());
        }
        cursor = format!("&cursor={}", page["next_cursor"].as_str().unwrap());
    }
    seen.sort();
    jobs.sort();
    assert_eq!(seen, jobs);
    let waiting = {
        let (api, path) = (api.clone(), format!("/v1/events?wait=30{cursor}"));
        tokio::spawn(async move { api.get(&path).await.expect(200).json() })
    };
    let last = api.accepted(&json!({ "task": "echo" })).await;
    let page = waiting.await.unwrap();
    assert!(page["items"][0]["body"].as_str().unwrap().contains(&last), "{page}");
    api.get("/v1/events?cursor=x").await.problem(422, "validation-failed");
}
