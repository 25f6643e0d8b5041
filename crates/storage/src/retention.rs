//! What has been kept long enough: found by reads beside the writer, pruned in small steps between other commits.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{
    chance::Moment,
    id::{EventId, JobId, Tenant},
    retention::{Fate, Retention, Tombstone},
    time::Timestamp,
};

use crate::Result;

/// How many rows a walk looks at in one go.
pub const STEP_ROWS: usize = 200;
/// How many jobs a step prunes at most: a job that called back once is four rows and a tombstone.
pub const STEP_JOBS: usize = 40;
/// How many bytes of payloads a step deletes at most; one job may have more.
pub const STEP_BYTES: u64 = 256 * 1024;

/// What a walk looks at next.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Whose jobs, the oldest first.
    pub tenant: Tenant,
    /// Behind this one.
    pub after: JobId,
    /// Only what was made before this, by the scheduling clock: ids bear their time.
    pub made_before: Timestamp,
    /// Decides.
    pub retention: Arc<Retention>,
    /// When.
    pub at: Moment,
}

/// A job whose time is over, of which so much goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Due {
    /// Whose.
    pub tenant: Tenant,
    /// Which.
    pub job: JobId,
    /// [`Fate::Erase`] or [`Fate::Prune`].
    pub fate: Fate,
}

/// What a walk found.
#[derive(Clone, Debug)]
pub struct Found {
    /// At most a step's worth.
    pub due: Vec<Due>,
    /// The first that it left as it was: a later walk begins before that one.
    pub left: Option<JobId>,
    /// Where to go on. `None`: at the end.
    pub next: Option<JobId>,
}

/// Tombstones whose time is over.
#[derive(Clone, Copy, Debug)]
pub struct Forget {
    /// Whose, the oldest first.
    pub tenant: Tenant,
    /// Behind this one. The answer says where to go on; `None`: at the end.
    pub after: JobId,
    /// Of jobs made before this, by the scheduling clock.
    pub made_before: Timestamp,
    /// Those that have been there since before this, on the wall clock.
    pub gone_before: Timestamp,
}

/// What happened to no job (pings, dead letters, endpoints that were disabled) and whose time is over.
#[derive(Clone, Copy, Debug)]
pub struct Apart {
    /// Whose, the oldest first.
    pub tenant: Tenant,
    /// Behind this one. The answer says where to go on; `None`: at the end.
    pub after: EventId,
    /// Of ids made before this, by the scheduling clock.
    pub made_before: Timestamp,
    /// Of what happened before this, on the wall clock.
    pub told_before: Timestamp,
}

/// What a deletion came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deleted {
    /// All of it is gone but for the tombstone. What was still to be sent is not sent any more.
    Done,
    /// It has not ended.
    NotFinished,
    /// No such job.
    Missing,
}

/// The stage at the end of everything.
#[async_trait]
pub trait History {
    /// Whose history there is.
    async fn histories(&self) -> Result<Vec<Tenant>>;

    /// Where an engine keeps history so that what is old goes as a whole, has that done for what has been kept for so long.
    /// Answers up to when what was made is to be pruned step by step; `None`: all of it.
    async fn drop_old(&self, kept: Duration, at: Moment) -> Result<Option<Timestamp>>;

    /// Looks for jobs whose time is over. Beside the writer: it holds up nobody.
    async fn scan(&self, scan: Scan) -> Result<Found>;

    /// Prunes or erases a step's worth of what [`History::scan`] found, unless something of it came back to life since.
    /// Answers with how many there were; `None`: others wait to write, and go first, unless `insist`.
    async fn prune(&self, due: Vec<Due>, insist: bool, at: Moment) -> Result<Option<u64>>;

    /// Deletes a step's worth of events that are of no job, with their deliveries, unless something of one is still to be
    /// sent.
    async fn prune_apart(&self, apart: Apart) -> Result<Option<EventId>>;

    /// Deletes a step's worth of a tenant's tombstones.
    async fn forget(&self, forget: Forget) -> Result<Option<JobId>>;

    /// Deletes a job that has ended, now. Its Idempotency-Key still finds what is left of it.
    async fn delete_job(&self, tenant: Tenant, id: JobId, at: Moment) -> Result<Deleted>;

    /// What is left of a job that is gone; of whatever tenant's for a caller that bears a signed link.
    async fn tombstone(&self, tenant: Option<Tenant>, id: JobId) -> Result<Option<Tombstone>>;
}
