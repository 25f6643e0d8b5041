//! Who is dialled, and who never is.

use std::time::Duration;

use domain::{delivery::Outcome, egress::EgressPolicy};

use super::{server::Server, settings, to};
use crate::{HttpTransport, Transport, TransportSettings};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

fn closed() -> TransportSettings {
    TransportSettings { egress: EgressPolicy::default(), ..settings() }
}

#[tokio::test]
async fn what_is_not_opened_is_never_dialled() {
    let server = Server::answering(OK).await;
    let transport = HttpTransport::new(closed()).unwrap();
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::7f00:1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "0.0.0.0",
        "10.0.0.1",
        "169.254.169.254",
        "[fe80::1]",
        "[fd00::1]",
    ] {
        for scheme in ["http", "https"] {
            let sent = transport.send(to(&format!("{scheme}://{host}:{}/", server.port()))).await;
            assert_eq!(sent.outcome, Outcome::AddressBlocked, "{scheme}://{host}: {sent:?}");
            assert_eq!((sent.remote_address, sent.timings.connect), (None, None));
        }
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_mapped_address_is_judged_as_it_is_written() {
    // 127.0.0.1 is opened; the same host in another disguise is not.
    let server = Server::answering(OK).await;
    let transport = HttpTransport::new(settings()).unwrap();
    let sent = transport.send(to(&format!("http://[::ffff:127.0.0.1]:{}/", server.port()))).await;
    assert_eq!((sent.outcome, server.connections()), (Outcome::AddressBlocked, 0));
    let sent = transport.send(to(&format!("http://localhost:{}/", server.port()))).await;
    assert_eq!((sent.outcome, server.connections()), (Outcome::Delivered, 1), "{sent:?}");
}

#[tokio::test]
async fn our_own_addresses_are_never_dialled() {
    let own: Vec<_> = if_addrs::get_if_addrs().unwrap().iter().map(if_addrs::Interface::ip).collect();
    let transport = HttpTransport::new(closed()).unwrap();
    for address in own {
        let uri = match address {
            std::net::IpAddr::V4(v4) => format!("http://{v4}:9/"),
            std::net::IpAddr::V6(v6) => format!("http://[{v6}]:9/"),
        };
        assert_eq!(transport.send(to(&uri)).await.outcome, Outcome::AddressBlocked, "{address}");
    }
    // One that no range denies, as a machine with a public address has it.
    let own = EgressPolicy { allow: vec![], own: vec!["8.8.8.8".parse().unwrap()] };
    let transport = HttpTransport::new(TransportSettings { egress: own, ..settings() }).unwrap();
    assert_eq!(transport.send(to("http://8.8.8.8:9/")).await.outcome, Outcome::AddressBlocked);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_dns_within_its_bound() {
    let settings = TransportSettings { connect_timeout: Duration::from_millis(500), ..settings() };
    let transport = HttpTransport::new(settings).unwrap();
    let began = tokio::time::Instant::now();
    let sent = transport.send(to("https://nobody.invalid/")).await;
    assert_eq!((sent.outcome, sent.remote_address), (Outcome::Dns, None), "{sent:?}");
    assert!(sent.timings.dns.is_some() && began.elapsed() < Duration::from_secs(2));
}
