//! Reads JSON objects member by member, each value kept as the text it was sent as.
//!
//! The text has passed `domain::json::check`: it is one JSON value and no key comes twice.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{
    Deserializer as _,
    de::{DeserializeSeed, Error, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::problem::{Faults, pointer};

/// The members with these names, in their order; `null` counts as absent. Others are faults. `None`: it is no object.
pub(crate) fn members<'a, const N: usize>(
    text: &'a str,
    names: &[&str; N],
    base: &str,
    faults: &mut Faults,
) -> Option<[Option<&'a RawValue>; N]> {
    let mut found = [None; N];
    let mut unknown = Vec::new();
    let read = object(text, |name, value| match names.iter().position(|known| *known == name) {
        Some(place) => found[place] = (value.get() != "null").then_some(value),
        None => unknown.push(name.into_owned()),
    });
    if !read {
        faults.add(base, "must be an object");
        return None;
    }
    for name in unknown {
        faults.add(pointer(base, &name), "unknown field");
    }
    Some(found)
}

/// Every member, in the order sent. `None`: it is no object.
pub(crate) fn pairs(text: &str) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    let mut pairs = Vec::new();
    object(text, |name, value| pairs.push((name, value))).then_some(pairs)
}

/// The text of a JSON string; `None`: it is none.
pub(crate) fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    let inner = value.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(value.get()).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

/// A value of a type that says itself what its text has to be.
pub(crate) fn parsed<T: FromStr<Err: fmt::Display>>(
    value: &RawValue,
    at: &str,
    faults: &mut Faults,
) -> Option<T> {
    match string(value).map(|text| text.parse::<T>()) {
        Some(Ok(value)) => return Some(value),
        Some(Err(error)) => faults.add(at, error.to_string()),
        None => faults.add(at, "must be a string"),
    }
    None
}

fn object<'a>(text: &'a str, each: impl FnMut(Cow<'a, str>, &'a RawValue)) -> bool {
    serde_json::Deserializer::from_str(text).deserialize_map(Members(each)).is_ok()
}

struct Members<F>(F);

impl<'de, F: FnMut(Cow<'de, str>, &'de RawValue)> Visitor<'de> for Members<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Name)? {
            (self.0)(name, map.next_value()?);
        }
        Ok(())
    }
}

/// A key, borrowed where it has no escapes (serde's own `Cow` never borrows).
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;
    fn deserialize<D: serde::Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_values_as_written() {
        let mut faults = Faults::default();
        let text = r#" { "a" : 1.10, "\u0062": [ 1,2 ] , "x/~y": null, "c": null } "#;
        let [a, b, c, d] = members(text, &["a", "b", "c", "d"], "/at", &mut faults).unwrap();
        assert_eq!(a.map(RawValue::get), Some("1.10"));
        assert_eq!(b.map(RawValue::get), Some("[ 1,2 ]"));
        assert!(c.is_none() && d.is_none());
        let problem = faults.finish().unwrap_err();
        assert!(format!("{problem:?}").contains("/at/x~1~0y"), "{problem:?}");
    }

    #[test]
    fn refuses_what_is_no_object() {
        for text in ["1", "\"a\"", "[]", "null", "true"] {
            assert!(pairs(text).is_none(), "{text}");
        }
        assert_eq!(pairs("{}").map(|pairs| pairs.len()), Some(0));
    }

    #[test]
    fn reads_strings() {
        for (text, expected) in [
            (r#""""#, Some("")),
            (r#""a\nb""#, Some("a\nb")),
            ("1", None),
            ("null", None),
            (r#"["a"]"#, None),
        ] {
            let raw = RawValue::from_string(text.into()).unwrap();
            assert_eq!(string(&raw).as_deref(), expected, "{text}");
        }
    }
}
