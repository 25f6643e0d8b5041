//! A task: a named kind of work that the operator configured.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{retry::RetryPolicy, secret::Secret};

/// A task's name: 1–64 characters of `a-z A-Z 0-9 _ - .`, beginning with a letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskName(Arc<str>);

/// The text is no task name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a task name has 1 to 64 letters, digits, `_`, `-` or `.` and begins with a letter or digit")]
pub struct NotATaskName;

impl TaskName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TaskName {
    type Err = NotATaskName;
    fn from_str(text: &str) -> Result<Self, NotATaskName> {
        let ok = (1..=64).contains(&text.len())
            && text.as_bytes()[0].is_ascii_alphanumeric()
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        if ok { Ok(Self(text.into())) } else { Err(NotATaskName) }
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Serialize for TaskName {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TaskName {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How a task's work is run.
#[derive(Clone, Debug)]
pub enum Run {
    /// POST to an upstream of the operator's.
    Http(HttpRun),
    /// Return the input.
    Echo,
    /// Wait as long as the input's `for` says.
    Sleep,
    /// Fail as the input says.
    Fail,
    /// Start a process of the operator's.
    Command(CommandRun),
}

/// The process of a `command` task. Nothing of a job is in it but what `RINGBACK_…` says.
#[derive(Clone, Debug)]
pub struct CommandRun {
    /// The program's path, then its arguments; never empty, and never read by a shell.
    pub argv: Vec<String>,
    /// All of its environment beside `RINGBACK_…`.
    pub env: std::collections::BTreeMap<String, String>,
    /// Where it starts; the server's own working directory if nothing is said.
    pub cwd: Option<std::path::PathBuf>,
}

/// The upstream of an `http` task.
#[derive(Clone, Debug)]
pub struct HttpRun {
    /// Dialled as written: it is the operator's, not a client's.
    pub url: url::Url,
    /// Signs the requests, if set. Never the tenant's: a submitter could have any bytes signed as a webhook.
    pub secret: Option<Arc<Secret>>,
}

/// Everything that the operator set for one task.
#[derive(Clone, Debug)]
pub struct TaskSpec {
    /// Its name.
    pub name: TaskName,
    /// How it runs.
    pub run: Run,
    /// The most that one attempt may take.
    pub timeout: Duration,
    /// When to try again; its `max_attempts` is the most that a job may have.
    pub retry: RetryPolicy,
    /// How many run at once in the whole installation.
    pub concurrency: u32,
    /// JSON Schema that an input must meet.
    pub input_schema: Option<serde_json::Value>,
    /// The largest result kept, in bytes.
    pub max_result: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["a", "report", "Report-2.pdf_x", "0", &"x".repeat(64)] {
            assert_eq!(name.parse::<TaskName>().map(|n| n.to_string()), Ok(name.to_owned()));
        }
        for name in ["", "-a", ".a", "a b", "a/b", "ä", &"x".repeat(65)] {
            assert_eq!(name.parse::<TaskName>(), Err(NotATaskName), "{name}");
        }
    }
}
