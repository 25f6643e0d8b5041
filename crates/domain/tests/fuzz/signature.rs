//! Signatures: what was signed verifies, and nothing that differs from it in a single bit.

use std::time::Duration;

use proptest::prelude::*;
use ringback_domain::{
    secret::Secret,
    signature::{VerifyError, sign, verify},
};

const TOLERANCE: Duration = Duration::from_secs(300);

proptest! {
    #![proptest_config(super::cases(5_000))]

    #[test]
    fn verifies_what_was_signed_and_nothing_else(
        id in "[a-z]{1,3}_[0-9a-z]{1,26}",
        timestamp in 1_000_i64..4_000_000_000,
        body in any::<Vec<u8>>(),
        keys in prop::collection::vec(any::<[u8; 32]>(), 1..3),
        apart in -300_i64..=300,
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let secrets: Vec<Secret> = keys.iter().map(|key| Secret::from_bytes(*key)).collect();
        let secrets: Vec<&Secret> = secrets.iter().collect();
        let header = sign(&id, timestamp, &body, &secrets);
        let judge = |id: &str, timestamp: i64, body: &[u8], header: &str, secrets: &[&Secret], now: i64| {
            verify(id, &timestamp.to_string(), body, header, secrets, now, TOLERANCE)
        };
        for secret in &secrets {
            prop_assert_eq!(judge(&id, timestamp, &body, &header, &[secret], timestamp + apart), Ok(()));
        }
        prop_assert_eq!(judge(&id, timestamp, &body, &header, &secrets, timestamp + 301), Err(VerifyError::TooOld));
        prop_assert_eq!(judge(&id, timestamp, &body, &header, &secrets, timestamp - 301), Err(VerifyError::TooNew));
        let no_match = Err(VerifyError::NoMatch);
        if !body.is_empty() {
            let mut other = body.clone();
            other[at.index(body.len())] ^= 1 << bit;
            prop_assert_eq!(judge(&id, timestamp, &other, &header, &secrets, timestamp), no_match);
        }
        prop_assert_eq!(judge(&id, timestamp + 1, &body, &header, &secrets, timestamp), no_match);
        prop_assert_eq!(judge(&format!("{id}x"), timestamp, &body, &header, &secrets, timestamp), no_match);
        let mut key = keys[0];
        key[at.index(32)] ^= 1 << bit;
        if !keys.contains(&key) {
            prop_assert_eq!(judge(&id, timestamp, &body, &header, &[&Secret::from_bytes(key)], timestamp), no_match);
        }
        // Moving a byte over a dot makes another webhook.
        if let Some((first, rest)) = body.split_first() {
            let moved = format!("{id}{}", char::from(*first));
            prop_assert!(judge(&moved, timestamp, rest, &header, &secrets, timestamp).is_err());
        }
    }

    #[test]
    fn any_headers_are_judged(id in ".{0,30}", timestamp in ".{0,20}", header in ".{0,100}", now in any::<i64>()) {
        let secret = Secret::from_bytes([7; 32]);
        let judged = verify(&id, &timestamp, b"{}", &header, &[&secret], now, TOLERANCE);
        prop_assert!(judged.is_err());
    }

    #[test]
    fn any_text_is_a_secret_that_reads_back_or_none(text in prop_oneof!["whsec_[A-Za-z0-9+/=]{0,100}", ".{0,60}"]) {
        match Secret::parse(&text) {
            Ok(secret) => {
                prop_assert!((24..=64).contains(&secret.key().len()));
                prop_assert_eq!(secret.expose(), text);
            }
            // What is wrong is said without the text.
            Err(error) => prop_assert!(text.len() < 8 || !error.to_string().contains(&text)),
        }
    }
}
