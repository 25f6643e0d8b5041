//! Takes connections and serves them, in bounds: heads are judged before hyper reads them ([`screen`]), slow ones are
//! cut, connections are capped, and running out of descriptors does not end the loop.

mod body;
mod head;
mod screen;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use axum::Router;
use http::Request;
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};

use screen::{Noted, Screen};

/// How long a connection is kept between two requests. (A head that has begun has [`screen::HEAD`].)
const IDLE: Duration = Duration::from_secs(60);

/// hyper holds whole heads that the screen let through, and what came with them.
const BUFFER: usize = 2 * head::MOST_HEAD;

/// After a failed accept. Out of descriptors, the next one comes free when a connection ends.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);

/// Serves `router` until `stop` says true, then lets what is in flight finish.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    most: usize,
    mut stop: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(most));
    let graceful = GracefulShutdown::new();
    let mut failing = false;
    loop {
        let accept = async {
            // A permit first: what is over the cap waits in the kernel's queue instead of using a descriptor of ours.
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = accept => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "cannot accept connections; raise the descriptor limit (ulimit -n)");
                }
                failing = true;
                tokio::time::sleep(AFTER_FAILED_ACCEPT).await;
                continue;
            }
        };
        failing = false;
        // Answers are small and written whole: waiting for more only delays them.
        let _ = stream.set_nodelay(true);
        let noted = Noted::default();
        let screen = Screen::new(stream, Arc::clone(&noted));
        let service = TowerToHyperService::new(router.clone());
        let service = service_fn(move |request| service.call(with_fault(request, &noted)));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .max_buf_size(BUFFER)
            .max_headers(head::MOST_FIELDS)
            .serve_connection(TokioIo::new(screen), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _slot = slot;
            // A client that breaks off is its own business.
            let _ = connection.await;
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

/// The request that stands for a refused head bears its fault.
fn with_fault(mut request: Request<Incoming>, noted: &Noted) -> Request<Incoming> {
    if let Some(fault) = noted.get().filter(|_| request.method() == screen::REFUSED) {
        request.extensions_mut().insert(*fault);
    }
    request
}
