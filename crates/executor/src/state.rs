//! What the executor knows in memory: who runs here, who is next, what is due. Everything here can be rebuilt from rows.

use std::{
    collections::{HashMap, HashSet},
    task::Waker,
};

use domain::{
    id::JobId,
    lane::{Ask, Caps, Group, Lane, Lanes},
    task::{TaskName, TaskSpec},
    time::Timestamp,
};
use storage::ClaimedJob;

use crate::{errand::Errand, timers::Timers};

/// At most so many rows in one claim: a batch that the writer ends within a millisecond or two.
const CLAIM: u32 = 256;

/// Long ago: what waits for nothing.
const AT_ONCE: Timestamp = Timestamp::from_micros(0);

/// How far the executor is on its way down.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Mode {
    /// Starts work.
    Open,
    /// Starts none; what runs goes on.
    Draining,
    /// What runs is given back.
    Leaving,
}

/// Why running work is to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// Somebody canceled the job.
    Cancel,
    /// This node cannot finish it.
    GiveBack,
    /// It is somebody else's by now.
    Lost,
}

/// A job that this node holds.
pub(crate) struct Running {
    /// Tells this hold from an earlier or later one of the same job.
    pub(crate) serial: u64,
    /// Set once.
    pub(crate) stop: Option<Stop>,
    /// Who is to hear of the stop.
    pub(crate) waker: Option<Waker>,
}

impl Running {
    /// Asks the work to stop; whoever asked first is heard. The waker is the caller's to wake, outside the lock.
    pub(crate) fn stop(&mut self, why: Stop) -> Option<Waker> {
        self.stop.get_or_insert(why);
        self.waker.take()
    }
}

/// A job that this node holds and has not begun with.
pub(crate) struct Arrival {
    pub(crate) claimed: ClaimedJob,
    pub(crate) serial: u64,
    /// The slot it came in; none for what the sweep claimed, which is only ended.
    pub(crate) slot: Option<(Lane, Group)>,
}

/// What a step has to do, taken out under the lock and done outside it.
#[derive(Default)]
pub(crate) struct Todo {
    pub(crate) wakers: Vec<Waker>,
    pub(crate) arrivals: Vec<Arrival>,
    pub(crate) asks: Vec<Ask>,
    pub(crate) read_lanes: bool,
    /// How often tasks had been paused or resumed by then.
    pub(crate) read_paused: Option<u64>,
    pub(crate) sweep: bool,
    pub(crate) give_back: Option<Vec<JobId>>,
}

/// See the module.
pub(crate) struct State {
    pub(crate) mode: Mode,
    pub(crate) lanes: Lanes,
    pub(crate) timers: Timers,
    /// Born claimed, and committed.
    pub(crate) inbox: Vec<Arrival>,
    pub(crate) running: HashMap<JobId, Running>,
    /// Slots promised to rows that are being written.
    pub(crate) reserved: u32,
    /// A claim is out.
    pub(crate) claiming: bool,
    /// Cancel requests for jobs that a claim which is out may bring.
    pub(crate) cancels: HashSet<JobId>,
    /// How many slots of each task are this node's; `None`: as many as the task has.
    shares: Option<HashMap<TaskName, u32>>,
    /// Tasks that somebody paused; `None` until that was read: then nothing starts.
    paused: Option<HashSet<TaskName>>,
    /// How often this node heard of a task that was paused or resumed.
    heard: u64,
    /// Reads which tasks are paused.
    pub(crate) read_paused: Errand,
    /// Reads which lanes have something queued: at the start, and when there are other tasks.
    pub(crate) read_lanes: Errand,
    /// Ends what expired.
    pub(crate) sweep: Errand,
    /// Frees rows that say they are ours and are not.
    pub(crate) give_back: Errand,
    /// When the loop runs next, as far as it knows.
    pub(crate) planned: Option<Timestamp>,
    /// How often everything was abandoned: what was claimed before is not begun after.
    pub(crate) lives: u64,
    serials: u64,
}

impl State {
    pub(crate) fn new(now: Timestamp) -> Self {
        let (mut read_lanes, mut sweep, mut read_paused) =
            (Errand::default(), Errand::default(), Errand::default());
        read_paused.ask(now);
        read_lanes.ask(now);
        sweep.ask(now);
        Self {
            mode: Mode::Open,
            lanes: Lanes::new(Caps::UNBOUNDED),
            timers: Timers::default(),
            inbox: Vec::new(),
            running: HashMap::new(),
            reserved: 0,
            claiming: false,
            cancels: HashSet::new(),
            shares: None,
            paused: None,
            heard: 0,
            read_paused,
            read_lanes,
            sweep,
            give_back: Errand::default(),
            planned: None,
            lives: 0,
            serials: 0,
        }
    }

