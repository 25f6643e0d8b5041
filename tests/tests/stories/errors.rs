//! Errors: who may not, what is not there, what is not understood; each a complete problem.

use http::Method;
use ringback_tests::{Ringback, config, raw};
use serde_json::{Value, json};

/// The problem without what differs from request to request.
pub(crate) fn alike(problem: &Value) -> Value {
    let mut problem = problem.clone();
    for own in ["request_id", "instance"] {
        problem.as_object_mut().unwrap().remove(own);
    }
    problem
}

#[tokio::test]
async fn no_key_and_a_wrong_key_are_told_alike() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    let none = api.with_key(None).get("/v1/jobs").await;
    let wrong_key = format!("{}x", config::KEY);
    let wrong = api.with_key(Some(&wrong_key)).get("/v1/jobs").await;
    let queried = api.with_key(None).get(&format!("/v1/jobs?key={0}&access_token={0}", config::KEY)).await;
    let expected = alike(&none.problem(401, "unauthorized"));
    for answer in [&none, &wrong, &queried] {
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert_eq!(alike(&answer.problem(401, "unauthorized")), expected);
        assert!(!answer.text().contains(&config::KEY[10..]));
    }
    for scheme in
        [format!("Basic {}", config::KEY), config::KEY.to_owned(), "Bearer".to_owned(), "Bearer ".to_owned()]
    {
        let answer = api.with_key(None).get_with("/v1/jobs", &[("authorization", &scheme)]).await;
        answer.problem(401, "unauthorized");
    }
    let lower = format!("bearer {}", config::KEY);
    api.with_key(None).get_with("/v1/jobs", &[("authorization", &lower)]).await.expect(200);
}

#[tokio::test]
async fn unauthorized_comes_before_not_found_and_method_not_allowed() {
    let server = Ringback::sqlite().await;
    let stranger = server.api().with_key(None);
    for (method, path) in [
        (Method::GET, "/v1/nothing"),
        (Method::DELETE, "/v1/jobs"),
        (Method::PUT, "/v1/jobs/x"),
        (Method::POST, "/v1/jobs"),
        (Method::GET, "/v1/jobs/job_01jdxyzxyzxyzxyzxyzxyzxyzx"),
        (Method::GET, "/v1/jobs/job_01jdxyzxyzxyzxyzxyzxyzxyzx/result"),
        (Method::GET, "/v1/deliveries"),
        (Method::GET, "/v1/signing-secret"),
    ] {
        stranger.send(method, path, &[], "").await.problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn what_is_not_there_is_404() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v2/jobs",
        "/v1/jobs/",
        "/v1/jobs/x",
        "/v1/jobs/job_x",
        "/v1/jobs/job_01jdxyzxyzxyzxyzxyzxyzxyzx",
        "/v1/jobs/job_01jdxyzxyzxyzxyzxyzxyzxyzx/input",
        "/v1/jobs/job_01jdxyzxyzxyzxyzxyzxyzxyzx/result",
        "/v1/deliveries/dlv_01jdxyzxyzxyzxyzxyzxyzxyzx",
        "/v1/deliveries/job_01jdxyzxyzxyzxyzxyzxyzxyzx",
        "/v1/hooks",
        "/v1/batches",
        "/problems/none",
        "/v1/jobs/%00",
        "/v1/jobs/..%2f..%2fetc",
    ] {
        api.get(path).await.problem(404, "not-found");
    }
}

#[tokio::test]
async fn a_wrong_method_is_405_with_allow() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    let job = "/v1/jobs/job_01jdxyzxyzxyzxyzxyzxyzxyzx";
    for (method, path, allowed) in [
        (Method::DELETE, "/v1/jobs".to_owned(), vec!["GET", "POST"]),
        (Method::PUT, job.to_owned(), vec!["GET"]),
        (Method::GET, format!("{job}/cancel"), vec!["POST"]),
        (Method::POST, format!("{job}/result"), vec!["GET"]),
        (Method::POST, "/v1/deliveries".to_owned(), vec!["GET"]),
        (Method::POST, "/livez".to_owned(), vec!["GET"]),
    ] {
        let answer = api.send(method.clone(), &path, &[], "").await;
        answer.problem(405, "method-not-allowed");
        let allow = answer.header("allow").unwrap_or_else(|| panic!("no Allow for {method} {path}"));
        for name in allowed {
            assert!(allow.split(',').any(|one| one.trim() == name), "{method} {path}: Allow: {allow}");
        }
    }
    let head = api.send(Method::HEAD, "/v1/jobs", &[], "").await.expect(200);
    assert!(head.body.is_empty());
}

