//! Opens a TCP connection to the first address that takes one (RFC 8305, without its bookkeeping): each address gets a
//! head start before the next one is tried beside it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::error::{Failure, is_ours};

/// RFC 8305, section 8: the recommended connection attempt delay.
const HEAD_START: Duration = Duration::from_millis(250);
/// A name with more addresses than this gets no more sockets of ours at a time.
const MOST: usize = 8;

/// Dials `addresses` in turn, all within `limit`. An error comes with the address that it is about.
pub(crate) async fn dial(
    addresses: &[IpAddr],
    port: u16,
    limit: Duration,
) -> Result<(TcpStream, IpAddr), (Failure, Option<IpAddr>)> {
    let deadline = Instant::now() + limit;
    let mut rest = addresses.iter().copied().take(MOST);
    let mut under_way = FuturesUnordered::new();
    let mut refused = None;
    loop {
        match rest.next() {
            Some(address) => under_way.push(connect(address, port)),
            None if under_way.is_empty() => return Err(refusal(refused)),
            None => {}
        }
        // The head start of the newest; after the last one, whatever time is left.
        let patience = if rest.len() > 0 { (Instant::now() + HEAD_START).min(deadline) } else { deadline };
        match timeout_at(patience, under_way.next()).await {
            Ok(Some((address, Ok(stream)))) => return Ok((stream, address)),
            Ok(Some((address, Err(error)))) => refused = Some((address, error)),
            Err(_) if Instant::now() >= deadline => return Err(silence(addresses, limit)),
            Ok(None) | Err(_) => {}
        }
    }
}

fn refusal(refused: Option<(IpAddr, io::Error)>) -> (Failure, Option<IpAddr>) {
    match refused {
        Some((address, error)) if is_ours(&error, Some(address)) => {
            (Failure::Local(error.to_string()), Some(address))
        }
        Some((address, error)) => {
            (Failure::Connect(format!("{address} did not take the connection: {error}")), Some(address))
        }
        None => (Failure::Connect("there is no address to dial".into()), None),
    }
}

fn silence(addresses: &[IpAddr], limit: Duration) -> (Failure, Option<IpAddr>) {
    let (first, limit) = (addresses.first().copied(), domain::duration::show(limit));
    let who = first.map_or_else(|| "nobody".into(), |address| address.to_string());
    (Failure::Connect(format!("{who} did not answer within {limit}")), first)
}

async fn connect(address: IpAddr, port: u16) -> (IpAddr, io::Result<TcpStream>) {
    let stream = TcpStream::connect(SocketAddr::new(address, port)).await;
    // Requests are small and written in one go: waiting for more to send would only delay them.
    (address, stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_refuses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let [open, closed, other] = [1, 2, 3].map(|n| IpAddr::from([127, 0, 0, n]));
        let limit = Duration::from_secs(5);
        for addresses in [&[open][..], &[closed, open], &[closed, other, open], &[open, closed]] {
            let (_, address) = dial(addresses, port, limit).await.expect("connected");
            assert_eq!(address, open, "{addresses:?}");
        }
        for (addresses, about) in
            [(&[][..], None), (&[closed], Some(closed)), (&[closed, other], Some(other))]
        {
            let (failure, address) = dial(addresses, port, limit).await.expect_err("refused");
            assert!(matches!(failure, Failure::Connect(_)));
            assert_eq!(address, about);
        }
    }

    #[tokio::test]
    async fn an_address_that_is_silent_delays_the_next_by_its_head_start_alone() {
        let [open, silent] = [1, 2].map(|n| IpAddr::from([127, 0, 0, n]));
        let listener = tokio::net::TcpListener::bind((open, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // A listener whose backlog is full answers no SYN.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((silent, port).into()).unwrap();
        let _full = socket.listen(1).unwrap();
        let mut waiting = vec![];
        for _ in 0..4 {
            let filling = TcpStream::connect((silent, port));
            waiting.push(tokio::time::timeout(Duration::from_millis(50), filling).await);
        }
        let began = Instant::now();
        let (_, address) = dial(&[silent, open], port, Duration::from_secs(5)).await.expect("connected");
        assert_eq!(address, open);
        assert!((HEAD_START..HEAD_START * 4).contains(&began.elapsed()), "{:?}", began.elapsed());
        let (failure, address) = dial(&[silent], port, Duration::from_millis(300)).await.expect_err("silent");
        assert!(matches!(failure, Failure::Connect(_)));
        assert_eq!(address, Some(silent));
    }
}
