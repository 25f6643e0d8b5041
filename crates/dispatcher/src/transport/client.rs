//! The transport of the product: hyper-util's client over our own connector.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use domain::{
    callback_url::HostPattern,
    chance::Clock,
    delivery::{Outcome, Timings},
    egress::EgressPolicy,
    time::Timestamp,
};
use http::{Extensions, Method, response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{
        Client, Error,
        connect::{CaptureConnection, capture_connection},
    },
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::{Instant, timeout_at};

use super::{
    Request, Sent, SetupError, Transport, body, classify,
    connector::{Connector, Parts, millis},
    guard::Guard,
    resolver::Resolver,
    stream::Origin,
    tls,
};

/// A response head may be so long, in bytes, the status line included.
const HEAD: usize = 16 * 1024;
/// A response head may have so many fields.
const FIELDS: usize = 100;
/// How long a connection is kept that has nothing to do. Widespread servers close theirs after five seconds: a request
/// that met such a close on its way would count as failed, since nobody knows whether it was read.
const IDLE: Duration = Duration::from_secs(4);

/// What the operator configured about reaching receivers.
#[derive(Clone)]
pub struct TransportSettings {
    /// Which addresses may be dialled. Those of our own interfaces are added, and read again each minute.
    pub egress: EgressPolicy,
    /// `delivery.allow_hosts`: looked up as this machine does, search list included; all others are absolute names.
    pub allow_hosts: Vec<HostPattern>,
    /// Bounds the name look-up, the dialling and the TLS handshake, each.
    pub connect_timeout: Duration,
    /// The content of `delivery.ca_file`, PEM: trusted beside the roots of the Web PKI.
    pub ca_file: Option<Vec<u8>>,
    /// Name look-ups at a time. Each may take four descriptors (two families, two name servers).
    pub max_lookups: usize,
    /// Connections kept to one host while they have nothing to do.
    pub idle_per_host: usize,
    /// For timings, and for how old the list of our own addresses is.
    pub clock: Arc<dyn Clock>,
}

/// Sends over HTTP/1.1 and TLS. No proxies, no redirects, no decompression, no cookies.
pub struct HttpTransport {
    client: Client<Connector, Full<Bytes>>,
    clock: Arc<dyn Clock>,
}

impl HttpTransport {
    /// Ready to send. Look-ups and connections run on the runtime that [`Transport::send`] is called on.
    ///
    /// # Errors
    /// For a CA file without certificates, or where this machine's addresses cannot be read.
    pub fn new(settings: TransportSettings) -> Result<Arc<Self>, SetupError> {
        let (names, most) = (settings.allow_hosts.clone(), settings.max_lookups);
        let resolver = Resolver::new(names, most, settings.connect_timeout)?;
        Self::resolving_by(resolver, settings)
    }

    pub(crate) fn resolving_by(
        resolver: Resolver,
        settings: TransportSettings,
    ) -> Result<Arc<Self>, SetupError> {
        let TransportSettings { egress, connect_timeout, ca_file, idle_per_host, clock, .. } = settings;
        let connector = Connector::new(Parts {
            resolver: Arc::new(resolver),
            guard: Guard::new(egress, clock.clone()).map_err(SetupError::Interfaces)?,
            tls: tls::config(ca_file.as_deref())?,
            connect_timeout,
            clock: clock.clone(),
        });
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(idle_per_host)
            .http1_max_buf_size(HEAD)
            .http1_max_headers(FIELDS)
            .build(connector);
        Ok(Arc::new(Self { client, clock }))
    }

    /// A head came: whatever the body does, the status stands.
    async fn answered(
        &self,
        answer: response::Parts,
        body: Incoming,
        deadline: Instant,
        on: &CaptureConnection,
    ) -> Sent {
        let read = body::read(body, deadline).await;
        if !read.to_its_end {
            // Nobody else may get what is left of this body for an answer.
            if let Some(connected) = on.connection_metadata().as_ref() {
                connected.poison();
            }
        }
        classify::answer(&answer, &read)
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, request: Request) -> Sent {
        let began = self.clock.now();
        let deadline = Instant::now() + request.timeout;
        let mut post = http::Request::new(Full::new(request.body));
        *post.method_mut() = Method::POST;
        *post.uri_mut() = request.uri;
        *post.headers_mut() = request.headers;
        let on = capture_connection(&mut post);
        let answer = timeout_at(deadline, self.client.request(post)).await;
        let answered_at = self.clock.now();
        match answer {
            Ok(Ok(answer)) => {
                let (answer, body) = answer.into_parts();
                let origin = answer.extensions.get::<Origin>().cloned();
                let sent = self.answered(answer, body, deadline, &on).await;
                self.timed(sent, origin, began, Some(answered_at))
            }
            Ok(Err(error)) => self.timed(classify::error(&error), origin(&on, Some(&error)), began, None),
            Err(_) => {
                let shown = domain::duration::show(request.timeout);
                let sent = Sent::failed(Outcome::Timeout, format!("no complete answer within {shown}"));
                self.timed(sent, origin(&on, None), began, None)
            }
        }
    }
}

impl HttpTransport {
    fn timed(
        &self,
        sent: Sent,
        on: Option<Origin>,
        began: Timestamp,
        answered_at: Option<Timestamp>,
    ) -> Sent {
        let (phases, written_at) = match on.as_ref().and_then(Origin::phases) {
            // A connection that was opened for another request, and then lent to us, may be older than we are.
            Some((phases, opened_at)) => (phases, opened_at.max(began)),
            // A kept connection; or none came about, and the error knows how far it got.
            None => (sent.timings, began),
        };
        let timings = Timings {
            first_byte: answered_at.map(|at| millis(at.since(written_at))),
            total: Some(millis(self.clock.now().since(began))),
            ..phases
        };
        Sent { timings, remote_address: sent.remote_address.or(on.map(|origin| origin.address())), ..sent }
    }
}

/// The connection that a request without an answer was on, if it got one.
fn origin(on: &CaptureConnection, error: Option<&Error>) -> Option<Origin> {
    let captured = on.connection_metadata();
    let connected = error.and_then(Error::connect_info).or(captured.as_ref())?;
    let mut extras = Extensions::new();
    connected.get_extras(&mut extras);
    extras.remove::<Origin>()
}
