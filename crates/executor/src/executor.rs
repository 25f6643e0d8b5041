//! The executor: its parts, its loop, and its way down.

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use domain::{
    chance::{Clock, Dice, Moment},
    job::{Job, Links},
    lane::Group,
    result_link::ResultLinks,
    task::{TaskName, TaskSpec},
    time::Timestamp,
};
use storage::{Engine, StorageError};
use tokio::sync::Notify;

use crate::{
    attempt,
    errand::pause,
    hold::Held,
    metrics::Metrics,
    state::{Mode, State, Stop},
    tasks::{Task, Tasks},
    timers::Sleep,
    upstream::Upstream,
};

/// How often the lease is looked at again while it is in doubt.
const RECHECK: Duration = Duration::from_millis(250);

/// What an executor is made of.
pub struct Parts {
    /// Where jobs are.
    pub engine: Arc<dyn Engine>,
    /// Every task that runs here.
    pub tasks: Arc<Vec<TaskSpec>>,
    /// Who answers for `http` tasks.
    pub upstream: Arc<dyn Upstream>,
    /// Both clocks.
    pub clock: Arc<dyn Clock>,
    /// For ids, jitter and trace spans.
    pub dice: Arc<dyn Dice>,
    /// Signs `links.result` in events.
    pub links: Arc<ResultLinks>,
    /// Before every link; empty or without a slash at its end.
    pub public_url: String,
    /// False while this node's lease is in doubt: then nothing is started and nothing is written.
    pub may_act: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// Claims jobs, runs them, ends them.
pub struct Executor {
    parts: Parts,
    tasks: Tasks,
    state: Mutex<State>,
    changed: Notify,
    became_idle: Notify,
    /// Calls of storage that are out.
    calls: AtomicUsize,
    supervisor: OnceLock<PathBuf>,
    pub(crate) metrics: Metrics,
}

impl Executor {
    /// Idle until [`Executor::step`] is called; attach it to the engine before the first submission.
    pub fn new(parts: Parts) -> Arc<Self> {
        let (tasks, metrics) = (Tasks::default(), Metrics::new());
        tasks.replace(&parts.tasks, &metrics);
        Arc::new(Self {
            tasks,
            state: Mutex::new(State::new(parts.clock.now())),
            changed: Notify::new(),
            became_idle: Notify::new(),
            calls: AtomicUsize::new(0),
            supervisor: OnceLock::new(),
            metrics,
            parts,
        })
    }

    /// Names the program that stands over commands, whose `main` begins with [`crate::supervise`]. Unsaid it is the one
    /// that runs; said twice, the first counts.
    pub fn supervise_with(&self, program: PathBuf) {
        let _ = self.supervisor.set(program);
    }

    pub(crate) fn supervisor(&self) -> Option<&Path> {
        self.supervisor.get().map(PathBuf::as_path)
    }

    /// Registers what it counts: `ringback_jobs_…`.
    pub fn register(&self, registry: &mut prometheus_client::registry::Registry) {
        self.metrics.register(registry);
    }

    /// Does everything that can be done now: fires timers, starts what was handed over, claims what is due. Says when it
    /// must be called again if nothing happens until then.
    pub async fn step(self: &Arc<Self>) -> Option<Timestamp> {
        let now = self.now();
        let may_act = self.may_act();
        let todo = self.state().due(now, may_act);
        for waker in todo.wakers {
            waker.wake();
        }
        for arrival in todo.arrivals {
            self.start(arrival);
        }
        if let Some(heard) = todo.read_paused {
            tokio::spawn(self.clone().read_paused(heard));
        }
        if todo.read_lanes {
            tokio::spawn(self.clone().read_lanes());
        }
        if todo.sweep {
            tokio::spawn(self.clone().sweep());
        }
        if let Some(held) = todo.give_back {
            tokio::spawn(self.clone().give_back_strays(held));
        }
        if !todo.asks.is_empty() {
            tokio::spawn(self.clone().claim(todo.asks));
        }
        let mut state = self.state();
        state.planned = match may_act {
            true => state.earliest(),
            false => Some(state.timers.next().map_or(now + RECHECK, |next| next.min(now + RECHECK))),
        };
        state.planned
    }

