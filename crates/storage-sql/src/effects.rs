//! What follows a commit: hand-overs, wake-ups and counters. Collected while a transaction is written, published once
//! it stands, undone if it does not.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use domain::{
    chance::Moment,
    id::{JobId, Tenant},
    job::Job,
    lane::{Lane, Standing},
    lease::Fence,
    task::TaskName,
    time::Timestamp,
};
use storage::{Backlogs, ClaimedDelivery, ClaimedJob, Costs, DeliveryTaker, JobTaker, Takers, Waiting, Wake};
use tokio::sync::Notify;

use crate::{address::Address, hints::Hints, postgres::marks::Marks};

/// Everything an engine tells others, and under what fence it claims.
#[derive(Default)]
pub(crate) struct Hub {
    takers: OnceLock<Takers>,
    /// Counters per task.
    pub(crate) backlogs: Backlogs,
    /// Counters per tenant.
    pub(crate) waiting: Waiting,
    pub(crate) costs: Costs,
    fence: Mutex<Option<Fence>>,
    /// Tenants of whose endpoints one hears of `job.started`.
    starts: Mutex<HashSet<i64>>,
    /// Up to where lanes were claimed, of jobs and of deliveries; PostgreSQL's.
    pub(crate) marks: [Marks; 2],
    /// For other nodes; filled only while there are some.
    pub(crate) hints: Hints,
    /// Another node is there: what commits change is told to it.
    in_company: AtomicBool,
    /// Rung when somebody came where nobody was.
    pub(crate) company: Notify,
}

impl Hub {
    /// True while no other node is known.
    pub(crate) fn is_alone(&self) -> bool {
        !self.in_company.load(Ordering::Acquire)
    }

    /// Passes on what another node did.
    pub(crate) fn hear(&self, wakes: &[Wake]) {
        self.look_back(wakes);
        if let Some(takers) = self.takers.get() {
            takers.wake(wakes);
        }
    }

    /// Jobs that somebody here waits for.
    pub(crate) fn awaited(&self) -> Vec<JobId> {
        self.takers.get().map(Takers::awaited).unwrap_or_default()
    }

    /// Once; a second call changes nothing.
    pub(crate) fn attach(&self, takers: Takers) {
        if self.takers.set(takers).is_err() {
            tracing::warn!("takers were attached twice; the first ones stay");
        }
    }

