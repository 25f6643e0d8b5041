//! What each kind of answer is called, and how much of it is kept.

use std::time::Duration;

use domain::delivery::{Encoding, Outcome};

use super::{send, server::Server, to, transport};
use crate::Transport;

fn head(fields: usize, extra: usize) -> Vec<u8> {
    let mut head = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n".to_owned();
    for n in 1..fields {
        head += &format!("x-{n}: y\r\n");
    }
    if extra > 0 {
        let rest = extra - head.len() - "x: \r\n\r\n".len();
        head += &format!("x: {}\r\n", "y".repeat(rest));
    }
    (head + "\r\n").into()
}

#[tokio::test]
async fn each_answer_has_its_word() {
    use Outcome::*;
    let answer = |text: &str| text.as_bytes().to_vec();
    for (name, bytes, outcome, status) in [
        ("200", answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"), Delivered, Some(200)),
        ("204", answer("HTTP/1.1 204 No Content\r\n\r\n"), Delivered, Some(204)),
        ("299", answer("HTTP/1.1 299 Fine\r\ncontent-length: 0\r\n\r\n"), Delivered, Some(299)),
        ("HTTP/1.0", answer("HTTP/1.0 200 OK\r\n\r\nok"), Delivered, Some(200)),
        (
            "100, then 200",
            answer("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
            Delivered,
            Some(200),
        ),
        ("a body cut short", answer("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"), Delivered, Some(200)),
        (
            "a broken chunk",
            answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
            Delivered,
            Some(200),
        ),
        (
            "101",
            answer("HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
            HttpStatus,
            Some(101),
        ),
        ("304", answer("HTTP/1.1 304 Not Modified\r\n\r\n"), HttpStatus, Some(304)),
        ("410", answer("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n"), HttpStatus, Some(410)),
        ("500", answer("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n"), HttpStatus, Some(500)),
        (
            "a status of no class",
            answer("HTTP/1.1 799 Hm\r\ncontent-length: 0\r\n\r\n"),
            HttpStatus,
            Some(799),
        ),
        ("closed at once", answer(""), Reset, None),
        ("closed in the head", answer("HTTP/1.1 200 OK\r\ncontent-le"), Reset, None),
        ("junk", answer("SSH-2.0-OpenSSH_9.2\r\n\r\n"), Protocol, None),
        ("a NUL in the head", answer("HTTP/1.1 200 OK\r\nx: \0\r\n\r\n"), Protocol, None),
        ("HTTP/3.0", answer("HTTP/3.0 200 OK\r\n\r\n"), Protocol, None),
        (
            "two lengths",
            answer("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"),
            Protocol,
            None,
        ),
        ("100 fields", head(100, 0), Delivered, Some(200)),
        ("101 fields", head(101, 0), ResponseTooLarge, None),
        ("a head of 16 KiB", head(1, 16 * 1024), Delivered, Some(200)),
        ("a head of 17 KiB", head(1, 17 * 1024), ResponseTooLarge, None),
    ] {
        let server = Server::answering(bytes).await;
        let sent = send(&server.url()).await;
        assert_eq!((sent.outcome, sent.status), (outcome, status), "{name}: {sent:?}");
        assert_eq!(sent.error.is_none(), outcome == Delivered, "{name}: {sent:?}");
        assert_eq!(sent.remote_address, Some([127, 0, 0, 1].into()), "{name}");
        assert_eq!(sent.timings.first_byte.is_some(), status.is_some(), "{name}");
        assert!(sent.timings.connect.is_some() && sent.timings.dns.is_none() && sent.timings.tls.is_none());
        assert_eq!(server.requests().len(), 1, "{name}: one request, whatever came of it");
    }
}

#[tokio::test]
async fn the_request_is_the_contracts() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    send(&server.url()).await;
    let expected = format!(
        "POST /hooks?a=b HTTP/1.1\r\ncontent-type: application/json\r\nwebhook-id: evt_1\r\n\
         host: 127.0.0.1:{}\r\ncontent-length: 10\r\n\r\n{{\"n\":1.10}}",
        server.port()
    );
    assert_eq!(server.requests(), [expected]);
}

#[tokio::test]
async fn a_reset_in_the_head_is_one_and_in_the_body_of_a_2xx_is_none() {
    for (bytes, outcome) in [
        ("HTTP/1.1 200 OK\r\ncontent-", Outcome::Reset),
        ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbeginning", Outcome::Delivered),
        ("HTTP/1.1 500 Oh\r\ncontent-length: 100\r\n\r\nbeginning", Outcome::HttpStatus),
    ] {
        let server = Server::start(move |mut connection| async move {
            connection.request().await;
            connection.write(bytes.as_bytes()).await;
            // What is in flight when a RST comes is lost with it: let it arrive.
            tokio::time::sleep(Duration::from_millis(50)).await;
            connection.reset();
        })
        .await;
        let sent = send(&server.url()).await;
        assert_eq!(sent.outcome, outcome, "{sent:?}");
        if let Some(response) = sent.response {
            assert_eq!((response.body.as_str(), response.truncated), ("beginning", true));
        }
    }
}

#[tokio::test]
async fn a_body_is_kept_up_to_16_kib() {
    for (length, kept, truncated) in [(16 * 1024, 16 * 1024, false), (16 * 1024 + 1, 16 * 1024, true)] {
        let mut bytes = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
        bytes.resize(bytes.len() + length, b'x');
        let server = Server::answering(bytes).await;
        let response = send(&server.url()).await.response.unwrap();
        assert_eq!((response.body.len(), response.truncated), (kept, truncated));
    }
}

#[tokio::test]
async fn a_body_that_never_ends_is_delivered_and_closed() {
    for endless in [true, false] {
        let (closed, was_closed) = tokio::sync::oneshot::channel();
        let closed = std::sync::Mutex::new(Some(closed));
        let server = Server::start(move |mut connection| {
            let closed = closed.lock().unwrap().take();
            async move {
                connection.request().await;
                let length = if endless { String::new() } else { "content-length: 1048576\r\n".into() };
                connection.write(format!("HTTP/1.1 200 OK\r\n{length}\r\n").as_bytes()).await;
                let mut left = if endless { usize::MAX } else { 1024 };
                while left > 0 && connection.write(&[b'x'; 1024]).await {
                    left -= 1;
                }
                // The whole megabyte may fit into the sockets' buffers; then the close shows when reading.
                assert!(!connection.request().await);
                closed.unwrap().send(()).unwrap();
            }
        })
        .await;
        let transport = transport();
        let sent = transport.send(to(&server.url())).await;
        assert_eq!(sent.outcome, Outcome::Delivered);
        assert!(sent.response.unwrap().truncated);
        tokio::time::timeout(Duration::from_secs(5), was_closed).await.expect("closed").unwrap();
    }
}

#[tokio::test]
async fn what_takes_too_long_ends_at_the_deadline() {
    enum Slow {
        Silent,
        HeadByteByByte,
        EarlyHints,
        Body,
    }
    use Slow::*;
    for (slow, outcome, status) in [
        (Silent, Outcome::Timeout, None),
        (HeadByteByByte, Outcome::Timeout, None),
        (EarlyHints, Outcome::Timeout, None),
        (Body, Outcome::Delivered, Some(200)),
    ] {
        let slow = std::sync::Arc::new(slow);
        let server = Server::start(move |mut connection| {
            let slow = slow.clone();
            async move {
                connection.request().await;
                let (first, then, pause): (&str, &[u8], _) = match *slow {
                    Silent => ("", b"", 50),
                    HeadByteByByte => ("HTTP/1.1 200 OK\r\nx: ", b"y", 20),
                    EarlyHints => ("", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n", 1),
                    Body => ("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n", b"x", 20),
                };
                connection.write(first.as_bytes()).await;
                while connection.write(then).await {
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
            }
        })
        .await;
        let began = tokio::time::Instant::now();
        let request = crate::Request { timeout: Duration::from_millis(400), ..to(&server.url()) };
        let sent = transport().send(request).await;
        assert_eq!((sent.outcome, sent.status), (outcome, status), "{sent:?}");
        assert!((400..1_400).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
        assert_eq!(sent.remote_address, Some([127, 0, 0, 1].into()));
        assert!(sent.timings.total.unwrap() >= 400.0);
    }
}

#[tokio::test]
async fn what_came_back_is_kept_as_it_came() {
    let bytes =
        b"HTTP/1.1 500 Oh\r\nretry-after: 7\r\nx-a: 1\r\nX-A: \xff\r\ncontent-length: 2\r\n\r\n\xff\xfe";
    let server = Server::answering(&bytes[..]).await;
    let sent = send(&server.url()).await;
    assert_eq!(sent.header("retry-after"), Some("7"));
    let response = sent.response.unwrap();
    let expected = [("retry-after", "7"), ("x-a", "1"), ("x-a", "\u{fffd}"), ("content-length", "2")];
    assert_eq!(response.headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(
        (response.body.as_str(), response.encoding, response.truncated),
        ("//4=", Encoding::Base64, false)
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    for status in [301, 302, 303, 307, 308] {
        let answer =
            format!("HTTP/1.1 {status} Go\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", target.url());
        let server = Server::answering(answer).await;
        let sent = send(&server.url()).await;
        assert_eq!((sent.outcome, sent.status), (Outcome::HttpStatus, Some(status)));
    }
    assert_eq!(target.connections(), 0);
}
