//! What the owner of a lane allows, whatever the lane itself has learned. An endpoint's settings say so; the row that
//! its lane is found by bears it, so that every node that claims there knows.

use serde::{Deserialize, Serialize};

use crate::rate::Rate;

/// None of it is the usual case, and the cheap one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// At most so many in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<u32>,
    /// At most so many in such a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// One at a time, by their numbers.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ordered: bool,
}

fn is_false(is: &bool) -> bool {
    !is
}

impl Terms {
    /// What the queue row of a delivery under this number bears, so that a lane with terms is looked through without its
    /// others: the number where that is its place, 0 where it only says that there are terms.
    pub fn number(self, sequence: i64) -> Option<i64> {
        match self.ordered {
            true => Some(sequence),
            false => (self != Self::default()).then_some(0),
        }
    }

    /// What rows hold; `None`: nothing is said.
    pub fn to_text(self) -> Option<String> {
        // Plain data always makes JSON.
        (self != Self::default()).then(|| serde_json::to_string(&self).unwrap_or_default())
    }

    /// From a row.
    ///
    /// # Errors
    /// If it says what this version does not know: it must not claim there.
    pub fn stored(text: Option<&str>) -> Result<Self, serde_json::Error> {
        text.map_or_else(|| Ok(Self::default()), serde_json::from_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_wrote() {
        for (terms, text) in [
            (Terms::default(), None),
            (Terms { most: Some(3), ..Terms::default() }, Some(r#"{"most":3}"#)),
            (
                Terms { most: None, rate: Some("5/2s".parse().unwrap()), ordered: true },
                Some(r#"{"rate":"5/2s","ordered":true}"#),
            ),
        ] {
            assert_eq!(terms.to_text().as_deref(), text);
            assert_eq!(Terms::stored(text).unwrap(), terms);
        }
        assert!(Terms::stored(Some(r#"{"most":3,"weight":2}"#)).is_err(), "what is not known cannot be kept");
    }

    #[test]
    fn rows_bear_their_place_only_in_an_ordered_lane() {
        let (most, ordered) =
            (Terms { most: Some(1), ..Terms::default() }, Terms { ordered: true, ..Terms::default() });
        for (terms, number) in [(Terms::default(), None), (most, Some(0)), (ordered, Some(7))] {
            assert_eq!(terms.number(7), number);
        }
    }
}