    /// Under what this node claims: `None` before it joined.
    pub(crate) fn fence(&self) -> Option<Fence> {
        *self.fence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What keeps a lane from sending here.
    pub(crate) fn standing(&self, lane: Lane, now: Timestamp) -> Standing {
        let taker = self.takers.get().and_then(Takers::deliveries);
        taker.map_or_else(Standing::default, |taker| taker.standing(lane, now))
    }

    /// True if one of the tenant's endpoints hears of `job.started`.
    pub(crate) fn hears_of_starts(&self, tenant: Tenant) -> bool {
        self.starts.lock().unwrap_or_else(PoisonError::into_inner).contains(&tenant.0)
    }

    /// Those tenants, as rows say.
    pub(crate) fn set_starts(&self, tenants: HashSet<i64>) {
        *self.starts.lock().unwrap_or_else(PoisonError::into_inner) = tenants;
    }

    fn join(&self, fence: Fence) {
        *self.fence.lock().unwrap_or_else(PoisonError::into_inner) = Some(fence);
        self.marks.iter().for_each(Marks::clear);
    }

    /// What is due behind a mark is found at once.
    fn look_back(&self, wakes: &[Wake]) {
        let [jobs, deliveries] = &self.marks;
        for wake in wakes {
            match wake {
                Wake::JobDue { lane, due, .. } => jobs.look_back(lane.0, due.micros()),
                Wake::DeliveryDue { lane, due } => deliveries.look_back(lane.0, due.micros()),
                // What a lost commit wrote nobody tells of.
                Wake::Uncertain => self.marks.iter().for_each(Marks::clear),
                _ => {}
            }
        }
    }

    /// An empty collection for the next transaction.
    pub(crate) fn begin(&self) -> Effects {
        let takers = self.takers.get().filter(|_| self.fence().is_some());
        Effects {
            jobs_taker: takers.and_then(Takers::jobs),
            deliveries_taker: takers.and_then(Takers::deliveries),
            fence: self.fence(),
            ..Effects::default()
        }
    }

    /// The commit stands. Claimed rows first, since a webhook waits for them.
    pub(crate) fn publish(&self, effects: Effects) {
        if let Some(fence) = effects.joined {
            self.join(fence);
        }
        if let Some(tenants) = effects.starts {
            self.set_starts(tenants);
        }
        if let Some(counts) = effects.counted {
            self.waiting.found(counts);
        }
        if let Some(nodes) = effects.fleet {
            let before = self.in_company.swap(nodes > 1, Ordering::AcqRel);
            if nodes > 1 && !before {
                self.company.notify_one();
            }
        }
        for (task, tenant, change) in &effects.counts {
            match *change {
                Count::Submitted { born_claimed } => self.backlogs.submitted(task, born_claimed),
                Count::Claimed => self.backlogs.claimed(task),
                Count::Requeued => self.backlogs.requeued(task),
                Count::Ended { was_running, at } => self.backlogs.ended(task, was_running, at),
            }
            match *change {
                Count::Submitted { born_claimed: false } | Count::Requeued => self.waiting.joined(*tenant),
                Count::Claimed | Count::Ended { was_running: false, .. } => self.waiting.left(*tenant),
                Count::Submitted { born_claimed: true } | Count::Ended { was_running: true, .. } => {}
            }
        }
        if let Some(taker) = effects.jobs_taker {
            effects.jobs.into_iter().for_each(|job| taker.take(job));
        }
        if let Some(taker) = effects.deliveries_taker {
            effects.deliveries.into_iter().for_each(|delivery| taker.take(delivery));
        }
        self.look_back(&effects.wakes);
        if let Some(takers) = self.takers.get() {
            takers.wake(&effects.wakes);
        }
        if !effects.wakes.is_empty() && !self.is_alone() {
            self.hints.note(&effects.wakes);
        }
    }
}

/// One change of a task's counters.
#[derive(Clone, Copy)]
enum Count {
    Submitted { born_claimed: bool },
    Claimed,
    Requeued,
    Ended { was_running: bool, at: Timestamp },
}

/// What one transaction will have brought about. It keeps the takers alive that it has slots of, so that a hand-over
/// always finds its taker.
#[derive(Default)]
pub(crate) struct Effects {
    jobs_taker: Option<Arc<dyn JobTaker>>,
    deliveries_taker: Option<Arc<dyn DeliveryTaker>>,
    fence: Option<Fence>,
    joined: Option<Fence>,
    counted: Option<Vec<(Tenant, u64)>>,
    fleet: Option<usize>,
    jobs: Vec<ClaimedJob>,
    deliveries: Vec<ClaimedDelivery>,
    wakes: Vec<Wake>,
    counts: Vec<(TaskName, Tenant, Count)>,
    /// To whom: each is told once.
    happened: Vec<Tenant>,
    /// Tenants of whose endpoints one hears of `job.started`, if an endpoint changed.
    starts: Option<HashSet<i64>>,
    /// Slots that have nothing to fill them yet: between a reservation and its row.
    reserved_job: Option<(TaskName, Lane)>,
    reserved_delivery: Option<Lane>,
}

impl Effects {
    /// Under what this node claims.
    pub(crate) fn fence(&self) -> Option<Fence> {
        self.joined.or(self.fence)
    }

    /// This node took its place.
    pub(crate) fn joined(&mut self, fence: Fence) {
        self.joined = Some(fence);
    }

    /// What waits of each tenant, as of this transaction.
    pub(crate) fn counted(&mut self, counts: Vec<(Tenant, u64)>) {
        self.counted = Some(counts);
    }

    /// So many nodes are known, this one among them.
    pub(crate) fn fleet(&mut self, nodes: usize) {
        self.fleet = Some(nodes);
    }

    /// Takes a slot for a job that is due. `Some`: it is written as claimed under this fence and must then be given to
    /// [`Effects::job_born`].
    pub(crate) fn reserve_job(&mut self, task: &TaskName, lane: Lane, now: Timestamp) -> Option<Fence> {
        let (fence, taker) = (self.fence?, self.jobs_taker.as_ref()?);
        if !taker.reserve(task, lane, now) {
            return None;
        }
        self.reserved_job = Some((task.clone(), lane));
        Some(fence)
    }

