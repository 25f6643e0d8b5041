use super::*;

fn judged(policy: &EgressPolicy, address: &str) -> bool {
    policy.judge(address.parse().unwrap()).is_ok()
}

fn allowing(ranges: &[&str]) -> EgressPolicy {
    EgressPolicy { allow: ranges.iter().map(|r| r.parse().unwrap()).collect(), own: vec![] }
}

/// The IANA IPv4 and IPv6 Special-Purpose Address Registries: range, "globally reachable" as stated there (`None`
/// where it says N/A or, for what was terminated, nothing), name.
///
/// Compared row by row with a copy of both published CSV files (iana-ipv4-special-registry-1.csv and
/// iana-ipv6-special-registry-1.csv) that was fetched from iana.org on 2026-07-18: 26 and 25 ranges, all of them here, no
/// other here, each with the reachability stated there. 192.0.0.170/32 and 192.0.0.171/32 share one row there. The newest
/// row was 100:0:0:1::/64 of 2025-04.
const REGISTRY: [(&str, Option<bool>, &str); 51] = [
    ("0.0.0.0/8", Some(false), "this network"),
    ("0.0.0.0/32", Some(false), "this host on this network"),
    ("10.0.0.0/8", Some(false), "private use"),
    ("100.64.0.0/10", Some(false), "shared address space"),
    ("127.0.0.0/8", Some(false), "loopback"),
    ("169.254.0.0/16", Some(false), "link local"),
    ("172.16.0.0/12", Some(false), "private use"),
    ("192.0.0.0/24", Some(false), "IETF protocol assignments"),
    ("192.0.0.0/29", Some(false), "IPv4 service continuity prefix"),
    ("192.0.0.8/32", Some(false), "IPv4 dummy address"),
    ("192.0.0.9/32", Some(true), "port control protocol anycast"),
    ("192.0.0.10/32", Some(true), "traversal using relays around NAT anycast"),
    ("192.0.0.170/32", Some(false), "NAT64/DNS64 discovery"),
    ("192.0.0.171/32", Some(false), "NAT64/DNS64 discovery"),
    ("192.0.2.0/24", Some(false), "documentation (TEST-NET-1)"),
    ("192.31.196.0/24", Some(true), "AS112-v4"),
    ("192.52.193.0/24", Some(true), "AMT"),
    ("192.88.99.0/24", None, "deprecated (6to4 relay anycast)"),
    ("192.88.99.2/32", Some(false), "6a44 relay anycast address"),
    ("192.168.0.0/16", Some(false), "private use"),
    ("192.175.48.0/24", Some(true), "direct delegation AS112 service"),
    ("198.18.0.0/15", Some(false), "benchmarking"),
    ("198.51.100.0/24", Some(false), "documentation (TEST-NET-2)"),
    ("203.0.113.0/24", Some(false), "documentation (TEST-NET-3)"),
    ("240.0.0.0/4", Some(false), "reserved"),
    ("255.255.255.255/32", Some(false), "limited broadcast"),
    ("::1/128", Some(false), "loopback address"),
    ("::/128", Some(false), "unspecified address"),
    ("::ffff:0:0/96", Some(false), "IPv4-mapped address"),
    ("64:ff9b::/96", Some(true), "IPv4-IPv6 translation"),
    ("64:ff9b:1::/48", Some(false), "IPv4-IPv6 translation"),
    ("100::/64", Some(false), "discard-only address block"),
    ("100:0:0:1::/64", Some(false), "dummy IPv6 prefix"),
    ("2001::/23", Some(false), "IETF protocol assignments"),
    ("2001::/32", None, "TEREDO"),
    ("2001:1::1/128", Some(true), "port control protocol anycast"),
    ("2001:1::2/128", Some(true), "traversal using relays around NAT anycast"),
    ("2001:1::3/128", Some(true), "DNS-SD service registration protocol anycast"),
    ("2001:2::/48", Some(false), "benchmarking"),
    ("2001:3::/32", Some(true), "AMT"),
    ("2001:4:112::/48", Some(true), "AS112-v6"),
    ("2001:10::/28", None, "deprecated (ORCHID)"),
    ("2001:20::/28", Some(true), "ORCHIDv2"),
    ("2001:30::/28", Some(true), "drone remote ID protocol entity tags"),
    ("2001:db8::/32", Some(false), "documentation"),
    ("2002::/16", None, "6to4"),
    ("2620:4f:8000::/48", Some(true), "direct delegation AS112 service"),
    ("3fff::/20", Some(false), "documentation"),
    ("5f00::/16", Some(false), "segment routing SIDs"),
    ("fc00::/7", Some(false), "unique-local"),
    ("fe80::/10", Some(false), "link-local unicast"),
];

