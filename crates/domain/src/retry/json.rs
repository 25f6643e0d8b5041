//! The contract's form of a policy: `{"schedule": ["5s", …], "jitter": 0.2}` or
//! `{"initial", "multiplier", "max_interval", "max_attempts", "max_elapsed", "jitter"}`, in JSON and in TOML.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value};

use super::{DEFAULT_JITTER, MAX_ATTEMPTS, MAX_SPAN, RetryPolicy};
use crate::duration;

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Where, as a JSON pointer (RFC 6901) from the policy down; empty: the policy as a whole.
    pub pointer: String,
    /// What, for people.
    pub detail: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pointer.is_empty() {
            return f.write_str(&self.detail);
        }
        write!(f, "{}: {}", self.pointer, self.detail)
    }
}

impl std::error::Error for FieldError {}

const GROWING: [&str; 5] = ["initial", "multiplier", "max_interval", "max_attempts", "max_elapsed"];

impl RetryPolicy {
    /// Reads the contract's form, and says of every field what is wrong with it.
    pub fn from_value(value: &Value) -> Result<Self, Vec<FieldError>> {
        let mut errors = Errors::default();
        let Value::Object(fields) = value else {
            errors.add(String::new(), "must be an object");
            return Err(errors.0);
        };
        let is_schedule = fields.contains_key("schedule");
        for name in fields.keys().map(String::as_str).filter(|&name| name != "schedule" && name != "jitter") {
            if !GROWING.contains(&name) {
                errors.add(pointer(name), "unknown field");
            } else if is_schedule {
                errors.add(pointer(name), "does not go with schedule");
            }
        }
        let policy = match is_schedule {
            true => schedule(fields, &mut errors),
            false => exponential(fields, &mut errors),
        };
        if errors.0.is_empty() { Ok(policy) } else { Err(errors.0) }
    }
}

fn schedule(fields: &Map<String, Value>, errors: &mut Errors) -> RetryPolicy {
    let mut delays = Vec::new();
    match fields.get("schedule") {
        Some(Value::Array(items)) if items.len() < MAX_ATTEMPTS as usize => {
            for (n, item) in items.iter().enumerate() {
                delays.extend(errors.span(&format!("/schedule/{n}"), item));
            }
        }
        Some(Value::Array(_)) => errors.add(
            "/schedule".into(),
            format!("at most {} delays, which make {MAX_ATTEMPTS} attempts", MAX_ATTEMPTS - 1),
        ),
        _ => errors.add("/schedule".into(), "must be a list of durations"),
    }
    let policy = RetryPolicy::Schedule { delays, jitter: jitter(fields, errors) };
    errors.too_long("/schedule", &policy);
    policy
}

fn exponential(fields: &Map<String, Value>, errors: &mut Errors) -> RetryPolicy {
    let mut span = |name: &str, default: u64| {
        let given = fields.get(name).and_then(|value| errors.span(&pointer(name), value));
        given.unwrap_or(Duration::from_secs(default))
    };
    let (initial, max_interval) = (span("initial", 1), span("max_interval", 5 * 60));
    let max_elapsed = match fields.get("max_elapsed") {
        None | Some(Value::Null) => None,
        Some(value) => errors.span("/max_elapsed", value),
    };
    let multiplier = errors.number(fields, "multiplier", 1.0..=f64::MAX, "must be a number, at least 1");
    let attempts = fields.get("max_attempts").map(|value| value.as_u64().and_then(|n| u32::try_from(n).ok()));
    let max_attempts = match attempts {
        None => 3,
        Some(Some(n)) if (1..=MAX_ATTEMPTS).contains(&n) => n,
        Some(_) => {
            errors.add("/max_attempts".into(), format!("must be a whole number, 1 to {MAX_ATTEMPTS}"));
            1
        }
    };
    let policy = RetryPolicy::Exponential {
        initial,
        multiplier: multiplier.unwrap_or(2.0),
        max_interval,
        max_attempts,
        max_elapsed,
        jitter: jitter(fields, errors),
    };
    if max_elapsed.is_none() {
        errors.too_long("", &policy);
    }
    policy
}

fn jitter(fields: &Map<String, Value>, errors: &mut Errors) -> f64 {
    errors.number(fields, "jitter", 0.0..=1.0, "must be a number from 0 to 1").unwrap_or(DEFAULT_JITTER)
}

fn pointer(field: &str) -> String {
    format!("/{}", field.replace('~', "~0").replace('/', "~1"))
}

#[derive(Default)]
struct Errors(Vec<FieldError>);

impl Errors {
    fn add(&mut self, pointer: String, detail: impl Into<String>) {
        self.0.push(FieldError { pointer, detail: detail.into() });
    }

    fn span(&mut self, pointer: &str, value: &Value) -> Option<Duration> {
        match value.as_str().and_then(|text| duration::parse(text).ok()) {
            Some(span) if span <= MAX_SPAN => return Some(span),
            Some(_) => self.add(pointer.into(), format!("at most {}", duration::show(MAX_SPAN))),
            None => self.add(pointer.into(), "must be a duration such as \"15s\" or \"2h30m\""),
        }
        None
    }

    fn number(
        &mut self,
        fields: &Map<String, Value>,
        name: &str,
        range: std::ops::RangeInclusive<f64>,
        must: &str,
    ) -> Option<f64> {
        let number = fields.get(name)?.as_f64().filter(|number| range.contains(number));
        if number.is_none() {
            self.add(pointer(name), must);
        }
        number
    }

    /// Asked only of what was read whole: a sum over half of the fields would mislead.
    fn too_long(&mut self, pointer: &str, policy: &RetryPolicy) {
        if self.0.is_empty() && policy.waits() > MAX_SPAN {
            self.add(pointer.into(), format!("the delays add up to more than {}", duration::show(MAX_SPAN)));
        }
    }
}

impl<'de> Deserialize<'de> for RetryPolicy {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::from_value(&Value::deserialize(d)?).map_err(|errors| {
            let lines: Vec<_> = errors.iter().map(FieldError::to_string).collect();
            serde::de::Error::custom(lines.join("; "))
        })
    }
}

impl Serialize for RetryPolicy {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        match self {
            Self::Schedule { delays, jitter } => {
                let delays: Vec<_> = delays.iter().copied().map(duration::show).collect();
                map.serialize_entry("schedule", &delays)?;
                map.serialize_entry("jitter", jitter)?;
            }
            Self::Exponential { initial, multiplier, max_interval, max_attempts, max_elapsed, jitter } => {
                map.serialize_entry("initial", &duration::show(*initial))?;
                map.serialize_entry("multiplier", multiplier)?;
                map.serialize_entry("max_interval", &duration::show(*max_interval))?;
                map.serialize_entry("max_attempts", max_attempts)?;
                if let Some(most) = max_elapsed {
                    map.serialize_entry("max_elapsed", &duration::show(*most))?;
                }
                map.serialize_entry("jitter", jitter)?;
            }
        }
        map.end()
    }
}
