//! When a connection is used again and when it is not, and how TLS fails.

use std::{sync::Arc, time::Duration};

use domain::delivery::Outcome;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::{send, server::Server, settings, to, transport};
use crate::{HttpTransport, Transport};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_is_kept_and_its_phases_are_shown_once() {
    let server = Server::start(|mut connection| async move {
        while connection.request().await && connection.write(OK).await {}
    })
    .await;
    let transport = transport();
    for n in 0..5 {
        let sent = transport.send(to(&server.url())).await;
        assert_eq!(sent.outcome, Outcome::Delivered);
        assert_eq!(sent.timings.connect.is_some(), n == 0);
        assert!(sent.timings.first_byte.is_some() && sent.timings.total >= sent.timings.first_byte);
        assert_eq!(sent.remote_address, Some([127, 0, 0, 1].into()));
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_connection_is_not_used_again_after_anything_odd() {
    let long = [b"HTTP/1.1 200 OK\r\ncontent-length: 20000\r\n\r\n".to_vec(), vec![b'x'; 20_000]].concat();
    for (name, answer) in [
        ("leftover bytes", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n".to_vec()),
        ("leftover bytes after no body", b"HTTP/1.1 204 No\r\n\r\nx".to_vec()),
        ("a body not read to its end", long),
        (
            "connection: close",
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok".to_vec(),
        ),
        ("an upgrade", b"HTTP/1.1 101 Up\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_vec()),
        ("an error", b"junk\r\n\r\n".to_vec()),
    ] {
        let answer: Arc<[u8]> = answer.into();
        let server = Server::start(move |mut connection| {
            let answer = answer.clone();
            async move { while connection.request().await && connection.write(&answer).await {} }
        })
        .await;
        let transport = transport();
        for _ in 0..3 {
            transport.send(to(&server.url())).await;
        }
        assert_eq!(server.connections(), 3, "{name}");
        assert_eq!(server.requests().len(), 3, "{name}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_the_receiver_closed_costs_nothing() {
    let server = Server::start(|mut connection| async move {
        connection.request().await;
        connection.write(OK).await;
    })
    .await;
    let transport = transport();
    for _ in 0..3 {
        let sent = transport.send(to(&server.url())).await;
        assert_eq!(sent.outcome, Outcome::Delivered);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn a_request_that_may_have_been_read_is_never_sent_twice() {
    // The first answer is good; the second request is read, and then the connection ends.
    let server = Server::start(|mut connection| async move {
        connection.request().await;
        connection.write(OK).await;
        connection.request().await;
    })
    .await;
    let transport = transport();
    assert_eq!(transport.send(to(&server.url())).await.outcome, Outcome::Delivered);
    assert_eq!(transport.send(to(&server.url())).await.outcome, Outcome::Reset);
    assert_eq!((server.connections(), server.requests().len()), (1, 2));
}

#[tokio::test]
async fn nobody_listening_is_connect() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let sent = send(&format!("http://127.0.0.1:{port}/")).await;
    assert_eq!((sent.outcome, sent.remote_address), (Outcome::Connect, Some([127, 0, 0, 1].into())));
    assert!(sent.timings.connect.is_some() && sent.timings.first_byte.is_none());
}

/// A TLS receiver with a certificate of its own making for `name`; answers with the certificate too.
async fn tls_server(name: &str, expired: bool) -> (Server, String) {
    let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    if expired {
        parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
    }
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = Server::start(move |connection| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut tls) = acceptor.accept(connection.tcp).await else { return };
            let mut request = [0; 4096];
            while tls.read(&mut request).await.is_ok_and(|n| n > 0) && tls.write_all(OK).await.is_ok() {}
        }
    })
    .await;
    (server, certificate.pem())
}

#[tokio::test]
async fn a_certificate_is_verified_in_full() {
    for (name, trusted, expired, outcome) in [
        ("localhost", true, false, Outcome::Delivered),
        ("localhost", false, false, Outcome::Tls),
        ("localhost", true, true, Outcome::Tls),
        ("other.example", true, false, Outcome::Tls),
    ] {
        let (server, pem) = tls_server(name, expired).await;
        let ca_file = trusted.then(|| pem.into_bytes());
        let transport = HttpTransport::new(crate::TransportSettings { ca_file, ..settings() }).unwrap();
        let sent = transport.send(to(&format!("https://localhost:{}/", server.port()))).await;
        assert_eq!(sent.outcome, outcome, "{name}, trusted: {trusted}, expired: {expired}: {sent:?}");
        let shown = (sent.timings.dns.is_some(), sent.timings.connect.is_some(), sent.timings.tls.is_some());
        assert_eq!(shown, (true, true, true));
        assert_eq!(sent.remote_address, Some([127, 0, 0, 1].into()));
    }
}

#[tokio::test]
async fn https_never_falls_back_to_http() {
    let server = Server::start(|mut connection| async move {
        connection.write(OK).await;
        connection.request().await;
    })
    .await;
    let sent = send(&format!("https://127.0.0.1:{}/", server.port())).await;
    assert_eq!(sent.outcome, Outcome::Tls);
    assert_eq!(server.requests().len(), 0);
}
