//! Callback URLs: rules U1 to U7, one function, judged on the bytes as sent.
//!
//! The `url` crate follows the WHATWG standard, which is lenient: it drops tabs and line breaks, decodes `%31`, maps
//! full-width digits to an address, reads `127.1` as one, swallows an empty `@`. So the text is judged before it sees
//! it ([`raw`]), and then both have to have read the same host and port. What goes on the wire is what it writes.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::{Position, Url};

use crate::egress::EgressPolicy;

mod host_pattern;
mod ports;
mod raw;

pub use host_pattern::{HostPattern, NotAHostPattern};

/// Where a callback goes: an accepted URL, as it goes on the wire.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CallbackUrl {
    text: String,
    https: bool,
    host: Host,
    port: u16,
    authority: std::ops::Range<usize>,
}

/// The host of a URL.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Host {
    /// A DNS name in lower case, to be resolved.
    Name(String),
    /// An address literal.
    Address(IpAddr),
}

impl fmt::Display for Host {
    /// As in a URL: IPv6 in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(IpAddr::V4(v4)) => v4.fmt(f),
            Host::Address(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
        }
    }
}

/// What the operator allows beyond the default: https to public addresses, on port 443 or from 1024 up.
#[derive(Clone, Debug, Default)]
pub struct UrlPolicy {
    /// `delivery.allow_http`.
    pub allow_http: bool,
    /// `delivery.allow_ports`: these too.
    pub allow_ports: Vec<u16>,
    /// `delivery.allow_hosts`: names that may have one label or a local suffix. What they resolve to is still judged.
    pub allow_hosts: Vec<HostPattern>,
    /// Which addresses may be dialled.
    pub egress: EgressPolicy,
}

/// The rules of a callback URL, in the order in which they are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// 1–2,048 bytes, each one that a URL may hold.
    U1,
    /// `http://` or `https://` and an authority.
    U2,
    /// No credentials, no fragment.
    U3,
    /// The host is a full DNS name or an address in its usual form.
    U4,
    /// It reads the same everywhere: host and port.
    U5,
    /// No private address, no local name.
    U6,
    /// Scheme and port are allowed here.
    U7,
}

/// The first rule that a URL broke. Holds nothing of the URL but an address literal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct UrlRefusal {
    /// Which rule.
    pub rule: Rule,
    /// What is wrong, for a person.
    pub detail: String,
}

impl UrlRefusal {
    fn new(rule: Rule, detail: impl Into<String>) -> Self {
        Self { rule, detail: detail.into() }
    }

    /// The problem that this is.
    pub fn slug(&self) -> &'static str {
        match self.rule {
            Rule::U1 | Rule::U2 | Rule::U3 | Rule::U4 | Rule::U5 => "callback-url-invalid",
            Rule::U6 => "callback-address-blocked",
            Rule::U7 => "callback-url-forbidden",
        }
    }
}

/// Judges a callback URL as it was sent.
///
/// # Errors
/// With the first rule that it breaks.
pub fn judge(raw: &str, policy: &UrlPolicy) -> Result<CallbackUrl, UrlRefusal> {
    let opened = |name: &str| policy.allow_hosts.iter().any(|pattern| pattern.matches(name));
    let sent = raw::read(raw, opened)?;
    let url = Url::parse(raw)
        .ok()
        .and_then(CallbackUrl::read)
        .filter(|url| url.https == sent.https && url.host == sent.host && url.port == sent.port)
        .ok_or_else(|| UrlRefusal::new(Rule::U5, "the host or port can be read in more than one way"))?;
    match &url.host {
        Host::Name(name) if is_local(name) && !opened(name) => {
            return Err(UrlRefusal::new(Rule::U6, "the host is a name of a local network"));
        }
        Host::Name(_) => {}
        Host::Address(address) => {
            policy.egress.judge(*address).map_err(|denied| UrlRefusal::new(Rule::U6, denied.to_string()))?;
        }
    }
    ports::judge(url.https, url.port, policy).map_err(|detail| UrlRefusal::new(Rule::U7, detail))?;
    Ok(url)
}

/// Names that only a local network answers (RFC 6761, RFC 6762, RFC 8375, and ICANN's private-use `internal`, under
/// which Google's metadata service is `metadata.google.internal`).
fn is_local(name: &str) -> bool {
    [".localhost", ".local", ".internal", ".home.arpa"].iter().any(|suffix| name.ends_with(suffix))
}

/// The text is no URL that we ever accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a URL that a callback can have")]
pub struct NotACallbackUrl;

impl CallbackUrl {
    /// Reads back what was accepted, and judges nothing: rules may have changed since, deliveries go on.
    ///
    /// # Errors
    /// If it is no http or https URL at all.
    pub fn stored(text: &str) -> Result<Self, NotACallbackUrl> {
        Url::parse(text).ok().and_then(Self::read).ok_or(NotACallbackUrl)
    }

    fn read(url: Url) -> Option<Self> {
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        let host = match url.host()? {
            url::Host::Domain(name) => Host::Name(name.to_owned()),
            url::Host::Ipv4(v4) => Host::Address(v4.into()),
            url::Host::Ipv6(v6) => Host::Address(v6.into()),
        };
        let port = url.port_or_known_default()?;
        let authority = url[..Position::BeforeHost].len()..url[..Position::BeforePath].len();
        bare.then(|| Self { text: url.into(), https, host, port, authority })
    }

    /// The whole URL, as it goes on the wire.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the scheme is https; else it is http.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Whom to resolve or dial.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port to dial: the one written, else the scheme's.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the `host` header holds: the host, and the port if it is not the scheme's.
    pub fn authority(&self) -> &str {
        &self.text[self.authority.clone()]
    }

    /// What the request line holds: the path, at least `/`, and the query.
    pub fn path_and_query(&self) -> &str {
        &self.text[self.authority.end..]
    }
}

impl fmt::Display for CallbackUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for CallbackUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl Serialize for CallbackUrl {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for CallbackUrl {
    /// As [`CallbackUrl::stored`]: what a client sends is a string and goes through [`judge`].
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::stored(&std::borrow::Cow::<'de, str>::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
