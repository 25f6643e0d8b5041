//! From a URI to a connection: resolve → judge → dial → TLS, each phase timed. An address literal takes the same path,
//! and what is dialled is what was judged: no second look-up happens.

use std::{
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use domain::{chance::Clock, delivery::Timings, time::Timestamp};
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::{
    address::{self, Host},
    dial::dial,
    error::{ConnectError, Failure, is_ours},
    guard::Guard,
    resolver::Resolver,
    stream::{Origin, Stream, Wire},
};

#[derive(Clone)]
pub(crate) struct Connector(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) guard: Guard,
    pub(crate) tls: Arc<ClientConfig>,
    /// Bounds each phase: the look-up, the dialling and the handshake.
    pub(crate) connect_timeout: Duration,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Connector {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let parts = self.0.clone();
        Box::pin(async move { Opening::new(&parts).open(&uri).await.map(TokioIo::new) })
    }
}

/// A connection on its way, and how far it has come.
struct Opening<'a> {
    parts: &'a Parts,
    address: Option<IpAddr>,
    timings: Timings,
    phase_began: Timestamp,
}

impl<'a> Opening<'a> {
    fn new(parts: &'a Parts) -> Self {
        Self { parts, address: None, timings: Timings::default(), phase_began: parts.clock.now() }
    }

    async fn open(mut self, uri: &Uri) -> Result<Stream, ConnectError> {
        match self.phases(uri).await {
            Ok((wire, address)) => {
                let origin = Origin::new(address, self.timings, self.phase_began);
                Ok(Stream { wire, origin })
            }
            Err(failure) => Err(ConnectError { failure, address: self.address, timings: self.timings }),
        }
    }

    async fn phases(&mut self, uri: &Uri) -> Result<(Wire, IpAddr), Failure> {
        let (host, port) = address::of(uri).ok_or_else(|| Failure::Connect("the URL has no host".into()))?;
        let found = self.resolve(&host).await?;
        let admitted = self.parts.guard.admit(&found).map_err(|denied| {
            let why = denied.map_or_else(|| "no address".into(), |denied| denied.to_string());
            Failure::Blocked(format!("not dialled: {why}"))
        })?;
        let tcp = self.dial(&admitted, port).await?;
        let address = self.address.unwrap_or(admitted[0]);
        let wire = if address::is_https(uri) { self.secure(tcp, &host).await? } else { Wire::Plain(tcp) };
        Ok((wire, address))
    }

    async fn resolve(&mut self, host: &Host<'_>) -> Result<Arc<[IpAddr]>, Failure> {
        match host {
            Host::Literal(address) => Ok(Arc::new([*address])),
            Host::Name(name) => {
                let found = self.parts.resolver.resolve(name).await;
                self.timings.dns = self.lap();
                found
            }
        }
    }

    async fn dial(&mut self, admitted: &[IpAddr], port: u16) -> Result<TcpStream, Failure> {
        let dialled = dial(admitted, port, self.parts.connect_timeout).await;
        self.timings.connect = self.lap();
        let (address, stream) = match dialled {
            Ok((stream, address)) => (Some(address), Ok(stream)),
            Err((failure, address)) => (address, Err(failure)),
        };
        self.address = address;
        stream
    }

    async fn secure(&mut self, tcp: TcpStream, host: &Host<'_>) -> Result<Wire, Failure> {
        let name = match host {
            Host::Literal(address) => ServerName::IpAddress((*address).into()),
            Host::Name(name) => ServerName::try_from((*name).to_owned())
                .map_err(|_| Failure::Tls(format!("{name} cannot be a certificate's name")))?,
        };
        let limit = self.parts.connect_timeout;
        let shaken = timeout(limit, TlsConnector::from(self.parts.tls.clone()).connect(name, tcp)).await;
        self.timings.tls = self.lap();
        match shaken {
            Ok(Ok(tls)) => Ok(Wire::Tls(Box::new(tls))),
            Ok(Err(error)) if is_ours(&error, self.address) => Err(Failure::Local(error.to_string())),
            Ok(Err(error)) => Err(Failure::Tls(format!("the TLS handshake failed: {error}"))),
            Err(_) => {
                let detail = format!("the TLS handshake took over {}", domain::duration::show(limit));
                Err(Failure::Tls(detail))
            }
        }
    }

    /// Milliseconds since the last phase ended.
    fn lap(&mut self) -> Option<f64> {
        let now = self.parts.clock.now();
        let spent = now.since(self.phase_began);
        self.phase_began = now;
        Some(millis(spent))
    }
}

/// Milliseconds, to the microsecond.
pub(crate) fn millis(span: Duration) -> f64 {
    span.as_micros() as f64 / 1_000.0
}
