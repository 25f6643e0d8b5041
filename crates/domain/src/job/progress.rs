//! How far work is, as it says itself.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The longest message kept, in bytes.
const MESSAGE: usize = 1024;

/// How far an attempt is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// 0 … 1.
    pub fraction: Option<f64>,
    /// In words.
    pub message: Option<Arc<str>>,
    /// When it was said, on the wall clock.
    pub updated_at: Timestamp,
}

#[derive(Deserialize)]
struct Line<'a> {
    fraction: Option<f64>,
    #[serde(borrow)]
    message: Option<std::borrow::Cow<'a, str>>,
}

impl Progress {
    /// Reads what work said in one line: a JSON object with `fraction`, `message` or both. `None`: it is none, and says
    /// nothing. Other members are not looked at; a message over 1 KiB is cut.
    pub fn read(line: &[u8], wall: Timestamp) -> Option<Self> {
        let Line { fraction, message } = serde_json::from_slice(line).ok()?;
        let fits = fraction.is_none_or(|fraction| (0.0..=1.0).contains(&fraction));
        let says = fraction.is_some() || message.is_some();
        let message = message.map(|message| Arc::from(&message[..message.floor_char_boundary(MESSAGE)]));
        (fits && says).then_some(Self { fraction, message, updated_at: wall })
    }

    /// True if it says the same, whenever it was said.
    pub fn says_as(&self, other: &Self) -> bool {
        self.fraction == other.fraction && self.message == other.message
    }

    /// As the row holds it.
    pub fn as_json(&self) -> String {
        // A number that is finite, a text and a time always make JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From the row.
    pub fn stored(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let wall = Timestamp::from_micros(1);
        let long = format!(r#"{{"message": "{}"}}"#, "ä".repeat(1_000));
        for (line, expected) in [
            (r#"{"fraction": 0.4, "message": "page 4 of 10"}"#, Some((Some(0.4), Some("page 4 of 10")))),
            (r#"{"fraction": 1}"#, Some((Some(1.0), None))),
            (r#"{"message": "a\"b", "eta": [1, 2]}"#, Some((None, Some("a\"b")))),
            (&long, Some((None, Some(&*"ä".repeat(512))))),
            (r#"{"fraction": 40}"#, None),
            (r#"{"fraction": -0.1}"#, None),
            (r#"{"fraction": "0.4"}"#, None),
            (r#"{"fraction": 1e999}"#, None),
            (r#"{"fraction": 0.1, "fraction": 0.2}"#, None),
            ("{}", None),
            ("0.4", None),
            ("", None),
            ("{", None),
        ] {
            let read = Progress::read(line.as_bytes(), wall);
            let read = read.as_ref().map(|read| (read.fraction, read.message.as_deref()));
            assert_eq!(read, expected, "{line}");
        }
        assert_eq!(Progress::read(b"{\"message\": \"\xff\"}", wall), None);
    }

    #[test]
    fn reads_back() {
        let progress =
            Progress::read(br#"{"fraction": 0.25, "message": "x"}"#, Timestamp::from_micros(7)).unwrap();
        assert_eq!(Progress::stored(&progress.as_json()).unwrap(), progress);
        let later = Progress { updated_at: Timestamp::from_micros(8), ..progress.clone() };
        assert!(later.says_as(&progress) && later != progress);
    }
}
