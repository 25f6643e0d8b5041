//! From one machine to several: `ringback storage copy`. What was accepted on SQLite goes on over PostgreSQL as if nothing
//! had been, also when the copy is killed halfway.

use std::process::{Child, Command, Stdio};

use ringback_tests::{Api, Config, Engine, Peer, Reply, Request, Ringback, binary, verify, wait};
use serde_json::{Value, json};
use testkit::postgres::Cluster;

use super::echo;

/// What answers the same before and after.
async fn reads(api: &Api, paths: &[String]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for path in paths {
        all.push((path.clone(), api.get(path).await.expect(200).text().to_owned()));
    }
    all
}

fn sequences(requests: &[Request]) -> Vec<u64> {
    requests.iter().map(|request| request.header("webhook-sequence").parse().expect("a number")).collect()
}

/// The events behind a cursor, and the next one.
async fn events(api: &Api, query: &str) -> (Vec<Value>, String) {
    let page = api.get(&format!("/v1/events{query}")).await.expect(200).json();
    let next = page["next_cursor"].as_str().expect("there is always one").to_owned();
    (page["items"].as_array().expect("a list").clone(), next)
}

fn copy(to: &Ringback, from: &str) -> Child {
    Command::new(binary::path())
        .args(["storage", "copy", "--batch", "2", "--from", from, "--config"])
        .arg(to.config_file())
        .current_dir(to.directory())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs")
}

/// Kills a copy in the middle: while it waits to write to a table that somebody else has locked.
async fn copy_killed_halfway(to: &Ringback, from: &str) {
    let connect = tokio_postgres::connect(to.storage(), tokio_postgres::NoTls);
    let (client, connection) = connect.await.expect("the database is there");
    let driven = tokio::spawn(connection);
    client.batch_execute("BEGIN; LOCK TABLE deliveries IN SHARE MODE").await.expect("the table is locked");
    let mut child = copy(to, from);
    let waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'deliveries'::regclass";
    wait::until("the copy is at deliveries", || async {
        (!client.query(waits, &[]).await.expect("it answers").is_empty()).then_some(())
    })
    .await;
    child.kill().expect("it is killed");
    child.wait().expect("it ends");
    // Let go of, before what follows holds up this thread.
    drop(client);
    driven.await.expect("no panic").expect("it is closed");
}

