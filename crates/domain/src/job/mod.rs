//! A job: one accepted submission of a task, and what may become of it.
//!
//! `queued → running → succeeded | failed | canceled`; a retry of the work goes `running → queued`. A terminal state is
//! never left: [`State::Ended`] has no way out.

mod decide;
mod progress;
mod view;

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use decide::{AfterAttempt, OnClaim, Work, after_attempt, on_claim};
pub use progress::Progress;
pub use view::{Links, Queue, View};

use crate::{
    callback::Callbacks,
    event::EventKind,
    id::{JobId, Tenant},
    lane::Lane,
    problem::JobError,
    task::TaskName,
    time::Timestamp,
};

/// A result larger than this is not inlined in the job, only described.
pub const INLINE_RESULT: u64 = 64 * 1024;

/// One job, without its input: what `GET /v1/jobs/{id}` shows and what a claim hands to the executor.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Whose it is.
    pub tenant: Tenant,
    /// The kind of work.
    pub task: TaskName,
    /// 0 goes first, 9 last.
    pub priority: Priority,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How many attempts may start, the first and lost ones included.
    pub max_attempts: u32,
    /// The submitter's own words, a JSON object of strings.
    pub metadata: Arc<RawValue>,
    /// The submitter's trace (W3C Trace Context).
    pub traceparent: Option<Arc<str>>,
    /// Who hears of it.
    pub callbacks: Callbacks,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// After this it is not started any more.
    pub expires_at: Option<Timestamp>,
    /// When somebody asked the running work to stop.
    pub cancel_requested_at: Option<Timestamp>,
    /// The job that this one does again.
    pub rerun_of: Option<JobId>,
    /// How far its last attempt was, as it last said.
    pub progress: Option<Arc<Progress>>,
    /// Where it stands.
    pub state: State,
}

/// Where a job stands. Each variant holds what is true only there.
#[derive(Clone, Debug)]
pub enum State {
    /// Waits for a slot, for `run_at`, or for the next attempt.
    Queued {
        /// Attempts that have started so far.
        attempt: u32,
        /// When it may start, if that was asked for or is a retry.
        run_at: Option<Timestamp>,
        /// When the first attempt started.
        started_at: Option<Timestamp>,
    },
    /// An attempt is under way.
    Running {
        /// Which one, from 1.
        attempt: u32,
        /// When the first attempt started.
        started_at: Timestamp,
    },
    /// Over for good.
    Ended(Ended),
}

/// How a job ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Attempts that started.
    pub attempt: u32,
    /// When the first attempt started; `None` if none did.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
    /// As what.
    pub ending: Ending,
}

/// As what a job ended.
#[derive(Clone, Debug)]
pub enum Ending {
    /// The work answered.
    Succeeded(JobResult),
    /// It will not be tried again.
    Failed(JobError),
    /// Somebody canceled it.
    Canceled,
}

/// The result of a job that succeeded.
#[derive(Clone, Debug)]
pub struct JobResult {
    /// What it is, without its bytes.
    pub info: ResultInfo,
    /// The value itself, if it is one JSON value of at most [`INLINE_RESULT`] bytes.
    pub inline: Option<Arc<RawValue>>,
}

/// What a result is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultInfo {
    /// In bytes.
    pub size: u64,
    /// Of the bytes.
    pub sha256: [u8; 32],
    /// As the work gave it.
    pub content_type: Arc<str>,
}

impl JobResult {
    /// Looks at the bytes that the work answered with.
    pub fn of(content_type: &str, bytes: &[u8]) -> Self {
        use sha2::Digest;
        let size = bytes.len() as u64;
        let sha256 = sha2::Sha256::digest(bytes).into();
        let info = ResultInfo { size, sha256, content_type: content_type.into() };
        let inline = (size <= INLINE_RESULT && is_json(content_type))
            .then(|| crate::json::check(bytes).ok())
            .flatten()
            .and_then(|text| RawValue::from_string(text.trim().to_owned()).ok());
        Self { info, inline: inline.map(Arc::from) }
    }
}

/// True of `application/json` and of every `+json`, with or without parameters.
pub fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

impl Ending {
    /// The status that shows it.
    pub const fn status(&self) -> Status {
        match self {
            Ending::Succeeded(_) => Status::Succeeded,
            Ending::Failed(_) => Status::Failed,
            Ending::Canceled => Status::Canceled,
        }
    }
}

