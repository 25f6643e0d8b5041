//! This node among the others: renews its lease, takes over from the dead, takes its share of every task, drains when it
//! is asked to, and joins again when it was given up.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dispatcher::{Dispatcher, Tending};
use domain::{
    chance::{Clock, Moment},
    fleet::{Fleet, Holds},
    lease::Fence,
    task::TaskSpec,
};
use executor::Executor;
use storage::{Engine, Listener, Renewed, Roster, Shared, StorageError, Wake};
use tokio::sync::Notify;

use crate::lease::Lease;

/// After a renewal that failed: several more are tried before this node must hold back.
const FAILED: Duration = Duration::from_millis(250);

/// While slots are changing hands: what one node lets go of another waits for.
const SHARING: Duration = Duration::from_millis(250);

/// While a dead node has rows that somebody else keeps locked.
const STILL_DEAD: Duration = Duration::from_millis(500);

/// See the module.
pub(crate) struct Member {
    parts: Parts,
    fence: Mutex<Fence>,
    /// Rung when the fleet changed.
    bell: Notify,
    /// Whether it left. Held while it renews or leaves: it hears of its own leaving like everybody, and would take the
    /// lease that is over for one that was lost, and join again.
    left: tokio::sync::Mutex<bool>,
}

/// What a member is made of beside its place.
pub(crate) struct Parts {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) span: Duration,
    pub(crate) grace: Duration,
    pub(crate) executor: Arc<Executor>,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) tending: Arc<Tending>,
    /// `readyz` says so.
    pub(crate) draining: Arc<AtomicBool>,
}

impl Listener for Member {
    fn woken(&self, wakes: &[Wake]) {
        if wakes.iter().any(|wake| matches!(wake, Wake::FleetChanged)) {
            self.bell.notify_one();
        }
    }
}

impl Member {
    /// One that joined under `fence`. It has no slots, and serves no endpoint, before its first renewal.
    pub(crate) fn new(parts: Parts, fence: Fence) -> Arc<Self> {
        parts.executor.let_go(|_| 0);
        parts.dispatcher.follow(Fleet::default(), fence.node);
        Arc::new(Self { parts, fence: Mutex::new(fence), bell: Notify::new(), left: Default::default() })
    }

    /// The tasks are others: they are to be shared out anew.
    pub(crate) fn share_anew(&self) {
        self.bell.notify_one();
    }