#[tokio::test]
async fn everything_goes_on_over_postgresql() {
    let (receiver, upstream) = (Peer::start().await, Peer::start().await);
    upstream.script("/work", [Reply::hang(), Reply::json("\"done\"")]);
    receiver.script("/down", [Reply::status(500)]);
    receiver.script("/slow", [Reply::hang(), Reply::ok()]);
    let patient = format!("{{ schedule = [{}], jitter = 0.0 }}", ["\"3s\""; 29].join(", "));
    let config = |engine| {
        Config::on(engine)
            .http_task("work", &upstream.url("/work"))
            .with("tasks.work.timeout", "\"60s\"")
            .task("note", "run = \"echo\"")
            .with("delivery.timeout", "\"30s\"")
            .with("delivery.retry", &patient)
    };
    let mut old = Ringback::start(config(Engine::Sqlite)).await;
    let api = old.api();

    // An endpoint that has had three events, and is down for two more.
    let endpoint = json!({ "url": receiver.url("/endpoint"), "tasks": ["note"] });
    let endpoint = api.post("/v1/endpoints", endpoint.to_string()).await.expect(201).json();
    let endpoint_path = format!("/v1/endpoints/{}", endpoint["id"].as_str().unwrap());
    for n in 1..=5 {
        if n == 4 {
            receiver.wait_for("/endpoint", 3).await;
            receiver.script("/endpoint", [Reply::status(500)]);
        }
        api.accepted(&json!({ "task": "note", "input": n })).await;
    }
    // Jobs that have ended, one with a payload of its own; one that failed; one whose webhook waits.
    let key = [("idempotency-key", "kept")];
    let body = echo(json!({ "price": 1.10, "text": "é".repeat(5_000) }), &receiver).to_string();
    let ended = api.post_with("/v1/jobs", &key, body.clone()).await.expect(202).json();
    let ended = ended["id"].as_str().unwrap().to_owned();
    let failed = api.accepted(&json!({ "task": "fail", "input": { "permanent": true } })).await;
    let undelivered = json!({ "task": "echo", "input": "kept", "callback": receiver.url("/down") });
    let undelivered = api.accepted(&undelivered).await;
    api.delivery_is(&ended, "succeeded").await;
    api.ended(&failed).await;
    api.delivery_where(&undelivered, "waits", |d| d["next_attempt_at"].is_string()).await;
    // One that waits for its time, one whose task is paused, one that was deleted.
    let scheduled = api.accepted(&json!({ "task": "echo", "delay": "1h", "priority": 3 })).await;
    api.call("/v1/tasks/sleep/pause").await.expect(200);
    let paused = api.accepted(&json!({ "task": "sleep", "input": { "for": "1ms" } })).await;
    let deleted = api.accepted(&json!({ "task": "fail", "input": { "permanent": true } })).await;
    api.ended(&deleted).await;
    api.send(http::Method::DELETE, &format!("/v1/jobs/{deleted}"), &[], "").await.expect(204);
    // Another tenant, with a key.
    let tenant = api.post("/v1/tenants", json!({ "name": "acme" }).to_string()).await.expect(201).json();
    let asked = json!({ "role": "admin", "tenant": tenant["id"], "name": "theirs" });
    let theirs = api.post("/v1/keys", asked.to_string()).await.expect(201).json();
    let theirs = theirs["key"].as_str().expect("it is shown once").to_owned();
    // Work that runs and a request that is out when the machine dies.
    let running = api.accepted(&json!({ "task": "work", "input": 1 })).await;
    upstream.first("/work").await;
    let sending = api.accepted(&json!({ "task": "echo", "callback": receiver.url("/slow") })).await;
    receiver.first("/slow").await;
    wait::until("both wait at the endpoint", || async {
        let shown = api.get(&endpoint_path).await.expect(200).json();
        (shown["waiting"] == 2).then_some(())
    })
    .await;
    let (_, cursor) = events(api, "?limit=2").await;
    let (rest, _) = events(api, &format!("?cursor={cursor}")).await;
    assert!(rest.len() >= 5, "{rest:?}");
    let (secret, endpoint_secret) = (api.signing_secret().await, endpoint["secret"].as_str().unwrap());
    let paths = [
        format!("/v1/jobs/{ended}"),
        format!("/v1/jobs/{ended}/input"),
        format!("/v1/jobs/{ended}/result"),
        format!("/v1/jobs/{failed}"),
        format!("/v1/jobs/{undelivered}"),
        format!("/v1/jobs/{scheduled}"),
        format!("/v1/deliveries?job={ended}"),
        format!("{endpoint_path}/secret"),
        "/v1/signing-secret".to_owned(),
        "/v1/tenants".to_owned(),
        "/v1/keys".to_owned(),
    ];
    let before = reads(api, &paths).await;

    // Not while it runs, and not into what is not migrated.
    let new = Ringback::over(config(Engine::Postgres), &Cluster::shared().fresh_database());
    let (from, words) = (old.storage().to_owned(), ["storage", "copy", "-o", "json", "--from"]);
    let run = |server: &Ringback| server.run(&[&words[..], &[&from]].concat());
    let said = run(&new).expect_err("a node runs");
    assert!(said.starts_with("exit status: 5") && said.contains(&old.pid().to_string()), "{said}");
    old.kill();
    let said = run(&new).expect_err("not migrated");
    assert!(said.starts_with("exit status: 1") && said.contains("`ringback migrate`"), "{said}");
    new.run(&["migrate"]).expect("it is migrated");
    copy_killed_halfway(&new, &from).await;
    let said = new.run(&["serve"]).expect_err("it is half a copy");
    assert!(said.contains("run the same `ringback storage copy` again"), "{said}");
    let copied: Value = serde_json::from_str(&run(&new).unwrap_or_else(|said| panic!("{said}"))).unwrap();
    let rows = |table: &str| {
        let items = copied["items"].as_array().expect("a list");
        items.iter().find(|item| item["table"] == table).unwrap_or_else(|| panic!("{copied}"))["rows"].clone()
    };
    assert_eq!((rows("jobs"), rows("tombstones"), rows("endpoints")), (json!(12), json!(1), json!(1)));
    let again = run(&new).unwrap_or_else(|said| panic!("{said}"));
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap(), copied, "nothing is left to do");

    let mut new = new;
    let seen = receiver.requests("/endpoint").len();
    receiver.script("/endpoint", [Reply::ok()]);
    receiver.script("/down", [Reply::ok()]);
    let attempts_before = receiver.requests("/down").len();
    new.launch().await;
    let api = new.api();
    assert_eq!(reads(api, &paths).await, before);
    api.get(&format!("/v1/jobs/{deleted}")).await.problem(410, "pruned");
    let replayed = api.post_with("/v1/jobs", &key, body).await.expect(202);
    assert_eq!(replayed.header("idempotency-replayed"), Some("true"));
    assert_eq!(replayed.json()["id"], json!(ended));
    api.with_key(Some(&theirs)).get(&format!("/v1/jobs/{ended}")).await.problem(404, "not-found");
    let their_job = api.with_key(Some(&theirs)).accepted(&json!({ "task": "echo" })).await;

    // What waited arrives, signed as ever and under the same id.
    let webhook = receiver.wait_for("/down", attempts_before + 1).await.pop().expect("it came");
    verify::assert_genuine(&secret, &webhook);
    assert_eq!(webhook.webhook_id(), receiver.requests("/down")[0].webhook_id());
    assert_eq!(webhook.json()["data"]["job"]["id"], json!(undelivered));
    // What was on the way when the machine died was interrupted, and is done again.
    let job = api.ended(&running).await;
    assert_eq!((&job["status"], &job["attempt"]), (&json!("succeeded"), &json!(2)));
    let delivery = api.delivery_is(&sending, "succeeded").await;
    let outcomes: Vec<_> =
        delivery["attempts"].as_array().unwrap().iter().map(|attempt| attempt["outcome"].clone()).collect();
    assert_eq!(outcomes, [json!("interrupted"), json!("delivered")]);
    wait::until("nobody takes SQLite for a node", || async {
        let nodes = api.get("/v1/nodes").await.expect(200).json();
        (nodes["items"].as_array().expect("a list").len() == 1).then_some(())
    })
    .await;
    // The pause holds until somebody ends it.
    assert_eq!(api.job(&paused).await["status"], "queued");
    api.call("/v1/tasks/sleep/resume").await.expect(200);
    api.job_is(&paused, "succeeded").await;

    // The endpoint's numbers go on without a gap.
    let last = api.accepted(&json!({ "task": "note", "input": "last" })).await;
    api.ended(&last).await;
    wait::until("nothing waits at the endpoint", || async {
        (api.get(&endpoint_path).await.expect(200).json()["waiting"] == 0).then_some(())
    })
    .await;
    let requests = receiver.requests("/endpoint");
    let mut numbers = sequences(&requests);
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    assert_eq!(api.delivery_is(&last, "succeeded").await["sequence"], 6);
    let feed = api.get(&format!("{endpoint_path}/feed")).await.expect(200).json();
    assert_eq!((&feed["last"], feed["items"].as_array().unwrap().len()), (&json!(6), 6));
    requests[seen..].iter().for_each(|request| verify::assert_genuine(endpoint_secret, request));

    // A cursor from before stands for the same place, and leads on to what is new: as soon as no older transaction is open
    // anywhere in the cluster, a neighbour's too.
    let items = wait::until("the last is in the feed", async || {
        let (items, _) = events(api, &format!("?limit=100&cursor={cursor}")).await;
        let last = items.last().is_some_and(|item| item["body"].as_str().unwrap().contains(&last));
        last.then_some(items)
    })
    .await;
    assert_eq!(items[..rest.len()], rest[..], "what came behind it before");
    assert!(!items.iter().any(|item| item["body"].as_str().unwrap().contains(&their_job)), "not another's");
}
