//! Judges a request's head on the bytes as sent (RFC 9112), so strictly that there is one way to read it: what two
//! readers could read in two ways is how a request is smuggled past one of them.

use api::HeadFault;
use http::{Uri, header, uri::Authority};

/// More header fields than any honest client sends.
pub(super) const MOST_FIELDS: usize = 256;

/// More than the contract's bounds on head and URI, so that what breaks those is judged where the other bounds are.
pub(super) const MOST_HEAD: usize = 128 * 1024;

/// The longest target and header name that the `http` crate can hold.
const MOST_TARGET: usize = 65_534;
const MOST_NAME: usize = 65_535;

/// What the bytes so far are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// Not whole yet, and nothing wrong so far.
    Incomplete,
    /// Whole: so many bytes, and then a body framed like this.
    Complete(usize, Framing),
    /// Not to be read any further.
    Refused(HeadFault),
}

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes; 0 without a body.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// One head, as it comes in.
#[derive(Default, Debug)]
pub(super) struct Head {
    /// Empty lines before the request line, to be skipped (RFC 9112 section 2.2), in bytes.
    skipped: usize,
    /// Bytes that have been looked at: none is looked at twice, however small the pieces.
    scanned: usize,
}

impl Head {
    /// Judges all bytes that have come since the head began.
    pub(super) fn judge(&mut self, bytes: &[u8]) -> Judged {
        let end = match self.scan(bytes) {
            Ok(Some(end)) => end,
            Ok(None) if bytes.len() > MOST_HEAD => return Judged::Refused(outgrown(&bytes[self.skipped..])),
            Ok(None) => return Judged::Incomplete,
            Err(why) => return Judged::Refused(HeadFault::Malformed(why)),
        };
        match read(&bytes[self.skipped..end]) {
            Ok(framing) => Judged::Complete(end, framing),
            Err(fault) => Judged::Refused(fault),
        }
    }

    /// Looks at each byte once. Gives where the head ends.
    fn scan(&mut self, bytes: &[u8]) -> Result<Option<usize>, &'static str> {
        while let Some(&byte) = bytes.get(self.scanned) {
            let at = self.scanned;
            let line_began = at == self.skipped;
            match byte {
                b'\r' => match bytes.get(at + 1) {
                    None => return Ok(None),
                    Some(b'\n') if line_began => {
                        self.skipped += 2;
                        self.scanned += 1;
                    }
                    Some(b'\n') => {}
                    Some(_) => return Err("A carriage return stands without a line feed."),
                },
                b'\n' if at == 0 || bytes[at - 1] != b'\r' => {
                    return Err("A line ends in a line feed alone; it takes a carriage return before it.");
                }
                b'\n' if at >= self.skipped + 3 && bytes[at - 3..at].ends_with(b"\r\n\r") => {
                    self.scanned += 1;
                    return Ok(Some(self.scanned));
                }
                b'\n' => {}
                0x16 if line_began => {
                    return Err(
                        "This looks like TLS, and this port speaks plain HTTP. Use http://, or the proxy that \
                                speaks TLS for this server.",
                    );
                }
                byte if line_began && !is_token(byte) => {
                    return Err("The request does not begin with a method.");
                }
                b'\t' => {}
                byte if byte.is_ascii_control() => return Err("A control character stands in the head."),
                _ => {}
            }
            self.scanned += 1;
        }
        Ok(None)
    }
}

/// What a head that is over every bound is made of too much.
fn outgrown(bytes: &[u8]) -> HeadFault {
    match bytes.iter().position(|&byte| byte == b'\n') {
        Some(line) if line <= MOST_TARGET => HeadFault::TooLarge,
        _ => HeadFault::UriTooLong,
    }
}

/// Reads a head that is whole.
fn read(bytes: &[u8]) -> Result<Framing, HeadFault> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(HeadFault::TooLarge),
        Err(error) => return Err(HeadFault::Malformed(says(error))),
        Ok(_) => return Err(HeadFault::Malformed("The head ends twice.")),
    }
    let target = request.path.unwrap_or_default();
    if target.len() > MOST_TARGET {
        return Err(HeadFault::UriTooLong);
    }
    if Uri::try_from(target).is_err() {
        return Err(HeadFault::Malformed("The request's target is not a URL's path, or not a URL."));
    }
    if request.headers.iter().any(|field| field.name.len() > MOST_NAME) {
        return Err(HeadFault::TooLarge);
    }
    framing(request.headers, request.version == Some(1)).map_err(HeadFault::Malformed)
}