#[tokio::test]
async fn a_body_that_is_not_one_json_value_is_malformed() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    let deep = |n: usize| format!(r#"{{"task":"echo","input":{}{}}}"#, "[".repeat(n), "]".repeat(n));
    let bodies: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"{".to_vec(),
        br#"{"task":"echo"}x"#.to_vec(),
        br#"{"task":"echo"}{}"#.to_vec(),
        br#"{"task":"echo","task":"echo"}"#.to_vec(),
        br#"{"task":"echo","input":{"a":1,"\u0061":2}}"#.to_vec(),
        [br#"{"task":"echo","input":""#.as_slice(), &[0xFF], br#""}"#].concat(),
        b"\xEF\xBB\xBF{\"task\":\"echo\"}".to_vec(),
        br#"{"task":"echo",}"#.to_vec(),
        br#"{'task':'echo'}"#.to_vec(),
        br#"{"task":"echo","input":NaN}"#.to_vec(),
        br#"{"task":"echo","input":01}"#.to_vec(),
        deep(10_000).into_bytes(),
        deep(128).into_bytes(),
    ];
    for body in bodies {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let answer = api.send(Method::POST, "/v1/jobs", &[("content-type", "application/json")], body).await;
        assert_eq!(answer.status, 400, "{shown}: {}", answer.text());
        answer.problem(400, "malformed-json");
    }
    api.post("/v1/jobs", deep(127)).await.expect(202);
    for not_an_object in ["[]", "null", "7", r#""echo""#] {
        api.post("/v1/jobs", not_an_object).await.problem(422, "validation-failed");
    }
    api.post("/v1/jobs", "{}").await.problem_at(422, "validation-failed", "/task");
}

#[tokio::test]
async fn only_json_is_taken() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    let body = r#"{"task":"echo"}"#;
    for good in ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"] {
        api.send(Method::POST, "/v1/jobs", &[("content-type", good)], body).await.expect(202);
    }
    for bad in ["text/plain", "application/xml", "application/jsonx", "application/x-www-form-urlencoded", ""]
    {
        let answer = api.send(Method::POST, "/v1/jobs", &[("content-type", bad)], body).await;
        answer.problem(415, "unsupported-media-type");
    }
    api.send(Method::POST, "/v1/jobs", &[], body).await.problem(415, "unsupported-media-type");
    for coding in ["gzip", "br", "deflate"] {
        let answer = api.post_with("/v1/jobs", &[("content-encoding", coding)], body).await;
        answer.problem(415, "unsupported-media-type");
    }
}

#[tokio::test]
async fn every_problem_has_a_page() {
    let server = Ringback::sqlite().await;
    let stranger = server.api().with_key(None);
    for slug in [
        "malformed-json",
        "bad-request",
        "idempotency-key-invalid",
        "unauthorized",
        "forbidden",
        "not-found",
        "method-not-allowed",
        "job-finished",
        "job-not-finished",
        "job-not-succeeded",
        "lease-lost",
        "resend-in-flight",
        "delivery-finished",
        "pruned",
        "payload-too-large",
        "uri-too-long",
        "unsupported-media-type",
        "headers-too-large",
        "validation-failed",
        "unknown-task",
        "input-invalid",
        "callback-url-invalid",
        "callback-url-forbidden",
        "callback-address-blocked",
        "header-forbidden",
        "idempotency-key-reused",
        "rate-limited",
        "internal",
        "overloaded",
        "storage-unavailable",
    ] {
        let page = stranger.get(&format!("/problems/{slug}")).await.expect(200);
        assert!(page.header("content-type").unwrap().starts_with("text/"), "{slug}");
        assert!(page.text().contains(slug) && page.text().len() > 80, "{slug}: {}", page.text());
    }
}

#[tokio::test]
async fn http_that_is_no_http_is_refused_and_the_server_lives() {
    let server = Ringback::sqlite().await;
    for bytes in [
        "GARBAGE\r\n\r\n".to_owned(),
        raw::head(&server, "POST /v1/jobs", "content-length: x\r\n"),
        raw::head(&server, "POST /v1/jobs", "content-length: 1\r\ncontent-length: 2\r\n"),
        raw::head(&server, "GET /v1/jobs", "bad header: x\r\n"),
    ] {
        let answer = raw::exchange(&server, bytes.as_bytes()).await;
        assert_eq!(answer.status, 400, "{bytes:?}");
    }
    let host = raw::head(&server, "GET /v1/jobs", "host: twice\r\n");
    let _ = raw::exchange(&server, host.as_bytes()).await;
    server.api().submit(&json!({ "task": "echo" })).await.expect(202);
}
