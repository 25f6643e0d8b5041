use serde_json::json;

use super::*;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn read(value: serde_json::Value) -> RetryPolicy {
    RetryPolicy::from_value(&value).unwrap()
}

#[test]
fn the_default_of_deliveries_is_ten_attempts_over_three_days() {
    let policy = RetryPolicy::default_delivery();
    assert_eq!(policy.max_attempts(), 10);
    assert_eq!(policy.delay(1, 0.0), Some(s(5)));
    assert_eq!(policy.delay(9, 0.0), Some(s(24 * 3600)));
    assert_eq!(policy.delay(10, 0.0), None);
    let text = json!(["5s", "5m", "30m", "2h", "5h", "10h", "14h", "20h", "24h"]);
    assert_eq!(read(json!({ "schedule": text })), policy);
}

#[test]
fn an_interval_is_multiplied_and_capped() {
    let policy = read(
        json!({"initial": "1s", "multiplier": 3, "max_interval": "20s", "max_attempts": 6, "jitter": 0}),
    );
    let delays: Vec<_> = (1..=7).map(|failures| policy.delay(failures, 0.7)).collect();
    assert_eq!(delays, [Some(s(1)), Some(s(3)), Some(s(9)), Some(s(20)), Some(s(20)), None, None]);

    let capped_at_once = read(json!({"initial": "1m", "max_interval": "10s", "jitter": 0}));
    assert_eq!(capped_at_once.delay(1, 0.0), Some(s(10)));
    let half_steps = read(json!({"initial": "1s", "multiplier": 1.5, "jitter": 0}));
    assert_eq!(half_steps.delay(2, 0.0), Some(Duration::from_millis(1500)));
    let steep = read(json!({"multiplier": 1e300, "max_attempts": 30}));
    assert_eq!(steep.delay(29, 0.0), Some(s(300)));
    let still = read(json!({"initial": "0s", "max_attempts": 30}));
    assert_eq!(still.delay(29, 1.0), Some(s(0)));
}

#[test]
fn jitter_only_adds() {
    let policy = read(json!({"schedule": ["10s"], "jitter": 0.5}));
    for (roll, delay) in [(-1.0, 10.0), (0.0, 10.0), (0.5, 12.5), (1.0, 15.0), (7.0, 15.0)] {
        assert_eq!(policy.delay(1, roll), Some(Duration::from_secs_f64(delay)), "{roll}");
    }
    assert!(policy.delay(1, f64::NAN).is_some());
    assert_eq!(policy.delay(0, 0.0), Some(s(10)), "never at once");
}

#[test]
fn an_empty_schedule_is_one_attempt() {
    let policy = read(json!({"schedule": []}));
    assert_eq!((policy.max_attempts(), policy.delay(1, 0.0)), (1, None));
    assert_eq!(policy.total(s(15)), s(15));
}

#[test]
fn attempts_are_lowered_and_never_raised() {
    for policy in [RetryPolicy::default_delivery(), RetryPolicy::default_task()] {
        let all = policy.max_attempts();
        for (asked, attempts) in [(0, 1), (1, 1), (2, 2), (all, all), (all + 1, all), (u32::MAX, all)] {
            let lowered = policy.clone().with_max_attempts(asked);
            assert_eq!(lowered.max_attempts(), attempts);
            assert_eq!(lowered.delay(attempts, 0.0), None);
            assert!(
                (1..attempts).all(|failures| lowered.delay(failures, 0.3) == policy.delay(failures, 0.3))
            );
        }
    }
}

#[test]
fn the_total_is_the_longest_it_may_take() {
    let policy = read(json!({"schedule": ["10s", "20s"], "jitter": 0.5}));
    assert_eq!(policy.total(s(15)), s(45 + 3 * 15));
    assert_eq!(RetryPolicy::default_task().total(s(60)), Duration::from_millis(3_600) + s(180));
    assert_eq!(read(json!({"max_elapsed": "1h"})).total(s(60)), s(3600));
}

#[test]
fn reads_back_what_it_writes() {
    for policy in [
        RetryPolicy::default_delivery(),
        RetryPolicy::default_task(),
        read(json!({"schedule": []})),
        read(json!({"initial": "250ms", "multiplier": 1.5, "max_elapsed": "2h", "max_attempts": 30})),
    ] {
        let text = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<RetryPolicy>(&text).unwrap(), policy, "{text}");
    }
    let written = serde_json::to_value(RetryPolicy::default_task()).unwrap();
    let contract =
        json!({"initial": "1s", "multiplier": 2.0, "max_interval": "5m", "max_attempts": 3, "jitter": 0.2});
    assert_eq!(written, contract);
    assert_eq!(read(json!({})), RetryPolicy::default_task());
}

#[test]
fn every_wrong_field_is_pointed_at() {
    let month: Vec<_> = (0..30).map(|_| "1s").collect();
    for (value, pointers) in [
        (json!("5s"), vec![""]),
        (json!(null), vec![""]),
        (json!([]), vec![""]),
        (json!({"schedule": "5s"}), vec!["/schedule"]),
        (json!({"schedule": null}), vec!["/schedule"]),
        (json!({"schedule": ["5s", 5, "x", "8d"]}), vec!["/schedule/1", "/schedule/2", "/schedule/3"]),
        (json!({ "schedule": month }), vec!["/schedule"]),
        (json!({"schedule": ["4d", "4d"]}), vec!["/schedule"]),
        (json!({"schedule": ["5s"], "initial": "1s"}), vec!["/initial"]),
        (json!({"schedule": ["5s"], "max_attempts": 2, "jitter": 2}), vec!["/max_attempts", "/jitter"]),
        (json!({"shedule": ["5s"]}), vec!["/shedule"]),
        (json!({"a/b~c": 1}), vec!["/a~1b~0c"]),
        (json!({"jitter": -0.1}), vec!["/jitter"]),
        (json!({"jitter": "0.1"}), vec!["/jitter"]),
        (json!({"multiplier": 0.99}), vec!["/multiplier"]),
        (json!({"multiplier": null}), vec!["/multiplier"]),
        (json!({"initial": 1, "max_interval": true}), vec!["/initial", "/max_interval"]),
        (json!({"max_attempts": 0}), vec!["/max_attempts"]),
        (json!({"max_attempts": 31}), vec!["/max_attempts"]),
        (json!({"max_attempts": 2.5}), vec!["/max_attempts"]),
        (json!({"max_attempts": 4294967297_u64}), vec!["/max_attempts"]),
        (json!({"max_elapsed": "8d"}), vec!["/max_elapsed"]),
        (json!({"initial": "1d", "max_interval": "1d", "max_attempts": 30}), vec![""]),
    ] {
        let errors = RetryPolicy::from_value(&value).unwrap_err();
        let found: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(found, pointers, "{value}");
    }
}

#[test]
fn seven_days_and_thirty_attempts_pass() {
    for value in [
        json!({"schedule": ["7d"]}),
        json!({"schedule": vec!["1s"; 29]}),
        json!({"initial": "1d", "max_interval": "1d", "max_attempts": 30, "max_elapsed": "7d"}),
        json!({"max_elapsed": null}),
    ] {
        assert!(RetryPolicy::from_value(&value).is_ok(), "{value}");
    }
}