fn says(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => {
            "A header's name is not one, or something stands between it and its colon, or a line is folded."
        }
        httparse::Error::HeaderValue => "A header's value has a character that may not stand in one.",
        httparse::Error::Version => "The request's version is not HTTP/1.1 or HTTP/1.0.",
        httparse::Error::Token => {
            "The request line is not a method, a space, a target, a space and a version."
        }
        _ => "The head cannot be read.",
    }
}

/// How long the body is (RFC 9112 section 6.3), and that `Host` is there once (section 3.2).
fn framing(fields: &[httparse::Header<'_>], is_1_1: bool) -> Result<Framing, &'static str> {
    let all = |name: header::HeaderName| {
        fields
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name.as_str()))
            .map(|field| field.value)
    };
    let mut hosts = all(header::HOST);
    match (hosts.next(), hosts.next()) {
        (None, _) if is_1_1 => return Err("Host is missing."),
        (Some(_), Some(_)) => return Err("Host is given more than once."),
        (Some(host), None) if !is_host(host) => return Err("Host is not a name or an address, and a port."),
        _ => {}
    }
    let (mut lengths, mut codings) = (all(header::CONTENT_LENGTH), all(header::TRANSFER_ENCODING));
    match (lengths.next(), lengths.next(), codings.next(), codings.next()) {
        (Some(_), _, Some(_), _) => Err("Content-Length and Transfer-Encoding do not go together."),
        (Some(_), Some(_), ..) => Err("Content-Length is given more than once."),
        (_, _, Some(_), Some(_)) => Err("Transfer-Encoding is given more than once."),
        (_, _, Some(_), _) if !is_1_1 => Err("HTTP/1.0 has no Transfer-Encoding."),
        (_, _, Some(coding), _) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        (_, _, Some(_), _) => Err("Transfer-Encoding can be chunked and nothing else here."),
        (Some(length), ..) => digits(length).map(Framing::Length).ok_or("Content-Length is not a number."),
        (None, ..) => Ok(Framing::Length(0)),
    }
}

/// `Host` may be empty, and has no user in it.
fn is_host(value: &[u8]) -> bool {
    value.is_empty() || (!value.contains(&b'@') && Authority::try_from(value).is_ok())
}

