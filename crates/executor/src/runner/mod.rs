//! The kinds of work. A runner does the work and says how it went; time limits, stops and what follows are the
//! attempt's.

pub(crate) mod command;
pub(crate) mod echo;
pub(crate) mod fail;
pub(crate) mod http;
pub(crate) mod sleep;

use std::{borrow::Cow, sync::Arc, time::Duration};

use domain::problem::JobError;
use serde::de::DeserializeOwned;

const JSON: &str = "application/json";

/// How work went.
#[derive(Debug)]
pub(crate) enum Ran {
    /// It answered.
    Done { content_type: Cow<'static, str>, bytes: Arc<[u8]> },
    /// It failed, and the same again may do better, no sooner than `after` from now.
    Retry { error: JobError, after: Option<Duration> },
    /// It failed, and would again.
    Failed(JobError),
}

impl Ran {
    /// Done, with nothing to tell.
    fn null() -> Self {
        Ran::Done { content_type: JSON.into(), bytes: Arc::from(*b"null") }
    }
}

/// A built-in's input.
fn read<T: DeserializeOwned>(input: &str, wants: &str) -> Result<T, Ran> {
    serde_json::from_str(input).map_err(|_| {
        Ran::Failed(JobError::new(
            "input-invalid",
            "The input is invalid",
            &format!("This task takes {wants}."),
        ))
    })
}

#[cfg(test)]
impl Ran {
    /// A line per outcome, for tables.
    pub(crate) fn line(&self) -> String {
        let slug = |error: &JobError| {
            let problem: serde_json::Value = serde_json::from_str(error.as_json()).unwrap();
            let slug = problem["type"].as_str().unwrap_or("?").trim_start_matches("/problems/").to_owned();
            match problem["status"].as_u64() {
                Some(status) => format!("{slug} {status}"),
                None => slug,
            }
        };
        match self {
            Ran::Done { content_type, bytes } => {
                format!("done {content_type} {}", String::from_utf8_lossy(bytes))
            }
            Ran::Retry { error, after: Some(after) } => format!("retry {} after {after:?}", slug(error)),
            Ran::Retry { error, after: None } => format!("retry {}", slug(error)),
            Ran::Failed(error) => format!("failed {}", slug(error)),
        }
    }
}
