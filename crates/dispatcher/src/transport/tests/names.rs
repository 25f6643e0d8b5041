//! Names, against a name server that lies, hangs and counts.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use domain::delivery::Outcome;
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
};
use tokio::net::UdpSocket;

use super::{server::Server, settings, to};
use crate::{HttpTransport, Transport, transport::resolver::Resolver};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Answers A queries by the first label of the name, counts them, and keeps silent about `hang….`.
struct NameServer {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl NameServer {
    async fn start(mut answer: impl FnMut(&str, usize) -> Vec<Ipv4Addr> + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(vec![]));
        let server = Self { port, asked: asked.clone() };
        tokio::spawn(async move {
            let mut query = [0; 1024];
            while let Ok((length, from)) = socket.recv_from(&mut query).await {
                let (name, is_a, question) = question(&query[..length]);
                if name.starts_with("hang") {
                    continue;
                }
                let mut addresses = vec![];
                if is_a {
                    let times = asked.lock().unwrap().iter().filter(|seen| **seen == name).count();
                    asked.lock().unwrap().push(name.clone());
                    addresses = answer(&name, times);
                }
                let _ = socket.send_to(&reply(&query, question, &addresses), from).await;
            }
        });
        server
    }

    fn transport(&self, most: usize, timeout: Duration) -> Arc<HttpTransport> {
        let mut udp = ConnectionConfig::udp();
        udp.port = self.port;
        let mut server = NameServerConfig::udp(IpAddr::from([127, 0, 0, 1]));
        server.connections = vec![udp];
        let mut config = ResolverConfig::default();
        config.name_servers = vec![server];
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let resolver = Resolver::of(builder, vec![], most, timeout).unwrap();
        let settings = crate::TransportSettings { connect_timeout: timeout, ..settings() };
        HttpTransport::resolving_by(resolver, settings).unwrap()
    }

    fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|seen| *seen == name).count()
    }
}

/// The name in lower case, whether its A records are asked for, and where the question ends.
fn question(query: &[u8]) -> (String, bool, usize) {
    let (mut at, mut labels) = (12, vec![]);
    while query[at] != 0 {
        let length = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..=at + length]).to_lowercase());
        at += length + 1;
    }
    (labels.join("."), query[at + 2] == 1, at + 5)
}

fn reply(query: &[u8], question: usize, addresses: &[Ipv4Addr]) -> Vec<u8> {
    let mut reply = query[..question].to_vec();
    // A response, recursion desired and available; one question, the answers, nothing else.
    reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::try_from(addresses.len()).unwrap(), 0, 0, 0, 0]);
    for address in addresses {
        // A pointer to the question's name; A, IN; no time to live, so that nothing is cached.
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        reply.extend(address.octets());
    }
    reply
}

#[tokio::test]
async fn a_name_that_points_inside_is_blocked_and_what_is_dialled_is_what_was_judged() {
    let receiver = Server::answering(OK).await;
    let names = NameServer::start(|name, times| match (name, times) {
        // A look-up that is judged, and the next one that would be dialled.
        ("rebind.example", 0) => vec![Ipv4Addr::new(10, 0, 0, 1)],
        ("rebind.example", _) => vec![Ipv4Addr::LOCALHOST],
        ("metadata.example", _) => vec![Ipv4Addr::new(169, 254, 169, 254)],
        ("mixed.example", _) => vec![Ipv4Addr::new(192, 168, 0, 1), Ipv4Addr::LOCALHOST],
        _ => vec![],
    })
    .await;
    let transport = names.transport(16, Duration::from_secs(2));
    for (host, outcome, connections) in [
        ("metadata.example", Outcome::AddressBlocked, 0),
        ("rebind.example", Outcome::AddressBlocked, 0),
        ("empty.example", Outcome::Dns, 0),
        ("mixed.example", Outcome::Delivered, 1),
    ] {
        let sent = transport.send(to(&format!("http://{host}:{}/", receiver.port()))).await;
        assert_eq!((sent.outcome, receiver.connections()), (outcome, connections), "{host}: {sent:?}");
        assert!(sent.timings.dns.is_some());
        assert_eq!(names.asked(host), 1, "{host}: one look-up");
    }
}

#[tokio::test]
async fn a_receivers_name_is_absolute() {
    let names = NameServer::start(|_, _| vec![]).await;
    let transport = names.transport(16, Duration::from_secs(2));
    transport.send(to("http://hooks.example.com/")).await;
    assert_eq!(*names.asked.lock().unwrap(), ["hooks.example.com"]);
}

#[tokio::test]
async fn names_that_hang_hold_up_none_that_answers() {
    let receiver = Server::start(|mut connection| async move {
        while connection.request().await && connection.write(OK).await {}
    })
    .await;
    let names = NameServer::start(|_, _| vec![Ipv4Addr::LOCALHOST]).await;
    let limit = Duration::from_millis(1500);
    let transport = names.transport(160, limit);
    let url = |host: &str| format!("http://{host}:{}/", receiver.port());
    let known = transport.send(to(&url("known.example"))).await;
    assert_eq!(known.outcome, Outcome::Delivered);

    let hanging = || -> Vec<_> {
        let send = |n: usize| {
            let (transport, request) = (transport.clone(), to(&url(&format!("hang{n}.example"))));
            tokio::spawn(async move { transport.send(request).await })
        };
        (0..100).map(send).collect()
    };
    // First they are new, like any other name; then they are known to hang.
    for sent in hanging() {
        assert_eq!(sent.await.unwrap().outcome, Outcome::Dns);
    }
    let again = hanging();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let began = tokio::time::Instant::now();
    for host in ["known.example", "new.example"] {
        assert_eq!(transport.send(to(&url(host))).await.outcome, Outcome::Delivered, "{host}");
    }
    assert!(began.elapsed() < limit, "{:?}", began.elapsed());
    again.iter().for_each(tokio::task::JoinHandle::abort);
}
