//! Bodies: exactly one JSON value, as another parser reads it, too.

use proptest::prelude::*;
use ringback_domain::json;
use serde_json::Value;

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec(("[a-c]{0,2}", inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// A JSON text, and what a few changed bytes make of it.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let change = (
        any::<prop::sample::Index>(),
        prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\",:\\ue0-.".to_vec())],
        0..3_u8,
    );
    (value(), prop::collection::vec(change, 0..4)).prop_map(|(value, changes)| {
        let mut bytes = value.to_string().into_bytes();
        for (at, byte, how) in changes {
            let place = at.index(bytes.len() + 1);
            match how {
                0 => bytes.insert(place, byte),
                1 if place < bytes.len() => bytes[place] = byte,
                _ => bytes.truncate(place),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(super::cases(30_000))]

    #[test]
    fn what_passes_is_one_value_for_another_parser_too(bytes in prop_oneof![4 => bytes(), 1 => any::<Vec<u8>>()]) {
        let theirs = serde_json::from_slice::<Value>(&bytes);
        match json::check(&bytes) {
            Ok(text) => {
                prop_assert_eq!(text.as_bytes(), &bytes[..]);
                // A number that is out of every range is a token of its own.
                prop_assert!(theirs.is_ok() || text.contains(['e', 'E']), "{text}: {theirs:?}");
            }
            // We refuse more: a key twice, too deep, half of a surrogate pair.
            Err(malformed) => prop_assert!(!malformed.to_string().is_empty()),
        }
    }
}
