//! `fail`: fails as the input says, then returns null.

use std::sync::Arc;

use domain::problem::JobError;
use serde::Deserialize;

use super::Ran;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    /// The first so many attempts fail; without it all do.
    times: Option<u32>,
    /// A failure is final.
    #[serde(default)]
    permanent: bool,
}

pub(crate) fn run(input: &Arc<str>, attempt: u32) -> Ran {
    let wants = r#"{"times": 2, "permanent": false}, both optional, or null"#;
    let Input { times, permanent } = match super::read::<Option<Input>>(input, wants) {
        Ok(input) => input.unwrap_or_default(),
        Err(refused) => return refused,
    };
    if times.is_some_and(|times| attempt > times) {
        return Ran::null();
    }
    let error = JobError::new("task-failed", "The work failed", "It was asked to fail.");
    if permanent { Ran::Failed(error) } else { Ran::Retry { error, after: None } }
}

#[cfg(test)]
mod tests {
    #[test]
    fn fails_as_asked() {
        for (input, attempt, expected) in [
            ("null", 1, "retry task-failed"),
            ("{}", 30, "retry task-failed"),
            (r#"{"times": 2}"#, 2, "retry task-failed"),
            (r#"{"times": 2}"#, 3, "done application/json null"),
            (r#"{"times": 0}"#, 1, "done application/json null"),
            (r#"{"permanent": true}"#, 1, "failed task-failed"),
            (r#"{"times": 1, "permanent": true}"#, 1, "failed task-failed"),
            (r#"{"times": -1}"#, 1, "failed input-invalid"),
            (r#"{"time": 1}"#, 1, "failed input-invalid"),
            ("3", 1, "failed input-invalid"),
        ] {
            assert_eq!(super::run(&input.into(), attempt).line(), expected, "{input} {attempt}");
        }
    }
}
