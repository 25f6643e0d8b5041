//! Answers that do not end where they say: what is left over is never taken for the answer to the next webhook.

use std::time::Duration;

use ringback_tests::{
    Reply, Ringback,
    island::{Answer, Names},
    islands, wait,
};
use serde_json::json;

use super::{PUBLIC, at, everybody, outcome, strict};

islands!(leftovers_answer_nothing, a_late_second_answer_answers_nothing);

/// What a receiver would have us believe of the webhook that follows.
const FORGED: &str = "HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n";

/// One answer, with something behind it where that says so, on a connection that stays open.
fn cases() -> Vec<(&'static str, String, &'static str)> {
    let forged = |head: &str| format!("HTTP/1.1 {head}\r\n\r\n{FORGED}");
    let ok = |lines: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n{body}");
    let huge = "content-length: 18446744073709551616";
    vec![
        ("a-second-answer", forged("200 OK\r\ncontent-length: 0"), "delivered"),
        ("behind-a-body", ok("content-length: 2", &format!("ok{FORGED}")), "delivered"),
        ("behind-a-204", forged("204 No Content"), "delivered"),
        ("behind-a-204-with-a-length", forged("204 No Content\r\ncontent-length: 5"), "delivered"),
        ("behind-a-304", forged("304 Not Modified"), "http_status"),
        ("behind-a-500", forged("500 Oh\r\ncontent-length: 0"), "http_status"),
        (
            "behind-a-100",
            format!("HTTP/1.1 100 Continue\r\n\r\n{}", ok("content-length: 0", FORGED)),
            "delivered",
        ),
        (
            "behind-chunks",
            ok("transfer-encoding: chunked", &format!("2\r\nok\r\n0\r\n\r\n{FORGED}")),
            "delivered",
        ),
        (
            "behind-trailers",
            ok("transfer-encoding: chunked", &format!("0\r\nx: y\r\n\r\n{FORGED}")),
            "delivered",
        ),
        (
            "length-and-chunks",
            ok("content-length: 4\r\ntransfer-encoding: chunked", &format!("0\r\n\r\n{FORGED}")),
            "delivered",
        ),
        (
            "chunks-and-length",
            ok("transfer-encoding: chunked\r\ncontent-length: 5", &format!("0\r\n\r\n{FORGED}")),
            "delivered",
        ),
        ("a-chunk-too-big", ok("transfer-encoding: chunked", "ffffffffffffffffff\r\nok"), "delivered"),
        ("a-negative-chunk", ok("transfer-encoding: chunked", "-2\r\nok\r\n0\r\n\r\n"), "delivered"),
        ("a-chunk-that-is-longer", ok("transfer-encoding: chunked", "2\r\nokokok\r\n0\r\n\r\n"), "delivered"),
        ("the-length-twice-the-same", ok("content-length: 0\r\ncontent-length: 0", FORGED), "delivered"),
        ("the-length-twice", ok("content-length: 0\r\ncontent-length: 50", FORGED), "protocol"),
        ("a-list-of-lengths", ok("content-length: 0, 50", FORGED), "protocol"),
        ("a-negative-length", ok("content-length: -1", FORGED), "protocol"),
        ("a-signed-length", ok("content-length: +0", FORGED), "protocol"),
        ("a-hex-length", ok("content-length: 0x0", FORGED), "protocol"),
        ("a-length-beyond-all", ok(huge, FORGED), "protocol"),
        ("a-space-before-the-colon", ok("content-length : 0", FORGED), "protocol"),
        ("a-folded-line", ok("x: y\r\n content-length: 0", FORGED), "protocol"),
        ("a-bare-return", ok("x: y\rcontent-length: 0", FORGED), "protocol"),
    ]
}

async fn leftovers_answer_nothing() {
    let receiver = everybody().await;
    let _names = Names::start(|_, _| Answer::to(&[PUBLIC])).await;
    let server = Ringback::start(strict().with("delivery.timeout", r#""1s""#)).await;
    let api = server.api();
    let mut wrong = Vec::new();
    for (name, answer, expected) in cases() {
        let path = format!("/{name}");
        receiver.script(&path, [Reply::raw_kept(answer), Reply::ok()]);
        // A connection pool of its own.
        let url = at(&format!("{name}.example")).replace("/hook", &path);
        for (n, expected) in [expected, "delivered"].into_iter().enumerate() {
            let id = api.accepted(&json!({ "task": "echo", "callback": url })).await;
            let delivery =
                api.delivery_where(&id, "has ended", |delivery| delivery["status"] != "pending").await;
            if outcome(&delivery) != expected {
                wrong
                    .push(format!("{name}, webhook {n}: wanted {expected}, got {}", delivery["attempts"][0]));
            }
        }
        let connections: Vec<_> = receiver.requests(&path).iter().map(|request| request.connection).collect();
        if connections.len() != 2 || connections[0] == connections[1] {
            wrong.push(format!("{name}: the connections of its two webhooks: {connections:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A second answer that comes when the connection has nothing to do.
async fn a_late_second_answer_answers_nothing() {
    let receiver = everybody().await;
    let _names = Names::start(|_, _| Answer::to(&[PUBLIC])).await;
    let server = Ringback::start(strict()).await;
    let (api, url) = (server.api(), at("late.example"));
    let whole = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    receiver.script("/hook", [Reply::forever(whole, FORGED, Duration::from_millis(100)), Reply::ok()]);
    for n in 1..=2 {
        let id = api.accepted(&json!({ "task": "echo", "callback": url })).await;
        let delivery = api.delivery_where(&id, "has ended", |delivery| delivery["status"] != "pending").await;
        assert_eq!(outcome(&delivery), "delivered", "webhook {n}: {delivery:#}");
        if n == 1 {
            // What is left over has come by now, and the connection is gone for it.
            wait::until("the server lets go of the connection", || async {
                let open =
                    std::fs::read_to_string(format!("/proc/{}/net/tcp", server.pid())).unwrap_or_default();
                // Our end of a connection to port 8080 (0x1F90) that is established (01).
                let held = open.lines().any(|line| {
                    let mut fields = line.split_whitespace().skip(2);
                    fields.next().is_some_and(|to| to.ends_with(":1F90")) && fields.next() == Some("01")
                });
                (!held).then_some(())
            })
            .await;
        }
    }
    let connections: Vec<_> = receiver.requests("/hook").iter().map(|request| request.connection).collect();
    assert_eq!(connections, [1, 2]);
}
