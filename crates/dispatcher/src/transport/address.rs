//! The host of a URI as the connector meets it: a literal takes the same path as what a name resolves to.

use std::net::IpAddr;

use http::Uri;

/// Who is to be dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host<'a> {
    Name(&'a str),
    Literal(IpAddr),
}

/// Host and port of a callback's URI; `None` if it has no host, which no accepted callback URL lacks.
pub(crate) fn of(uri: &Uri) -> Option<(Host<'_>, u16)> {
    let host = uri.host().filter(|host| !host.is_empty())?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let host = bare.parse().map_or(Host::Name(host), Host::Literal);
    Some((host, uri.port_u16().unwrap_or(if is_https(uri) { 443 } else { 80 })))
}

/// True of https; everything else that gets here is http.
pub(crate) fn is_https(uri: &Uri) -> bool {
    uri.scheme() == Some(&http::uri::Scheme::HTTPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_names() {
        for (uri, host, port) in [
            ("https://hooks.example/x", Host::Name("hooks.example"), 443),
            ("http://hooks.example:8080", Host::Name("hooks.example"), 8080),
            ("http://127.0.0.1/", Host::Literal("127.0.0.1".parse().unwrap()), 80),
            ("https://[::ffff:7f00:1]:4443/", Host::Literal("::ffff:127.0.0.1".parse().unwrap()), 4443),
            ("https://[64:ff9b::7f00:1]/", Host::Literal("64:ff9b::127.0.0.1".parse().unwrap()), 443),
        ] {
            assert_eq!(of(&uri.parse().unwrap()), Some((host, port)), "{uri}");
        }
        assert_eq!(of(&Uri::from_static("/x")), None);
    }
}
