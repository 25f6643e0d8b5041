//! The trace that a submission brings along: W3C Trace Context's `traceparent`, carried through to the webhook.

/// A `traceparent` of version 00 that may be passed on.
pub fn parse(header: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(header).ok()?;
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, span, flags] = parts[..] else { return None };
    let hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let set = |part: &str| part.bytes().any(|b| b != b'0');
    let ok = version == "00" && hex(trace, 32) && set(trace) && hex(span, 16) && set(span) && hex(flags, 2);
    ok.then_some(text)
}

/// The same trace, seen from a span of ours: what goes out with a request made for it. `text` was accepted by [`parse`].
pub fn child(text: &str, span: u64) -> String {
    // version 2, dash, trace 32, dash, span 16, dash, flags 2
    let (trace, flags) = (text.get(..36).unwrap_or_default(), text.get(52..).unwrap_or_default());
    format!("{trace}{:016x}{flags}", span.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_version_00_only() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(parse(good.as_bytes()), Some(good));
        for bad in [
            "",
            "00",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_child_keeps_trace_and_flags() {
        assert_eq!(
            child("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", 255),
            "00-0af7651916cd43dd8448eb211c80319c-00000000000000ff-01"
        );
    }
}
