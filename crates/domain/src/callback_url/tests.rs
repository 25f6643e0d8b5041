use super::*;

fn strict() -> UrlPolicy {
    UrlPolicy::default()
}

/// What `dev` and tests allow.
fn open() -> UrlPolicy {
    UrlPolicy {
        allow_http: true,
        allow_ports: vec![22],
        allow_hosts: ["localhost", "app", "*.internal"].map(|p| p.parse().unwrap()).to_vec(),
        egress: EgressPolicy {
            allow: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
            own: vec![],
        },
    }
}

fn rule(raw: &str, policy: &UrlPolicy) -> Option<Rule> {
    judge(raw, policy).err().map(|refusal| refusal.rule)
}

#[track_caller]
fn refused(raw: &str, expected: Rule) {
    assert_eq!(rule(raw, &strict()), Some(expected), "{raw:?}");
}

#[test]
fn accepts_and_writes_as_the_url_crate_does() {
    for (raw, written) in [
        ("https://partner.example/hooks", "https://partner.example/hooks"),
        ("https://partner.example", "https://partner.example/"),
        ("https://partner.example?a=b", "https://partner.example/?a=b"),
        ("HTTPS://Partner.EXAMPLE/Hooks", "https://partner.example/Hooks"),
        ("https://partner.example:443/", "https://partner.example/"),
        ("https://partner.example:8443/", "https://partner.example:8443/"),
        ("https://partner.example:1024/", "https://partner.example:1024/"),
        ("https://partner.example:65535/", "https://partner.example:65535/"),
        ("https://partner.example/a/../b/./c", "https://partner.example/b/c"),
        ("https://partner.example/a%2Fb?x=%20'y'", "https://partner.example/a%2Fb?x=%20%27y%27"),
        (
            "https://partner.example/a@b:c//d?e@f=https://g/",
            "https://partner.example/a@b:c//d?e@f=https://g/",
        ),
        ("https://partner.example/[x]?y[]=1", "https://partner.example/[x]?y[]=1"),
        ("https://_dmarc.a_b.example/", "https://_dmarc.a_b.example/"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("https://XN--BCHER-KVA.example/", "https://xn--bcher-kva.example/"),
        ("https://a--b.example/", "https://a--b.example/"),
        ("https://1.2.3.4.example/", "https://1.2.3.4.example/"),
        ("https://127.0.0.1.example/", "https://127.0.0.1.example/"),
        ("https://0x7f.example/", "https://0x7f.example/"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://[2606:4700:4700::1111]/", "https://[2606:4700:4700::1111]/"),
        ("https://[2606:4700:4700:0:0:0:0:1111]:8443/x", "https://[2606:4700:4700::1111]:8443/x"),
        ("https://[2606:4700:4700:0000::1111]/", "https://[2606:4700:4700::1111]/"),
        ("https://[2606:4700::8.8.8.8]/", "https://[2606:4700::808:808]/"),
        ("https://[2A00:1450::ABCD]/", "https://[2a00:1450::abcd]/"),
        ("https://locals.example/", "https://locals.example/"),
        ("https://xlocal.example.com/", "https://xlocal.example.com/"),
        ("https://notlocal/", ""),
    ] {
        match judge(raw, &strict()) {
            Ok(url) => {
                assert_eq!(url.as_str(), written);
                assert_eq!(CallbackUrl::stored(url.as_str()), Ok(url.clone()));
                assert_eq!(judge(url.as_str(), &strict()), Ok(url));
            }
            Err(refusal) => assert_eq!((written, refusal.rule), ("", Rule::U4), "{raw} {refusal}"),
        }
    }
}

#[test]
fn says_what_to_dial_and_to_send() {
    let name = |n: &str| Host::Name(n.to_owned());
    let address = |a: &str| Host::Address(a.parse().unwrap());
    for (raw, https, host, port, authority, path) in [
        ("https://A.example", true, name("a.example"), 443, "a.example", "/"),
        ("https://a.example:443/x?y=z", true, name("a.example"), 443, "a.example", "/x?y=z"),
        ("http://a.example/", false, name("a.example"), 80, "a.example", "/"),
        ("http://a.example:443?q", false, name("a.example"), 443, "a.example:443", "/?q"),
        ("http://localhost:9000/x", false, name("localhost"), 9000, "localhost:9000", "/x"),
        ("http://127.0.0.1:22/", false, address("127.0.0.1"), 22, "127.0.0.1:22", "/"),
        ("https://[::1]:8202/x", true, address("::1"), 8202, "[::1]:8202", "/x"),
    ] {
        let url = judge(raw, &open()).unwrap();
        assert_eq!((url.is_https(), url.host(), url.port()), (https, &host, port), "{raw}");
        assert_eq!((url.authority(), url.path_and_query()), (authority, path), "{raw}");
        assert!(url.authority().starts_with(&host.to_string()));
    }
}

#[test]
fn u1_length_and_bytes() {
    let of_length = |n: usize| format!("https://a.example/{}", "x".repeat(n - 18));
    assert_eq!(rule(&of_length(2_048), &strict()), None);
    refused(&of_length(2_049), Rule::U1);
    refused("", Rule::U1);
    for byte in 0..=0x7f_u8 {
        let byte = char::from(byte);
        let forbidden = !byte.is_ascii_graphic() || "\\\"<>^{|}`".contains(byte);
        for raw in [format!("https://a.example/{byte}"), format!("https://a.example/?{byte}")] {
            let expected = if byte == '#' { Some(Rule::U3) } else { forbidden.then_some(Rule::U1) };
            assert_eq!(rule(&raw, &strict()), expected, "{raw:?}");
        }
    }
    for raw in [
        " https://hooks.example.com/",
        "https://hooks.example.com/ ",
        "\thttps://hooks.example.com/",
        "https://hooks.example.com/\n",
        "https://ho\toks.example.com/",
        "ht\ntps://hooks.example.com/",
        "https://hooks.example.com\\@evil.example/",
        "https:\\\\hooks.example.com/",
        "https://bücher.example/",
        "https://１２７.0.0.1/",
        "https://127。0。0。1/",
        "https://hooks.example.com\u{ff0f}x/",
        "https://ⓔxample.com/",
        "https://a\u{ad}b.example/",
        "https://hooks.example.com/é",
        "https://hooks.example.com/\u{7f}",
        "https://hooks.example.com/\0",
    ] {
        refused(raw, Rule::U1);
    }
}

#[test]
fn u2_scheme_and_authority() {
    for raw in [
        "hooks.example.com/x",
        "hooks.example.com",
        "//hooks.example.com/x",
        "/x",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "javascript:1",
        "javascript://hooks.example.com/%0aalert(1)",
        "ws://hooks.example.com/",
        "wss://hooks.example.com/",
        "data:text/plain,x",
        "gopher://hooks.example.com/",
        "httpss://hooks.example.com/",
        "xhttps://hooks.example.com/",
        "https:hooks.example.com/",
        "https:/hooks.example.com/",
        "https:///hooks.example.com/",
        "https:////hooks.example.com/",
        "https://",
        "https:///",
        "https://?x",
        "https://#x",
        "http:/\u{2f}/",
        "https",
        "https:",
        ":",
        "://hooks.example.com/",
        "x",
    ] {
        refused(raw, Rule::U2);
    }
}

#[test]
fn u3_credentials_and_fragment() {
    for raw in [
        "https://user:pw@hooks.example.com/",
        "https://user@hooks.example.com/",
        "https://@hooks.example.com/",
        "https://:@hooks.example.com/",
        "https://hooks.example.com@127.0.0.1/",
        "https://hooks.example.com:443@127.0.0.1/",
        "https://127.0.0.1:80@hooks.example.com",
        "https://a@b@hooks.example.com/",
        "https://hooks.example.com@",
        "https://hooks.example.com/#f",
        "https://hooks.example.com/#",
        "https://hooks.example.com#f",
        "https://hooks.example.com#@127.0.0.1/",
        "https://hooks.example.com/x?y#z",
    ] {
        refused(raw, Rule::U3);
    }
}

#[test]
fn u4_names() {
    let label = |n: usize| "a".repeat(n);
    assert_eq!(rule(&format!("https://{}.example/", label(63)), &strict()), None);
    refused(&format!("https://{}.example/", label(64)), Rule::U4);
    let [a, b, c, d] = [63, 63, 63, 61].map(label);
    assert_eq!(rule(&format!("https://{a}.{b}.{c}.{d}/"), &strict()), None);
    refused(&format!("https://{a}.{b}.{c}.{d}a/"), Rule::U4);
    for raw in [
        "https://hooks.example.com./",
        "https://hooks.example.com.:443/",
        "https://a..b.example/",
        "https://.example.com/",
        "https://./",
        "https://../",
        "https://localhost/",
        "https://localhost./",
        "https://LOCALHOST/",
        "https://app:8080/",
        "https://intranet/",
        "https://internal/",
        "https://-a.example/",
        "https://a-.example/",
        "https://a.-b/",
        "https://a.b-/",
        "https://a!b.example/",
        "https://a*b.example/",
        "https://*.example.com/",
        "https://a,b.example/",
        "https://a;b.example/",
        "https://a=b.example/",
        "https://a'b.example/",
        "https://a(b).example/",
        "https://a~b.example/",
        "https://a+b.example/",
        "https://a&b.example/",
        "https://a$b.example/",
        "https://hooks%2eexample.com/",
        "https://%68ooks.example.com/",
        "https://127.0.0.%31/",
        "https://hooks.example.com%00.evil.example/",
        "https://hooks.example.com%2f.evil.example/",
        "https://hooks.example.com%40evil.example/",
        "https://:443/",
        "https://:/",
        "https://]/",
        "https://a]b.example/",
    ] {
        refused(raw, Rule::U4);
    }
}

#[test]
fn u4_addresses() {
    for raw in [
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0X7F000001/",
        "https://017700000001/",
        "https://0177.0.0.1/",
        "https://0x7f.0.0.1/",
        "https://0x7f.1/",
        "https://127.0x1/",
        "https://127.0.0x1/",
        "https://127.0.0.0x1/",
        "https://a.0xyz/",
        "https://a.0x/",
        "https://127.1/",
        "https://127.0.1/",
        "https://127.0.0.01/",
        "https://127.0.0.1./",
        "https://127.0.0.1.1/",
        "https://127.00.0.1/",
        "https://8.8.8.008/",
        "https://256.1.1.1/",
        "https://1.2.3.256/",
        "https://1.2.3/",
        "https://1.2.3.4.5/",
        "https://a.1/",
        "https://0/",
        "https://0.0/",
        "https://4294967296/",
        "https://[fe80::1%25eth0]/",
        "https://[fe80::1%eth0]/",
        "https://[::1%25]/",
        "https://[::1/",
        "https://[::1]x/",
        "https://[::1]8443/",
        "https://[]/",
        "https://[127.0.0.1]/",
        "https://[a.example]/",
        "https://[::127.1]/",
        "https://[::ffff:0x7f.0.0.1]/",
        "https://[::ffff:127.0.0.01]/",
        "https://[1::2::3]/",
        "https://[:1]/",
        "https://[00000::1]/",
        "https://[v1.x]/",
        "https://[[::1]]/",
        "https://::1/",
    ] {
        refused(raw, Rule::U4);
    }
}

#[test]
fn u5_one_reading_of_host_and_port() {
    for port in [
        "",
        "0",
        "00",
        "080",
        "0443",
        "65536",
        "99999",
        "4294967739",
        "-1",
        "+443",
        "443a",
        "x",
        "443:443",
        "%34",
    ] {
        refused(&format!("https://hooks.example.com:{port}/"), Rule::U5);
        refused(&format!("https://[2606:4700::1]:{port}/"), Rule::U5);
    }
    refused("https://2606:4700::1/", Rule::U4);
    refused("https://hooks.example.com:", Rule::U5);
    refused("https://hooks.example.com:?x", Rule::U5);
    // Punycode that decodes to nothing, or to what would be written otherwise.
    for label in ["xn--", "xn--a", "xn--abc-", "xn--0", "xn--80aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa99"] {
        let verdict = rule(&format!("https://{label}.example/"), &strict());
        assert!(matches!(verdict, Some(Rule::U4 | Rule::U5)), "{label} {verdict:?}");
    }
}

#[test]
fn u6_addresses_and_local_names() {
    for host in [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "168.63.129.16",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[0000:0000:0000:0000:0000:0000:0000:0001]",
        "[::ffff:127.0.0.1]",
        "[::FFFF:7F00:1]",
        "[0:0:0:0:0:ffff:169.254.169.254]",
        "[::127.0.0.1]",
        "[::ffff:8.8.8.8]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::169.254.169.254]",
        "[64:ff9b:1::a00:1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[2606:4700::5efe:7f00:1]",
        "[2606:4700::200:5efe:127.0.0.1]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[fec0::1]",
        "[ff02::1]",
        "[2001:db8::1]",
        "[3fff::1]",
        "[4000::1]",
        "a.localhost",
        "A.LocalHost",
        "printer.local",
        "a.b.internal",
        "metadata.google.internal",
        "METADATA.google.internal",
        "router.home.arpa",
    ] {
        refused(&format!("https://{host}/"), Rule::U6);
        // The address is named before the scheme or the port.
        refused(&format!("http://{host}:22/"), Rule::U6);
    }
}

#[test]
fn u7_scheme_and_port() {
    let http = UrlPolicy { allow_http: true, ..strict() };
    refused("http://hooks.example.com/", Rule::U7);
    refused("http://hooks.example.com:8443/", Rule::U7);
    assert_eq!(rule("http://hooks.example.com/", &http), None);
    assert_eq!(rule("http://hooks.example.com:80/", &http), None);
    assert_eq!(rule("http://hooks.example.com:443/", &http), None);
    assert_eq!(rule("https://hooks.example.com:80/", &http), Some(Rule::U7));
    assert_eq!(rule("http://hooks.example.com:81/", &http), Some(Rule::U7));
    // All ports, with the list of the Fetch standard in full.
    let bad_ports = [
        1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103,
        104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513,
        514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720,
        1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697,
        10080,
    ];
    for port in 1..=u16::MAX {
        let raw = format!("https://hooks.example.com:{port}/");
        let allowed = port == 443 || (port >= 1_024 && !bad_ports.contains(&port));
        assert_eq!(rule(&raw, &strict()), (!allowed).then_some(Rule::U7), "{port}");
    }
    let opened = UrlPolicy { allow_ports: vec![80, 25, 6667], ..strict() };
    for (port, expected) in
        [(80, None), (25, None), (6667, None), (22, Some(Rule::U7)), (6666, Some(Rule::U7))]
    {
        assert_eq!(rule(&format!("https://hooks.example.com:{port}/"), &opened), expected, "{port}");
    }
}

#[test]
fn what_the_operator_opens() {
    for (raw, expected) in [
        ("http://localhost:9000/", None),
        ("http://LOCALHOST:9000/", None),
        ("http://app:8080/", None),
        ("http://a.b.internal/", None),
        ("http://127.0.0.1:9000/", None),
        ("http://[::1]:9000/", None),
        ("http://localhost:22/", None),
        ("http://localhost./", Some(Rule::U4)),
        ("http://other:8080/", Some(Rule::U4)),
        ("http://internal/", Some(Rule::U4)),
        ("http://a.localhost/", Some(Rule::U6)),
        ("http://app.local/", Some(Rule::U6)),
        ("http://10.0.0.1/", Some(Rule::U6)),
        ("http://169.254.169.254/", Some(Rule::U6)),
        ("http://[::ffff:127.0.0.1]/", Some(Rule::U6)),
        ("http://127.1/", Some(Rule::U4)),
        ("http://localhost:25/", Some(Rule::U7)),
        ("http://user@localhost/", Some(Rule::U3)),
    ] {
        assert_eq!(rule(raw, &open()), expected, "{raw}");
    }
}

#[test]
fn names_the_problem_by_the_first_rule_broken() {
    for (raw, slug) in [
        ("", "callback-url-invalid"),
        ("ftp://x", "callback-url-invalid"),
        ("https://u@127.0.0.1/", "callback-url-invalid"),
        ("https://127.1/", "callback-url-invalid"),
        ("https://127.0.0.1:0/", "callback-url-invalid"),
        ("http://127.0.0.1:22/", "callback-address-blocked"),
        ("https://hooks.example.com:22/", "callback-url-forbidden"),
    ] {
        assert_eq!(judge(raw, &strict()).unwrap_err().slug(), slug, "{raw}");
    }
    let refusal = judge("https://user:hunter2@hooks.example.com/", &strict()).unwrap_err();
    assert!(!format!("{refusal} {refusal:?}").contains("hunter2"));
}

#[test]
fn is_a_string_in_json() {
    let url = judge("http://localhost:9000/x?y", &open()).unwrap();
    let json = serde_json::to_string(&url).unwrap();
    assert_eq!(json, "\"http://localhost:9000/x?y\"");
    assert_eq!(serde_json::from_str::<CallbackUrl>(&json).unwrap(), url);
    for text in ["", "x", "ftp://a.example/", "https://u@a.example/", "https://a.example/#f"] {
        assert_eq!(CallbackUrl::stored(text), Err(NotACallbackUrl), "{text}");
    }
}
