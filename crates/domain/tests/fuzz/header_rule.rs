//! Rule U8: what a callback may send along cannot frame a message, pose as somebody, or break out of its line.

use proptest::prelude::*;
use ringback_domain::header_rule::CustomHeaders;

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-zA-Z][a-zA-Z0-9-]{0,20}",
        1 => "\\PC{0,12}",
        1 => prop::sample::select(vec![
            "Host", "content-length", "Content-Type", "transfer-encoding", "TE", "trailer", "connection", "keep-alive",
            "upgrade", "expect", "proxy-authorization", "accept-encoding", "cookie", "forwarded", "x-forwarded-for",
            "webhook-id", "Ringback-Job-Id", "metadata", "metadata-flavor", "x-aws-ec2-metadata-token", "user-agent",
        ]).prop_map(str::to_owned),
        1 => "[a-z\r\n: ]{1,6}",
    ]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[ -~\t]{0,40}", 1 => "\\PC{0,12}", 1 => "[a-z\r\n\u{0}]{0,8}", 1 => "x{0,5000}"]
}

proptest! {
    #![proptest_config(super::cases(20_000))]

    #[test]
    fn what_passes_is_a_line_of_its_own_and_nobody_elses(pairs in prop::collection::vec((name(), value()), 0..24)) {
        let Ok(headers) = CustomHeaders::judge(pairs) else { return Ok(()) };
        let mut bytes = 0;
        let mut seen = std::collections::HashSet::new();
        for (name, value) in headers.iter() {
            bytes += name.len() + value.len();
            prop_assert!(http::HeaderName::from_lowercase(name.as_bytes()).is_ok(), "{name:?}");
            prop_assert!(http::HeaderValue::from_str(value).is_ok() && !value.contains(['\r', '\n']), "{value:?}");
            prop_assert!(seen.insert(name.to_owned()), "{name} comes twice");
            let reserved = ["host", "te", "trailer", "connection", "keep-alive", "upgrade", "expect", "cookie", "forwarded",
                "transfer-encoding", "accept-encoding", "metadata", "metadata-flavor"];
            prop_assert!(!reserved.contains(&name), "{name}");
            for start in ["content-", "proxy-", "x-forwarded-", "webhook-", "ringback-", "x-aws-ec2-metadata-"] {
                prop_assert!(!name.starts_with(start), "{name}");
            }
        }
        prop_assert!(seen.len() <= 20 && bytes <= 4_096);
    }
}