    /// This node holds a job from now on.
    pub(crate) fn arrive(&mut self, claimed: ClaimedJob, slot: Option<(Lane, Group)>) -> Arrival {
        self.serials += 1;
        let serial = self.serials;
        let id = claimed.job.id;
        let stop = (!self.cancels.is_empty() && self.cancels.remove(&id)).then_some(Stop::Cancel);
        self.running.insert(id, Running { serial, stop, waker: None });
        Arrival { claimed, serial, slot }
    }

    /// True of a task whose jobs wait: paused, or it is not known yet whether it is.
    pub(crate) fn is_held(&self, task: &TaskName) -> bool {
        self.paused.as_ref().is_none_or(|paused| paused.contains(task))
    }

    /// How many slots of a task are this node's, paused or not.
    pub(crate) fn share(&self, task: &TaskSpec) -> u32 {
        let all = task.concurrency;
        self.shares.as_ref().map_or(all, |shares| shares.get(&task.name).copied().unwrap_or(0).min(all))
    }

    /// So many are this node's of each task, and none of those that are not named.
    pub(crate) fn set_shares(&mut self, shares: HashMap<TaskName, u32>) {
        self.shares = Some(shares);
    }

    /// A task was paused or resumed.
    pub(crate) fn hear(&mut self, task: &TaskName, is_paused: bool) {
        self.heard += 1;
        if let Some(paused) = &mut self.paused {
            if is_paused {
                paused.insert(task.clone())
            } else {
                paused.remove(task)
            };
        }
    }

    /// These are paused, as was read when so much had been heard. What was heard since may be newer: then it is read again.
    pub(crate) fn paused_are(&mut self, paused: HashSet<TaskName>, heard: u64, now: Timestamp) {
        if heard == self.heard {
            self.paused = Some(paused);
        } else {
            self.read_paused.ask(now);
        }
    }

    /// A claim of either kind was answered: cancel requests that found their job in none concern none of ours.
    pub(crate) fn claim_ended(&mut self) {
        if !self.claiming && !self.sweep.out() {
            self.cancels.clear();
        }
    }

    /// True if a job may be born claimed: not before the backlog is known, which goes first; and not while rows are
    /// compared with what is held, since a row would be given back between its commit and its arrival.
    pub(crate) fn may_reserve(&self) -> bool {
        self.mode == Mode::Open && !self.read_lanes.pending() && !self.give_back.pending()
    }

    fn may_give_back(&self) -> bool {
        !self.claiming && !self.sweep.out() && self.reserved == 0
    }

    /// When there is something to do, if nothing happens.
    pub(crate) fn earliest(&self) -> Option<Timestamp> {
        if !self.inbox.is_empty() {
            return Some(AT_ONCE);
        }
        let mut times = [self.timers.next(), None, None, None, None];
        if self.mode == Mode::Open {
            times[1] = self.read_lanes.next();
            times[4] = self.read_paused.next();
            if self.give_back.pending() {
                times[2] = self.give_back.next().filter(|_| self.may_give_back());
            } else {
                times[2] = self.sweep.next();
                times[3] = if self.claiming { None } else { self.lanes.next_due() };
            }
        }
        times.into_iter().flatten().min()
    }

    /// Takes out what can be done now. While the lease is in doubt nothing is started; timers still fire.
    pub(crate) fn due(&mut self, now: Timestamp, may_act: bool) -> Todo {
        let mut todo = Todo { wakers: self.timers.fire(now), ..Todo::default() };
        if !may_act {
            return todo;
        }
        todo.arrivals = std::mem::take(&mut self.inbox);
        if self.mode != Mode::Open {
            return todo;
        }
        todo.read_lanes = self.read_lanes.start(now);
        todo.read_paused = self.read_paused.start(now).then_some(self.heard);
        if self.give_back.pending() {
            if self.may_give_back() && self.give_back.start(now) {
                todo.give_back = Some(self.running.keys().copied().collect());
            }
            return todo;
        }
        todo.sweep = self.sweep.start(now);
        if !self.claiming {
            todo.asks = self.lanes.pick(now, CLAIM);
            self.claiming = !todo.asks.is_empty();
        }
        todo
    }

    /// Everything held here is somebody else's: what was not begun is dropped, what runs is asked to stop. The wakers are
    /// the caller's to wake, outside the lock.
    pub(crate) fn abandon(&mut self) -> Vec<Waker> {
        self.lives += 1;
        for arrival in std::mem::take(&mut self.inbox) {
            self.running.remove(&arrival.claimed.job.id);
            if let Some((lane, group)) = arrival.slot {
                self.lanes.done(lane, group);
            }
        }
        self.running.values_mut().filter_map(|running| running.stop(Stop::Lost)).collect()
    }

    /// True when nothing is held here and nothing is on its way here.
    pub(crate) fn idle(&self) -> bool {
        self.running.is_empty()
            && self.reserved == 0
            && !self.claiming
            && !self.sweep.out()
            && !self.give_back.out()
    }
}
