//! Hostile input: what no client library sends, what comes too slowly, and what is too much. Each is refused with a
//! problem that can be read, or cut; and the server goes on.

use std::time::Duration;

use ringback_tests::{
    Config, Ringback, clock,
    raw::{self, Connection},
    wait,
};
use serde_json::json;

const ECHO: &str = r#"{"task":"echo"}"#;

async fn lives(server: &Ringback) {
    server.api().submit(&json!({ "task": "echo" })).await.expect(202);
}

async fn count(server: &Ringback) -> usize {
    server.api().get("/v1/jobs").await.expect(200).json()["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_is_refused() {
    let server = Ringback::sqlite().await;
    let post = |lines: &str| {
        raw::kept(&server, "POST /v1/jobs", &format!("content-type: application/json\r\n{lines}"))
    };
    let get = raw::kept(&server, "GET /v1/jobs", "");
    // What a second reader would take for a request of its own.
    let inner = format!("{}{ECHO}", post("content-length: 15\r\n"));
    let both = |lines: &str| format!("{}0\r\n\r\n{inner}", post(lines));
    let without_host = get.replace(&format!("host: {}\r\n", server.address()), "");
    for (what, bytes) in [
        (
            "Content-Length before Transfer-Encoding",
            both("content-length: 5\r\ntransfer-encoding: chunked\r\n"),
        ),
        (
            "Transfer-Encoding before Content-Length",
            both("transfer-encoding: chunked\r\ncontent-length: 5\r\n"),
        ),
        ("two lengths", both("content-length: 15\r\ncontent-length: 5\r\n")),
        ("two equal lengths", both("content-length: 5\r\ncontent-length: 5\r\n")),
        ("a list of lengths", both("content-length: 5, 5\r\n")),
        ("a length with a sign", both("content-length: +5\r\n")),
        ("a length that is no number", both("content-length: x\r\n")),
        ("a coding before chunked", both("transfer-encoding: gzip, chunked\r\n")),
        ("another coding", both("transfer-encoding: xchunked\r\n")),
        ("two codings", both("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n")),
        ("a space before the colon", both("transfer-encoding : chunked\r\n")),
        ("a folded line", both("x: a\r\n transfer-encoding: chunked\r\n")),
        ("a vertical tab", both("transfer-encoding:\x0bchunked\r\n")),
        ("a NUL", both("x: a\0b\r\n")),
        ("a carriage return alone", both("x: a\rtransfer-encoding: chunked\r\n")),
        ("line feeds alone", get.replace("\r\n", "\n")),
        ("one line feed alone", get.replacen("\r\n", "\n", 1)),
        ("no Host", without_host.clone()),
        ("two Hosts", raw::kept(&server, "GET /v1/jobs", "host: twice\r\n")),
        ("a Host that is none", without_host.replacen("\r\n", "\r\nhost: a b\r\n", 1)),
        ("a header that is none", raw::kept(&server, "GET /v1/jobs", "bad header: x\r\n")),
        ("chunks in HTTP/1.0", both("transfer-encoding: chunked\r\n").replacen("HTTP/1.1", "HTTP/1.0", 1)),
        ("another version", get.replacen("HTTP/1.1", "HTTP/3.0", 1)),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into()),
        ("HTTP/0.9", "GET /v1/jobs\r\n\r\n".into()),
        ("two spaces", get.replacen(' ', "  ", 1)),
        ("a target with a control character", get.replacen("/v1/jobs", "/v1/\x01jobs", 1)),
        ("no target", get.replacen("/v1/jobs ", "", 1)),
        ("no HTTP", "GARBAGE\r\n\r\n".into()),
        ("TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\u{7f}\x03\x03".into()),
    ] {
        let mut connection = Connection::open(&server).await;
        connection.send(bytes.as_bytes()).await;
        let answer = connection.answer().await;
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        answer.problem(400, "bad-request");
        assert_eq!(answer.header("connection"), Some("close"), "{what}");
        // Nothing behind it was taken for a request.
        connection.end().await;
        connection.closed().await;
    }
    assert_eq!(count(&server).await, 0, "nothing was smuggled in");
    lives(&server).await;
}