    /// A job was written as claimed.
    pub(crate) fn job_born(&mut self, job: ClaimedJob) {
        self.reserved_job = None;
        self.counts.push((job.job.task.clone(), job.job.tenant, Count::Submitted { born_claimed: true }));
        self.jobs.push(job);
    }

    /// Takes a slot for a delivery. `Some`: it is written as claimed under this fence, with its first attempt open, and
    /// must then be given to [`Effects::delivery_born`].
    pub(crate) fn reserve_delivery(&mut self, address: &Address, now: Timestamp) -> Option<Fence> {
        let (fence, taker) = (self.fence?, self.deliveries_taker.as_ref()?);
        if !address.ours || !taker.reserve(address.lane, address.terms, now) {
            return None;
        }
        self.reserved_delivery = Some(address.lane);
        Some(fence)
    }

    /// A delivery was written as claimed.
    pub(crate) fn delivery_born(&mut self, delivery: ClaimedDelivery) {
        self.reserved_delivery = None;
        self.deliveries.push(delivery);
    }

    /// A job was written as queued.
    pub(crate) fn job_queued(
        &mut self,
        task: &TaskName,
        tenant: Tenant,
        lane: Lane,
        due: Timestamp,
        expires: Option<Timestamp>,
    ) {
        self.counts.push((task.clone(), tenant, Count::Submitted { born_claimed: false }));
        self.job_due(task, lane, due, expires);
    }

    /// A job of this lane is due then.
    pub(crate) fn job_due(
        &mut self,
        task: &TaskName,
        lane: Lane,
        due: Timestamp,
        expires: Option<Timestamp>,
    ) {
        self.wakes.push(Wake::JobDue { lane, task: task.clone(), due });
        self.wakes.extend(expires.map(|at| Wake::JobExpires { at }));
    }

    /// A queued job was claimed.
    pub(crate) fn job_claimed(&mut self, task: &TaskName, tenant: Tenant, job: JobId) {
        self.counts.push((task.clone(), tenant, Count::Claimed));
        self.wakes.push(Wake::JobChanged { job, ended: false });
    }

    /// A running job went back to the queue.
    pub(crate) fn job_requeued(
        &mut self,
        task: &TaskName,
        (tenant, job): (Tenant, JobId),
        lane: Lane,
        due: Timestamp,
        expires: Option<Timestamp>,
    ) {
        self.counts.push((task.clone(), tenant, Count::Requeued));
        self.wakes.push(Wake::JobChanged { job, ended: false });
        self.job_due(task, lane, due, expires);
    }

    /// A job ended.
    pub(crate) fn job_ended(&mut self, job: &Job, was_running: bool, at: Moment) {
        self.counts.push((job.task.clone(), job.tenant, Count::Ended { was_running, at: at.now }));
        self.wakes.push(Wake::JobChanged { job: job.id, ended: true });
    }

    /// A start found so many that a dead process held: they wait again, and no counter knew them.
    pub(crate) fn job_found(&mut self, task: &TaskName, tenant: Tenant) {
        self.counts.push((task.clone(), tenant, Count::Submitted { born_claimed: false }));
    }

    /// Anything else that listeners hear of.
    pub(crate) fn wake(&mut self, wake: Wake) {
        self.wakes.push(wake);
    }

    /// An event was recorded.
    pub(crate) fn happened(&mut self, tenant: Tenant) {
        if !self.happened.contains(&tenant) {
            self.happened.push(tenant);
            self.wakes.push(Wake::Happened { tenant });
        }
    }

    /// Endpoints changed: those tenants have one that hears of `job.started`.
    pub(crate) fn starts_heard_by(&mut self, tenants: HashSet<i64>) {
        self.starts = Some(tenants);
    }

    /// The transaction did not happen: the slots are free again.
    pub(crate) fn undo(self) {
        if let Some(taker) = self.jobs_taker {
            for job in &self.jobs {
                taker.unreserve(&job.job.task, job.hold.lane);
            }
            if let Some((task, lane)) = &self.reserved_job {
                taker.unreserve(task, *lane);
            }
        }
        if let Some(taker) = self.deliveries_taker {
            for delivery in &self.deliveries {
                taker.unreserve(delivery.hold.lane);
            }
            if let Some(lane) = self.reserved_delivery {
                taker.unreserve(lane);
            }
        }
    }
}
