//! The contract's table of errors, cell by cell: for each problem a request that is answered with it.
//!
//! A problem that the API's description names and no row here provokes fails the last story, so that the table stays
//! whole.

use std::collections::BTreeSet;

use http::Method;
use ringback_tests::{Api, Config, Engine, Peer, Reply, Ringback, raw, wait};
use serde_json::{Value, json};
use testkit::postgres::Cluster;

use super::{echo, sleep};

/// A header value, and in `{…}` in a path or a body what [`world`] has prepared.
type Headers = &'static [(&'static str, &'static str)];

const TYPED: Headers = &[("content-type", "application/json")];
const NOTHING: &str = "/v1/jobs/job_01jdxyzxyzxyzxyzxyzxyzxyzx";

/// Status, problem, method, path, headers beside the key, body. A body of `""` is none.
#[rustfmt::skip]
const ROWS: &[(u16, &str, &str, &str, Headers, &str)] = &[
    (400, "malformed-json",          "POST", "/v1/jobs",                   TYPED, "{"),
    (400, "idempotency-key-invalid", "POST", "/v1/jobs",                   &[TYPED[0], ("idempotency-key", "a b")], r#"{"task":"echo"}"#),
    (401, "unauthorized",            "GET",  "/v1/jobs",                   &[("authorization", "Bearer rbk_wrong")], ""),
    (404, "not-found",               "GET",  NOTHING,                      &[], ""),
    (405, "method-not-allowed",      "PUT",  "/v1/jobs",                   &[], ""),
    (409, "job-finished",            "POST", "/v1/jobs/{ended}/cancel",    &[], ""),
    (409, "job-not-finished",        "POST", "/v1/jobs/{running}/rerun",   &[], ""),
    (409, "job-not-succeeded",       "GET",  "/v1/jobs/{failed}/result",   &[], ""),
    (409, "resend-in-flight",        "POST", "/v1/deliveries/{out}/resend", &[], ""),
    (409, "delivery-finished",       "POST", "/v1/deliveries/{sent}/cancel", &[], ""),
    (410, "pruned",                  "GET",  "/v1/jobs/{deleted}",         &[], ""),
    (413, "payload-too-large",       "POST", "/v1/jobs",                   TYPED, "{large}"),
    (414, "uri-too-long",            "GET",  "/v1/jobs?cursor={long}",     &[], ""),
    (415, "unsupported-media-type",  "POST", "/v1/jobs",                   &[("content-type", "text/plain")], r#"{"task":"echo"}"#),
    (415, "unsupported-media-type",  "POST", "/v1/jobs",                   &[TYPED[0], ("content-encoding", "gzip")], r#"{"task":"echo"}"#),
    (422, "validation-failed",       "POST", "/v1/jobs",                   TYPED, r#"{"task":"echo","taks":1}"#),
    (422, "validation-failed",       "GET",  "/v1/jobs?limit=0",           &[], ""),
    (422, "unknown-task",            "POST", "/v1/jobs",                   TYPED, r#"{"task":"nope"}"#),
    (422, "input-invalid",           "POST", "/v1/jobs",                   TYPED, r#"{"task":"strict","input":{}}"#),
    (422, "callback-url-invalid",    "POST", "/v1/jobs",                   TYPED, r#"{"task":"echo","callback":"ftp://a.example/"}"#),
    (422, "callback-url-forbidden",  "POST", "/v1/jobs",                   TYPED, r#"{"task":"echo","callback":"https://a.example:22/"}"#),
    (422, "callback-address-blocked", "POST", "/v1/jobs",                  TYPED, r#"{"task":"echo","callback":"https://10.0.0.1/"}"#),
    (422, "header-forbidden",        "POST", "/v1/jobs",                   TYPED, r#"{"task":"echo","callback":{"url":"https://a.example/","headers":{"host":"b"}}}"#),
    (422, "idempotency-key-reused",  "POST", "/v1/jobs",                   &[TYPED[0], ("idempotency-key", "used")], r#"{"task":"echo","input":2}"#),
];

/// Those that take more than one request with the bootstrap key: stories below, and in `roles`, `quotas` and `tenants`.
/// That thousands at once are `overloaded`, too, is shown of the engine (`storage-sql`'s `sqlite::tests::faults`).
const ELSEWHERE: &[&str] = &[
    "bad-request",
    "forbidden",
    "rate-limited",
    "tenant-in-use",
    "request-timeout",
    "headers-too-large",
    "internal",
    "overloaded",
    "storage-unavailable",
];

/// A server in which every row's objects are there.
async fn world(receiver: &Peer) -> (Ringback, Vec<(&'static str, String)>) {
    let strict = r#"run = "echo", input_schema = { type = "object", required = ["pages"] }"#;
    let server = Ringback::start(Config::sqlite().task("strict", strict)).await;
    let api = server.api();
    receiver.script("/hook", [Reply::hang()]);
    let ended = api.accepted(&json!({ "task": "echo" })).await;
    let running = api.accepted(&sleep("10m")).await;
    let failed = api.accepted(&json!({ "task": "fail", "input": { "permanent": true } })).await;
    let calling = api.accepted(&echo(json!(1), receiver)).await;
    api.post_with("/v1/jobs", &[("idempotency-key", "used")], r#"{"task":"echo","input":1}"#)
        .await
        .expect(202);
    for job in [&ended, &failed] {
        api.ended(job).await;
    }
    api.job_is(&running, "running").await;
    receiver.first("/hook").await;
    let out = api.deliveries(&calling).await[0]["id"].as_str().unwrap().to_owned();
    let called = json!({ "task": "echo", "callback": receiver.url("/other") });
    let called = api.accepted(&called).await;
    let sent = api.delivery_is(&called, "succeeded").await["id"].as_str().unwrap().to_owned();
    let deleted = api.accepted(&json!({ "task": "echo" })).await;
    api.ended(&deleted).await;
    api.send(Method::DELETE, &format!("/v1/jobs/{deleted}"), &[], "").await.expect(204);
    let (large, long) =
        (format!(r#"{{"task":"echo","input":"{}"}}"#, "x".repeat(256 * 1024)), "y".repeat(9 * 1024));
    let prepared = [
        ("ended", ended),
        ("running", running),
        ("failed", failed),
        ("out", out),
        ("sent", sent),
        ("deleted", deleted),
        ("large", large),
        ("long", long),
    ];
    (server, prepared.into())
}

async fn send(api: &Api, method: &str, path: &str, headers: Headers, body: &str) -> ringback_tests::Answer {
    let own_key = headers.iter().any(|(name, _)| *name == "authorization");
    let api = if own_key { api.with_key(None) } else { api.clone() };
    api.send(method.parse::<Method>().unwrap(), path, headers, body.to_owned()).await
}

#[tokio::test]
async fn every_cell_is_answered_as_the_contract_has_it() {
    let receiver = Peer::start().await;
    let (server, prepared) = world(&receiver).await;
    let filled = |text: &str| {
        prepared
            .iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    };
    for (status, slug, method, path, headers, body) in ROWS {
        let answer = send(server.api(), method, &filled(path), headers, &filled(body)).await;
        let problem = answer.problem(*status, slug);
        let page = server.api().with_key(None).get(problem["type"].as_str().unwrap()).await.expect(200);
        assert!(page.text().contains("What to do"), "{slug}");
        // What is said of a problem never differs; where input is at fault it points to it.
        assert_eq!(
            problem["errors"].is_array(),
            *status == 422 && *slug != "idempotency-key-reused",
            "{problem}"
        );
        for (name, value) in *headers {
            assert!(
                value.len() < 5 || *name == "content-type" || !answer.text().contains(value),
                "{name} is echoed"
            );
        }
        match status {
            401 => assert_eq!(answer.header("www-authenticate"), Some("Bearer")),
            405 => assert_eq!(answer.header("allow"), Some("GET,HEAD,POST")),
            _ => {}
        }
    }
}

#[tokio::test]
async fn bad_request() {
    let server = Ringback::sqlite().await;
    let head = raw::head(&server, "GET /v1/jobs", "content-length: x\r\n");
    raw::exchange(&server, head.as_bytes()).await.problem(400, "bad-request");
}

#[tokio::test]
async fn headers_too_large() {
    let server = Ringback::sqlite().await;
    let large = "y".repeat(64 * 1024);
    server.api().get_with("/v1/jobs", &[("x-large", &large)]).await.problem(431, "headers-too-large");
}

/// Runs SQL in the database of a server on PostgreSQL.
fn sql(server: &Ringback, text: &str) {
    let (_, database) = server.storage().rsplit_once('/').expect("a URL ends in its database");
    let database = database.split('?').next().unwrap_or(database);
    Cluster::shared().sql(database, text);
}

/// What is in the database cannot be read.
#[tokio::test]
async fn internal() {
    let server = Ringback::on(Engine::Postgres).await;
    sql(&server, "UPDATE tenants SET secret = '\\x00'");
    let answer = server.api().get("/v1/signing-secret").await;
    let problem = answer.problem(500, "internal");
    let id = problem["request_id"].as_str().unwrap();
    assert_eq!(answer.header("ringback-request-id"), Some(id));
    // The line is written before the answer, and read here by a thread of its own.
    wait::until("the request_id finds it in the log", || async { server.log().contains(id).then_some(()) })
        .await;
}

/// Somebody holds what the writer needs, for longer than it waits.
#[tokio::test]
async fn a_locked_table_is_too_much_at_once() {
    let server = Ringback::on(Engine::Postgres).await;
    let (client, connection) =
        tokio_postgres::connect(server.storage(), tokio_postgres::NoTls).await.expect("it is there");
    tokio::spawn(connection);
    client.batch_execute("BEGIN; LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE").await.expect("it can be locked");
    let refused = server.api().submit(&json!({ "task": "echo" })).await;
    refused.problem(503, "overloaded");
    assert!(refused.header("retry-after").is_some());
    client.batch_execute("ROLLBACK").await.expect("it can be given back");
    server.api().submit(&json!({ "task": "echo" })).await.expect(202);
    let jobs = server.api().get("/v1/jobs").await.expect(200).json();
    assert_eq!(jobs["items"].as_array().unwrap().len(), 1, "nothing was recorded of the first");
}

/// The database is gone, and comes back.
#[tokio::test]
async fn storage_unavailable() {
    let server = Ringback::on(Engine::Postgres).await;
    let job = json!({ "task": "echo" });
    let keyed = |body: String| server.api().post_with("/v1/jobs", &[("idempotency-key", "k")], body);
    let (_, database) = server.storage().rsplit_once('/').unwrap();
    let database = database.split('?').next().unwrap();
    let away = format!(
        "UPDATE pg_database SET datallowconn = false WHERE datname = '{database}';
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
    );
    Cluster::shared().sql("postgres", &away);
    let refused = keyed(job.to_string()).await;
    refused.problem(503, "storage-unavailable");
    assert_eq!(refused.header("retry-after"), Some("1"));
    server.api().get("/v1/jobs").await.problem(503, "storage-unavailable");
    Cluster::shared()
        .sql("postgres", &format!("UPDATE pg_database SET datallowconn = true WHERE datname = '{database}'"));
    // Repeated with the same key, as the problem says: one job.
    for _ in 0..2 {
        ringback_tests::wait::until("it answers again", || async {
            (keyed(job.to_string()).await.status == 202).then_some(())
        })
        .await;
    }
    let jobs = server.api().get("/v1/jobs").await.expect(200).json();
    assert_eq!(jobs["items"].as_array().unwrap().len(), 1);
}

/// The table has a row for every problem that a call can be answered with.
#[tokio::test]
async fn the_table_is_whole() {
    let server = Ringback::sqlite().await;
    let document = server.api().with_key(None).get("/openapi.json").await.expect(200).json();
    let mut named = BTreeSet::from(["method-not-allowed".to_owned()]);
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let slugs = operation["x-problems"].as_array().into_iter().flatten();
            named.extend(slugs.filter_map(Value::as_str).map(str::to_owned));
        }
    }
    let rows = ROWS.iter().map(|row| row.1).chain(ELSEWHERE.iter().copied());
    let provoked: BTreeSet<_> = rows.map(str::to_owned).collect();
    assert_eq!(named, provoked);
}