/// Denied, though no row of the registries says so: multicast, Azure's wire server, the 6bone.
const BEYOND_THE_REGISTRY: [&str; 3] = ["224.0.0.0/4", "168.63.129.16/32", "3ffe::/16"];

fn table() -> Vec<IpNet> {
    let v4 = DENIED_V4.map(|(range, bits)| IpNet::new(range.into(), bits).unwrap());
    let v6 = DENIED_V6.map(|(range, bits)| IpNet::new(range.into(), bits).unwrap());
    [&v4[..], &v6[..]].concat()
}

/// Also those that the registry calls globally reachable: no receiver of webhooks lives there.
#[test]
fn denies_every_row_of_the_registries_from_end_to_end() {
    let policy = EgressPolicy::default();
    for (range, _, name) in REGISTRY {
        let range: IpNet = range.parse().unwrap();
        assert_eq!(range, range.trunc(), "{name}");
        for address in [range.network(), range.broadcast()] {
            assert_eq!(policy.judge(address), Err(Denied::Range(address)), "{name}");
        }
        let within = |denied: &IpNet| denied.contains(&range);
        let global = IpNet::new(GLOBAL_V6.0.into(), GLOBAL_V6.1).unwrap();
        let outside = range.addr().is_ipv6() && !global.contains(&range.addr());
        assert!(outside || table().iter().any(within), "{range} {name}: within one range as a whole");
    }
}

#[test]
fn denies_nothing_of_its_own_invention() {
    for range in table() {
        let known =
            REGISTRY.iter().map(|row| row.0).chain(BEYOND_THE_REGISTRY).any(|r| r == range.to_string());
        assert!(known, "{range}");
        assert_eq!(range, range.trunc());
    }
}