    /// Calls [`Executor::step`] whenever something happened or is due, until `stop` is ready.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            let next = self.step().await;
            let pause = async {
                match next {
                    Some(at) => tokio::time::sleep(at.since(self.now())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut stop => return,
                () = self.changed.notified() => {}
                () = pause => {}
            }
        }
    }

    /// From now on there are these tasks and no others. What runs ends as it began; jobs of a task that was removed wait
    /// for it to come back. Where tasks are shared out, one that is new has no slots before [`Executor::use_slots`].
    pub fn reload(&self, tasks: &[TaskSpec]) {
        self.tasks.replace(tasks, &self.metrics);
        let mut state = self.state();
        self.give_slots(&mut state);
        // What waits of a task that is new here was passed over.
        state.read_lanes.ask(self.now());
        self.wake_if_sooner(&mut state);
    }

    /// Says how many slots each task has by now: this node's share of it, and none while it is held back.
    pub(crate) fn give_slots(&self, state: &mut State) {
        for (group, task) in self.tasks.all() {
            let slots = if state.is_held(&task.name) { 0 } else { state.share(&task) };
            state.lanes.set_group(group, slots);
        }
    }

    /// Starts nothing from now on. What runs goes on, and wants [`Executor::step`] to go on being called.
    pub fn drain(&self) {
        let mut state = self.state();
        state.mode = state.mode.max(Mode::Draining);
        drop(state);
        self.changed.notify_one();
        self.became_idle.notify_waiters();
    }

    /// True when nothing runs here.
    pub fn idle(&self) -> bool {
        self.state().idle()
    }

    /// True when nothing moves here until the clock does, an upstream answers or a commit is heard of: nothing is due and
    /// storage owes no answer. What is under way waits. For whoever moves the clock by hand, after a step and once the
    /// runtime has no task left to poll.
    pub fn quiet(&self) -> bool {
        let state = self.state();
        let next = if self.may_act() { state.earliest() } else { state.timers.next() };
        self.calls.load(Ordering::Acquire) == 0 && next.is_none_or(|at| at > self.now())
    }

    /// Waits until nothing runs here.
    pub async fn until_idle(&self) {
        loop {
            let idle = self.became_idle.notified();
            tokio::pin!(idle);
            // Listens before it looks, so that the last one to end is not missed.
            idle.as_mut().enable();
            if self.idle() {
                return;
            }
            idle.await;
        }
    }

    /// Stops what still runs and puts it back into the queue, its attempts uncounted; ready when all of it is back. For
    /// the end of the grace, under a time limit of the caller's: it waits for storage.
    pub async fn give_back(&self) {
        let wakers: Vec<_> = {
            let mut state = self.state();
            state.mode = Mode::Leaving;
            state.running.values_mut().filter_map(|running| running.stop(Stop::GiveBack)).collect()
        };
        wakers.into_iter().for_each(std::task::Waker::wake);
        self.changed.notify_one();
        self.until_idle().await;
    }

    /// The lease is lost: what is held here is somebody else's. What runs is stopped, and nothing is written about it.
    pub fn abandon(&self) {
        let wakers = self.state().abandon();
        wakers.into_iter().for_each(std::task::Waker::wake);
        self.changed.notify_one();
        self.became_idle.notify_waiters();
    }

    /// Lets go of slots: no task keeps more than `slots` says, but what runs beyond that runs on. Answers every task that
    /// was ever here, those that were removed with a concurrency of 0, with how many of it are taken, which from then on
    /// is never more than the greater of the two.
    pub fn let_go(&self, slots: impl Fn(&TaskSpec) -> u32) -> Vec<(Arc<TaskSpec>, u32)> {
        let mut state = self.state();
        let all = self.tasks.all();
        let kept =
            all.iter().map(|(_, task)| (task.name.clone(), state.share(task).min(slots(task)))).collect();
        state.set_shares(kept);
        self.give_slots(&mut state);
        all.into_iter().map(|(group, task)| (task, state.lanes.taken(group))).collect()
    }

