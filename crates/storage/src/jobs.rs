//! Jobs: accepted, claimed, run, ended.

use std::sync::Arc;

use async_trait::async_trait;
use domain::{
    callback::{Callback, Callbacks},
    chance::Moment,
    event::Event,
    id::{EventId, JobId, Tenant},
    job::{Ended, Job, Links, Status},
    lane::{Ask, Lane},
    lease::Fence,
    task::TaskName,
    time::Timestamp,
};

use crate::{LaneClaim, Page, Result};

/// A new job.
#[derive(Clone, Debug)]
pub struct Submit {
    /// The job, queued, with no attempt.
    pub job: Job,
    /// Its input: the exact JSON text that was sent.
    pub input: Arc<str>,
    /// When it may start: `run_at`, or now.
    pub due: Timestamp,
    /// The key that it was submitted under.
    pub idempotency: Option<Idempotency>,
    /// When it was submitted.
    pub at: Moment,
}

/// An Idempotency-Key as its row holds it.
#[derive(Clone, Copy, Debug)]
pub struct Idempotency {
    /// Of tenant and key.
    pub digest: [u8; 16],
    /// Of the request.
    pub fingerprint: [u8; 32],
}

/// What became of a submission.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every answer is the large one")]
pub enum Submitted {
    /// It is on stable storage.
    Accepted(Job),
    /// The same request under the same key made this job before.
    Replayed(JobId),
    /// The key was used for another request.
    KeyReused,
}

/// A job that this node runs now.
#[derive(Clone, Debug)]
pub struct ClaimedJob {
    /// The job, running; its `attempt` counts the start that the claim opened.
    pub job: Job,
    /// Its input.
    pub input: Arc<str>,
    /// By what every later write of this attempt is recognised.
    pub hold: JobHold,
    /// When it was due, for the time it waited.
    pub due: Timestamp,
}

/// A node's hold on a job: what the queue row must still say for a write to count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JobHold {
    /// Whose.
    pub tenant: Tenant,
    /// Which.
    pub job: JobId,
    /// Where it queues.
    pub lane: Lane,
    /// Who holds it.
    pub fence: Fence,
    /// In which attempt.
    pub attempt: u32,
}

/// What a write that must still find its row came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// It is on stable storage.
    Done,
    /// Somebody else holds the row, or it is over: nothing changed.
    LeaseLost,
}

/// What must still hold for a finish to count.
#[derive(Clone, Copy, Debug)]
pub enum Guard {
    /// The node holds it in this attempt.
    Held(JobHold),
    /// Nobody holds it, and so many attempts have started.
    Queued {
        /// Attempts so far.
        attempt: u32,
    },
}

/// The end of a job: one transaction ends it and writes its event and one delivery per callback that asked for it.
#[derive(Clone, Debug)]
pub struct Finish {
    /// The job as it was read or claimed.
    pub job: Job,
    /// What must still hold.
    pub guard: Guard,
    /// How it ended.
    pub ended: Ended,
    /// The result's bytes, if it succeeded.
    pub result: Option<Arc<[u8]>>,
    /// Its terminal event, built on the job as `job` and `ended` say.
    pub event: Event,
    /// For building the event anew, should the row turn out to say more than `job` does (a cancel request).
    pub links: Links,
    /// When.
    pub at: Moment,
}

/// Back in the queue: for the next attempt, or uncounted because the node could not run it.
#[derive(Clone, Copy, Debug)]
pub struct Requeue {
    /// By whom.
    pub hold: JobHold,
    /// When the next attempt is due.
    pub due: Timestamp,
    /// False gives the attempt back: it does not count.
    pub counted: bool,
}

/// `job.started`: its event and deliveries, once, while the attempt is held.
#[derive(Clone, Debug)]
pub struct Announce {
    /// The job, running.
    pub job: Job,
    /// By whom.
    pub hold: JobHold,
    /// The event.
    pub event: Event,
    /// When.
    pub at: Moment,
}

/// How far running work is, as it says.
#[derive(Clone, Debug)]
pub struct Report {
    /// The job, running, with its progress.
    pub job: Job,
    /// By whom.
    pub hold: JobHold,
    /// `job.progress`, written if a callback asks for it.
    pub event: Event,
    /// The last such event of this attempt: those of its deliveries that have not left are canceled, since the latest
    /// wins.
    pub replaces: Option<EventId>,
    /// When.
    pub at: Moment,
}

/// Somebody wants a job not to run, or to stop.
#[derive(Clone, Debug)]
pub struct Cancel {
    /// What ends the job if it is still queued as it was read (`guard` is [`Guard::Queued`]).
    pub finish: Finish,
}

/// What a cancel came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Canceled {
    /// It was queued and is canceled.
    Ended,
    /// It is running: the work is asked to stop. A repeated request says the same.
    Requested,
    /// It had ended before.
    TooLate,
    /// The row is not as it was read any more: read again and decide again.
    Changed,
    /// No such job.
    Missing,
}

