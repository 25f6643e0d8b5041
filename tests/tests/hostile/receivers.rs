//! Receivers that redirect, flood, trickle, bomb and hang: each costs what the contract's bounds say, and no more.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ringback_tests::{
    Config, Reply, Ringback, clock,
    island::{self, Answer, Names},
    islands, wait,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

use super::{PORT, PUBLIC, address, at, called_back, everybody, outcome, strict};

islands!(
    redirects_lead_nowhere,
    every_bound_holds,
    a_body_is_read_no_further_than_it_is_kept,
    what_is_compressed_stays_so,
    silence_ends_where_the_contract_says,
    hundreds_at_once_leave_the_others_alone,
);

/// The total deadline in these stories.
const DEADLINE: Duration = Duration::from_secs(1);

fn bounded() -> Config {
    strict().with("delivery.timeout", r#""1s""#).with("delivery.connect_timeout", r#""600ms""#)
}

#[track_caller]
fn assert_in_time(delivery: &Value, deadline: Duration) {
    let total = delivery["attempts"][0]["timings_ms"]["total"].as_f64().expect("a time");
    let most = (deadline + Duration::from_secs(1)).as_secs_f64() * 1_000.0;
    assert!(total <= most, "{total} ms of {deadline:?}: {delivery:#}");
}

/// To addresses inside, by every status that redirects, absolute and relative, and by a header that browsers obey.
async fn redirects_lead_nowhere() {
    let everybody = everybody().await;
    let _names = Names::start(|_, _| Answer::to(&[PUBLIC])).await;
    let server = Ringback::start(bounded()).await;
    for status in [300, 301, 302, 303, 305, 307, 308] {
        for target in [
            "http://169.254.169.254:8080/",
            "http://127.0.0.1:8080/",
            "http://other.example:8080/",
            "/again",
            "//10.0.0.1:8080/",
        ] {
            let reply = Reply::status(status)
                .header("location", target)
                .header("refresh", &format!("0; url={target}"));
            everybody.script("/hook", [reply]);
            let delivery = called_back(server.api(), &at("redirects.example")).await;
            assert_eq!(outcome(&delivery), "http_status", "{status} {target}: {delivery:#}");
            assert_eq!(delivery["attempts"][0]["status"], status);
        }
    }
    assert!(everybody.dialled().iter().all(|dialled| *dialled == address(PUBLIC)));
    assert!(everybody.all().iter().all(|request| request.path == "/hook"));
}

async fn every_bound_holds() {
    let receiver = everybody().await;
    let _names = Names::start(|_, _| Answer::to(&[PUBLIC])).await;
    let server = Ringback::start(bounded()).await;
    let millis = Duration::from_millis;
    let head = "HTTP/1.1 200 OK\r\n";
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\n";
    let cases: Vec<(&str, Reply, &str)> = vec![
        ("a byte of the head at a time", Reply::forever(head, "x", millis(100)), "timeout"),
        ("a field of the head at a time", Reply::forever(head, "x: y\r\n", millis(100)), "timeout"),
        ("fields without end", Reply::forever(head, "x: y\r\n".repeat(100), millis(1)), "response_too_large"),
        (
            "one field without end",
            Reply::forever(format!("{head}x: "), "y".repeat(4096), millis(1)),
            "response_too_large",
        ),
        (
            "a status line without end",
            Reply::forever("HTTP/1.1 200 ", "y".repeat(4096), millis(1)),
            "response_too_large",
        ),
        (
            "100 without end",
            Reply::forever("", "HTTP/1.1 100 Continue\r\n\r\n".repeat(50), millis(1)),
            "timeout",
        ),
        (
            "102 without end",
            Reply::forever("", "HTTP/1.1 102 Processing\r\n\r\n".repeat(50), millis(1)),
            "timeout",
        ),
        ("103 without end", Reply::forever("", early.repeat(50), millis(1)), "timeout"),
        ("103, then 200", Reply::raw(format!("{early}{head}content-length: 0\r\n\r\n")), "delivered"),
        ("blank lines without end", Reply::forever("", "\r\n".repeat(100), millis(1)), "response_too_large"),
        ("a body byte by byte", Reply::forever(format!("{head}\r\n"), "x", millis(100)), "delivered"),
        (
            "a body without end",
            Reply::forever(format!("{head}\r\n"), "x".repeat(8192), millis(0)),
            "delivered",
        ),
        (
            "chunks without end",
            Reply::forever(
                format!("{head}transfer-encoding: chunked\r\n\r\n"),
                "1\r\nx\r\n".repeat(100),
                millis(0),
            ),
            "delivered",
        ),
        (
            "a chunk extension without end",
            Reply::forever(
                format!("{head}transfer-encoding: chunked\r\n\r\n1;"),
                "x".repeat(8192),
                millis(0),
            ),
            "delivered",
        ),
        (
            "trailers without end",
            Reply::forever(
                format!("{head}transfer-encoding: chunked\r\n\r\n0\r\n"),
                "x: y\r\n".repeat(100),
                millis(0),
            ),
            "delivered",
        ),
        (
            "a reset in the body",
            Reply::reset_after(format!("{head}content-length: 9\r\n\r\nok")),
            "delivered",
        ),
        (
            "a reset after the head",
            Reply::reset_after(format!("{head}content-length: 9\r\n\r\n")),
            "delivered",
        ),
        ("a reset in the head", Reply::reset_after(head), "reset"),
        ("an end in the head", Reply::raw(head), "reset"),
        ("a reset", Reply::reset(), "reset"),
        ("an end", Reply::close(), "reset"),
        ("nothing", Reply::hang(), "timeout"),
        ("another protocol", Reply::raw("220 mail.example ESMTP\r\n\r\n"), "protocol"),
        ("HTTP/2", Reply::raw(&b"\0\0\x0c\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\0\xff\xff"[..]), "protocol"),
        (
            "a switch of protocols",
            Reply::raw("HTTP/1.1 101 Go\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"),
            "http_status",
        ),
    ];
    let mut wrong = Vec::new();
    for (n, (name, reply, expected)) in cases.into_iter().enumerate() {
        let path = format!("/{n}");
        receiver.script(&path, [reply]);
        let delivery =
            called_back(server.api(), &at(&format!("bound{n}.example")).replace("/hook", &path)).await;
        if outcome(&delivery) != expected {
            wrong.push(format!("{name}: wanted {expected}, got {}", delivery["attempts"][0]));
        }
        assert_in_time(&delivery, DEADLINE);
        let requests = receiver.requests(&path);
        assert_eq!(requests.len(), 1, "{name}: one attempt, one request");
        for absent in ["accept-encoding", "cookie", "expect", "te", "upgrade", "connection"] {
            assert_eq!(requests[0].header_all(absent), [] as [&str; 0], "{name}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A receiver that pushes as fast as it can, and how much it got rid of before the connection was gone.
async fn pusher(port: u16) -> Arc<AtomicU64> {
    let listener = TcpListener::bind(island::everywhere(port)).await.expect("the port is free");
    let pushed = Arc::<AtomicU64>::default();
    let count = pushed.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = count.clone();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 8192]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                let piece = vec![b'x'; 64 * 1024];
                while let Ok(n @ 1..) = stream.write(&piece).await {
                    count.fetch_add(n as u64, Ordering::Relaxed);
                }
                // The connection is closed on it: only then is the count whole.
                count.fetch_or(GONE, Ordering::Relaxed);
            });
        }
    });
    pushed
}

