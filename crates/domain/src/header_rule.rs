//! U8: the headers that a client may add to its callbacks.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor},
};

/// How many headers a callback may add.
const MOST: usize = 20;

/// How many bytes their names and values may take together.
const MOST_BYTES: usize = 4 * 1024;

/// Names that are ours, that frame the message, or that a metadata service takes as proof of a local caller.
const FORBIDDEN: [&str; 13] = [
    "host",
    "transfer-encoding",
    "te",
    "trailer",
    "connection",
    "keep-alive",
    "upgrade",
    "expect",
    "accept-encoding",
    "cookie",
    "forwarded",
    "metadata",
    "metadata-flavor",
];

/// The same, by how they start.
const FORBIDDEN_STARTS: [&str; 6] =
    ["content-", "proxy-", "x-forwarded-", "webhook-", "ringback-", "x-aws-ec2-metadata-"];

/// Headers that passed the rule, names in lower case. Values may be credentials: `Debug` shows names alone.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct CustomHeaders(Vec<(String, String)>);

/// Which header broke the rule, and how. Never holds a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct HeaderRefusal {
    /// The name as it was given, for a JSON pointer; `None` if it is all of them together.
    pub name: Option<String>,
    /// What is wrong, for a person.
    pub detail: &'static str,
}

impl CustomHeaders {
    /// Judges headers as given.
    ///
    /// # Errors
    /// With the first that breaks the rule.
    pub fn judge(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, HeaderRefusal> {
        let mut headers: Vec<(String, String)> = Vec::new();
        let mut bytes = 0;
        for (given, value) in pairs {
            let name = given.to_ascii_lowercase();
            bytes += name.len() + value.len();
            let whole = |detail| Err(HeaderRefusal { name: None, detail });
            if headers.len() == MOST {
                return whole("at most 20 headers");
            }
            if bytes > MOST_BYTES {
                return whole("at most 4 KiB of header names and values");
            }
            if let Some(detail) = fault(&name, &value, &headers) {
                return Err(HeaderRefusal { name: Some(given), detail });
            }
            headers.push((name, value));
        }
        Ok(Self(headers))
    }

    /// Name and value of each, in the order given.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn fault(name: &str, value: &str, before: &[(String, String)]) -> Option<&'static str> {
    if name.is_empty() || !name.bytes().all(is_token) {
        Some("not a header name (RFC 9110 section 5.6.2)")
    } else if FORBIDDEN.contains(&name) || FORBIDDEN_STARTS.iter().any(|start| name.starts_with(start)) {
        Some("this header may not be set")
    } else if before.iter().any(|(other, _)| other == name) {
        Some("the same header twice")
    } else if !value.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b)) {
        Some("a header value is visible ASCII, spaces and tabs")
    } else {
        None
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

impl fmt::Debug for CustomHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

impl Serialize for CustomHeaders {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for CustomHeaders {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = CustomHeaders;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of header names and values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CustomHeaders, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                CustomHeaders::judge(pairs).map_err(A::Error::custom)
            }
        }
        d.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(pairs: &[(&str, &str)]) -> Result<CustomHeaders, HeaderRefusal> {
        CustomHeaders::judge(pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())))
    }

    #[test]
    fn passes_what_may_be_set() {
        for (name, value) in [
            ("Authorization", "Bearer secret"),
            ("x-api-key", "k"),
            ("X-Custom", "a\tb c!~"),
            ("x-empty", ""),
            ("!#$%&'*+-.^_`|~09", "v"),
            ("hosts", "v"),
            ("content", "v"),
            ("te2", "v"),
            ("x-forwarded", "v"),
            ("metadata-x", "v"),
            ("webhooks", "v"),
            ("user-agent", "v"),
        ] {
            let headers = judge(&[(name, value)]).unwrap();
            assert_eq!(headers.iter().collect::<Vec<_>>(), [(name.to_lowercase().as_str(), value)]);
        }
        assert!(judge(&[]).unwrap().is_empty());
    }

    #[test]
    fn refuses_names_that_are_ours_in_any_case() {
        for name in [
            "Host",
            "content-type",
            "Content-Length",
            "content-encoding",
            "content-",
            "Transfer-Encoding",
            "TE",
            "trailer",
            "Connection",
            "keep-alive",
            "upgrade",
            "Expect",
            "proxy-authorization",
            "Proxy-Connection",
            "accept-encoding",
            "cookie",
            "Forwarded",
            "x-forwarded-for",
            "X-Forwarded-Host",
            "webhook-id",
            "Webhook-Signature",
            "webhook-anything",
            "ringback-job-id",
            "metadata",
            "Metadata-Flavor",
            "X-aws-ec2-metadata-token",
            "x-aws-ec2-metadata-token-ttl-seconds",
        ] {
            let refusal = judge(&[("x-fine", "v"), (name, "secret")]).unwrap_err();
            let expected =
                HeaderRefusal { name: Some(name.to_owned()), detail: "this header may not be set" };
            assert_eq!(refusal, expected);
        }
    }

    #[test]
    fn refuses_what_is_no_header() {
        for name in ["", "a b", "a:", "a\r\nb", "é", "a(b)", "a\"", "a/b", "a\0", "[a]", "a@b", "a=b", "a{}"]
        {
            assert_eq!(judge(&[(name, "v")]).unwrap_err().name.as_deref(), Some(name));
        }
        for value in
            ["secret\r\nx: y", "secret\n", "\rsecret", "secret\0", "secr\u{e9}t", "secret\u{7f}", "\u{1}"]
        {
            let refusal = judge(&[("x", value)]).unwrap_err();
            assert_eq!(refusal.name.as_deref(), Some("x"));
            assert!(!format!("{refusal} {refusal:?}").contains("sec"));
        }
        assert_eq!(judge(&[("X-Key", "1"), ("x-kEY", "1")]).unwrap_err().name.as_deref(), Some("x-kEY"));
    }

    #[test]
    fn bounds_number_and_size() {
        let many = |n: usize| CustomHeaders::judge((0..n).map(|i| (format!("x-{i}"), "v".to_owned())));
        assert_eq!(many(20).unwrap().iter().len(), 20);
        assert_eq!(many(21).unwrap_err().name, None);
        assert!(judge(&[("x", &"v".repeat(4_095))]).is_ok());
        assert_eq!(judge(&[("x", &"v".repeat(4_096))]).unwrap_err().name, None);
        assert!(judge(&[("x", &"v".repeat(2_047)), ("y", &"v".repeat(2_048))]).is_err());
    }

    #[test]
    fn is_an_object_in_json_and_is_judged_when_read() {
        let headers: CustomHeaders = serde_json::from_str(r#"{"X-B":"secret","x-a":""}"#).unwrap();
        assert_eq!(serde_json::to_string(&headers).unwrap(), r#"{"x-b":"secret","x-a":""}"#);
        assert_eq!(format!("{headers:?}"), r#"["x-b", "x-a"]"#);
        for json in ["[]", r#"{"host":"v"}"#, r#"{"x":1}"#, r#"{"x":"v","X":"v"}"#] {
            assert!(serde_json::from_str::<CustomHeaders>(json).is_err(), "{json}");
        }
    }
}
