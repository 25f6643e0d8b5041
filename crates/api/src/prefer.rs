//! `Prefer` (RFC 7240): how long a client would wait. A preference that is not understood is ignored, as its section 2
//! asks.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

pub(crate) const PREFER: HeaderName = HeaderName::from_static("prefer");
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The longest wait that is held.
pub(crate) const MOST_SECONDS: u64 = 60;

/// How long somebody waits: whole seconds, 1 to 60.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wait(u64);

impl Wait {
    /// Over 60 counts as 60; `None` for 0.
    pub(crate) fn new(seconds: u64) -> Option<Self> {
        (seconds > 0).then_some(Self(seconds.min(MOST_SECONDS)))
    }

    /// Reads delta-seconds (RFC 9110 section 10.2.3). `None` if it is no number.
    pub(crate) fn parse(text: &str) -> Option<Option<Self>> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // A number of any length is a number: more than u64 holds is over 60.
        digits.then(|| Self::new(text.parse().unwrap_or(u64::MAX)))
    }

    pub(crate) fn span(self) -> Duration {
        Duration::from_secs(self.0)
    }

    /// What `Preference-Applied` says.
    pub(crate) fn applied(self) -> String {
        format!("wait={}", self.0)
    }
}

/// The `wait` among all preferences of a request; the first one counts, as section 2 asks.
pub(crate) fn wait(headers: &HeaderMap) -> Option<Wait> {
    headers
        .get_all(PREFER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(preferences)
        .find(|(name, _)| name.eq_ignore_ascii_case("wait"))
        .and_then(|(_, value)| Wait::parse(value).flatten())
}

/// Name and value of each preference in one header value, without parameters.
fn preferences(header: &str) -> impl Iterator<Item = (&str, &str)> {
    split(header, ',').map(|preference| {
        let bare = split(preference, ';').next().unwrap_or_default();
        let (name, value) = bare.split_once('=').unwrap_or((bare, ""));
        (name.trim(), value.trim().trim_matches('"'))
    })
}

/// Splits where `at` stands outside of a quoted string.
fn split(text: &str, at: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let cut = c == at && !quoted;
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        cut
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_wait() {
        for (headers, expected) in [
            (&[][..], None),
            (&["respond-async"], None),
            (&["wait=5"], Some(5)),
            (&["Wait = 5"], Some(5)),
            (&["wait=\"5\""], Some(5)),
            (&["respond-async, wait=5"], Some(5)),
            (&["respond-async,wait=5;foo=bar"], Some(5)),
            (&["respond-async", "wait=7"], Some(7)),
            (&["wait=7", "wait=9"], Some(7)),
            (&["wait=7, wait=9"], Some(7)),
            (&["foo=\"a, wait=3\", wait=4"], Some(4)),
            (&["foo=\"a\\\", wait=3\", wait=4"], Some(4)),
            (&["foo; wait=3"], None),
            (&["wait=60"], Some(60)),
            (&["wait=61"], Some(60)),
            (&["wait=99999999999999999999999"], Some(60)),
            (&["wait=0"], None),
            (&["wait=-1"], None),
            (&["wait=1.5"], None),
            (&["wait=5s"], None),
            (&["wait"], None),
            (&["await=5"], None),
            (&[""], None),
        ] {
            let mut map = HeaderMap::new();
            for value in headers {
                map.append(PREFER, value.parse().unwrap());
            }
            assert_eq!(wait(&map).map(|Wait(seconds)| seconds), expected, "{headers:?}");
        }
    }
}
