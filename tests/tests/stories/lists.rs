//! Lists: newest first, pages that neither skip nor repeat, filters.

use std::collections::HashSet;

use ringback_tests::{Api, Engine, Peer, Reply, Ringback, both_engines};
use serde_json::{Value, json};

use super::{echo, from_now};

both_engines!(pages_hold_every_job_once, lists_are_filtered);

async fn walk(api: &Api, path: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut next = path.to_owned();
    for _ in 0..50 {
        let page = api.get(&next).await.expect(200).json();
        assert_eq!(page.as_object().unwrap().len(), 2, "{page}");
        all.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(cursor) => next = format!("{path}&cursor={cursor}"),
            None => return all,
        }
    }
    panic!("the list does not end");
}

fn ids(items: &[Value]) -> Vec<String> {
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

async fn pages_hold_every_job_once(engine: Engine) {
    let server = Ringback::on(engine).await;
    let api = server.api();
    let mut made = Vec::new();
    for n in 0..25 {
        made.push(api.accepted(&json!({ "task": "echo", "input": n })).await);
    }
    made.reverse();
    let listed = walk(api, "/v1/jobs?limit=10").await;
    assert_eq!(ids(&listed), made, "newest first");
    // What comes while a client pages is before its pages, not in them.
    let first = api.get("/v1/jobs?limit=10").await.json();
    api.accepted(&json!({ "task": "echo" })).await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = api.get(&format!("/v1/jobs?limit=10&cursor={cursor}")).await.json();
    assert_eq!(ids(second["items"].as_array().unwrap()), made[10..20]);
    assert_eq!(walk(api, "/v1/jobs?limit=100").await.len(), 26);
}

async fn lists_are_filtered(engine: Engine) {
    let receiver = Peer::start().await;
    receiver.script("/bad", [Reply::status(410)]);
    let server = Ringback::on(engine).await;
    let api = server.api();
    let good = api.accepted(&echo(json!(1), &receiver)).await;
    let failed = api.accepted(&json!({ "task": "fail", "input": { "permanent": true } })).await;
    let bad = api.accepted(&json!({ "task": "echo", "callback": receiver.url("/bad") })).await;
    let later = api.accepted(&json!({ "task": "echo", "delay": "1h" })).await;
    api.delivery_is(&good, "succeeded").await;
    api.delivery_is(&bad, "failed").await;
    api.ended(&failed).await;

    let jobs = async |query: &str| ids(&walk(api, &format!("/v1/jobs?limit=2&{query}")).await);
    assert_eq!(jobs("status=failed").await, std::slice::from_ref(&failed));
    assert_eq!(jobs("status=queued").await, std::slice::from_ref(&later));
    assert_eq!(jobs("status=succeeded").await, [bad.clone(), good.clone()]);
    assert_eq!(jobs("task=echo").await, [later.clone(), bad.clone(), good.clone()]);
    assert_eq!(jobs("task=echo&status=succeeded").await, [bad.clone(), good.clone()]);
    let hour = std::time::Duration::from_secs(3600);
    let ahead = from_now(hour);
    assert!(jobs(&format!("created_after={ahead}")).await.is_empty());
    assert_eq!(jobs(&format!("created_before={ahead}")).await.len(), 4);
    let between = api.job(&failed).await["created_at"].as_str().unwrap().to_owned();
    let after: HashSet<_> = jobs(&format!("created_after={between}")).await.into_iter().collect();
    assert!(after.contains(&bad) && after.contains(&later) && !after.contains(&good), "{after:?}");

    let deliveries = async |query: &str| walk(api, &format!("/v1/deliveries?limit=1&{query}")).await;
    let all = deliveries("").await;
    assert_eq!(all.iter().map(|d| d["job"].as_str().unwrap()).collect::<Vec<_>>(), [&bad, &good]);
    for delivery in &all {
        assert!(
            delivery.get("attempts").is_none() && delivery.get("body").is_none(),
            "not in lists: {delivery}"
        );
    }
    assert_eq!(ids(&deliveries(&format!("job={good}")).await), [all[1]["id"].as_str().unwrap()]);
    assert_eq!(ids(&deliveries("status=failed").await), [all[0]["id"].as_str().unwrap()]);
    assert_eq!(ids(&deliveries("outcome=delivered").await), [all[1]["id"].as_str().unwrap()]);
    assert_eq!(ids(&deliveries("outcome=http_status").await), [all[0]["id"].as_str().unwrap()]);
    let event = all[0]["event"].as_str().unwrap();
    assert_eq!(ids(&deliveries(&format!("event={event}")).await), [all[0]["id"].as_str().unwrap()]);
}

#[tokio::test]
async fn a_query_that_nobody_understands_is_refused() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    for query in [
        "limit=0",
        "limit=101",
        "limit=x",
        "status=lost",
        "cursor=nonsense",
        "nonsense=1",
        "created_after=yesterday",
    ] {
        for path in ["/v1/jobs", "/v1/deliveries"] {
            api.get(&format!("{path}?{query}")).await.problem(422, "validation-failed");
        }
    }
    api.get("/v1/jobs?limit=100").await.expect(200);
    api.get("/v1/deliveries?outcome=nonsense").await.problem(422, "validation-failed");
}
