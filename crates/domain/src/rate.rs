//! A rate: so many in such a time, as configuration and JSON write it: `"100/1s"`.

use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::duration;

/// The longest window.
const MOST: Duration = Duration::from_secs(24 * 60 * 60);

/// The most in a second: beyond it there is nothing left to count.
const MOST_PER_SECOND: u64 = 1_000_000;

/// So many in a window of whole seconds. All of them may come at once; then they come back evenly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    count: NonZeroU32,
    window: Duration,
}

/// The text was no rate.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a rate such as \"100/1s\": how many, and in how many whole seconds, at most 24h and a million a second"
)]
pub struct NotARate;

impl Rate {
    /// How many.
    pub fn count(self) -> NonZeroU32 {
        self.count
    }

    /// In what time.
    pub fn window(self) -> Duration {
        self.window
    }

    /// How long until one comes back.
    pub fn interval(self) -> Duration {
        self.window / self.count.get()
    }
}

impl FromStr for Rate {
    type Err = NotARate;
    fn from_str(text: &str) -> Result<Self, NotARate> {
        let (count, window) = text.split_once('/').ok_or(NotARate)?;
        let digits = count.bytes().all(|b| b.is_ascii_digit());
        let count: NonZeroU32 = count.parse().ok().filter(|_| digits).ok_or(NotARate)?;
        let window = duration::parse(window).map_err(|_| NotARate)?;
        let whole = window.subsec_nanos() == 0 && !window.is_zero() && window <= MOST;
        let slow_enough = u64::from(count.get()) <= window.as_secs() * MOST_PER_SECOND;
        if whole && slow_enough { Ok(Self { count, window }) } else { Err(NotARate) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, duration::show(self.window))
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_count_and_whole_seconds() {
        for (text, count, seconds) in
            [("100/1s", 100, 1), ("1/24h", 1, 86_400), ("1000000/1s", 1_000_000, 1), ("5/1m30s", 5, 90)]
        {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.count().get(), rate.window().as_secs()), (count, seconds), "{text}");
            assert_eq!(rate.to_string().parse(), Ok(rate));
        }
        assert_eq!("4/1s".parse::<Rate>().unwrap().interval(), Duration::from_millis(250));
        for text in [
            "",
            "0",
            "100",
            "0/1s",
            "+1/1s",
            "-1/1s",
            "1/0s",
            "1/1500ms",
            "1/25h",
            "1000001/1s",
            "1/s",
            "1 / 1s",
            "1/1",
            "4294967296/1h",
            "/1s",
            "1/",
        ] {
            assert_eq!(text.parse::<Rate>(), Err(NotARate), "{text}");
        }
    }
}
