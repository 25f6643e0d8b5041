//! This node's lease and clock, as far as this node itself can judge them: in doubt it holds back.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use api::Standing;
use domain::{
    chance::{Clock, Moment},
    lease::{Drift, must_hold_back},
    time::Timestamp,
};

/// When the lease was last renewed, by the monotonic clock, and how far the wall clock is off the database's.
pub(crate) struct Lease {
    clock: Arc<dyn Clock>,
    span: Duration,
    renewed_at: AtomicI64,
    lost: AtomicBool,
    drift: Mutex<Drift>,
}

impl Lease {
    /// A lease that was just taken.
    pub(crate) fn taken(clock: Arc<dyn Clock>, span: Duration) -> Arc<Self> {
        let renewed_at = AtomicI64::new(clock.now().micros());
        Arc::new(Self { clock, span, renewed_at, lost: AtomicBool::new(false), drift: Mutex::default() })
    }

    /// False once two thirds of the lease have passed without renewal: nothing is started, sent or finished then.
    pub(crate) fn may_act(&self) -> bool {
        !self.lost.load(Ordering::Acquire) && !must_hold_back(self.renewed_at(), self.clock.now(), self.span)
    }

    /// How much of it is left, as others may see it at the least.
    pub(crate) fn left(&self) -> Duration {
        (self.renewed_at() + self.span).since(self.clock.now())
    }

    /// It was taken or renewed by a call that was made `at`: it runs from when storage wrote it, which is later.
    pub(crate) fn renewed(&self, at: Moment) {
        self.renewed_at.store(at.now.micros(), Ordering::Release);
        self.lost.store(false, Ordering::Release);
    }

    /// It is over. True if that is news.
    pub(crate) fn lose(&self) -> bool {
        !self.lost.swap(true, Ordering::AcqRel)
    }

    /// True from a loss until the node has joined again.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// The database said what time it is, in answer to a call that was made at `asked`.
    pub(crate) fn compare(&self, asked: Moment, database: Timestamp) {
        let answered = Moment::of(&*self.clock);
        let drift = Drift::between(asked, answered, database);
        if drift.is_too_far() && !self.drift().is_too_far() {
            tracing::warn!(%drift, "not ready: the clock");
        }
        *self.drift() = drift;
    }

    fn renewed_at(&self) -> Timestamp {
        Timestamp::from_micros(self.renewed_at.load(Ordering::Acquire))
    }

    fn drift(&self) -> std::sync::MutexGuard<'_, Drift> {
        self.drift.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing for Lease {
    fn lease(&self) -> Result<String, String> {
        if self.is_lost() {
            return Err("lost: others may have taken over what this node held; it joins again".into());
        }
        if !self.may_act() {
            return Err("not renewed in time: this node holds back".into());
        }
        Ok("held".into())
    }

    fn clock(&self) -> Result<String, String> {
        let drift = *self.drift();
        match drift.is_too_far() {
            true => Err(format!("{drift}; set it (chrony, systemd-timesyncd)")),
            false => Ok(drift.to_string()),
        }
    }
}
