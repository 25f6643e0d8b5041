//! Names that point where they must not: no connection is made there.

use std::{collections::HashSet, net::IpAddr, time::Duration};

use ringback_tests::{
    Config, Peer, Ringback,
    island::{self, Answer, Names},
    islands, wait,
};
use tokio::net::TcpStream;

use super::{PORT, PUBLIC, PUBLIC6, address, at, called_back, everybody, outcome, strict};

islands!(
    no_denied_address_is_dialled,
    of_a_mixed_answer_only_what_is_public_is_dialled,
    the_operator_opens_ranges_and_nothing_beside_them,
    names_of_the_operators_own_network,
);

/// One address or two of each denied range (`security.md`), and IPv4 addresses hidden in IPv6 ones.
const DENIED: [&str; 52] = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.254",
    "100.64.0.1",
    "127.0.0.1",
    "127.9.9.9",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.254",
    "192.0.0.1",
    "192.0.0.9",
    "192.0.0.170",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.254",
    "192.175.48.1",
    "198.18.0.1",
    "198.19.255.254",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "168.63.129.16",
    island::OWN,
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2620:4f:8000::1",
    "3ffe::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fe80::1",
    "ff02::1",
    "2606:4700::5efe:127.0.0.1",
];

/// Of those, what no TCP connection can be made to anyway, whoever tries: multicast, broadcast, and link-local without a
/// zone. That they are refused is shown by the outcome alone.
fn unreachable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast() || v6.is_unicast_link_local(),
    }
}

/// The listener would hear it: whoever dials each of these addresses is counted.
async fn assert_heard(everybody: &Peer, denied: &[IpAddr]) {
    let (mut expected, mut calls) = (HashSet::new(), 0);
    for &address in denied.iter().filter(|&&address| !unreachable(address)) {
        let dialled = tokio::time::timeout(Duration::from_secs(5), TcpStream::connect((address, PORT))).await;
        dialled.expect("in time").unwrap_or_else(|error| panic!("{address} is not on the island: {error}"));
        calls += 1;
        // The kernel takes the unspecified address for loopback's.
        if !address.is_unspecified() {
            expected.insert(address.to_canonical());
        }
    }
    // Connected is not yet accepted.
    wait::until("all are accepted", || async { (everybody.connections() == calls).then_some(()) }).await;
    let heard: HashSet<_> = everybody.dialled().into_iter().collect();
    let deaf: Vec<_> = expected.difference(&heard).collect();
    assert!(deaf.is_empty(), "nobody would hear a connection to {deaf:?}");
}

async fn no_denied_address_is_dialled() {
    let ipv6 = island::has_ipv6();
    let denied: Vec<IpAddr> = DENIED.map(address).into_iter().filter(|a| ipv6 || a.is_ipv4()).collect();
    let everybody = everybody().await;
    assert_heard(&everybody, &denied).await;
    let before = everybody.connections();

    let zone = denied.clone();
    let _names = Names::start(move |name, _| match name.strip_suffix(".denied.example") {
        Some(n) => Answer::Addresses(vec![zone[n.parse::<usize>().expect("a number")]]),
        None if name == "all.example" => Answer::Addresses(zone.clone()),
        None if name == "public.example" => Answer::to(&[PUBLIC, PUBLIC6]),
        None => Answer::NoSuchName,
    })
    .await;
    let server = Ringback::start(strict()).await;
    for (n, address) in denied.iter().enumerate() {
        let delivery = called_back(server.api(), &at(&format!("{n}.denied.example"))).await;
        assert_eq!(outcome(&delivery), "address_blocked", "{address}: {delivery:#}");
        assert_eq!(delivery["reason"], "exhausted", "{address}");
    }
    assert_eq!(outcome(&called_back(server.api(), &at("all.example")).await), "address_blocked");
    assert_eq!(everybody.dialled()[before..], [] as [IpAddr; 0], "no connection to any denied address");

    // It is not the network that kept us from it.
    assert_eq!(outcome(&called_back(server.api(), &at("public.example")).await), "delivered");
    assert_eq!(everybody.dialled()[before..], [address(PUBLIC)]);
}

