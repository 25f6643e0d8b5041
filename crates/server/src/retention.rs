//! Walks over history, the oldest first, and has pruned what was kept long enough: step by step, so that nobody waits
//! long for the writer. The pace follows what ends: a walk goes on until nothing is due.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::{
    chance::{Clock, Moment},
    id::{EventId, JobId, Tenant},
    retention::Retention,
    time::Timestamp,
};
use storage::{Apart, Due, Engine, Forget, Scan, StorageError};

/// How long to leave a writer alone that has others to serve, and after how many such answers it is asked to all the
/// same: history must not grow for ever while it is busy.
const BUSY: Duration = Duration::from_millis(20);
const PATIENCE: u32 = 25;

/// What was left behind, since it was still running, still to be sent or had ended late, is looked at again after this at
/// the latest.
const REVISIT: Duration = Duration::from_secs(600);

/// The shortest and the longest pause between two walks.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// What the operator set; a reload replaces it.
pub(crate) type Shared = Arc<Mutex<Arc<Retention>>>;

/// A walk over one tenant's jobs that have been kept for so long, from where the last one ended.
#[derive(Clone, Copy)]
struct Walk {
    after: JobId,
    /// The first that was left behind since it last began there.
    left: Option<JobId>,
    revisit_at: Timestamp,
}

impl Default for Walk {
    fn default() -> Self {
        Self { after: FIRST, left: None, revisit_at: Timestamp::default() }
    }
}

impl Walk {
    /// Back to the first that was left behind, if it is time.
    fn begin(&mut self, kept: Duration, now: Timestamp) {
        if now >= self.revisit_at {
            if let Some(left) = self.left.take() {
                self.after = JobId::from_u128(left.as_u128().saturating_sub(1));
            }
            self.revisit_at = now + (kept / 10).min(REVISIT);
        }
    }
}

/// Before every job.
const FIRST: JobId = JobId::from_u128(0);

/// The housekeeper.
pub(crate) struct Housekeeper {
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    retention: Shared,
    /// Of those whose time is over, and of those whose payloads' time may be.
    walks: BTreeMap<Tenant, [Walk; 2]>,
    /// When the rest is looked at again: tombstones, what happened to no job, and what goes as a whole.
    rest_at: Timestamp,
    /// What was made since goes as a whole.
    by_steps_before: Option<Timestamp>,
}

impl Housekeeper {
    pub(crate) fn new(engine: Arc<dyn Engine>, clock: Arc<dyn Clock>, retention: Shared) -> Self {
        let (walks, rest_at) = (BTreeMap::new(), Timestamp::default());
        Self { engine, clock, retention, walks, rest_at, by_steps_before: None }
    }

    fn retention(&self) -> Arc<Retention> {
        self.retention.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Walks again and again, until storage is closed.
    pub(crate) async fn run(mut self) {
        loop {
            match self.pass().await {
                Ok(0) => {}
                Ok(jobs) => tracing::info!(jobs, "pruned"),
                Err(StorageError::Closed) => return,
                Err(error) => tracing::warn!(%error, "history could not be pruned; it is tried again"),
            }
            let retention = self.retention();
            let shortest = retention.shortest_payloads().unwrap_or(retention.history);
            let shortest = shortest.min(retention.history).min(retention.tombstones);
            tokio::time::sleep((shortest / 10).clamp(PAUSES.0, PAUSES.1)).await;
        }
    }

    /// One walk over everything; answers with how many jobs it had pruned or erased.
    pub(crate) async fn pass(&mut self) -> Result<u64, StorageError> {
        let retention = self.retention();
        let tenants = self.engine.histories().await?;
        self.walks.retain(|tenant, _| tenants.contains(tenant));
        // A transaction or two for each tenant, mostly for nothing: not at every pass.
        let now = self.clock.now();
        let rest = now >= self.rest_at;
        if rest {
            self.rest_at = now + (retention.history.min(retention.tombstones) / 10).min(REVISIT);
            self.by_steps_before = self.engine.drop_old(retention.history, Moment::of(&*self.clock)).await?;
        }
        let mut gone = 0;
        for tenant in tenants {
            let [mut history, mut payloads] = self.walks.get(&tenant).copied().unwrap_or_default();
            gone +=
                self.walk(tenant, &mut history, retention.history, self.by_steps_before, &retention).await?;
            if let Some(kept) = retention.shortest_payloads() {
                gone += self.walk(tenant, &mut payloads, kept, None, &retention).await?;
            }
            self.walks.insert(tenant, [history, payloads]);
            if rest {
                self.prune_apart(tenant, retention.history).await?;
                self.forget(tenant, retention.tombstones).await?;
            }
        }
        Ok(gone)
    }

    async fn walk(
        &self,
        tenant: Tenant,
        walk: &mut Walk,
        kept: Duration,
        until: Option<Timestamp>,
        retention: &Arc<Retention>,
    ) -> Result<u64, StorageError> {
        let mut gone = 0;
        walk.begin(kept, self.clock.now());
        loop {
            let at = Moment::of(&*self.clock);
            let made_before = until.map_or(at.now - kept, |until| until.min(at.now - kept));
            let after = walk.after;
            let scan = Scan { tenant, after, made_before, retention: retention.clone(), at };
            let found = self.engine.scan(scan).await?;
            if !found.due.is_empty() {
                gone += self.prune(&found.due, at).await?;
            }
            walk.left = walk.left.into_iter().chain(found.left).min();
            match found.next {
                Some(next) => walk.after = next,
                // What is made from now on lies behind the last that was looked at.
                None => return Ok(gone),
            }
        }
    }

    async fn prune(&self, due: &[Due], at: Moment) -> Result<u64, StorageError> {
        for refused in 0.. {
            if let Some(gone) = self.engine.prune(due.to_vec(), refused >= PATIENCE, at).await? {
                return Ok(gone);
            }
            tokio::time::sleep(BUSY).await;
        }
        Ok(0)
    }

    async fn prune_apart(&self, tenant: Tenant, kept: Duration) -> Result<(), StorageError> {
        let (at, mut after) = (Moment::of(&*self.clock), EventId::from_u128(0));
        let (made_before, told_before) = (at.now - kept, at.wall - kept);
        let apart = |after| Apart { tenant, after, made_before, told_before };
        while let Some(next) = self.engine.prune_apart(apart(after)).await? {
            after = next;
        }
        Ok(())
    }

    async fn forget(&self, tenant: Tenant, kept: Duration) -> Result<(), StorageError> {
        let (at, mut after) = (Moment::of(&*self.clock), FIRST);
        let (made_before, gone_before) = (at.now - kept, at.wall - kept);
        while let Some(next) = self.engine.forget(Forget { tenant, after, made_before, gone_before }).await? {
            after = next;
        }
        Ok(())
    }
}
