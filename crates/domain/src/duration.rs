//! Durations as the contract writes them: `"15s"`, `"2h30m"`. Whole numbers of `d h m s ms`, largest unit first,
//! each unit once.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Each unit and its milliseconds, largest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The most that can be added to a [`crate::time::Timestamp`], which counts microseconds in an `i64`: what is longer
/// is refused here, so that no sum saturates silently later.
const MOST_MILLIS: u64 = i64::MAX as u64 / 1_000;

/// The text was not a duration of the contract.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a duration such as 15s, 2h30m or 250ms")]
pub struct NotADuration;

/// Reads a duration of the contract.
///
/// # Errors
/// For anything else: no unit, a fraction, a sign, a space, units out of order or twice, over 292,000 years.
pub fn parse(text: &str) -> Result<Duration, NotADuration> {
    let (mut rest, mut units, mut millis) = (text, &UNITS[..], 0_u64);
    loop {
        let (number, after) = split_where(rest, |b| !b.is_ascii_digit());
        let (unit, after) = split_where(after, |b| b.is_ascii_digit());
        let place = units.iter().position(|(name, _)| *name == unit).ok_or(NotADuration)?;
        let part = number.parse::<u64>().ok().and_then(|n| n.checked_mul(units[place].1));
        millis = part.and_then(|part| millis.checked_add(part)).ok_or(NotADuration)?;
        (rest, units) = (after, &units[place + 1..]);
        if rest.is_empty() {
            break;
        }
    }
    if millis > MOST_MILLIS { Err(NotADuration) } else { Ok(Duration::from_millis(millis)) }
}

fn split_where(text: &str, stop: impl Fn(u8) -> bool) -> (&str, &str) {
    // Both stops fall between characters: before a digit, or behind digits alone.
    let at = text.bytes().position(stop).unwrap_or(text.len());
    text.split_at(at)
}

/// Below this, seconds are not gathered into minutes: people write `"60s"` and `"90s"`.
const IN_SECONDS: u64 = 2 * 60_000;

/// Writes a duration so that [`parse`] reads the same one: `"60s"`, `"2m30s"`, `"0s"`, `"250ms"`. What is finer than a
/// millisecond is cut off: the contract has no unit for it.
pub fn show(span: Duration) -> String {
    let mut rest = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let in_seconds = rest < IN_SECONDS;
    let mut text = String::new();
    for (name, millis) in UNITS {
        if rest >= millis && !(in_seconds && name == "m") {
            text.push_str(&(rest / millis).to_string());
            text.push_str(name);
            rest %= millis;
        }
    }
    text
}

/// A duration that reads and writes itself as the contract's string, in JSON and in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show(self.0))
    }
}

impl FromStr for Span {
    type Err = NotADuration;
    fn from_str(text: &str) -> Result<Self, NotADuration> {
        parse(text).map(Self)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for (text, millis) in [
            ("0s", 0),
            ("1ms", 1),
            ("250ms", 250),
            ("1s", 1_000),
            ("15s", 15_000),
            ("1s500ms", 1_500),
            ("60s", 60_000),
            ("90s", 90_000),
            ("2m30s", 150_000),
            ("2h30m", 9_000_000),
            ("1d", 86_400_000),
            ("1d1h1m1s1ms", 90_061_001),
            ("106751991d4h54s775ms", MOST_MILLIS),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
            assert_eq!(show(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn reads_other_spellings_of_a_duration() {
        for (text, shown) in [
            ("0ms", "0s"),
            ("1m30s", "90s"),
            ("120s", "2m"),
            ("24h", "1d"),
            ("1h05m", "1h5m"),
            ("1d0h", "1d"),
            ("1500ms", "1s500ms"),
        ] {
            assert_eq!(parse(text).map(show).as_deref(), Ok(shown), "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "s",
            "15",
            "0",
            "1.5s",
            "-1s",
            "+1s",
            "1 s",
            " 1s",
            "1s ",
            "1S",
            "1w",
            "1us",
            "1sec",
            "1s1",
            "1s1s",
            "1s1m",
            "1ms1s",
            "1m1m",
            "1d1d",
            "1é",
            "é",
            "1sé",
            "1s1é",
            "١s",
            "1e3s",
            "0x1s",
            "1h-5m",
            "106751991d4h54s776ms",
            "106751992d",
            "18446744073709551615d",
            "18446744073709551615ms",
            "18446744073709551616ms",
            "99999999999999999999s",
        ] {
            assert_eq!(parse(text), Err(NotADuration), "{text}");
        }
    }

    #[test]
    fn cuts_off_what_has_no_unit() {
        assert_eq!(show(Duration::from_micros(999)), "0s");
        assert_eq!(show(Duration::from_micros(1_001_999)), "1s1ms");
    }

    #[test]
    fn is_a_string_in_json() {
        let span: Span = serde_json::from_str("\"2h30m\"").unwrap();
        assert_eq!(span, Span(Duration::from_secs(9_000)));
        assert_eq!(serde_json::to_string(&span).unwrap(), "\"2h30m\"");
        for json in ["15", "null", "\"15\"", "\"1.5s\""] {
            assert!(serde_json::from_str::<Span>(json).is_err(), "{json}");
        }
    }
}
