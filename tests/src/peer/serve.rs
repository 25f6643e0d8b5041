//! Accepting connections and answering on them.

use std::{io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{
    Shared, head,
    record::Request,
    reply::{How, Reply},
};
use crate::clock;

pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        // Gone already: nothing will come on it.
        let Ok(dialled) = stream.local_addr().map(|address| address.ip().to_canonical()) else { continue };
        let connection = {
            let mut state = shared.state();
            state.dialled.push(dialled);
            state.dialled.len()
        };
        let shared = shared.clone();
        // A connection that ends badly is what many stories are about; what it means is asserted on the server.
        tokio::spawn(async move { connection_of(stream, connection, &shared).await.ok() });
    }
}

async fn connection_of(mut stream: TcpStream, connection: usize, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::new();
    while let Some((head, body)) = head::read(&mut stream, &mut buffer).await? {
        let (path, query) = match head.target.split_once('?') {
            Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
            None => (head.target, None),
        };
        let (at, wall) = (clock::now(), clock::wall());
        let request =
            Request { at, wall, connection, method: head.method, path, query, headers: head.headers, body };
        let reply = shared.received(request);
        if !answer(&mut stream, reply).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// Answers; `false` when the connection is over.
async fn answer(stream: &mut TcpStream, reply: Reply) -> io::Result<bool> {
    tokio::time::sleep(reply.wait).await;
    if let Some(gate) = &reply.gate
        && let Ok(permit) = gate.acquire().await
    {
        permit.forget();
    }
    match reply.how {
        How::Answer { status, headers, body } => {
            stream.write_all(&complete(status, &headers, &body)).await?;
            Ok(!headers.iter().any(|(name, value)| name == "connection" && value == "close"))
        }
        How::Raw(bytes) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await?;
            Ok(false)
        }
        How::RawKept(bytes) => {
            stream.write_all(&bytes).await?;
            Ok(true)
        }
        How::RawThenReset(bytes) => {
            stream.write_all(&bytes).await?;
            if !bytes.is_empty() {
                // Let the bytes arrive first: a reset overtakes what is still under way.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            stream.set_zero_linger()?;
            Ok(false)
        }
        How::Hang => {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await?;
            Ok(false)
        }
        How::Forever { first, then, pause } => {
            stream.write_all(&first).await?;
            loop {
                tokio::time::sleep(pause).await;
                stream.write_all(&then).await?;
            }
        }
    }
}

fn complete(status: u16, headers: &[(String, String)], body: &Bytes) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} Answer\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if status >= 200 && status != 204 && status != 304 {
        head += &format!("content-length: {}\r\n", body.len());
    }
    let mut bytes = (head + "\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
