//! The receiver of webhooks: raw hyper on a thread of its own, which notes when each job's webhook arrived.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, RwLock},
    thread,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::oneshot};

use crate::{Outcome, ledger::Ledger, load::MARK};

/// Listens until it is dropped.
pub(crate) struct Receiver {
    address: SocketAddr,
    ledger: Arc<RwLock<Arc<Ledger>>>,
    _stop: oneshot::Sender<()>,
}

impl Receiver {
    /// Answers each webhook with 204 after `delay`.
    pub(crate) fn start(delay: Duration) -> Outcome<Self> {
        Self::at(Ipv4Addr::LOCALHOST, delay)
    }

    /// The same on a loopback address of its own.
    pub(crate) fn at(address: Ipv4Addr, delay: Duration) -> Outcome<Self> {
        let listener = std::net::TcpListener::bind((address, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let ledger = Arc::new(RwLock::new(Arc::new(Ledger::open(0))));
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shelf = Arc::clone(&ledger);
        thread::Builder::new().name("receiver".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, shelf, delay) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, ledger, _stop: stop })
    }

    /// The URL to call.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/hooks/orders", self.address)
    }

    /// The same as a job's callback.
    pub(crate) fn callback(&self) -> String {
        format!("\"{}\"", self.url())
    }

    /// Notes what arrives from now on there. Connections opened before keep writing to the one they began with: a
    /// service that is gone cannot spoil the next one's figures.
    pub(crate) fn write_to(&self, ledger: &Arc<Ledger>) {
        if let Ok(mut shelf) = self.ledger.write() {
            *shelf = Arc::clone(ledger);
        }
    }
}

async fn accept(listener: std::net::TcpListener, shelf: Arc<RwLock<Arc<Ledger>>>, delay: Duration) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let Ok(ledger) = shelf.read().map(|l| Arc::clone(&l)) else { return };
        let service = service_fn(move |request| take(request, Arc::clone(&ledger), delay));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn take(
    request: Request<Incoming>,
    ledger: Arc<Ledger>,
    delay: Duration,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    // A body that broke off is no webhook; its sender sees the connection go the same way.
    if let Ok(body) = request.into_body().collect().await {
        ledger.received(number_in(&body.to_bytes()).unwrap_or(usize::MAX));
    }
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let mut answer = Response::new(Empty::new());
    *answer.status_mut() = hyper::StatusCode::NO_CONTENT;
    Ok(answer)
}

/// The job's number: the digits that follow [`MARK`] in whatever form the input came back.
fn number_in(body: &[u8]) -> Option<usize> {
    let at = body.windows(MARK.len()).position(|w| w == MARK.as_bytes())? + MARK.len();
    let digits = body[at..].iter().take_while(|b| b.is_ascii_digit());
    digits.map(|b| usize::from(b - b'0')).try_fold(0, |n: usize, d| n.checked_mul(10)?.checked_add(d))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_number() {
        for (body, expected) in [
            (r#"{"data":{"job":{"result":{"bench":"n00000042","x":1}}}}"#, Some(42)),
            (r#"{"bench":"n0"}"#, Some(0)),
            (r#"{"x":1}"#, None),
        ] {
            assert_eq!(number_in(body.as_bytes()), expected, "{body}");
        }
    }
}
