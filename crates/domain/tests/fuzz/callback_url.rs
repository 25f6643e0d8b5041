//! Rules U1 to U7: what they let through is read the same by two parsers, and leads to nowhere that is denied.

use proptest::prelude::*;
use ringback_domain::callback_url::{Host, UrlPolicy, judge};

/// URLs as an attacker would write them: every part right, nearly right, or a trick.
fn url() -> impl Strategy<Value = String> {
    let scheme = prop_oneof![
        8 => Just("https://"),
        2 => Just("http://"),
        1 => prop::sample::select(vec!["HTTPS://", "https:/", "https:", "https:///", "https:\\\\", "//", "ftp://", "hTtPs://", "\thttps://"]),
    ];
    let user = prop_oneof![9 => Just(""), 1 => prop::sample::select(vec!["@", "u@", "u:p@", ":@", "%40@"])];
    let host = prop_oneof![
        4 => "[a-z0-9_-]{1,12}(\\.[a-zA-Z0-9_-]{1,8}){0,3}",
        2 => (any::<u32>()).prop_map(|bits| std::net::Ipv4Addr::from(bits).to_string()),
        2 => (any::<u128>()).prop_map(|bits| format!("[{}]", std::net::Ipv6Addr::from(bits))),
        1 => (any::<u32>()).prop_map(|bits| format!("[::ffff:{}]", std::net::Ipv4Addr::from(bits))),
        1 => (any::<u32>()).prop_map(|bits| format!("[64:ff9b::{:x}:{:x}]", bits >> 16, bits & 0xffff)),
        1 => "[0-9]{1,10}",
        1 => "0x[0-9a-f]{1,8}",
        1 => "[0-9]{1,4}(\\.[0-9]{1,4}){1,4}",
        1 => "\\PC{1,8}\\.\\PC{1,4}",
        1 => "[a-z.%\\[\\]:-]{1,12}",
        1 => prop::sample::select(vec![
            "localhost", "a.localhost", "x.local", "y.internal", "z.home.arpa", "metadata.google.internal",
            "127.0.0.1", "169.254.169.254", "[::1]", "[fe80::1%25eth0]", "１２７.0.0.1", "127。0。0。1", "a..b", "a.b.",
        ]).prop_map(str::to_owned),
    ];
    let port = prop_oneof![
        6 => Just(String::new()),
        2 => (0_u32..70_000).prop_map(|port| format!(":{port}")),
        1 => "[:0-9]{1,6}",
    ];
    let path = prop_oneof![
        3 => Just("/hooks".to_owned()),
        2 => "(/[!-~]{0,8}){0,3}(\\?[!-~]{0,8})?",
        1 => "\\PC{0,12}",
        1 => "[/\\\\@#?\t\r\n ]{0,4}",
    ];
    (scheme, user, host, port, path)
        .prop_map(|(scheme, user, host, port, path)| format!("{scheme}{user}{host}{port}{path}"))
}

proptest! {
    #![proptest_config(super::cases(20_000))]

    #[test]
    fn what_passes_is_read_the_same_by_everybody(raw in prop_oneof![8 => url(), 1 => any::<String>(), 1 => "https://\\PC*"]) {
        let policy = UrlPolicy::default();
        let Ok(accepted) = judge(&raw, &policy) else { return Ok(()) };
        let text = accepted.as_str();
        prop_assert!(raw.len() <= 2_048 && raw.bytes().all(|byte| (0x21..=0x7e).contains(&byte)), "{raw:?}");
        prop_assert!(!raw.contains('#') && text.starts_with("https://"), "{raw:?}");
        // What it is written as is itself accepted, and stays what it is.
        prop_assert_eq!(judge(text, &policy).map(|again| again.as_str().to_owned()), Ok(text.to_owned()));
        // A parser that shares nothing with the one that wrote it.
        let uri: http::Uri = text.parse().map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        let authority = uri.authority().expect("it has one");
        prop_assert!(!authority.as_str().contains('@'));
        prop_assert_eq!(authority.host(), accepted.host().to_string());
        prop_assert_eq!(authority.port_u16().unwrap_or(443), accepted.port());
        prop_assert!(accepted.port() == 443 || accepted.port() >= 1_024);
        match accepted.host() {
            Host::Address(address) => prop_assert!(policy.egress.judge(*address).is_ok(), "{address}"),
            Host::Name(name) => {
                prop_assert!(name.contains('.') && name.parse::<std::net::IpAddr>().is_err(), "{name}");
                for local in [".localhost", ".local", ".internal", ".home.arpa"] {
                    prop_assert!(!name.ends_with(local), "{name}");
                }
            }
        }
    }
}
