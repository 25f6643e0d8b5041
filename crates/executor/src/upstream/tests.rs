//! Against a raw TCP server that answers what it is told.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::*;

/// What the server saw: a request's text, or the end of a connection.
type Seen = mpsc::UnboundedReceiver<String>;

/// Answers the n-th request with the n-th text, whatever connection it comes on; after the last it only listens.
async fn server(answers: Vec<&'static str>) -> (url::Url, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/work", listener.local_addr().unwrap()).parse().unwrap();
    let (tell, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut answers = answers.into_iter();
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let _ = tell.send("connected".into());
            while let Some(request) = request(&mut connection).await {
                let _ = tell.send(request);
                match answers.next() {
                    Some(answer) => connection.write_all(answer.as_bytes()).await.unwrap(),
                    None => {
                        let _ = connection.read(&mut [0; 1]).await;
                        break;
                    }
                }
            }
            let _ = tell.send("closed".into());
        }
    });
    (url, seen)
}

async fn request(connection: &mut TcpStream) -> Option<String> {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let read = connection.read(&mut buffer).await.ok().filter(|&read| read > 0)?;
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() == length.map_or(0, |length| length.parse().unwrap()) {
            return Some(text);
        }
    }
}

fn post(url: &url::Url) -> Request {
    Request {
        method: Method::Post,
        url: url.clone(),
        headers: vec![("content-type", "application/json".into()), ("idempotency-key", "\"job_1\"".into())],
        body: Bytes::from_static(b"{\"price\": 1.10}"),
        max_result: 8,
    }
}

fn client() -> HttpUpstream {
    HttpUpstream::new("1.2.3").unwrap()
}

#[tokio::test]
async fn sends_what_it_was_given_and_keeps_the_connection() {
    let ok = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\nok";
    let (url, mut seen) =
        server(vec![ok, "HTTP/1.1 202 Accepted\r\nlocation: /7\r\ncontent-length: 0\r\n\r\n"]).await;
    let client = client();
    let answer = client.call(post(&url)).await.unwrap();
    assert_eq!((answer.status, answer.content_type.as_deref()), (200, Some("text/plain")));
    assert_eq!((answer.retry_after.as_deref(), answer.body.as_deref()), (Some(&b"7"[..]), Some(&b"ok"[..])));
    let get = Request { method: Method::Get, body: Bytes::new(), ..post(&url) };
    let answer = client.call(get).await.unwrap();
    assert_eq!((answer.status, answer.location.as_deref()), (202, Some("/7")));

    assert_eq!(seen.recv().await.unwrap(), "connected");
    let first = seen.recv().await.unwrap();
    let (head, body) = first.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "{\"price\": 1.10}");
    let mut lines: Vec<_> = head.lines().filter(|line| !line.starts_with("host: ")).collect();
    lines[1..].sort_unstable();
    assert_eq!(
        lines,
        [
            "POST /work HTTP/1.1",
            "accept: */*",
            "content-length: 15",
            "content-type: application/json",
            "idempotency-key: \"job_1\"",
            "user-agent: Ringback/1.2.3",
        ]
    );
    let second = seen.recv().await.unwrap();
    assert!(second.starts_with("GET /work HTTP/1.1\r\n"), "on the same connection: {second}");
}

#[tokio::test]
async fn reads_bodies_within_their_bounds() {
    const PROBLEM: &str = "HTTP/1.1 422 No\r\ncontent-length: 12\r\nconnection: close\r\n\r\n{\"a\": 12345}";
    for (answer, body) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\n12345678", Some(8)),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n1234\r\n5\r\n12345\r\n", None),
        ("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n", Some(0)),
        // More than the task's max_result: a failure's body is no result.
        (PROBLEM, Some(12)),
        ("HTTP/1.1 422 No\r\ncontent-length: 65537\r\nconnection: close\r\n\r\n", None),
    ] {
        let (url, _seen) = server(vec![answer]).await;
        let answered = client().call(post(&url)).await.unwrap();
        assert_eq!(answered.body.map(|body| body.len()), body, "{answer}");
    }
}

#[tokio::test]
async fn follows_no_redirect() {
    let (elsewhere, mut calls) = server(vec![]).await;
    let redirect = format!("HTTP/1.1 307 No\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n");
    let (url, _seen) = server(vec![redirect.leak()]).await;
    let answer = client().call(post(&url)).await.unwrap();
    assert_eq!((answer.status, answer.location), (307, Some(elsewhere.to_string())));
    assert!(calls.try_recv().is_err());
}

#[tokio::test]
async fn what_breaks_is_unreachable_and_names_no_url() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let nobody: url::Url = format!("http://127.0.0.1:{port}/secret-path").parse().unwrap();
    let error = client().call(post(&nobody)).await.unwrap_err().to_string();
    assert!(error.contains("refused") && !error.contains("secret-path"), "{error}");
    for answer in ["junk\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n12"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let server = tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            request(&mut connection).await.unwrap();
            connection.write_all(answer.as_bytes()).await.unwrap();
        });
        assert!(client().call(post(&url)).await.is_err(), "{answer}");
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_dropped_call_is_a_dropped_request() {
    let (url, mut seen) = server(vec![]).await;
    let call = tokio::spawn(async move { client().call(post(&url)).await });
    assert_eq!(seen.recv().await.unwrap(), "connected");
    assert!(seen.recv().await.unwrap().starts_with("POST"));
    call.abort();
    assert_eq!(seen.recv().await.unwrap(), "closed");
}
