//! How work comes in: handed over by the engine as it commits, or claimed from the backlog by query.

use std::sync::Arc;

use domain::{
    id::JobId,
    lane::{Ask, Lane},
    task::TaskName,
    time::Timestamp,
};
use storage::{ClaimedJob, JobTaker, LaneClaim, Listener, Wake};

use crate::{
    errand::pause,
    executor::Executor,
    state::{Arrival, Mode, Stop},
};

/// How many expired jobs are ended at a time.
const SWEEP: u32 = 256;

/// Called on the engine's writer: locks for a moment and returns.
impl JobTaker for Executor {
    fn reserve(&self, task: &TaskName, lane: Lane, now: Timestamp) -> bool {
        let Some(group) = self.group(task).filter(|_| self.may_act()) else { return false };
        let mut state = self.state();
        let reserved = state.may_reserve() && state.lanes.reserve(lane, group, now);
        state.reserved += u32::from(reserved);
        reserved
    }

    fn unreserve(&self, task: &TaskName, lane: Lane) {
        let Some(group) = self.group(task) else { return };
        let mut state = self.state();
        state.reserved = state.reserved.saturating_sub(1);
        state.lanes.done(lane, group);
        self.released(&mut state);
    }

    fn take(&self, job: ClaimedJob) {
        let slot = self.group(&job.job.task).map(|group| (job.hold.lane, group));
        let mut state = self.state();
        state.reserved = state.reserved.saturating_sub(1);
        let arrival = state.arrive(job, slot);
        state.inbox.push(arrival);
        self.wake_if_sooner(&mut state);
    }
}

/// Called on the engine's writer: locks for a moment and returns.
impl Listener for Executor {
    fn woken(&self, wakes: &[Wake]) {
        let mut state = self.state();
        for wake in wakes {
            match wake {
                Wake::JobDue { lane, task, due } => {
                    if let Some(group) = self.group(task) {
                        state.lanes.touch(*lane, group, *due);
                    }
                }
                Wake::JobExpires { at } => state.sweep.ask(*at),
                Wake::CancelRequested { job } => {
                    if let Some(running) = state.running.get_mut(job) {
                        // Waking only queues a task: it runs none here.
                        running.stop(Stop::Cancel).into_iter().for_each(std::task::Waker::wake);
                    } else if state.claiming || state.sweep.out() {
                        state.cancels.insert(*job);
                    }
                }
                Wake::TaskPaused { task, paused } => {
                    state.hear(task, *paused);
                    self.give_slots(&mut state);
                }
                Wake::TasksChanged => state.read_paused.ask(self.now()),
                Wake::Uncertain => state.give_back.ask(self.now()),
                Wake::JobChanged { .. }
                | Wake::DeliveryDue { .. }
                | Wake::SecretsChanged { .. }
                | Wake::EndpointChanged { .. }
                | Wake::Happened { .. }
                | Wake::KeysRevoked
                | Wake::FleetChanged => {}
            }
        }
        self.wake_if_sooner(&mut state);
    }
}

/// Errands: at most one of each is out, and each ends by telling the state.
impl Executor {
    /// Learns which tasks are paused.
    pub(crate) async fn read_paused(self: Arc<Self>, heard: u64) {
        let found = self.calling(self.engine().paused_tasks()).await;
        let mut state = self.state();
        match found {
            Ok(paused) => {
                state.read_paused.done();
                state.paused_are(paused.into_iter().collect(), heard, self.now());
                self.give_slots(&mut state);
            }
            Err(error) => {
                self.storage_failed("paused_tasks", &error);
                state.read_paused.failed(self.now(), self.dice().roll());
            }
        }
        self.wake_if_sooner(&mut state);
    }

