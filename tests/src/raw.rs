//! HTTP as bytes over TCP, for what no client library would send.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{Answer, Ringback, clock};

/// How long an answer may take: more than the longest time that the server gives a client.
const PATIENCE: Duration = Duration::from_secs(45);

/// One connection, read answer by answer.
pub struct Connection {
    stream: TcpStream,
    got: Vec<u8>,
}

impl Connection {
    /// A new one.
    pub async fn open(server: &Ringback) -> Self {
        let stream = TcpStream::connect(server.address()).await.expect("the server accepts");
        Self { stream, got: Vec::new() }
    }

    /// Sends these bytes. Gives false if the server had closed the connection.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Says that nothing more comes.
    pub async fn end(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// The next answer, an interim one (1xx) included: its body is as long as its Content-Length says, or what comes
    /// until the server closes.
    pub async fn answer(&mut self) -> Answer {
        loop {
            if let Some((answer, length)) = parse(&self.got)
                && let Some(whole) = length
                && answer.body.len() >= whole
            {
                let rest = answer.body.len() - whole;
                self.got.drain(..self.got.len() - rest);
                return Answer { body: answer.body.slice(..whole), ..answer };
            }
            if !self.read().await {
                break;
            }
        }
        let got = std::mem::take(&mut self.got);
        let (answer, _) =
            parse(&got).unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(&got)));
        answer
    }

    /// Waits until the server has closed, and gives how long that took. Nothing more may come before.
    pub async fn closed(&mut self) -> Duration {
        let start = clock::now();
        while self.read().await {}
        assert!(self.got.is_empty(), "more came: {:?}", String::from_utf8_lossy(&self.got));
        start.elapsed()
    }

    /// Gives false at the end.
    async fn read(&mut self) -> bool {
        let mut chunk = [0; 4096];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut chunk)).await;
        match read.expect("the server answers or closes in time") {
            Ok(0) => false,
            Ok(n) => {
                self.got.extend_from_slice(&chunk[..n]);
                true
            }
            Err(e) if self.got.is_empty() => panic!("instead of an answer: {e}"),
            Err(_) => false,
        }
    }
}

/// Sends these bytes on a connection of their own and gives the first answer that is not interim.
pub async fn exchange(server: &Ringback, bytes: &[u8]) -> Answer {
    let mut connection = Connection::open(server).await;
    // A server that refuses early may close while we write; what it answered is what counts.
    connection.send(bytes).await;
    loop {
        let answer = connection.answer().await;
        if answer.status >= 200 {
            return answer;
        }
    }
}

/// A request head with the key, `Connection: close`, and these header lines (each with its line end).
pub fn head(server: &Ringback, request_line: &str, lines: &str) -> String {
    format!(
        "{request_line} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\nconnection: close\r\n{lines}\r\n",
        server.address(),
        crate::config::KEY
    )
}

/// The same on a connection that stays.
pub fn kept(server: &Ringback, request_line: &str, lines: &str) -> String {
    head(server, request_line, lines).replace("connection: close\r\n", "")
}

/// A whole POST of a JSON body to `/v1/jobs` with these extra header lines.
pub fn submission(server: &Ringback, lines: &str, body: &str) -> Vec<u8> {
    let lines = format!("content-type: application/json\r\ncontent-length: {}\r\n{lines}", body.len());
    let mut bytes = head(server, "POST /v1/jobs", &lines).into_bytes();
    bytes.extend_from_slice(body.as_bytes());
    bytes
}

/// The head of an answer and all that follows it, and how long its body is if that is known.
fn parse(got: &[u8]) -> Option<(Answer, Option<usize>)> {
    let end = got.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&got[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = http::HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        headers.append(http::HeaderName::from_bytes(name.as_bytes()).ok()?, value.trim().parse().ok()?);
    }
    let length = headers.get("content-length").and_then(|v| v.to_str().ok()?.parse().ok());
    let length = if status < 200 || status == 304 { Some(0) } else { length };
    Some((Answer { status, headers, body: got[end + 4..].to_vec().into() }, length))
}