impl Ended {
    /// The event that says so.
    pub const fn kind(&self) -> EventKind {
        match self.ending {
            Ending::Succeeded(_) => EventKind::JobSucceeded,
            Ending::Failed(_) => EventKind::JobFailed,
            Ending::Canceled => EventKind::JobCanceled,
        }
    }
}

impl Job {
    /// The lane it queues in.
    pub fn lane(&self) -> Lane {
        // The fairness key defaults to the tenant.
        Lane::of_job(self.task.as_str(), &self.tenant.0.to_string(), self.priority.0)
    }

    /// The word for its state.
    pub fn status(&self) -> Status {
        match &self.state {
            State::Queued { .. } => Status::Queued,
            State::Running { .. } => Status::Running,
            State::Ended(ended) => ended.ending.status(),
        }
    }

    /// Attempts that have started.
    pub fn attempt(&self) -> u32 {
        match &self.state {
            State::Queued { attempt, .. } | State::Running { attempt, .. } => *attempt,
            State::Ended(ended) => ended.attempt,
        }
    }

    /// When the first attempt started.
    pub fn started_at(&self) -> Option<Timestamp> {
        match &self.state {
            State::Queued { started_at, .. } => *started_at,
            State::Running { started_at, .. } => Some(*started_at),
            State::Ended(ended) => ended.started_at,
        }
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<&Ended> {
        match &self.state {
            State::Ended(ended) => Some(ended),
            _ => None,
        }
    }

    /// The same job, ended so.
    pub fn as_ended(&self, ended: Ended) -> Job {
        Job { state: State::Ended(ended), ..self.clone() }
    }
}

/// The word for a job's state. The code is what rows hold.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Accepted, not started or waiting for its next attempt.
    Queued = 0,
    /// An attempt is under way.
    Running = 1,
    /// Over, with a result.
    Succeeded = 2,
    /// Over, with an error.
    Failed = 3,
    /// Over, since somebody canceled it.
    Canceled = 4,
}

impl Status {
    /// All of them.
    pub const ALL: [Status; 5] =
        [Status::Queued, Status::Running, Status::Succeeded, Status::Failed, Status::Canceled];

    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Queued => "queued",
            Status::Running => "running",
            Status::Succeeded => "succeeded",
            Status::Failed => "failed",
            Status::Canceled => "canceled",
        }
    }

    /// The code that rows hold.
    pub const fn code(self) -> i64 {
        self as i64
    }

    /// True of the three that are never left.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Status::Succeeded | Status::Failed | Status::Canceled)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// 0 … 9; 0 goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(transparent)]
pub struct Priority(u8);

impl Priority {
    /// What a job has that asks for none.
    pub const DEFAULT: Priority = Priority(5);

    /// `None` above 9.
    pub const fn new(value: u8) -> Option<Self> {
        if value <= 9 { Some(Self(value)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn job() -> Job {
        Job {
            id: JobId::new(Timestamp::from_micros(1_763_899_933_123_456), 42),
            tenant: Tenant::DEFAULT,
            task: "report".parse().unwrap(),
            priority: Priority::DEFAULT,
            timeout: Duration::from_secs(60),
            max_attempts: 3,
            metadata: Arc::from(RawValue::from_string("{}".into()).unwrap()),
            traceparent: None,
            callbacks: Callbacks::default(),
            created_at: Timestamp::from_micros(1_763_899_933_123_456),
            expires_at: None,
            cancel_requested_at: None,
            rerun_of: None,
            progress: None,
            state: State::Queued { attempt: 0, run_at: None, started_at: None },
        }
    }

    #[test]
    fn a_small_json_result_is_inlined_as_written() {
        for (content_type, bytes, inline) in [
            ("application/json", b"1.10".to_vec(), Some("1.10")),
            ("application/json; charset=utf-8", b" {\"a\": 1} ".to_vec(), Some("{\"a\": 1}")),
            ("application/problem+json", b"{}".to_vec(), Some("{}")),
            ("application/json", b"{".to_vec(), None),
            ("text/plain", b"1".to_vec(), None),
            ("application/json", vec![b'1'; 65_536], None.or(Some("long"))),
            ("application/json", vec![b'1'; 65_537], None),
        ] {
            let result = JobResult::of(content_type, &bytes);
            assert_eq!(result.info.size, bytes.len() as u64);
            match inline {
                Some("long") => assert!(result.inline.is_some()),
                _ => assert_eq!(result.inline.as_deref().map(RawValue::get), inline, "{content_type}"),
            }
        }
    }
}