/// One more callback for a job.
#[derive(Clone, Debug)]
pub struct Attach {
    /// The job as it was read.
    pub job: Job,
    /// Its callbacks and one more behind them.
    pub callbacks: Callbacks,
    /// For its terminal event, should the job have ended as it was read and the new one ask for it: sent at once.
    pub at: Moment,
}

impl Attach {
    /// The new callback with its place, if the job had ended and it asks for how: there is a delivery to be written.
    pub fn is_late(&self) -> Option<(u32, &Arc<Callback>, &Ended)> {
        let ended = self.job.ended()?;
        let (place, callback) = self.callbacks.last()?;
        callback.events.has(ended.kind()).then_some((place, callback, ended))
    }
}

/// What attaching came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attached {
    /// It is on stable storage: whoever ends the job reads it, or its delivery was written with it.
    Done,
    /// The job is not as it was read any more: read again and decide again.
    Changed,
    /// No such job, or one whose payloads were erased.
    Missing,
}

/// Stored bytes and what they are.
#[derive(Clone, Debug)]
pub struct Content {
    /// As given.
    pub content_type: Arc<str>,
    /// Of the bytes.
    pub sha256: [u8; 32],
    /// All of them.
    pub bytes: Arc<[u8]>,
}

/// A job's result, as asked for.
#[derive(Clone, Debug)]
pub enum Fetched {
    /// Here it is.
    Content(Content),
    /// The job has none: it has not ended, or not well, or its payloads were erased. The job says which.
    None(Box<Job>),
    /// No such job.
    Missing,
}

/// Which jobs a list shows.
#[derive(Clone, Debug)]
pub struct JobFilter {
    /// Whose.
    pub tenant: Tenant,
    /// Only in this state.
    pub status: Option<Status>,
    /// Only of this task.
    pub task: Option<TaskName>,
    /// Only made after this.
    pub created_after: Option<Timestamp>,
    /// Only made before this.
    pub created_before: Option<Timestamp>,
    /// Only older than this one.
    pub before: Option<JobId>,
    /// At most so many, 1 to 100.
    pub limit: u32,
}

/// The stage of jobs.
#[async_trait]
pub trait Jobs {
    /// Records a job, or finds the one that the same key made. Answers only once it is on stable storage.
    async fn submit(&self, submit: Submit) -> Result<Submitted>;

    /// What a submission under this key would come to, if it was used: [`Submitted::Replayed`] or
    /// [`Submitted::KeyReused`]. Records nothing.
    async fn replay(&self, key: Idempotency) -> Result<Option<Submitted>>;

    /// Claims due jobs: of each lane at most as many as asked for. The attempt that opens is counted here.
    async fn claim_jobs(&self, asks: Vec<Ask>, at: Moment) -> Result<Vec<LaneClaim<ClaimedJob>>>;

    /// Claims queued jobs whose `expires_at` has passed, whatever their lane, at most `limit`; and says when the next one
    /// expires.
    async fn claim_expired(&self, limit: u32, at: Moment) -> Result<(Vec<ClaimedJob>, Option<Timestamp>)>;

    /// Ends a job.
    async fn finish(&self, finish: Finish) -> Result<Written>;

    /// Puts a claimed job back.
    async fn requeue(&self, requeue: Requeue) -> Result<Written>;

    /// Writes `job.started` and its deliveries. Repeated, it changes nothing and is [`Written::Done`].
    async fn announce(&self, announce: Announce) -> Result<Written>;

    /// Writes how far running work is. Ended or back in the queue, a job shows no more of it than its end bears.
    async fn report(&self, report: Report) -> Result<Written>;

    /// Cancels a queued job, or asks a running one to stop.
    async fn cancel(&self, cancel: Cancel) -> Result<Canceled>;

    /// Adds a callback, if the job's callbacks, and whether it has ended, are as they were read.
    async fn attach_callback(&self, attach: Attach) -> Result<Attached>;

    /// One job. `None`: unknown, or another tenant's.
    async fn job(&self, tenant: Tenant, id: JobId) -> Result<Option<Job>>;

    /// Its input. `None`: there is no such job, or its payloads were erased.
    async fn input(&self, tenant: Tenant, id: JobId) -> Result<Option<Arc<str>>>;

    /// Its result.
    async fn result(&self, tenant: Tenant, id: JobId) -> Result<Fetched>;

    /// The result of whatever tenant's job, for a caller that bears a signed link.
    async fn linked_result(&self, id: JobId) -> Result<Fetched>;

    /// Counts what waits of each tenant ([`crate::Waiting`]) by a walk over the queue. An engine that shares its storage
    /// does so each time; another knows it since the first time.
    async fn count_waiting(&self) -> Result<()>;

    /// A list, newest first.
    async fn jobs(&self, filter: JobFilter) -> Result<Page<Job>>;
}
