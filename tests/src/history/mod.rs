//! The log of a crash run, and the checker over it.
//!
//! Everybody around the server writes [`Line`]s on one monotonic clock; when the faults have stopped and all is quiet, a
//! [`Dump`] is read through the API. [`check`](check::check) is a pure function over both and names every broken invariant.

pub mod check;
mod dump;

use std::{
    fs,
    io::Write,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

pub use check::{Invariant, Rules, Violation, check};
pub use dump::{Dump, DumpAttempt, DumpDelivery, DumpJob};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock;

/// Something that somebody saw or did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Event {
    /// The loader sends a submission. `callback`: it names one.
    Submitting {
        /// The Idempotency-Key, which is in the input too.
        key: String,
        /// The input's text.
        input: String,
        /// Whether a webhook is expected.
        callback: bool,
    },
    /// A complete answer came.
    Answered {
        /// Of this submission.
        key: String,
        /// Its status.
        status: u16,
        /// The job's id, if it names one.
        job: Option<String>,
    },
    /// No complete answer came.
    AnswerLost {
        /// Of this submission.
        key: String,
    },
    /// The upstream was asked to work.
    Work {
        /// The job.
        job: String,
        /// `Ringback-Attempt`.
        attempt: u32,
        /// What it answers; `None` where it gives no complete answer.
        answer: Option<u16>,
    },
    /// The receiver got a webhook.
    Webhook {
        /// Headers as they came.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
        /// Microseconds since the epoch.
        wall: i64,
        /// What it answers; `None` where it gives no complete answer.
        answer: Option<u16>,
    },
    /// Somebody who polls saw a job.
    SeenJob {
        /// As [`DumpJob`] would have it.
        job: DumpJob,
    },
    /// Somebody who polls saw a delivery.
    SeenDelivery {
        /// As [`DumpDelivery`] would have it, without the body.
        delivery: DumpDelivery,
    },
    /// The server was killed.
    Killed,
    /// The server was ready again.
    Ready,
}

/// An [`Event`] and when it happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Nanoseconds on the run's monotonic clock.
    pub at: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// The log everybody writes to.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<Line>>>);

impl Log {
    /// Adds what happens now.
    pub fn add(&self, event: Event) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(Line { at: clock::ticks(), event });
    }

    /// All lines, in order.
    pub fn lines(&self) -> Vec<Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Writes lines and dump as JSON lines, so that a failed run can be looked at, and checked again.
pub fn write(path: &Path, lines: &[Line], dump: &Dump) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = std::io::BufWriter::new(fs::File::create(path)?);
    for line in lines {
        writeln!(file, "{}", serde_json::to_string(line)?)?;
    }
    writeln!(file, "{}", serde_json::to_string(&serde_json::json!({ "dump": dump }))?)?;
    file.flush()
}

/// Reads what [`write`] wrote.
pub fn read(path: &Path) -> std::io::Result<(Vec<Line>, Dump)> {
    let (mut lines, mut dump) = (Vec::new(), Dump::default());
    for text in fs::read_to_string(path)?.lines() {
        let mut value: Value = serde_json::from_str(text)?;
        match value.get_mut("dump") {
            Some(found) => dump = serde_json::from_value(found.take())?,
            None => lines.push(serde_json::from_value(value)?),
        }
    }
    Ok((lines, dump))
}
