//! U1 to U4, and the port of U5: what the text says, read strictly, before any URL parser has seen it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Host, Rule, UrlRefusal};

/// The longest URL, in bytes.
const MOST: usize = 2_048;

/// The scheme, host (in lower case) and effective port that a URL names.
pub(super) struct Sent {
    pub(super) https: bool,
    pub(super) host: Host,
    pub(super) port: u16,
}

/// Reads a URL by rules U1 to U5. `opened` says whether a name may have one label only.
pub(super) fn read(raw: &str, opened: impl Fn(&str) -> bool) -> Result<Sent, UrlRefusal> {
    let refuse = |rule, detail: &str| Err(UrlRefusal::new(rule, detail));
    if raw.is_empty() || raw.len() > MOST {
        return refuse(Rule::U1, "a URL has 1 to 2,048 bytes");
    }
    if !raw.bytes().all(|b| b.is_ascii_graphic() && !b"\\\"<>^{|}`".contains(&b)) {
        return refuse(Rule::U1, "a URL is visible ASCII without \\ \" < > ^ { | } and backtick");
    }
    let Some((https, rest)) = scheme(raw) else {
        return refuse(Rule::U2, "a callback URL starts with https:// or http://");
    };
    // Before the first of these stands the authority, whatever else the text holds.
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return refuse(Rule::U2, "the URL names no host");
    }
    if authority.contains('@') {
        return refuse(Rule::U3, "the URL holds a user name or password");
    }
    if raw.contains('#') {
        return refuse(Rule::U3, "the URL holds a fragment");
    }
    let (host, port) =
        split(authority).ok_or_else(|| UrlRefusal::new(Rule::U4, "no address in the brackets"))?;
    let host = self::host(host, opened).map_err(|detail| UrlRefusal::new(Rule::U4, detail))?;
    let port = match port {
        None => Some(if https { 443 } else { 80 }),
        Some(digits) => self::port(digits),
    };
    let port = port.ok_or_else(|| UrlRefusal::new(Rule::U5, "a port is a number from 1 to 65535"))?;
    Ok(Sent { https, host, port })
}

fn scheme(raw: &str) -> Option<(bool, &str)> {
    let (scheme, rest) = raw.split_once("://")?;
    // A third slash leaves the authority empty, which is refused as such.
    match scheme {
        _ if scheme.eq_ignore_ascii_case("https") => Some((true, rest)),
        _ if scheme.eq_ignore_ascii_case("http") => Some((false, rest)),
        _ => None,
    }
}

/// The host, with its brackets, and what stands behind the colon, if there is one.
fn split(authority: &str) -> Option<(&str, Option<&str>)> {
    let host_end = match authority.strip_prefix('[') {
        Some(inner) => inner.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    match authority.split_at(host_end) {
        (host, "") => Some((host, None)),
        (host, port) => Some((host, Some(port.strip_prefix(':')?))),
    }
}

fn port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    plain.then(|| digits.parse().ok()).flatten()
}

fn host(text: &str, opened: impl Fn(&str) -> bool) -> Result<Host, &'static str> {
    if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        let address: Ipv6Addr =
            inner.parse().map_err(|_| "not an IPv6 address (without a zone) in brackets")?;
        return Ok(Host::Address(IpAddr::V6(address)));
    }
    // Refuses leading zeros, other bases and fewer than four parts, all of which a URL parser would take.
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Address(IpAddr::V4(address)));
    }
    let name = text.to_ascii_lowercase();
    check_name(&name)?;
    if !name.contains('.') && !opened(&name) {
        return Err("the host is a single label, not a full name");
    }
    Ok(Host::Name(name))
}

/// Whether `name` is a DNS name that nobody can take for an address: letters, digits, `-` and `_`.
pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.len() > 253 {
        return Err("a host name has at most 253 bytes");
    }
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err("each label of a host name has 1 to 63 bytes, and none follows a last dot");
        }
        if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err("a host name holds letters, digits, - and _ only (other scripts as punycode)");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("no label of a host name starts or ends with a hyphen");
        }
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X") {
        return Err("the host is neither a name nor four decimal numbers without leading zeros");
    }
    Ok(())
}
