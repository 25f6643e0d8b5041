//! What strangers can send, tried at random: rules that read text and bytes must hold for all of it, and never panic.
//!
//! A few seconds each, and the same cases every time. `PROPTEST_CASES=1000000 cargo test -p ringback-domain --test fuzz`
//! goes on for longer, `PROPTEST_RNG_SEED` elsewhere.

mod callback_url;
mod header_rule;
mod json;
mod retry_after;
mod signature;

use proptest::test_runner::{Config, RngSeed};

/// So many cases, always the same.
fn cases(cases: u32) -> Config {
    Config { rng_seed: RngSeed::Fixed(8202), failure_persistence: None, ..Config::with_cases(cases) }
}
