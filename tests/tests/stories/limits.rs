//! Limits of a request, and that the client can read why it was refused.

use std::time::Duration;

use ringback_tests::{Config, Ringback, raw};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LIMIT: usize = 256 * 1024;

fn of_length(length: usize) -> String {
    let around = r#"{"task":"echo","input":""}"#.len();
    json!({ "task": "echo", "input": "x".repeat(length - around) }).to_string()
}

#[tokio::test]
async fn a_body_has_a_limit() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    let largest = of_length(LIMIT);
    assert_eq!(largest.len(), LIMIT);
    let id = api.post("/v1/jobs", largest).await.expect(202).json()["id"].as_str().unwrap().to_owned();
    assert_eq!(api.ended(&id).await["status"], "succeeded");
    // By length, and in chunks; and the answer is read although the body was not.
    api.post("/v1/jobs", of_length(LIMIT + 1)).await.problem(413, "payload-too-large");
    api.post("/v1/jobs", of_length(LIMIT * 3)).await.problem(413, "payload-too-large");
    let body = of_length(LIMIT + 1);
    let head = raw::head(
        &server,
        "POST /v1/jobs",
        "content-type: application/json\r\ntransfer-encoding: chunked\r\n",
    );
    let chunked = format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    raw::exchange(&server, chunked.as_bytes()).await.problem(413, "payload-too-large");
    // Refused by its length, before it is sent.
    let lines = format!("content-type: application/json\r\ncontent-length: {}\r\n", 10_u64 << 30);
    let announced = raw::head(&server, "POST /v1/jobs", &lines);
    raw::exchange(&server, announced.as_bytes()).await.problem(413, "payload-too-large");
}

#[tokio::test]
async fn the_limit_is_configured() {
    let server = Ringback::start(Config::sqlite().with("server.max_body", r#""1KiB""#)).await;
    server.api().post("/v1/jobs", of_length(1024)).await.expect(202);
    server.api().post("/v1/jobs", of_length(1025)).await.problem(413, "payload-too-large");
}

#[tokio::test]
async fn heads_and_uris_have_limits() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    api.get_with("/v1/jobs", &[("x-large", &"y".repeat(64 * 1024))]).await.problem(431, "headers-too-large");
    let long = |length: usize| raw::head(&server, &format!("GET /v1/jobs?cursor={}", "y".repeat(length)), "");
    raw::exchange(&server, long(32 * 1024).as_bytes()).await.problem(414, "uri-too-long");
    // What is longer than an URI can be in the HTTP library never reaches the code that writes problems.
    raw::exchange(&server, long(64 * 1024).as_bytes()).await.expect(414);
    api.get_with("/v1/jobs", &[("x-usual", &"y".repeat(4 * 1024))]).await.expect(200);
}

#[tokio::test]
async fn a_slow_head_is_cut() {
    let server = Ringback::sqlite().await;
    let mut stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(b"GET /v1/jobs HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
    assert!(read.is_ok(), "the connection is closed 10 s into a head without an end");
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_others() {
    let server = Ringback::sqlite().await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(tokio::net::TcpStream::connect(server.address()).await.unwrap());
    }
    server.api().submit(&json!({ "task": "echo" })).await.expect(202);
}