/// A bit that no count of bytes here reaches.
const GONE: u64 = 1 << 62;

async fn a_body_is_read_no_further_than_it_is_kept() {
    let pushed = pusher(PORT).await;
    let _names = Names::start(|_, _| Answer::to(&[PUBLIC])).await;
    let server = Ringback::start(strict()).await;
    let began = clock::now();
    let delivery = called_back(server.api(), &at("pusher.example")).await;
    assert_eq!(outcome(&delivery), "delivered");
    let response = &delivery["attempts"][0]["response"];
    assert_eq!(
        (response["body"].as_str().map(str::len), &response["truncated"]),
        (Some(16 * 1024), &json!(true))
    );
    wait::until("the connection is closed", || async {
        (pushed.load(Ordering::Relaxed) & GONE != 0).then_some(())
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}: not the deadline's doing", began.elapsed());
    // The rest lay in the kernel's buffers.
    let pushed = pushed.load(Ordering::Relaxed) & !GONE;
    assert!(pushed < 16 << 20, "{pushed} bytes were taken off a receiver of whose body 16 KiB are kept");
}

const GZIP_BEGINS: &[u8] =
    b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xed\xc1\x31\x01\0\0\0\xc2\xa0\xda\x8b\x6f\x0d\x0f\xa0";
const GZIP_ENDS: &[u8] = b"\x80\x57\x03\x71\x11\x07\xfe\xa0\x86\x01\0";

/// A hundred thousand letters in 132 bytes: they are kept as they came.
async fn what_is_compressed_stays_so() {
    let receiver = everybody().await;
    let _names = Names::start(|_, _| Answer::to(&[PUBLIC])).await;
    let server = Ringback::start(strict()).await;
    let body = [GZIP_BEGINS, &[0; 96], GZIP_ENDS].concat();
    assert_eq!(body.len(), 132);
    for encoding in ["gzip", "deflate", "br", "zstd"] {
        receiver.script("/hook", [Reply::ok().header("content-encoding", encoding).body(body.clone())]);
        let delivery = called_back(server.api(), &at("compressed.example")).await;
        assert_eq!(outcome(&delivery), "delivered", "{encoding}");
        let response = &delivery["attempts"][0]["response"];
        assert_eq!(response["encoding"], "base64", "{encoding}");
        assert_eq!(response["body"], BASE64_STANDARD.encode(&body), "{encoding}");
    }
}

/// A receiver whose queue of connections is full answers no SYN: `connect_timeout` ends that. One that takes the
/// connection and says nothing, in TLS or in HTTP, is ended as well.
async fn silence_ends_where_the_contract_says() {
    let _names = Names::start(|_, _| Answer::to(&[PUBLIC])).await;
    let server = Ringback::start(bounded().with("delivery.allow_ports", "[443]")).await;

    let full = TcpSocket::new_v4().expect("a socket");
    full.bind((address(PUBLIC), PORT).into()).expect("bound");
    let _full = full.listen(1).expect("it listens");
    let mut waiting = vec![];
    for _ in 0..4 {
        let filling = TcpStream::connect((address(PUBLIC), PORT));
        waiting.push(tokio::time::timeout(Duration::from_millis(100), filling).await);
    }
    let delivery = called_back(server.api(), &at("full.example")).await;
    assert_eq!(outcome(&delivery), "connect", "{delivery:#}");
    let connect = delivery["attempts"][0]["timings_ms"]["connect"].as_f64().expect("a time");
    assert!((550.0..1_600.0).contains(&connect), "{connect} ms of connect_timeout's 600");

    let mute = TcpListener::bind((address(PUBLIC), 443)).await.expect("bound");
    let _mute = tokio::spawn(async move {
        let mut held = vec![];
        while let Ok((stream, _)) = mute.accept().await {
            held.push(stream);
        }
    });
    let delivery = called_back(server.api(), "https://mute.example/hook").await;
    assert_eq!(outcome(&delivery), "tls", "{delivery:#}");
    assert_in_time(&delivery, Duration::from_millis(600));
}

/// The resident memory of a process, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Each hostile name a lane of its own, all at once, each as bad as can be; one receiver among them is well.
async fn hundreds_at_once_leave_the_others_alone() {
    const HOSTILE: usize = 300;
    let receiver = everybody().await;
    let _names = Names::start(|_, _| Answer::to(&[PUBLIC])).await;
    let server = Ringback::start(bounded().with("delivery.timeout", r#""3s""#)).await;
    let api = server.api();
    let millis = Duration::from_millis;
    let head = "HTTP/1.1 200 OK\r\n";
    for (path, reply) in [
        ("/hang", Reply::hang()),
        ("/trickle", Reply::forever(head, "x", millis(500))),
        ("/early", Reply::forever("", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(20), millis(50))),
        ("/body", Reply::forever(format!("{head}\r\n"), "x", millis(100))),
        ("/flood", Reply::forever(format!("{head}\r\n"), "x".repeat(1 << 16), millis(0))),
        ("/head", Reply::forever(head, "x: y\r\n".repeat(200), millis(10))),
    ] {
        receiver.script(path, [reply]);
    }
    assert_eq!(outcome(&called_back(api, &at("healthy.example")).await), "delivered");
    let before = resident(server.pid());

    let paths = ["/hang", "/trickle", "/early", "/body", "/flood", "/head"];
    let mut jobs = tokio::task::JoinSet::new();
    for n in 0..HOSTILE {
        let url = at(&format!("hostile{n}.example")).replace("/hook", paths[n % paths.len()]);
        let (api, job) = (api.clone(), json!({ "task": "echo", "callback": url }));
        jobs.spawn(async move { api.accepted(&job).await });
    }
    let hostile = jobs.join_all().await;
    let mut most = 0;
    for round in 0..10 {
        let began = clock::now();
        assert_eq!(outcome(&called_back(api, &at("healthy.example")).await), "delivered");
        let took = began.elapsed();
        assert!(took < Duration::from_secs(2), "round {round}: {took:?}");
        most = most.max(resident(server.pid()));
    }
    for id in hostile {
        let delivery = api.delivery_where(&id, "has ended", |delivery| delivery["status"] != "pending").await;
        assert_in_time(&delivery, Duration::from_secs(3));
    }
    let grown = most.max(resident(server.pid())).saturating_sub(before);
    assert!(grown <= 64 << 10, "{grown} KiB more for {HOSTILE} hostile receivers");
}
