//! Reading one HTTP/1.1 request off a connection: just enough for a client that behaves, strict about the rest.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The first byte of a TLS client's hello.
const TLS_HANDSHAKE: u8 = 0x16;

pub(super) struct Head {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
}

impl Head {
    fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// The next request and its body; `None` where the client closed between requests.
pub(super) async fn read(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<Option<(Head, Bytes)>> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        if buffer.first() == Some(&TLS_HANDSHAKE) {
            stream.write_all(b"HTTP/1.1 400 This is no TLS port\r\nconnection: close\r\n\r\n").await?;
            return Err(bad("TLS on a plain port"));
        }
        if stream.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() { Ok(None) } else { Err(bad("closed within a request head")) };
        }
    };
    let head = parse(&buffer[..end])?;
    buffer.advance(end + 4);
    let body = match (head.get("content-length"), head.get("transfer-encoding")) {
        (Some(length), None) => {
            let length = length.parse().map_err(|_| bad("content-length"))?;
            fill(stream, buffer, length).await?;
            buffer.split_to(length).freeze()
        }
        (None, Some("chunked")) => chunked(stream, buffer).await?,
        (None, None) => Bytes::new(),
        _ => return Err(bad("two body lengths")),
    };
    Ok(Some((head, body)))
}

fn parse(bytes: &[u8]) -> io::Result<Head> {
    let text = std::str::from_utf8(bytes).map_err(|_| bad("the head is not UTF-8"))?;
    let mut lines = text.split("\r\n");
    let mut request = lines.next().unwrap_or_default().split(' ');
    let (method, target) =
        (request.next().unwrap_or_default(), request.next().ok_or_else(|| bad("no target"))?);
    let headers = lines
        .map(|line| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned())))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| bad("a header line without a colon"))?;
    Ok(Head { method: method.to_owned(), target: target.to_owned(), headers })
}

async fn fill(stream: &mut TcpStream, buffer: &mut BytesMut, length: usize) -> io::Result<()> {
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Err(bad("closed within a body"));
        }
    }
    Ok(())
}

async fn chunked(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<Bytes> {
    let mut body = BytesMut::new();
    loop {
        let at = loop {
            if let Some(at) = buffer.windows(2).position(|w| w == b"\r\n") {
                break at;
            }
            let more = buffer.len() + 1;
            fill(stream, buffer, more).await?;
        };
        let size = std::str::from_utf8(&buffer[..at])
            .ok()
            .and_then(|hex| usize::from_str_radix(hex.trim(), 16).ok());
        let size = size.ok_or_else(|| bad("a chunk without a size"))?;
        buffer.advance(at + 2);
        fill(stream, buffer, size + 2).await?;
        body.extend_from_slice(&buffer[..size]);
        buffer.advance(size + 2);
        if size == 0 {
            return Ok(body.freeze());
        }
    }
}
