//! `delivery.allow_hosts`: names that the operator opens.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::raw;

/// One name, or `*.suffix` for every name under it (not the suffix itself).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostPattern {
    /// This name, in lower case.
    Exact(String),
    /// Every name that ends in a dot and this, in lower case.
    Under(String),
}

/// The text was no host pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a host name or *.suffix: {0} (addresses go into delivery.allow_cidrs)")]
pub struct NotAHostPattern(&'static str);

impl HostPattern {
    /// Whether this opens `name`, given in lower case.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            HostPattern::Exact(exact) => name == exact,
            HostPattern::Under(suffix) => {
                name.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.ends_with('.'))
            }
        }
    }
}

impl FromStr for HostPattern {
    type Err = NotAHostPattern;
    fn from_str(text: &str) -> Result<Self, NotAHostPattern> {
        let text = text.to_ascii_lowercase();
        let (name, kind): (_, fn(String) -> Self) = match text.strip_prefix("*.") {
            Some(suffix) => (suffix, HostPattern::Under),
            None => (text.as_str(), HostPattern::Exact),
        };
        raw::check_name(name).map_err(NotAHostPattern)?;
        Ok(kind(name.to_owned()))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(name) => f.write_str(name),
            HostPattern::Under(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

impl Serialize for HostPattern {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HostPattern {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_name_or_what_is_under_it() {
        for (pattern, name, expected) in [
            ("localhost", "localhost", true),
            ("LocalHost", "localhost", true),
            ("localhost", "a.localhost", false),
            ("localhost", "xlocalhost", false),
            ("*.internal", "a.internal", true),
            ("*.internal", "a.b.internal", true),
            ("*.internal", "internal", false),
            ("*.internal", "ainternal", false),
            ("*.internal", "a.internal.example", false),
            ("app", "app", true),
        ] {
            let read: HostPattern = pattern.parse().unwrap();
            assert_eq!(read.matches(name), expected, "{pattern} {name}");
            assert_eq!(read.to_string(), pattern.to_ascii_lowercase());
        }
    }

    #[test]
    fn refuses_what_names_no_host() {
        for text in [
            "",
            "*",
            "*.",
            "a.*",
            "*a",
            "**.a",
            "127.0.0.1",
            "[::1]",
            "::1",
            "a.",
            ".a",
            "a:80",
            "http://a",
            "1",
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }
}