    /// Stays a member until it [leaves](Self::leave).
    pub(crate) async fn stay(self: Arc<Self>, mut next: Duration) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(next) => {}
                () = self.bell.notified() => {}
            }
            let left = self.left.lock().await;
            if *left {
                return;
            }
            next = self.clone().renew().await;
        }
    }

    /// Gives up its place for good.
    pub(crate) async fn leave(&self) -> Result<(), StorageError> {
        let mut left = self.left.lock().await;
        *left = true;
        self.parts.engine.leave().await
    }

    /// Renews once, and does what follows from who else is there. Says when to do it again.
    pub(crate) async fn renew(self: Arc<Self>) -> Duration {
        if self.parts.lease.is_lost() {
            return self.join_again().await;
        }
        let asked = Moment::of(&*self.parts.clock);
        let takes = !self.parts.draining.load(Ordering::Acquire);
        let left = self.parts.lease.left();
        let answer = tokio::time::timeout(left, self.parts.engine.extend(self.parts.span, takes)).await;
        match answer {
            Ok(Ok(Renewed::Done(roster))) => {
                self.parts.lease.renewed(asked);
                self.parts.lease.compare(asked, roster.now);
                self.follow(&roster).await
            }
            Ok(Ok(Renewed::LeaseLost)) => {
                self.lose();
                self.join_again().await
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot renew the lease");
                if self.parts.lease.left().is_zero() {
                    self.lose();
                }
                FAILED.min(self.parts.span / 12)
            }
            Err(_) => {
                self.lose();
                Duration::ZERO
            }
        }
    }

    /// Others may have taken over everything: it is let go of here before anything else is done.
    fn lose(&self) {
        if self.parts.lease.lose() {
            tracing::warn!("the lease is lost: what was under way here is given up");
            self.parts.executor.let_go(|_| 0);
            self.parts.executor.abandon();
            self.parts.dispatcher.abandon();
        }
    }

    async fn join_again(&self) -> Duration {
        let asked = Moment::of(&*self.parts.clock);
        match tokio::time::timeout(self.parts.span, self.parts.engine.join(self.parts.span)).await {
            Ok(Ok(fence)) => {
                *self.fence.lock().unwrap_or_else(PoisonError::into_inner) = fence;
                self.parts.lease.renewed(asked);
                tracing::info!(node = fence.node, epoch = fence.epoch, "joined again");
                self.take_over().await;
                Duration::ZERO
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot join again");
                FAILED
            }
            Err(_) => FAILED,
        }
    }

    async fn follow(self: Arc<Self>, roster: &Roster) -> Duration {
        let me = self.fence();
        if roster.node(me.node).is_some_and(|row| row.drain_at.is_some()) && self.clone().drain() {
            // So that the others hear of it.
            return Duration::ZERO;
        }
        // Four tries before others hold us back.
        let mut next = self.parts.span / 6;
        let expiry = roster.next_expiry(me);
        if expiry.is_some_and(|expiry| expiry.is_zero()) {
            self.take_over().await;
            next = next.min(STILL_DEAD);
        } else if let Some(expiry) = expiry {
            // Just after the moment at which the next one could be over.
            next = next.min(expiry + Duration::from_millis(20));
        }
        self.parts.dispatcher.follow(roster.fleet(), me.node);
        if !self.share(roster, me).await {
            next = next.min(SHARING);
        }
        next
    }

    pub(crate) async fn take_over(&self) {
        let freed = self.parts.engine.take_over(Moment::of(&*self.parts.clock)).await;
        self.parts.tending.look();
        match freed {
            Ok(freed) if freed.jobs + freed.deliveries > 0 => {
                tracing::info!(
                    jobs = freed.jobs,
                    deliveries = freed.deliveries,
                    "took over what a dead node held"
                );
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "cannot look for dead nodes"),
        }
    }

    /// Lets go of slots before it tells so, and uses them after it told so ([`domain::fleet`]). True once it holds what
    /// is its share, and no more.
    async fn share(&self, roster: &Roster, me: Fence) -> bool {
        let fleet = roster.fleet();
        let wanted = |task: &TaskSpec| fleet.may_hold(me.node, &task.name, task.concurrency);
        let taken = self.parts.executor.let_go(wanted);
        let holds: Holds =
            taken.iter().map(|(task, taken)| (task.name.clone(), wanted(task).max(*taken))).collect();
        if roster.node(me.node).is_none_or(|row| row.holds != holds) {
            match self.parts.engine.share(holds, roster.version).await {
                Ok(Shared::Done) => {}
                Ok(Shared::Raced | Shared::LeaseLost) => return false,
                Err(error) => {
                    tracing::warn!(%error, "cannot take a share of the tasks");
                    return false;
                }
            }
        }
        // Of the tasks as they were: a reload may have changed them since, and is followed by a turn of its own.
        self.parts.executor.use_slots(taken.iter().map(|(task, _)| (task.name.clone(), wanted(task))));
        taken.iter().all(|(task, taken)| {
            let share = fleet.share(me.node, &task.name, task.concurrency);
            wanted(task) == share && *taken <= share
        })
    }

    /// Takes no new work, ends what is under way, gives back what does not end within the grace. The node stays: it goes
    /// on answering, and its lease goes on. False if it does so already.
    fn drain(self: Arc<Self>) -> bool {
        if self.parts.draining.swap(true, Ordering::AcqRel) {
            return false;
        }
        tracing::info!("draining: takes no new work");
        self.parts.executor.drain();
        self.parts.dispatcher.drain();
        tokio::spawn(async move {
            let idle = async {
                self.parts.executor.until_idle().await;
                self.parts.dispatcher.until_idle().await;
            };
            if tokio::time::timeout(self.parts.grace, idle).await.is_err() {
                tracing::warn!("the drain time is over; giving back what still runs");
                self.parts.executor.give_back().await;
                self.parts.dispatcher.give_back().await;
            }
            tracing::info!("drained");
        });
        true
    }

    fn fence(&self) -> Fence {
        *self.fence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
