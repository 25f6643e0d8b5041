//! What people call a tenant or a key.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// The longest, in characters.
const MOST: usize = 100;

/// A name for people: 1 to 100 characters, not blank at either end, none of them a control character.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Label(String);

/// The text does not do as a name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 100 characters, without blanks at its ends and without control characters")]
pub struct NotALabel;

impl Label {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = NotALabel;
    fn from_str(text: &str) -> Result<Self, NotALabel> {
        let fits = (1..=MOST).contains(&text.chars().count());
        let plain = text.trim() == text && !text.chars().any(char::is_control);
        if fits && plain { Ok(Self(text.to_owned())) } else { Err(NotALabel) }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Label {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_what_a_person_would_call_a_name() {
        for (text, fits) in [
            ("a", true),
            ("Büro 2, “Nord”", true),
            (&*"é".repeat(100), true),
            (&*"é".repeat(101), false),
            ("", false),
            (" ", false),
            (" a", false),
            ("a\n", false),
            ("a\u{0}b", false),
            ("a\u{9b}b", false),
        ] {
            assert_eq!(
                text.parse::<Label>().map(|label| label.to_string()).ok().as_deref(),
                fits.then_some(text)
            );
        }
    }
}
