//! Callback URLs as they are judged at submission, with the rules a production server has.

use ringback_tests::{Config, Ringback};
use serde_json::{Value, json};

async fn strict() -> Ringback {
    Ringback::start(Config::sqlite().without("delivery.allow_http").without("delivery.allow_cidrs")).await
}

async fn assert_judged(server: &Ringback, cases: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (url, slug) in cases {
        // A delay: what is accepted here must not be sent anywhere.
        let answer = server.api().submit(&json!({ "task": "echo", "callback": url, "delay": "300d" })).await;
        let got: Value = answer.json();
        let right = match *slug {
            "accepted" => answer.status == 202,
            slug => answer.status == 422 && got["type"] == format!("/problems/{slug}"),
        };
        if !right {
            wrong.push(format!("{url:?}: wanted {slug}, got {} {}", answer.status, got["type"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn urls_that_are_none() {
    let server = strict().await;
    let long = |length: usize| format!("https://hooks.example.com/{}", "x".repeat(length - 26));
    let (fits, too_long) = (long(2048), long(2049));
    let label = format!("https://{}.example.com/", "a".repeat(64));
    let host = format!("https://{}example.com/", "a.".repeat(122));
    let invalid = "callback-url-invalid";
    assert_judged(
        &server,
        &[
            ("", invalid),
            ("hooks.example.com/x", invalid),
            ("//hooks.example.com/x", invalid),
            ("/x", invalid),
            ("ftp://hooks.example.com/", invalid),
            ("file:///etc/passwd", invalid),
            ("javascript:1", invalid),
            ("ws://hooks.example.com/", invalid),
            ("https:hooks.example.com", invalid),
            ("https:/hooks.example.com", invalid),
            ("https:///hooks.example.com", invalid),
            ("https://", invalid),
            ("https://user:pw@hooks.example.com/", invalid),
            ("https://@hooks.example.com/", invalid),
            ("https://hooks.example.com/#f", invalid),
            ("https://hooks.example.com./", invalid),
            ("https://hooks.example.com:0/", invalid),
            ("https://hooks.example.com:65536/", invalid),
            ("https://hooks.example.com:/", invalid),
            ("https://hooks.example.com:080/", invalid),
            (" https://hooks.example.com/", invalid),
            ("https://hooks.example.com/ ", invalid),
            ("https://hooks.example.com/a b", invalid),
            ("https://hooks.exa\tmple.com/", invalid),
            ("https://hooks.exa\nmple.com/", invalid),
            ("https://a..b.example/", invalid),
            ("https://-a.example/", invalid),
            ("https://a-.example/", invalid),
            (&label, invalid),
            (&host, invalid),
            (&too_long, invalid),
            ("https://2130706433/", invalid),
            ("https://0x7f000001/", invalid),
            ("https://0177.0.0.1/", invalid),
            ("https://127.1/", invalid),
            ("https://127.0.0.1.0x1/", invalid),
            ("https://a.example.123/", invalid),
            ("https://[fe80::1%25eth0]/", invalid),
            ("https://[::1/", invalid),
            ("https://hooks%2eexample.com/", invalid),
            ("https://%31%32%37.0.0.1/", invalid),
            ("https://\u{ff11}27.0.0.1/", invalid),
            ("https://b\u{fc}cher.example/", invalid),
            ("https://hooks.example.com\\@evil.example/", invalid),
            ("https://intranet/", invalid),
            (&fits, "accepted"),
            ("https://hooks.example.com", "accepted"),
            ("HTTPS://Hooks.Example.COM/x?y=z", "accepted"),
            ("https://xn--bcher-kva.example/", "accepted"),
            ("https://under_score.example.com/", "accepted"),
            ("https://hooks.example.com:8443/", "accepted"),
            ("https://hooks.example.com:443/", "accepted"),
        ],
    )
    .await;
}

#[tokio::test]
async fn schemes_and_ports_that_may_not_be() {
    let server = strict().await;
    let forbidden = "callback-url-forbidden";
    assert_judged(
        &server,
        &[
            ("http://hooks.example.com/", forbidden),
            ("https://hooks.example.com:22/", forbidden),
            ("https://hooks.example.com:25/", forbidden),
            ("https://hooks.example.com:80/", forbidden),
            ("https://hooks.example.com:6667/", forbidden),
            ("https://hooks.example.com:10080/", forbidden),
        ],
    )
    .await;
    let open = Config::sqlite().without("delivery.allow_cidrs").with("delivery.allow_ports", "[22]");
    let server = Ringback::start(open).await;
    assert_judged(
        &server,
        &[
            ("http://hooks.example.com/", "accepted"),
            ("http://hooks.example.com:80/", "accepted"),
            ("https://hooks.example.com:22/", "accepted"),
            ("https://hooks.example.com:25/", forbidden),
        ],
    )
    .await;
}

#[tokio::test]
async fn addresses_that_are_blocked() {
    let server = strict().await;
    let blocked = "callback-address-blocked";
    let mut cases: Vec<(String, &str)> = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.31.196.1",
        "192.52.193.1",
        "192.88.99.1",
        "192.168.0.1",
        "192.175.48.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "168.63.129.16",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:8.8.8.8]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::1]",
        "[2002:7f00:1::]",
        "[2001::1]",
        "[2001:db8::1]",
        "[3ffe::1]",
        "[3fff::1]",
        "[2620:4f:8000::1]",
        "[fc00::1]",
        "[fd00::1]",
        "[fe80::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[100::1]",
        "[2400:1::5efe:a00:1]",
        "[2400:1::200:5efe:a00:1]",
        "[0:0:0:0:0:0:0:1]",
        "[0000::1]",
        "a.localhost",
        "printer.local",
        "db.internal",
        "nas.home.arpa",
        "metadata.google.internal",
        "A.LOCALHOST",
    ]
    .into_iter()
    .map(|host| (format!("https://{host}/"), blocked))
    .collect();
    for public in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "[2606:4700::1111]", "[2001:4860:4860::8888]"] {
        cases.push((format!("https://{public}/"), "accepted"));
    }
    let cases: Vec<_> = cases.iter().map(|(url, slug)| (url.as_str(), *slug)).collect();
    assert_judged(&server, &cases).await;
}

/// The first rule broken, in the rules' order, names the problem.
#[tokio::test]
async fn the_first_broken_rule_names_it() {
    let server = strict().await;
    assert_judged(
        &server,
        &[
            ("http://user@127.0.0.1:22/", "callback-url-invalid"),
            ("http://127.0.0.1:22/", "callback-address-blocked"),
            ("http://hooks.example.com:22/", "callback-url-forbidden"),
        ],
    )
    .await;
}

#[tokio::test]
async fn names_that_the_operator_allows() {
    let names = r#"["localhost", "app", "*.svc.internal"]"#;
    let server = Ringback::start(Config::sqlite().with("delivery.allow_hosts", names)).await;
    assert_judged(
        &server,
        &[
            ("http://localhost:9000/", "accepted"),
            ("http://app:8080/", "accepted"),
            ("http://web.svc.internal/", "accepted"),
            ("http://svc.internal/", "callback-address-blocked"),
            ("http://other/", "callback-url-invalid"),
            ("http://127.0.0.1:9000/", "accepted"),
            ("http://10.0.0.1/", "callback-address-blocked"),
        ],
    )
    .await;
}