fn digits(value: &[u8]) -> Option<u64> {
    let text =
        std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok()
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(text: &[u8]) -> Judged {
        Head::default().judge(text)
    }

    fn refusal(judged: Judged) -> &'static str {
        match judged {
            Judged::Refused(HeadFault::Malformed(why)) => why,
            Judged::Refused(HeadFault::UriTooLong) => "uri",
            Judged::Refused(HeadFault::TooLarge) => "large",
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_how_long_the_body_is() {
        for (head, framing) in [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", Framing::Length(0)),
            ("\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", Framing::Length(0)),
            ("GET / HTTP/1.0\r\n\r\n", Framing::Length(0)),
            ("GET /a?b=%20 HTTP/1.1\r\nHost: [::1]:8202\r\nX-Empty:\r\n\r\n", Framing::Length(0)),
            ("GET http://a.example/b HTTP/1.1\r\nhost: a\r\n\r\n", Framing::Length(0)),
            ("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", Framing::Length(0)),
            ("POST / HTTP/1.1\r\nhost:\r\ncontent-length: 17\r\n\r\n", Framing::Length(17)),
            ("POST / HTTP/1.1\r\nhost: a\r\nContent-Length:007\r\n\r\n", Framing::Length(7)),
            ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked \r\n\r\n", Framing::Chunked),
        ] {
            assert_eq!(judge(head.as_bytes()), Judged::Complete(head.len(), framing), "{head:?}");
            // What comes behind it is not its own.
            let more = format!("{head}GET");
            assert_eq!(judge(more.as_bytes()), Judged::Complete(head.len(), framing), "{head:?}");
        }
    }

    #[test]
    fn refuses_what_could_be_read_in_two_ways() {
        let post = |lines: &str| format!("POST / HTTP/1.1\r\nhost: a\r\n{lines}\r\n\r\n");
        for (head, why) in [
            (post("content-length: 1\r\ntransfer-encoding: chunked"), "do not go together"),
            (post("transfer-encoding: chunked\r\ncontent-length: 1"), "do not go together"),
            (post("content-length: 1\r\ncontent-length: 2"), "more than once"),
            (post("content-length: 1\r\nContent-Length: 1"), "more than once"),
            (post("content-length: 1, 1"), "not a number"),
            (post("content-length: +1"), "not a number"),
            (post("content-length: -1"), "not a number"),
            (post("content-length: 0x1"), "not a number"),
            (post("content-length: 1 1"), "not a number"),
            (post("content-length:"), "not a number"),
            (post("content-length: 18446744073709551616"), "not a number"),
            (post("transfer-encoding: chunked\r\ntransfer-encoding: chunked"), "more than once"),
            (post("transfer-encoding: gzip, chunked"), "nothing else"),
            (post("transfer-encoding: identity"), "nothing else"),
            (post("transfer-encoding: xchunked"), "nothing else"),
            (post("transfer-encoding:"), "nothing else"),
            (post("transfer-encoding : chunked"), "name"),
            (post(" transfer-encoding: chunked"), "name"),
            (post("x: a\r\n b"), "name"),
            (post("x: a\r\n\tb"), "name"),
            (post("x"), "name"),
            (post(": x"), "name"),
            (post("x y: z"), "name"),
            (post("x: a\0b"), "control"),
            (post("x: a\x0bb"), "control"),
            (post("x: a\x7fb"), "control"),
            (post("x: a\rb"), "carriage return"),
            (post("x: a\nb: c"), "line feed alone"),
            ("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n".into(), "HTTP/1.0"),
            ("GET / HTTP/1.1\nhost: a\n\n".into(), "line feed alone"),
            ("GET / HTTP/1.1\r\nhost: a\r\n\n".into(), "line feed alone"),
            ("\nGET / HTTP/1.1\r\nhost: a\r\n\r\n".into(), "line feed alone"),
            ("GET / HTTP/1.1\r\n\r\n".into(), "Host is missing"),
            ("GET / HTTP/1.1\r\nhost: a\r\nHost: a\r\n\r\n".into(), "more than once"),
            ("GET / HTTP/1.1\r\nhost: a b\r\n\r\n".into(), "Host is not"),
            ("GET / HTTP/1.1\r\nhost: u@a\r\n\r\n".into(), "Host is not"),
            ("GET / HTTP/1.1\r\nhost: a/b\r\n\r\n".into(), "Host is not"),
            ("GET /\r\nhost: a\r\n\r\n".into(), ""),
            ("GET / HTTP/1.2\r\nhost: a\r\n\r\n".into(), "version"),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), "version"),
            ("GET  / HTTP/1.1\r\nhost: a\r\n\r\n".into(), ""),
            ("GET /a b HTTP/1.1\r\nhost: a\r\n\r\n".into(), ""),
            ("GARBAGE\r\n\r\n".into(), "request line"),
            ("\x16\x03\x01".into(), "TLS"),
            (" GET / HTTP/1.1\r\nhost: a\r\n\r\n".into(), "begin with a method"),
            ("(".into(), "begin with a method"),
        ] {
            let told = refusal(judge(head.as_bytes()));
            assert!(told.contains(why), "{head:?}: {told}");
        }
    }

    #[test]
    fn looks_at_each_byte_once_however_it_comes() {
        let head = b"\r\nPOST /v1/jobs HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n";
        let mut pieces = Head::default();
        for length in 0..head.len() {
            assert_eq!(pieces.judge(&head[..length]), Judged::Incomplete, "{length}");
        }
        assert_eq!(pieces.judge(head), Judged::Complete(head.len(), Framing::Length(3)));
    }

    #[test]
    fn has_bounds() {
        let long = |n: usize| format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(n));
        assert!(matches!(judge(long(60_000).as_bytes()), Judged::Complete(..)));
        assert_eq!(refusal(judge(long(65_534).as_bytes())), "uri");
        assert_eq!(refusal(judge(long(MOST_HEAD).as_bytes())), "uri");
        assert_eq!(refusal(judge(format!("GET /{}", "x".repeat(MOST_HEAD)).as_bytes())), "uri");
        let field = |n: usize| format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "y".repeat(n));
        assert_eq!(refusal(judge(field(MOST_HEAD).as_bytes())), "large");
        assert!(matches!(judge(field(MOST_HEAD - 100).as_bytes()), Judged::Incomplete));
        let fields = |n: usize| format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(n));
        assert!(matches!(judge(fields(MOST_FIELDS - 1).as_bytes()), Judged::Complete(..)));
        assert_eq!(refusal(judge(fields(MOST_FIELDS).as_bytes())), "large");
        let name = format!("GET / HTTP/1.1\r\nhost: a\r\n{}: y\r\n\r\n", "x".repeat(MOST_NAME + 1));
        assert_eq!(refusal(judge(name.as_bytes())), "large");
    }
}