    /// Learns which lanes have something queued.
    pub(crate) async fn read_lanes(self: Arc<Self>) {
        let found = self.calling(self.engine().lanes()).await;
        let mut state = self.state();
        match found {
            Ok(lanes) => {
                for start in lanes {
                    // Jobs of a removed task wait.
                    if let Some(group) = start.task.and_then(|task| self.group(&task)) {
                        state.lanes.touch(start.lane, group, start.due);
                    }
                }
                state.read_lanes.done();
            }
            Err(error) => {
                self.storage_failed("lanes", &error);
                state.read_lanes.failed(self.now(), self.dice().roll());
            }
        }
        self.wake_if_sooner(&mut state);
    }

    /// Claims what the lanes said is next.
    pub(crate) async fn claim(self: Arc<Self>, asks: Vec<Ask>) {
        let lives = self.state().lives;
        let answer = self.calling(self.engine().claim_jobs(asks.clone(), self.moment())).await;
        let mut arrivals = Vec::new();
        let mut state = self.state();
        match answer {
            Ok(mut claims) => {
                for ask in &asks {
                    let at = claims.iter().position(|claim| claim.lane == ask.lane);
                    let claim = at.map(|at| claims.swap_remove(at));
                    let LaneClaim { claimed, next_due, .. } = claim.unwrap_or(LaneClaim {
                        lane: ask.lane,
                        claimed: Vec::new(),
                        next_due: None,
                        terms: ask.terms,
                    });
                    if state.lives != lives {
                        // Others have them by now, or will.
                        state.lanes.claimed(ask, 0, next_due);
                        continue;
                    }
                    state.lanes.claimed(ask, claimed.len() as u32, next_due);
                    let slot = Some((ask.lane, ask.group));
                    arrivals.extend(claimed.into_iter().map(|job| state.arrive(job, slot)));
                }
            }
            Err(error) => {
                self.storage_failed("claim", &error);
                let again = self.now() + pause(CLAIM_AGAIN, self.dice().roll());
                for ask in &asks {
                    state.lanes.refused(ask, Some(again));
                }
            }
        }
        state.claiming = false;
        state.claim_ended();
        drop(state);
        self.accept(arrivals);
    }

    /// Ends what expired before it was started.
    pub(crate) async fn sweep(self: Arc<Self>) {
        let answer = self.calling(self.engine().claim_expired(SWEEP, self.moment())).await;
        let mut arrivals = Vec::new();
        let mut state = self.state();
        match answer {
            Ok((claimed, next)) => {
                state.sweep.done();
                next.into_iter().for_each(|at| state.sweep.ask(at));
                arrivals.extend(claimed.into_iter().map(|job| state.arrive(job, None)));
            }
            Err(error) => {
                self.storage_failed("claim_expired", &error);
                state.sweep.failed(self.now(), self.dice().roll());
            }
        }
        state.claim_ended();
        drop(state);
        self.accept(arrivals);
    }

    /// Frees rows that a commit of unknown outcome may have left in this node's name. No claim and no reservation is
    /// out meanwhile, so `held` is all there is.
    pub(crate) async fn give_back_strays(self: Arc<Self>, held: Vec<JobId>) {
        let answer = self.calling(self.engine().give_back(Some(held), None, self.moment())).await;
        let mut state = self.state();
        match answer {
            Ok(recovered) => {
                tracing::info!(jobs = recovered.jobs, "gave back what a lost commit had claimed");
                state.give_back.done();
            }
            Err(error) => {
                self.storage_failed("give_back", &error);
                state.give_back.failed(self.now(), self.dice().roll());
            }
        }
        self.released(&mut state);
    }

    /// Starts what a claim brought, and lets the loop go on to the next one.
    fn accept(self: &Arc<Self>, arrivals: Vec<Arrival>) {
        for arrival in arrivals {
            self.start(arrival);
        }
        self.released(&mut self.state());
    }

    /// True if a job of this task is not to be started, whoever claimed it: this node stops, or the task is paused.
    pub(crate) fn holds_back(&self, task: &TaskName) -> bool {
        let state = self.state();
        state.mode != Mode::Open || state.is_held(task)
    }
}

/// A failed claim is repeated after this many doublings: about a quarter of a second, since a lane in doubt costs a
/// query a time.
const CLAIM_AGAIN: u32 = 3;
