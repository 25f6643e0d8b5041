//! What only a real connection shows.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::harness::{KEY, World};

async fn serve(world: &World) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, world.router.clone()).into_future());
    address
}

fn head(extra: &str) -> String {
    format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n{extra}\r\n\r\n"
    )
}

/// Reads until the server closes or a body of known length is there; never waits for more than 5 s.
async fn answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(Ok(read)) = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer)).await {
        text.extend_from_slice(&buffer[..read]);
        if read == 0 || text.ends_with(b"}") {
            break;
        }
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn an_early_refusal_is_read_by_a_client_that_goes_on_sending() {
    let world = World::new().await;
    let address = serve(&world).await;
    let wrong_key = head("content-length: 900000").replace(KEY, "wrong");
    for (head, status) in [
        (head("content-length: 900000"), "413"),
        (head("content-length: 900000").replace("application/json", "text/plain"), "415"),
        (head("content-length: 900000\r\nidempotency-key: a b"), "400"),
        (wrong_key, "401"),
        (head("content-length: 900000").replace("/v1/jobs", "/v1/nothing"), "404"),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // All of the body goes out before the answer is looked at.
        for _ in 0..900 {
            stream.write_all(&[b' '; 1_000]).await.unwrap();
        }
        let answer = answer(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        // Nothing is left unread: the connection is good for another request.
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let next = self::answer(&mut stream).await;
        assert!(next.starts_with("HTTP/1.1 200"), "{next}");
    }
}

#[tokio::test]
async fn chunks_are_counted() {
    let world = World::new().await;
    let address = serve(&world).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head("transfer-encoding: chunked").as_bytes()).await.unwrap();
    for _ in 0..100 {
        stream.write_all(format!("64\r\n{}\r\n", " ".repeat(100)).as_bytes()).await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let answer = answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn who_waits_to_be_asked_for_the_body_is_refused_without_it() {
    let world = World::new().await;
    let address = serve(&world).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head("content-length: 900000\r\nexpect: 100-continue").as_bytes()).await.unwrap();
    let answer = answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}