#[tokio::test]
async fn a_body_that_breaks_its_framing_ends_the_connection() {
    let server = Ringback::sqlite().await;
    let inner = format!(
        "{}{ECHO}",
        raw::kept(&server, "POST /v1/jobs", "content-type: application/json\r\ncontent-length: 15\r\n")
    );
    for chunks in
        ["x\r\n", "5\nhello\n0\n\n", "-1\r\n", "5\r\nhelloX\r\n", "11111111111111111\r\n", "0\r\nx\n\n"]
    {
        let head = raw::kept(
            &server,
            "POST /v1/jobs",
            "content-type: application/json\r\ntransfer-encoding: chunked\r\n",
        );
        let mut connection = Connection::open(&server).await;
        connection.send(format!("{head}{chunks}{inner}").as_bytes()).await;
        connection.answer().await.problem(400, "bad-request");
        connection.end().await;
        connection.closed().await;
    }
    assert_eq!(count(&server).await, 0);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Ringback::sqlite().await;
    let submission = format!(
        "{}{ECHO}",
        raw::kept(&server, "POST /v1/jobs", "content-type: application/json\r\ncontent-length: 15\r\n")
    );
    let chunked = format!(
        "{}f;x=y\r\n{ECHO}\r\n0\r\nx-trailer: 1\r\n\r\n",
        raw::kept(
            &server,
            "POST /v1/jobs",
            "content-type: application/json\r\ntransfer-encoding: chunked\r\n"
        )
    );
    let livez = raw::kept(&server, "GET /livez", "");
    let bad = raw::kept(&server, "GET /livez", "content-length: 1\r\ntransfer-encoding: chunked\r\n");
    let bytes = format!("\r\n{submission}{livez}\r\n{chunked}{livez}{bad}{livez}");
    // At once, and byte by byte: where a piece ends makes no difference.
    for piece in [bytes.len(), 1] {
        let mut connection = Connection::open(&server).await;
        for piece in bytes.as_bytes().chunks(piece) {
            connection.send(piece).await;
        }
        for status in [202, 200, 202, 200] {
            connection.answer().await.expect(status);
        }
        connection.answer().await.problem(400, "bad-request");
        connection.end().await;
        connection.closed().await;
    }
    assert_eq!(count(&server).await, 4);
}

#[tokio::test]
async fn what_is_too_long_is_told_so_however_long_it_is() {
    let server = Ringback::sqlite().await;
    let line = |length: usize| format!("GET /v1/jobs?cursor={}", "y".repeat(length));
    for length in [8 * 1024, 32 * 1024, 64 * 1024, 65_534, 200 * 1024, 1024 * 1024] {
        let answer = raw::exchange(&server, raw::head(&server, &line(length), "").as_bytes()).await;
        answer.problem(414, "uri-too-long");
    }
    let field = |length: usize| format!("x-large: {}\r\n", "y".repeat(length));
    let name = |length: usize| format!("{}: y\r\n", "x".repeat(length));
    let fields = |number: usize| "x: y\r\n".repeat(number);
    for lines in
        [field(40 * 1024), field(120 * 1024), field(1024 * 1024), name(66_000), fields(300), fields(100_000)]
    {
        let head = raw::head(&server, "GET /v1/jobs", &lines);
        raw::exchange(&server, head.as_bytes()).await.problem(431, "headers-too-large");
    }
    // Each told before a key is asked for, and none of them recorded.
    let without_key = format!("{} HTTP/1.1\r\nhost: x\r\n\r\n", line(9 * 1024));
    raw::exchange(&server, without_key.as_bytes()).await.problem(414, "uri-too-long");
    raw::exchange(&server, raw::head(&server, "GET /v1/jobs", &fields(200)).as_bytes()).await.expect(200);
}