async fn of_a_mixed_answer_only_what_is_public_is_dialled() {
    let everybody = everybody().await;
    let _names = Names::start(|_, _| {
        Answer::to(&[
            "10.0.0.1",
            "169.254.169.254",
            PUBLIC,
            "192.168.0.1",
            "::1",
            "::ffff:10.0.0.1",
            "fd00::1",
        ])
    })
    .await;
    let server = Ringback::start(strict()).await;
    for n in 0..5 {
        let delivery = called_back(server.api(), &at(&format!("mixed{n}.example"))).await;
        assert_eq!(outcome(&delivery), "delivered", "{delivery:#}");
        assert_eq!(delivery["attempts"][0]["remote_address"], PUBLIC);
    }
    let others: Vec<_> = everybody.dialled().into_iter().filter(|a| *a != address(PUBLIC)).collect();
    assert_eq!(others, [] as [IpAddr; 0]);
}

async fn the_operator_opens_ranges_and_nothing_beside_them() {
    let everybody = everybody().await;
    let _names = Names::start(|name, _| match name {
        "inside.example" => Answer::to(&["10.1.2.3"]),
        "beside.example" => Answer::to(&["10.2.0.1"]),
        "mapped.example" => Answer::to(&["::ffff:10.1.2.3"]),
        "private6.example" => Answer::to(&["fd12::1"]),
        "beside6.example" => Answer::to(&["fe00::1"]),
        "neighbour.example" => Answer::to(&["169.254.169.253"]),
        "metadata.example" => Answer::to(&["169.254.169.254"]),
        "own.example" => Answer::to(&[island::OWN]),
        _ => Answer::NoSuchName,
    })
    .await;
    let ranges = r#"["10.1.0.0/16", "fd00::/8", "169.254.0.0/16", "11.22.33.0/24"]"#;
    let server = Ringback::start(strict().with("delivery.allow_cidrs", ranges)).await;
    let ipv6 = island::has_ipv6();
    for (name, expected) in [
        ("inside.example", "delivered"),
        ("beside.example", "address_blocked"),
        ("mapped.example", "address_blocked"),
        ("private6.example", if ipv6 { "delivered" } else { "connect" }),
        ("beside6.example", "address_blocked"),
        ("neighbour.example", "delivered"),
        ("metadata.example", "address_blocked"),
        ("own.example", "delivered"),
    ] {
        let delivery = called_back(server.api(), &at(name)).await;
        assert_eq!(outcome(&delivery), expected, "{name}: {delivery:#}");
    }
    let mut dialled: Vec<_> = everybody.dialled();
    let mut opened = vec![address("10.1.2.3"), address("169.254.169.253"), address(island::OWN)];
    if ipv6 {
        opened.push(address("fd12::1"));
    }
    dialled.sort_unstable();
    opened.sort_unstable();
    assert_eq!(dialled, opened);

    // The metadata address opens by a range that is it alone.
    let exact = r#"["169.254.169.254/32"]"#;
    let server = Ringback::start(strict().with("delivery.allow_cidrs", exact)).await;
    assert_eq!(outcome(&called_back(server.api(), &at("metadata.example")).await), "delivered");
}

/// As in a compose file: `http://app:8080/` is a name of one label, found by this machine's search list. It takes both
/// keys: the name passes by `allow_hosts`, its address by `allow_cidrs`.
async fn names_of_the_operators_own_network() {
    let everybody = everybody().await;
    let (within, outside) = (format!("app.{}", island::SEARCH), format!("hooks.example.{}", island::SEARCH));
    let zone = (within.clone(), outside.clone());
    let names = Names::start(move |name, _| {
        if name == zone.0 || name == zone.1 { Answer::to(&["172.18.0.5"]) } else { Answer::NoSuchName }
    })
    .await;
    let named: Config = strict().with("delivery.allow_hosts", r#"["app"]"#);
    let server = Ringback::start(named.clone()).await;
    assert_eq!(outcome(&called_back(server.api(), &at("app")).await), "address_blocked");
    assert_eq!(everybody.connections(), 0);

    let opened = named.with("delivery.allow_cidrs", r#"["172.18.0.0/16"]"#);
    let server = Ringback::start(opened).await;
    assert_eq!(outcome(&called_back(server.api(), &at("app")).await), "delivered");
    assert_eq!(everybody.dialled(), [address("172.18.0.5")]);
    assert!(names.asked(&within) > 0);

    // Anybody else's name is absolute: a search list would send the event to a stranger inside.
    assert_eq!(outcome(&called_back(server.api(), &at("hooks.example")).await), "dns");
    assert_eq!((names.asked(&outside), names.asked("hooks.example")), (0, 1));
    assert_eq!(everybody.connections(), 1);
}