#[test]
fn allows_the_neighbours_of_every_range() {
    let policy = EgressPolicy::default();
    let neighbours: &[(&str, bool)] = &[
        ("1.0.0.0", true),
        ("9.255.255.255", true),
        ("11.0.0.0", true),
        ("100.63.255.255", true),
        ("100.128.0.0", true),
        ("126.255.255.255", true),
        ("128.0.0.0", true),
        ("168.63.129.15", true),
        ("168.63.129.16", false),
        ("168.63.129.17", true),
        ("169.253.255.255", true),
        ("169.255.0.0", true),
        ("172.15.255.255", true),
        ("172.32.0.0", true),
        ("191.255.255.255", true),
        ("192.0.1.0", true),
        ("192.0.1.255", true),
        ("192.0.3.0", true),
        ("192.31.195.255", true),
        ("192.31.197.0", true),
        ("192.52.192.255", true),
        ("192.52.194.0", true),
        ("192.88.98.255", true),
        ("192.88.100.0", true),
        ("192.167.255.255", true),
        ("192.169.0.0", true),
        ("192.175.47.255", true),
        ("192.175.49.0", true),
        ("198.17.255.255", true),
        ("198.20.0.0", true),
        ("198.51.99.255", true),
        ("198.51.101.0", true),
        ("203.0.112.255", true),
        ("203.0.114.0", true),
        ("223.255.255.255", true),
        ("224.0.0.0", false),
        ("239.255.255.255", false),
        ("8.8.8.8", true),
        ("1fff:ffff::", false),
        ("2000::", true),
        ("2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true),
        ("2001:1ff:ffff::", false),
        ("2001:200::", true),
        ("2001:db7:ffff::", true),
        ("2001:db9::", true),
        ("2001:ffff::", true),
        ("2003::", true),
        ("2620:4f:7fff::", true),
        ("2620:4f:8001::", true),
        ("3ffd:ffff::", true),
        ("3ffe::", false),
        ("3ffe:ffff::", false),
        ("3fff:fff:ffff::", false),
        ("3fff:1000::", true),
        ("3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true),
        ("4000::", false),
        ("2606:4700:4700::1111", true),
    ];
    for &(address, allowed) in neighbours {
        assert_eq!(judged(&policy, address), allowed, "{address}");
    }
}

#[test]
fn denies_ipv4_hidden_in_ipv6_whatever_it_is() {
    let policy = EgressPolicy::default();
    for address in [
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::127.0.0.1",
        "::8.8.8.8",
        "::ffff:0:8.8.8.8",
        "64:ff9b::7f00:1",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::8.8.8.8",
        "2002:7f00:1::",
        "2002:808:808::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2606:4700::5efe:127.0.0.1",
        "2606:4700::200:5efe:8.8.8.8",
        "fe80::5efe:10.0.0.1",
        "fec0::1",
        "fd00:ec2::254",
        "ff02::1",
        "ff0e::1",
    ] {
        assert!(!judged(&policy, address), "{address}");
    }
    assert!(judged(&policy, "2606:4700::100:5efe:0:1"));
    assert!(judged(&policy, "2606:4700::5eff:0:1"));
}

#[test]
fn opens_what_the_operator_opens() {
    for (ranges, address, allowed) in [
        (&["127.0.0.0/8"][..], "127.0.0.1", true),
        (&["127.0.0.0/8"], "128.0.0.1", true),
        (&["127.0.0.0/8"], "10.0.0.1", false),
        (&["127.0.0.0/8"], "::ffff:127.0.0.1", false),
        (&["10.1.0.0/16", "::1/128"], "10.1.2.3", true),
        (&["10.1.0.0/16", "::1/128"], "10.2.0.0", false),
        (&["10.1.0.0/16", "::1/128"], "::1", true),
        (&["10.1.0.0/16", "::1/128"], "::2", false),
        (&["10.1.2.3/16"], "10.1.9.9", true),
        (&["fd00::/8"], "fd12::1", true),
        (&["2002::/16"], "2002:7f00:1::", true),
        (&["::/0"], "ff02::1", true),
        (&["::/0"], "127.0.0.1", false),
        (&["0.0.0.0/0"], "224.0.0.1", true),
        (&["0.0.0.0/0"], "169.254.169.253", true),
        (&["0.0.0.0/0"], "169.254.169.254", false),
        (&["169.254.0.0/16"], "169.254.169.254", false),
        (&["169.254.169.254/31"], "169.254.169.254", false),
        (&["169.254.169.254/32"], "169.254.169.254", true),
        (&["0.0.0.0/0", "169.254.169.254/32"], "169.254.169.254", true),
        (&["::/0"], "::ffff:169.254.169.254", false),
        (&["::ffff:0:0/96"], "::ffff:169.254.169.254", false),
        (&["::ffff:0:0/96"], "::ffff:10.0.0.1", true),
        (&["64:ff9b::/96"], "64:ff9b::a9fe:a9fe", false),
        (&["64:ff9b::/96"], "64:ff9b::808:808", true),
        (&["::ffff:169.254.169.254/128"], "::ffff:169.254.169.254", true),
    ] {
        assert_eq!(judged(&allowing(ranges), address), allowed, "{address} with {ranges:?}");
    }
}

#[test]
fn denies_our_own_addresses_unless_opened() {
    let mine: IpAddr = "8.8.4.4".parse().unwrap();
    let mut policy = EgressPolicy { allow: vec![], own: vec![mine, "2606:4700::1".parse().unwrap()] };
    assert_eq!(policy.judge(mine), Err(Denied::Own(mine)));
    assert!(!judged(&policy, "2606:4700::1"));
    assert!(judged(&policy, "8.8.8.8"));
    policy.allow.push("8.8.4.0/24".parse().unwrap());
    assert_eq!(policy.judge(mine), Ok(()));
}