#[tokio::test]
async fn slow_heads_are_cut() {
    let server = Ringback::sqlite().await;
    let (mut silent, mut half, mut dripping, mut kept, mut idle) = (
        Connection::open(&server).await,
        Connection::open(&server).await,
        Connection::open(&server).await,
        Connection::open(&server).await,
        Connection::open(&server).await,
    );
    let start = clock::now();
    let in_time = || {
        let took = start.elapsed();
        assert!((9..20).contains(&took.as_secs()), "{took:?}");
    };
    half.send(b"GET /livez HTTP/1.1\r\nhost: x\r\n").await;
    for connection in [&mut kept, &mut idle] {
        connection.send(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
        connection.answer().await.expect(200);
    }
    kept.send(b"GET /livez HTTP/1.1\r\n").await;
    let drip = async {
        while dripping.send(b"x").await {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if start.elapsed() > Duration::from_secs(12) {
                break;
            }
        }
        dripping.answer().await.problem(408, "request-timeout");
        in_time();
    };
    let others = async {
        half.answer().await.problem(408, "request-timeout");
        in_time();
        kept.answer().await.problem(408, "request-timeout");
        in_time();
        // Nothing was said, so nothing is answered.
        silent.closed().await;
        in_time();
    };
    tokio::join!(drip, others);
    // A kept connection may be silent for longer.
    idle.send(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    idle.answer().await.expect(200);
}

#[tokio::test]
async fn slow_bodies_are_cut() {
    let server = Ringback::sqlite().await;
    let head =
        raw::head(&server, "POST /v1/jobs", "content-type: application/json\r\ncontent-length: 15\r\n");
    let mut connection = Connection::open(&server).await;
    let start = clock::now();
    connection.send(format!("{head}{{").as_bytes()).await;
    connection.answer().await.problem(408, "request-timeout");
    let took = start.elapsed();
    assert!((29..40).contains(&took.as_secs()), "{took:?}");
    assert_eq!(count(&server).await, 0);
}

#[tokio::test]
async fn who_does_not_read_the_answer_is_cut() {
    let server = Ringback::start(Config::sqlite().with("server.max_body", r#""16MiB""#)).await;
    let api = server.api();
    let job = json!({ "task": "echo", "input": "x".repeat(15 * 1024 * 1024) });
    let id = api.accepted(&job).await;
    api.ended(&id).await;
    let request = raw::kept(&server, &format!("GET /v1/jobs/{id}/result"), "");
    let mut deaf = Connection::open(&server).await;
    // Many answers: more than the buffers between us hold.
    for _ in 0..8 {
        deaf.send(request.as_bytes()).await;
    }
    let connections = || async {
        let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
        open.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count()
    };
    let with_it = connections().await;
    wait::within(Duration::from_secs(120), "the connection is given up", || async {
        (connections().await < with_it).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_early_refusal_can_be_read_by_a_client_that_goes_on_sending() {
    let server = Ringback::sqlite().await;
    let job = "/v1/jobs/job_01jdxyzxyzxyzxyzxyzxyzxyzx";
    let typed = "content-type: application/json\r\n";
    for (line, lines, status, slug) in [
        ("POST /v1/jobs", typed.to_owned(), 413, "payload-too-large"),
        ("POST /v1/jobs", "content-type: text/plain\r\n".into(), 415, "unsupported-media-type"),
        ("POST /v1/jobs", format!("{typed}content-encoding: gzip\r\n"), 415, "unsupported-media-type"),
        ("POST /v1/jobs", format!("{typed}idempotency-key: a b\r\n"), 400, "idempotency-key-invalid"),
        ("POST /v1/jobs", format!("{typed}authorization: Bearer x\r\n"), 401, "unauthorized"),
        ("POST /v1/nothing", typed.to_owned(), 404, "not-found"),
        ("PUT /v1/jobs", typed.to_owned(), 405, "method-not-allowed"),
        (&format!("POST {job}/cancel"), typed.to_owned(), 413, "payload-too-large"),
        (&format!("GET {job}"), typed.to_owned(), 404, "not-found"),
    ] {
        for (size, framing) in [(900_000, "length"), (900_000, "chunks"), (1_500_000, "length")] {
            let mut connection = Connection::open(&server).await;
            let announced = match framing {
                "length" => format!("{lines}content-length: {size}\r\n"),
                _ => format!("{lines}transfer-encoding: chunked\r\n"),
            };
            let mut bytes = raw::kept(&server, line, &announced).into_bytes();
            match framing {
                "length" => bytes.extend(vec![b' '; size]),
                _ => bytes.extend(format!("{size:x}\r\n{}\r\n0\r\n\r\n", " ".repeat(size)).bytes()),
            }
            // All of it goes out before the answer is looked at.
            for piece in bytes.chunks(16 * 1024) {
                connection.send(piece).await;
            }
            connection.answer().await.problem(status, slug);
        }
    }
}

#[tokio::test]
async fn a_body_is_asked_for_only_if_it_is_wanted() {
    let server = Ringback::sqlite().await;
    let lines = "content-type: application/json\r\nexpect: 100-continue\r\ncontent-length: ";
    let mut wanted = Connection::open(&server).await;
    wanted.send(raw::kept(&server, "POST /v1/jobs", &format!("{lines}15\r\n")).as_bytes()).await;
    assert_eq!(wanted.answer().await.status, 100);
    wanted.send(ECHO.as_bytes()).await;
    wanted.answer().await.expect(202);
    for (line, lines, status, slug) in [
        ("POST /v1/jobs", format!("{lines}900000\r\n"), 413, "payload-too-large"),
        ("POST /v1/jobs", format!("{lines}15\r\ncontent-encoding: gzip\r\n"), 415, "unsupported-media-type"),
        ("POST /v1/nothing", format!("{lines}15\r\n"), 404, "not-found"),
    ] {
        let mut refused = Connection::open(&server).await;
        refused.send(raw::kept(&server, line, &lines).as_bytes()).await;
        refused.answer().await.problem(status, slug);
        // It was not asked for and did not come: the connection cannot go on.
        refused.end().await;
        refused.closed().await;
    }
}

#[tokio::test]
async fn old_and_odd_http_is_answered() {
    let server = Ringback::sqlite().await;
    let key = ringback_tests::config::KEY;
    let mut old = Connection::open(&server).await;
    old.send(format!("GET /v1/jobs HTTP/1.0\r\nauthorization: Bearer {key}\r\n\r\n").as_bytes()).await;
    old.answer().await.expect(200);
    old.closed().await;
    let mut kept = Connection::open(&server).await;
    for _ in 0..2 {
        kept.send(b"GET /livez HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
        kept.answer().await.expect(200);
    }
    // The absolute form, as a proxy is asked.
    let line = format!("GET http://{}/v1/jobs", server.address());
    raw::exchange(&server, raw::head(&server, &line, "").as_bytes()).await.expect(200);
    for (line, status, slug) in [
        ("OPTIONS *", 404, "not-found"),
        ("CONNECT example.com:443", 404, "not-found"),
        ("OPTIONS /v1/jobs", 405, "method-not-allowed"),
        ("TRACE /v1/jobs", 405, "method-not-allowed"),
        ("BREW /v1/jobs", 405, "method-not-allowed"),
        ("REFUSED /v1/jobs", 405, "method-not-allowed"),
        ("get /v1/jobs", 405, "method-not-allowed"),
        ("GET //v1/jobs", 404, "not-found"),
        ("GET /v1/../v1/jobs", 404, "not-found"),
        ("GET /V1/jobs", 404, "not-found"),
    ] {
        raw::exchange(&server, raw::head(&server, line, "").as_bytes()).await.problem(status, slug);
    }
    // Half a head, and the end.
    let mut half = Connection::open(&server).await;
    half.send(b"GET /livez HTTP/1.1\r\nhost: x\r\n").await;
    half.end().await;
    half.answer().await.problem(400, "bad-request");
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    let id = api.accepted(&json!({ "task": "echo", "input": [1] })).await;
    api.ended(&id).await;
    for path in [
        "/livez".to_owned(),
        "/readyz".into(),
        "/metrics".into(),
        "/openapi.json".into(),
        "/docs".into(),
        "/problems/not-found".into(),
        "/v1/jobs".into(),
        "/v1/signing-secret".into(),
        format!("/v1/jobs/{id}"),
        format!("/v1/jobs/{id}/input"),
        format!("/v1/jobs/{id}/result"),
        format!("/v1/deliveries?job={id}"),
    ] {
        let head = api.send(http::Method::HEAD, &path, &[], "").await.expect(200);
        let get = api.get(&path).await.expect(200);
        assert!(head.body.is_empty(), "{path}");
        let names = |answer: &ringback_tests::Answer| {
            let mut names: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
            names.sort();
            names
        };
        assert_eq!(names(&head), names(&get), "{path}");
    }
    api.send(http::Method::HEAD, "/v1/nothing", &[], "").await.expect(404);
}

#[tokio::test]
async fn running_out_of_descriptors_ends_nothing() {
    let server = Ringback::sqlite().await;
    lives(&server).await;
    // What it holds idle differs from machine to machine: the limit is set where it stands.
    let few = descriptors(server.pid()) + 4;
    limit_descriptors(server.pid(), few);
    let mut crowd = Vec::new();
    for _ in 0..60 {
        crowd.push(Connection::open(&server).await);
    }
    wait::until("it says that it has run out", || async {
        server.log().contains("cannot accept connections").then_some(())
    })
    .await;
    drop(crowd);
    wait::until("it accepts again", || async {
        let answer = server.api().attempt(http::Method::GET, "/livez", &[], "").await;
        answer.is_ok_and(|answer| answer.status == 200).then_some(())
    })
    .await;
    lives(&server).await;
}

/// How many descriptors a process has open.
fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a running process").count()
}

/// Changes the descriptor limit of a running process.
fn limit_descriptors(pid: u32, limit: usize) {
    let status = std::process::Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--nofile={limit}:")])
        .status()
        .expect("prlimit, of util-linux");
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn connections_are_capped_below_the_descriptor_limit() {
    let mut server = Ringback::prepare(Config::sqlite());
    server.wrap(&["sh", "-c", "ulimit -n 300 && exec \"$@\"", "sh"]);
    server.launch().await;
    // (300 − 256) ÷ 2, of which the harness keeps one or two: the others wait in the kernel's queue, and are served as soon
    // as one of these is gone.
    let mut crowd = Vec::new();
    let mut late = loop {
        assert!(crowd.len() <= 22, "over the cap it waits");
        let mut connection = Connection::open(&server).await;
        connection.send(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
        match tokio::time::timeout(Duration::from_secs(2), connection.answer()).await {
            Ok(answer) => _ = answer.expect(200),
            Err(_) => break connection,
        }
        crowd.push(connection);
    };
    assert!(crowd.len() >= 16, "{} were served", crowd.len());
    crowd.pop();
    late.answer().await.expect(200);
    assert!(!server.log().contains("cannot accept connections"));
}
