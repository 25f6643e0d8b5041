//! The port between what Ringback decides and what keeps it: traits by stage, their commands, rows and errors.
//!
//! `api` feeds it submissions, `executor` claims and finishes, `dispatcher` claims and settles; none of them knows
//! another: the two rows, job and delivery, are the only hand-overs, and [`Listener`]s hear of what was committed.
//! `storage-sql` implements it; `conformance` is the suite that any engine must pass. The port knows no SQL, no HTTP
//! and no clock: every command bears the [`Moment`] it was given at.
//!
//! Every write is named after its transition and is compare-and-set: a lost race is a variant of the answer
//! ([`Written::LeaseLost`]), never an error. What to write was decided before, by pure functions of `domain`.

mod access;
mod backlog;
#[cfg(feature = "conformance")]
pub mod conformance;
mod costs;
mod deliveries;
mod endpoints;
mod error;
mod jobs;
mod nodes;
mod retention;
mod tasks;
mod waiting;
mod wake;

pub use access::{
    Access, KeyEntry, KeyFilter, KeyMade, NewKey, NewTenant, Reseal, SigningSecrets, TenantDeleted,
    TenantEntry, TenantMade,
};
pub use backlog::{Backlog, Backlogs};
pub use costs::Costs;
pub use deliveries::{
    Addressee, ClaimedDelivery, Deliveries, DeliveryCanceled, DeliveryDetail, DeliveryFilter, DeliveryHold,
    Resent, Settle,
};
pub use domain::chance::Moment;
pub use endpoints::{EndpointFilter, Endpoints, EventMark, Events, Feed, FeedItem, Ping, Put, PutEndpoint};
pub use error::{Result, StorageError};
pub use jobs::{
    Announce, Attach, Attached, Cancel, Canceled, ClaimedJob, Content, Fetched, Finish, Guard, Idempotency,
    JobFilter, JobHold, Jobs, Report, Requeue, Submit, Submitted, Written,
};
pub use nodes::{Check, Drained, LaneStart, NodeRow, Nodes, Recovered, Renewed, Roster, Shared};
pub use retention::{Apart, Deleted, Due, Forget, Found, History, STEP_BYTES, STEP_JOBS, STEP_ROWS, Scan};
pub use tasks::Tasks;
pub use waiting::Waiting;
pub use wake::{DeliveryTaker, JobTaker, Listener, Takers, Wake};

/// What a claim of one lane brought.
#[derive(Debug)]
pub struct LaneClaim<T> {
    /// The lane that was asked.
    pub lane: domain::lane::Lane,
    /// What was claimed, in the lane's order; at most as many as were asked for.
    pub claimed: Vec<T>,
    /// When the lane's next row is due, as of that commit; `None` if it is empty.
    pub next_due: Option<domain::time::Timestamp>,
    /// What the lane's owner allows. An ask under other terms brings nothing but these.
    pub terms: domain::lane::Terms,
}

/// A page of a list, newest first.
#[derive(Debug)]
pub struct Page<T> {
    /// At most as many as were asked for.
    pub items: Vec<T>,
    /// True if there are more behind the last one.
    pub more: bool,
}

/// Everything an engine is.
pub trait Engine:
    Jobs + Deliveries + Endpoints + Access + Nodes + History + Tasks + Send + Sync + 'static
{
    /// Who takes what is born claimed, and who hears of commits. The engine holds them weakly, and answers for none
    /// until this was called. Called once, before the first submission.
    fn attach(&self, takers: Takers);

    /// How many wait and run of each task, from counters.
    fn backlogs(&self) -> &Backlogs;

    /// How a lane's breaker stands, as far as this node knows.
    fn standing(&self, lane: domain::lane::Lane, now: domain::time::Timestamp) -> domain::lane::Standing;

    /// True if one of the tenant's endpoints hears of `job.started`: only then is it announced for jobs whose own
    /// callbacks do not ask. From memory; what another node registered shows within a second.
    fn hears_of_starts(&self, tenant: domain::id::Tenant) -> bool;

    /// How many wait of each tenant, from counters.
    fn waiting(&self) -> &Waiting;

    /// What its writes cost so far.
    fn costs(&self) -> &Costs;
}
