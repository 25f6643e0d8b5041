//! Submissions at random: each is taken or refused with what is wrong with it, and what is taken comes back as it was sent.
//!
//! `PROPTEST_CASES=100000 cargo test -p ringback-api --test http fuzz` goes on for longer.

use std::cell::Cell;

use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed, TestRunner},
};
use serde_json::{Value, json};

use crate::harness::{Call, World};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((".{0,4}", inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn one_of(values: Vec<Value>) -> impl Strategy<Value = Value> {
    prop_oneof![3 => prop::sample::select(values), 1 => any_json()]
}

fn callback() -> impl Strategy<Value = Value> {
    let url = one_of(vec![
        json!("https://hooks.example.com/"),
        json!("http://hooks.example.com/"),
        json!("https://10.0.0.1/"),
    ]);
    let events =
        one_of(vec![json!(["job.started"]), json!(["job.failed", "job.failed"]), json!([]), json!(["nope"])]);
    let headers =
        one_of(vec![json!({"x-a": "b"}), json!({"Host": "b"}), json!({"x": "a\r\nb"}), json!({"": ""})]);
    let secret =
        one_of(vec![json!("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), json!("whsec_AAAA"), json!("hunter2")]);
    let retry = one_of(vec![
        json!({"schedule": ["5s"]}),
        json!({"max_attempts": 31}),
        json!({"jitter": 2}),
        json!({"multiplier": 1e308}),
    ]);
    let members = ["url", "events", "headers", "secret", "retry", "timeout", "else"];
    let values = (url, events, headers, secret, retry, any_json(), any_json());
    (values, any::<u8>()).prop_map(move |((a, b, c, d, e, f, g), mask)| {
        object(&members, vec![a, b, c, d, e, f, g], mask.into())
    })
}

fn object(names: &[&str], values: Vec<Value>, mask: u16) -> Value {
    let chosen = names.iter().zip(values).enumerate().filter(|(place, _)| mask >> place & 1 == 1);
    Value::Object(chosen.map(|(_, (name, value))| ((*name).to_owned(), value)).collect())
}

/// Every field, right, wrong or absent.
fn submission() -> impl Strategy<Value = Value> {
    let span = || one_of(vec![json!("1s"), json!("10m"), json!("0s"), json!("-1s"), json!("99999999999d")]);
    let time = || {
        one_of(vec![
            json!("2026-11-23T11:12:13Z"),
            json!("9999-12-31T23:59:59Z"),
            json!("2026-13-01T00:00:00Z"),
        ])
    };
    let number =
        || one_of(vec![json!(0), json!(1), json!(9), json!(10), json!(-1), json!(1.5), json!(1e300)]);
    let names = [
        "task",
        "input",
        "callback",
        "metadata",
        "delay",
        "run_at",
        "expires_at",
        "ttl",
        "timeout",
        "max_attempts",
        "priority",
        "else",
    ];
    let task =
        prop_oneof![9 => Just(json!("echo")), 1 => one_of(vec![json!("strict"), json!("nope"), json!("")])];
    let metadata = one_of(vec![json!({"a": "b"}), json!({"a": 1}), json!({"a": "x".repeat(5_000)})]);
    let first = (task, any_json(), callback(), metadata, span(), time(), time(), span());
    let second = (span(), number(), number(), any_json());
    (first, second, any::<u16>(), any::<u16>()).prop_map(
        move |((a, b, c, d, e, f, g, h), (i, j, k, l), one, two)| {
            // The more fields, the more likely one is wrong: most have a few, and most have a task.
            object(&names, vec![a, b, c, d, e, f, g, h, i, j, k, l], one & two | u16::from(one % 16 != 0))
        },
    )
}

#[test]
fn any_submission_is_taken_or_refused_with_what_is_wrong() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(World::new());
    let config =
        Config { rng_seed: RngSeed::Fixed(8202), failure_persistence: None, ..Config::with_cases(1_500) };
    let mut runner = TestRunner::new(proptest::test_runner::contextualize_config(config));
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0..4_u8);
    let (taken, refused) = (Cell::new(0), Cell::new(0));
    let done = runner.run(&(submission(), change), |(submission, (at, byte, how))| {
        let mut bytes = submission.to_string().into_bytes();
        // One in four is not quite JSON any more.
        if how == 0 {
            let place = at.index(bytes.len());
            bytes[place] = byte;
        }
        let call =
            Call::new(http::Method::POST, "/v1/jobs", bytes.clone()).with("content-type", "application/json");
        // What comes back is held against the API's description, too.
        let answer = runtime.block_on(world.send(call));
        match answer.status.as_u16() {
            202 => {
                taken.set(taken.get() + 1);
                let id = answer.json()["id"].as_str().unwrap().to_owned();
                let input = runtime.block_on(world.get(&format!("/v1/jobs/{id}/input")));
                let sent: Value = serde_json::from_slice(&bytes).unwrap();
                prop_assert_eq!(input.json(), sent["input"].clone());
            }
            400 => prop_assert_eq!(&answer.json()["type"], "/problems/malformed-json"),
            413 => {}
            422 => {
                refused.set(refused.get() + 1);
                let problem = answer.json();
                let errors = problem["errors"].as_array().unwrap();
                prop_assert!(!errors.is_empty());
                for error in errors {
                    let pointer = error["pointer"].as_str().unwrap();
                    prop_assert!(pointer.is_empty() || pointer.starts_with('/'), "{}", problem);
                }
                prop_assert!(!answer.text().contains("hunter2"), "a secret is echoed: {}", problem);
            }
            other => prop_assert!(false, "{}: {}", other, answer.text()),
        }
        Ok(())
    });
    if let Err(error) = done {
        panic!("{error}");
    }
    let (taken, refused) = (taken.get(), refused.get());
    assert!(taken > 50 && refused > 50, "both happen often: {taken} taken, {refused} refused");
}
