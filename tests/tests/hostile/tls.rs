//! TLS: verified in full, 1.2 or later, with no way around it. `delivery.ca_file` adds an authority and takes none away.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use ringback_tests::{
    Config, Peer, Reply, Ringback,
    island::{self, Answer, Authority, Front, Identity, Names, Versions},
    islands, wait,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

use super::{PUBLIC, address, called_back, outcome};

islands!(certificates_are_verified_in_full, old_versions_are_not_spoken, tls_is_never_given_up);

/// TLS receivers alone, and this authority.
fn trusting(authority: &Authority, server: &std::path::Path) -> Config {
    let file = server.join("authority.pem");
    std::fs::write(&file, &authority.pem).expect("a file");
    Config::sqlite()
        .without("delivery.allow_cidrs")
        .without("delivery.allow_http")
        .with("delivery.retry", "{ schedule = [], jitter = 0.0 }")
        .with("delivery.ca_file", &format!("{:?}", file.display().to_string()))
}

fn on(port: u16) -> SocketAddr {
    (address(PUBLIC), port).into()
}

async fn certificates_are_verified_in_full() {
    let receiver = Peer::start().await;
    let _names = Names::start(|_, _| Answer::to(&[PUBLIC])).await;
    let files = tempfile::tempdir().expect("a directory");
    let (ours, stranger) = (Authority::new(), Authority::new());
    let server = Ringback::start(trusting(&ours, files.path())).await;
    let good = || ours.identity("hooks.partner.example", 2020..2090);
    let cases: Vec<(&str, Identity, Versions, &str)> = vec![
        ("good", good(), Versions::Both, "delivered"),
        ("good, in TLS 1.2", good(), Versions::Only12, "delivered"),
        ("good, in TLS 1.3", good(), Versions::Only13, "delivered"),
        ("good for all below", ours.identity("*.partner.example", 2020..2090), Versions::Both, "delivered"),
        ("for itself", Identity::self_signed("hooks.partner.example"), Versions::Both, "tls"),
        ("of a stranger", stranger.identity("hooks.partner.example", 2020..2090), Versions::Both, "tls"),
        ("expired", ours.identity("hooks.partner.example", 2020..2021), Versions::Both, "tls"),
        ("not yet valid", ours.identity("hooks.partner.example", 2089..2090), Versions::Both, "tls"),
        ("another name's", ours.identity("hooks.partner.example.org", 2020..2090), Versions::Both, "tls"),
        ("a parent's", ours.identity("partner.example", 2020..2090), Versions::Both, "tls"),
        ("for other children", ours.identity("*.hooks.partner.example", 2020..2090), Versions::Both, "tls"),
        ("an address's", ours.identity(PUBLIC, 2020..2090), Versions::Both, "tls"),
    ];
    for (n, (name, identity, versions, expected)) in (10_000..).zip(cases) {
        let _front = Front::start(on(n), &identity, versions, receiver.address()).await;
        let before = receiver.all().len();
        let delivery = called_back(server.api(), &format!("https://hooks.partner.example:{n}/hook")).await;
        assert_eq!(outcome(&delivery), expected, "{name}: {delivery:#}");
        let came = receiver.all().len() - before;
        assert_eq!(
            came,
            usize::from(expected == "delivered"),
            "{name}: nothing is sent to whom is not verified"
        );
    }
    // Without the file, the same receiver is a stranger.
    let server = Ringback::start(trusting(&ours, files.path()).without("delivery.ca_file")).await;
    let _front = Front::start(on(443), &good(), Versions::Both, receiver.address()).await;
    assert_eq!(outcome(&called_back(server.api(), "https://hooks.partner.example/hook").await), "tls");
}

/// `openssl s_server` of one version alone.
struct OldServer(Child);

impl OldServer {
    async fn start(port: u16, version: &str, identity: &Identity, files: &std::path::Path) -> Self {
        let (certificate, key) = (files.join("old.pem"), files.join("old.key"));
        std::fs::write(&certificate, &identity.certificate_pem).expect("a file");
        std::fs::write(&key, &identity.key_pem).expect("a file");
        let child = Command::new("openssl")
            .args(["s_server", "-quiet", "-accept", &on(port).to_string(), version])
            // Distributions forbid these versions; here they are what is tried.
            .args(["-cipher", "ALL:@SECLEVEL=0", "-cert"])
            .arg(certificate)
            .arg("-key")
            .arg(key)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("openssl is there");
        wait::until("openssl listens", || async { TcpStream::connect(on(port)).await.ok() }).await;
        Self(child)
    }
}

/// Whether OpenSSL's own client gets through: the server is there and speaks that version.
async fn openssl_connects(port: u16, version: &str) -> bool {
    let tried = Command::new("openssl")
        .args(["s_client", "-connect", &on(port).to_string(), version, "-cipher", "ALL:@SECLEVEL=0"])
        .stdin(Stdio::null())
        .output();
    let tried =
        tokio::time::timeout(Duration::from_secs(10), tried).await.expect("in time").expect("it runs");
    tried.status.success()
}

async fn old_versions_are_not_spoken() {
    let _names = Names::start(|_, _| Answer::to(&[PUBLIC])).await;
    let files = tempfile::tempdir().expect("a directory");
    let authority = Authority::new();
    let server = Ringback::start(trusting(&authority, files.path())).await;
    for (port, version) in [(10_010, "-tls1"), (10_011, "-tls1_1")] {
        let identity = authority.identity("old.example", 2020..2090);
        let mut old = OldServer::start(port, version, &identity, files.path()).await;
        assert!(openssl_connects(port, version).await, "{version} is spoken there");
        let delivery = called_back(server.api(), &format!("https://old.example:{port}/hook")).await;
        assert_eq!(outcome(&delivery), "tls", "{version}: {delivery:#}");
        old.0.start_kill().expect("it still ran");
    }
}

/// A port that speaks plain HTTP, one that hangs up in the handshake, and one that begins it and breaks it.
async fn tls_is_never_given_up() {
    let plain = Peer::at(island::everywhere(10_020)).await;
    plain.script("/hook", [Reply::ok()]);
    let _names = Names::start(|_, _| Answer::to(&[PUBLIC])).await;
    let files = tempfile::tempdir().expect("a directory");
    let server = Ringback::start(trusting(&Authority::new(), files.path())).await;
    let delivery = called_back(server.api(), "https://plain.example:10020/hook").await;
    assert_eq!(outcome(&delivery), "tls", "{delivery:#}");
    assert_eq!(plain.all().len(), 0, "no request in the clear");
    let dialled = plain.dialled();
    assert!(dialled.iter().all(|one| *one == address(PUBLIC)), "{dialled:?}");

    for (port, bytes) in [
        (10_021, &b""[..]),
        (10_022, b"\x15\x03\x03\x00\x02\x02\x28"),
        (10_023, b"\x16\x03\x03\xff\xff\x02\xff\xff\xff"),
    ] {
        let listener = TcpListener::bind(on(port)).await.expect("the port is free");
        let answering = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(bytes).await;
                let _ = stream.shutdown().await;
            }
        });
        let delivery = called_back(server.api(), &format!("https://broken.example:{port}/hook")).await;
        assert_eq!(outcome(&delivery), "tls", "{port}: {delivery:#}");
        answering.abort();
    }
}
