//! Nodes: who holds what, and what becomes of it when they are gone.

use std::time::Duration;

use async_trait::async_trait;
use domain::{
    chance::Moment,
    fleet::{Fleet, Holds, Member},
    id::{DeliveryId, JobId},
    lane::Lane,
    lease::Fence,
    task::TaskName,
    time::Timestamp,
};

use crate::Result;

/// What a takeover or a give-back freed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Jobs that are due again.
    pub jobs: u64,
    /// Deliveries that are due again, their open attempts closed as `interrupted`.
    pub deliveries: u64,
}

/// A lane that has something queued, as a start finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneStart {
    /// The lane.
    pub lane: Lane,
    /// The task of a job lane; `None` for a delivery lane.
    pub task: Option<TaskName>,
    /// When its first row is due.
    pub due: Timestamp,
    /// The last attempts to its endpoint failed, as many as open a breaker. Always false of others.
    pub failing: bool,
}

/// A node as its row has it. All times are the database's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// Its id, and which of its lives this is.
    pub fence: Fence,
    /// Its host and process, for people.
    pub name: String,
    /// Which version of Ringback it runs.
    pub version: String,
    /// When its process joined first.
    pub started_at: Timestamp,
    /// When its lease is over.
    pub lease_until: Timestamp,
    /// Whether it takes new work.
    pub takes: bool,
    /// When somebody asked it to take none.
    pub drain_at: Option<Timestamp>,
    /// The slots that it has taken.
    pub holds: Holds,
}

/// Every node, as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    /// That moment, by the database's clock.
    pub now: Timestamp,
    /// Counts what was written by [`Nodes::share`].
    pub version: i64,
    /// By id. Those too whose lease is over and whose work nobody took over yet.
    pub nodes: Vec<NodeRow>,
}

impl Roster {
    /// Those whose lease is not over.
    pub fn fleet(&self) -> Fleet {
        let live = self.nodes.iter().filter(|row| row.lease_until > self.now);
        Fleet::new(
            live.map(|row| Member { node: row.fence.node, takes: row.takes, holds: row.holds.clone() })
                .collect(),
        )
    }

    /// When the next lease is over, of all but this node's: how long to leave the others alone. Past, if one is over.
    pub fn next_expiry(&self, me: Fence) -> Option<Duration> {
        let others = self.nodes.iter().filter(|row| row.fence.node != me.node);
        others.map(|row| row.lease_until.since(self.now)).min()
    }

    /// A node's row.
    pub fn node(&self, id: i64) -> Option<&NodeRow> {
        self.nodes.iter().find(|row| row.fence.node == id)
    }
}

/// What became of a renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// It holds; and this is who else is there.
    Done(Roster),
    /// It was over, and others may have taken the work.
    LeaseLost,
}

/// What became of taking slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shared {
    /// They are this node's.
    Done,
    /// Somebody wrote since the roster was read: read it again.
    Raced,
    /// The lease was over.
    LeaseLost,
}

/// What became of asking a node to drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// It will hear of it at its next renewal at the latest.
    Asked,
    /// No node has this id.
    Missing,
}

/// How the engine is, for `readyz`.
#[derive(Clone, Debug)]
pub struct Check {
    /// What it is, such as `SQLite 3.53.0`.
    pub engine: String,
    /// The schema's version.
    pub schema: u32,
}

/// The stage of nodes.
#[async_trait]
pub trait Nodes {
    /// Takes this node's place with a new epoch, under which everything later claims. On PostgreSQL the lease lasts
    /// `lease`; on SQLite the file's lock is the lease. Joining again, after a lease was lost, frees what the node still
    /// held in earlier epochs, as a takeover would.
    async fn join(&self, lease: Duration) -> Result<Fence>;

    /// Renews this node's lease, and tells the others whether it `takes` new work.
    async fn extend(&self, lease: Duration, takes: bool) -> Result<Renewed>;

    /// Takes these slots instead of those that this node's row names, if the roster is still at `version`.
    async fn share(&self, holds: Holds, version: i64) -> Result<Shared>;

    /// Every node.
    async fn roster(&self) -> Result<Roster>;

    /// Asks a node to take no new work.
    async fn drain(&self, node: i64) -> Result<Drained>;

    /// Frees what nodes hold whose lease is over or whose epoch is old: jobs are due again (the lost start counts),
    /// open attempts are closed as `interrupted` and their deliveries are due again at once. Wakes the lanes it touched.
    async fn take_over(&self, at: Moment) -> Result<Recovered>;

    /// Gives back what rows say this node holds in this epoch and it does not: every job not in `jobs` uncounted, the
    /// open attempt of every delivery not in `deliveries` as `interrupted`; all are due again at once. The lists are
    /// what the caller does hold; `None` leaves that stage alone, since executor and dispatcher each know only theirs.
    /// The caller has no claim and no reservation out meanwhile, so that nothing is claimed behind its back.
    async fn give_back(
        &self,
        jobs: Option<Vec<JobId>>,
        deliveries: Option<Vec<DeliveryId>>,
        at: Moment,
    ) -> Result<Recovered>;

    /// Every lane that has something queued, jobs' and deliveries'. For starts.
    async fn lanes(&self) -> Result<Vec<LaneStart>>;

    /// Leaves: the lease ends now. What it still holds is free for others at once.
    async fn leave(&self) -> Result<()>;

    /// Reaches storage and reads.
    async fn check(&self) -> Result<Check>;

    /// Stops taking commands, writes what it has taken, and closes.
    async fn close(&self);
}
