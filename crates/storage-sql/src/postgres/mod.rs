//! PostgreSQL: a thread with a runtime of its own, one connection and one batch at a time for each hot verb, and reads
//! over connections beside them.
//!
//! No connection is held while work runs or a request is out. A transaction is a few array statements, sent as
//! pipelines; those that write this node's mark into rows hold its node row meanwhile, so that a takeover and a frozen
//! node's late commit cannot pass each other.

mod access;
mod aftermath;
mod attach;
mod claims;
mod columns;
mod conclusion;
mod endpoints;
pub(crate) mod fault;
mod finish;
mod hearers;
mod let_go;
mod line;
pub(crate) mod link;
pub(crate) mod marks;
mod midway;
pub(crate) mod migrate;
pub(crate) mod nodes;
pub(crate) mod open;
mod payload;
mod plans;
mod port;
mod ranges;
mod reads;
mod report;
mod reseal;
mod retention;
mod seldom;
mod session;
mod settle;
mod submit;
mod takeover;
#[cfg(test)]
mod tests;
mod tls;
mod transaction;
mod watch;

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use tokio::sync::{Notify, oneshot, watch as watched};

pub use migrate::{migrate, pending_sql};

use self::{line::Line, reads::Readers};
use crate::{admission::Admission, effects::Hub};

/// A PostgreSQL database as an engine. Dropped without `close`, it is as after a crash: what waited is not written, and
/// nobody who waited for it was told otherwise.
pub struct Postgres {
    hub: Arc<Hub>,
    admission: Admission,
    lines: Lines,
    readers: Readers,
    /// True once every line has ended.
    ended: watched::Receiver<bool>,
    thread: Mutex<Option<Running>>,
    /// Rung when the engine closes.
    closing: Arc<Notify>,
    /// What this node is called, for people.
    name: String,
    /// Which version of Ringback it is.
    version: String,
}

struct Running {
    thread: JoinHandle<()>,
    /// Dropped, it ends the thread wherever it is.
    _stop: oneshot::Sender<()>,
}

/// A line per verb.
struct Lines {
    submissions: Line<submit::Submissions>,
    claim_jobs: Line<claims::ClaimJobs>,
    claim_expired: Line<claims::ClaimExpired>,
    finishes: Line<finish::Finishes>,
    requeues: Line<midway::Requeues>,
    announcements: Line<midway::Announcements>,
    reports: Line<report::Reports>,
    claim_deliveries: Line<claims::ClaimDeliveries>,
    settlements: Line<settle::Settlements>,
    cancels: Line<seldom::Cancels>,
    bring_forward: Line<seldom::BringForward>,
    resends: Line<seldom::Resends>,
    endpoints: Line<endpoints::Commands>,
    attaches: Line<attach::Attaches>,
    letting_go: Line<let_go::LettingGo>,
    prunes: Line<retention::Prunes>,
    deletes: Line<retention::Deletes>,
    forgets: Line<retention::Forgets>,
    prunes_apart: Line<retention::PrunesApart>,
    pauses: Line<seldom::Pauses>,
    ensure_tenant: Line<access::EnsureTenant>,
    rotate_secret: Line<access::RotateSecret>,
    create_tenant: Line<access::CreateTenant>,
    delete_tenant: Line<access::DeleteTenant>,
    create_key: Line<access::CreateKey>,
    revoke_key: Line<access::RevokeKey>,
    put_backs: Line<seldom::PutBacks>,
    reseal: Line<reseal::Reseals>,
    joins: Line<nodes::Joins>,
    extends: Line<nodes::Extends>,
    shares: Line<nodes::Shares>,
    drains: Line<nodes::Drains>,
    leaves: Line<nodes::Leaves>,
    takeovers: Line<takeover::Takeovers>,
    give_backs: Line<takeover::GiveBacks>,
}

impl Lines {
    fn close(&self) {
        self.submissions.close();
        self.claim_jobs.close();
        self.claim_expired.close();
        self.finishes.close();
        self.requeues.close();
        self.announcements.close();
        self.reports.close();
        self.claim_deliveries.close();
        self.settlements.close();
        self.cancels.close();
        self.bring_forward.close();
        self.resends.close();
        self.endpoints.close();
        self.put_backs.close();
        self.attaches.close();
        self.letting_go.close();
        self.prunes.close();
        self.deletes.close();
        self.forgets.close();
        self.prunes_apart.close();
        self.ensure_tenant.close();
        self.rotate_secret.close();
        self.create_tenant.close();
        self.delete_tenant.close();
        self.create_key.close();
        self.revoke_key.close();
        self.pauses.close();
        self.reseal.close();
        self.joins.close();
        self.extends.close();
        self.shares.close();
        self.drains.close();
        self.leaves.close();
        self.takeovers.close();
        self.give_backs.close();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let running = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { thread, _stop }) = running {
            drop(_stop);
            let _ = thread.join();
        }
    }
}