    /// Uses so many slots of each task from now on, and none of those that are not named.
    pub fn use_slots(&self, slots: impl IntoIterator<Item = (TaskName, u32)>) {
        let mut state = self.state();
        state.set_shares(slots.into_iter().collect());
        self.give_slots(&mut state);
        self.wake_if_sooner(&mut state);
    }

    /// Begins the life of an attempt.
    pub(crate) fn start(self: &Arc<Self>, arrival: crate::state::Arrival) {
        let held = Held::new(self.clone(), &arrival);
        tokio::spawn(attempt::live(held, arrival.claimed));
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock panics half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the loop if there is something to do before it meant to look again.
    pub(crate) fn wake_if_sooner(&self, state: &mut State) {
        let earliest = state.earliest();
        if earliest.is_some_and(|at| state.planned.is_none_or(|planned| at < planned)) {
            state.planned = earliest;
            self.changed.notify_one();
        }
    }

    /// A hold is over.
    pub(crate) fn released(&self, state: &mut State) {
        self.wake_if_sooner(state);
        if state.idle() {
            self.became_idle.notify_waiters();
        }
    }

    pub(crate) fn engine(&self) -> &dyn Engine {
        &*self.parts.engine
    }

    pub(crate) fn upstream(&self) -> &dyn Upstream {
        &*self.parts.upstream
    }

    pub(crate) fn dice(&self) -> &dyn Dice {
        &*self.parts.dice
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment::of(&*self.parts.clock)
    }

    pub(crate) fn may_act(&self) -> bool {
        (self.parts.may_act)()
    }

    /// The group of a task that was ever here.
    pub(crate) fn group(&self, task: &TaskName) -> Option<Group> {
        self.tasks.group(task)
    }

    /// A task that is here.
    pub(crate) fn task(&self, task: &TaskName) -> Option<Task> {
        self.tasks.task(task)
    }

    /// The links of an event about `job`.
    pub(crate) fn links(&self, job: &Job, wall: Timestamp) -> Links {
        Links::signed(&self.parts.public_url, job.id, &self.parts.links, wall)
    }

    pub(crate) fn sleep_until(&self, at: Timestamp) -> Sleep<'_> {
        Sleep::until(self, at)
    }

    /// Waits until the lease is beyond doubt.
    pub(crate) async fn permitted(&self) {
        while !self.may_act() {
            self.sleep_until(self.now() + RECHECK).await;
        }
    }

    /// Calls storage until it answers: over outages with growing pauses, and not while the lease is in doubt. `None`: it
    /// never will, and the row is left to whoever starts next.
    pub(crate) async fn insist<T, F>(&self, what: &'static str, mut call: impl FnMut() -> F) -> Option<T>
    where
        F: Future<Output = storage::Result<T>>,
    {
        let mut failures = 0;
        loop {
            self.permitted().await;
            match self.calling(call()).await {
                Ok(answer) => return Some(answer),
                Err(error @ (StorageError::Closed | StorageError::BadRow { .. })) => {
                    tracing::error!(what, %error, "storage will not take it");
                    return None;
                }
                Err(error) => {
                    failures += 1;
                    self.storage_failed(what, &error);
                    self.sleep_until(self.now() + pause(failures, self.dice().roll())).await;
                }
            }
        }
    }

    /// Awaits a call of storage, counted while it is out.
    pub(crate) async fn calling<T>(&self, call: impl Future<Output = T>) -> T {
        struct Out<'a>(&'a AtomicUsize);
        impl Drop for Out<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::AcqRel);
            }
        }
        self.calls.fetch_add(1, Ordering::AcqRel);
        let _out = Out(&self.calls);
        call.await
    }

    /// A call that will be repeated.
    pub(crate) fn storage_failed(&self, what: &'static str, error: &StorageError) {
        self.metrics.storage_failures.inc();
        tracing::warn!(what, %error, "storage failed; will repeat");
    }
}
