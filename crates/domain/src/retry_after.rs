//! `Retry-After` (RFC 9110 §10.2.3): how long a receiver asks to be left alone.

use std::time::Duration;

use jiff::{civil::DateTime, fmt::strtime, tz::Offset};

use crate::time::Timestamp;

/// The longest that a receiver's wish is followed.
pub const MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads a field value: delta-seconds, or an HTTP-date in any of its three forms. A date is measured against
/// `now_wall`, the wall clock; one that is past asks for nothing. `None` for what is neither.
pub fn parse(value: &[u8], now_wall: Timestamp) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too many digits for a number are still a number: the longest.
        return Some(text.parse().map_or(MAX, Duration::from_secs).min(MAX));
    }
    Some(date(text, now_wall)?.since(now_wall).min(MAX))
}

/// An HTTP-date (RFC 9110 §5.6.7). The day's name is not held against the date: the date is what is meant.
fn date(text: &str, now: Timestamp) -> Option<Timestamp> {
    const IMF_FIXDATE: &str = "%a, %d %b %Y %H:%M:%S GMT";
    const RFC_850: &str = "%A, %d-%b-%y %H:%M:%S GMT";
    const ASCTIME: &str = "%a %b %e %H:%M:%S %Y";
    let with_year = [IMF_FIXDATE, ASCTIME].into_iter().find_map(|form| strtime::parse(form, text).ok());
    let (parts, two_digits) = match with_year {
        Some(parts) => (parts, false),
        None => (strtime::parse(RFC_850, text).ok()?, true),
    };
    let at = |year| {
        let time = (parts.hour()?, parts.minute()?, parts.second()?);
        let civil = DateTime::new(year, parts.month()?, parts.day()?, time.0, time.1, time.2, 0).ok()?;
        Some(Timestamp::from_micros(Offset::UTC.to_timestamp(civil).ok()?.as_microsecond()))
    };
    if !two_digits {
        return at(parts.year()?);
    }
    // Two digits mean the latest such year that is not more than 50 years ahead.
    let this_year =
        jiff::Timestamp::from_microsecond(now.micros()).ok()?.to_zoned(jiff::tz::TimeZone::UTC).year();
    let horizon = this_year.checked_add(50)?;
    at(horizon - (horizon - parts.year()?).rem_euclid(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(value: &str, now: &str) -> Option<u64> {
        parse(value.as_bytes(), now.parse().unwrap()).map(|span| span.as_secs())
    }

    #[test]
    fn takes_seconds_up_to_a_day() {
        for (value, expected) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7\t", Some(7)),
            ("007", Some(7)),
            ("86401", Some(86_400)),
            ("99999999999999999999999999999999999999", Some(86_400)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("1e3", None),
            ("1 2", None),
            ("١٢", None),
            ("soon", None),
        ] {
            assert_eq!(seconds(value, "2026-11-23T00:00:00Z"), expected, "{value:?}");
        }
        assert_eq!(parse(&[0xff, 0x31], Timestamp::from_micros(0)), None);
    }

    #[test]
    fn takes_the_three_forms_of_a_date() {
        for value in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(seconds(value, "1994-11-06T08:48:37Z"), Some(60), "{value}");
            assert_eq!(seconds(value, "1994-11-06T08:49:38Z"), Some(0), "{value}, past");
            assert_eq!(seconds(value, "1993-01-01T00:00:00Z"), Some(86_400), "{value}, far");
        }
        assert_eq!(seconds("Wed Nov 16 08:49:37 1994", "1994-11-16T08:49:30Z"), Some(7));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:60 GMT", "1994-11-06T08:49:00Z").map(|s| s / 2), Some(29));
    }

    #[test]
    fn two_digits_of_a_year_are_at_most_fifty_years_ahead() {
        for (value, now, expected) in [
            ("Monday, 01-Jan-01 00:00:00 GMT", "2000-12-31T23:59:50Z", 10),
            ("Friday, 01-Jan-00 00:00:00 GMT", "1999-12-31T23:59:50Z", 10),
            ("Friday, 31-Dec-76 00:00:00 GMT", "2026-01-01T00:00:00Z", 86_400),
            ("Friday, 31-Dec-77 00:00:00 GMT", "2026-01-01T00:00:00Z", 0),
        ] {
            assert_eq!(seconds(value, now), Some(expected), "{value} at {now}");
        }
    }

    #[test]
    fn refuses_what_is_no_date() {
        for value in [
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 08:49:37 +0100",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT and more",
            "1994-11-06T08:49:37Z",
            "06 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(seconds(value, "1994-11-06T08:00:00Z"), None, "{value}");
        }
    }
}
