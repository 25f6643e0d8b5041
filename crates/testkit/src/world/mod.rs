//! The seeded world: submits, replies, cancels, crashes, lost answers and jumping clocks, interleaved by a seed, through
//! the real domain, executor, dispatcher and engine. It checks what `reliability.md` promises, and yields a history:
//! the same seed gives the same one on every engine.

mod check;
mod gate;
mod node;
mod outside;
mod people;
mod relay;

use std::{sync::Arc, time::Duration};

use domain::{
    chance::{Clock, Moment},
    id::TenantId,
    seal::Place,
    secret::Secret,
    time::Timestamp,
};
use storage::{Engine, Listener, Wake};
use tokio::runtime::Runtime;

pub use self::relay::Relay;
use self::{
    check::Checks,
    gate::Call,
    node::{Around, Node, vault},
    outside::Outside,
};
use crate::{HandClock, SeededDice};

/// Where a world's storage is.
pub trait Ground {
    /// Opens it, empty, with a relay attached.
    fn fresh(&mut self, runtime: &Runtime) -> (Arc<dyn Engine>, Arc<Relay>);

    /// A process that held `engine` died; another opens the same storage. Whatever lease the dead one had is over.
    fn reopen(&mut self, engine: Arc<dyn Engine>, runtime: &Runtime) -> (Arc<dyn Engine>, Arc<Relay>);
}

/// What happened, line by line, and what there was in the end.
#[derive(PartialEq, Eq, Debug)]
pub struct History {
    /// In order.
    pub events: Vec<String>,
    /// Everything that the storage held at the end.
    pub dump: String,
    /// What was promised and did not hold.
    pub broken: Vec<String>,
}

/// How much happens before the faults stop.
const TURNS: u64 = 70;

/// The world stops waiting for the end after this many rounds: every policy has run out long before.
const ROUNDS: usize = 3_000;

/// Plays a seed on a ground.
pub fn play(seed: u64, ground: &mut dyn Ground) -> History {
    let mut world = World::new(seed, ground);
    for _ in 0..TURNS {
        world.act();
    }
    world.come_to_rest();
    world.finish()
}

struct World<'g> {
    ground: &'g mut dyn Ground,
    /// Drives the engine's answers; no task of a node runs on it, so that nothing moves while one is awaited.
    driver: Runtime,
    /// Decides what happens next.
    dice: SeededDice,
    around: Around,
    /// `None` only while one dies and the next is born.
    node: Option<Node>,
    events: Vec<String>,
    checks: Checks,
    people: people::People,
}

impl<'g> World<'g> {
    fn new(seed: u64, ground: &'g mut dyn Ground) -> Self {
        let dice = SeededDice::new(seed);
        let clock = Arc::new(HandClock::default());
        let outside = Outside::new(clock.clone());
        let around = Around { clock, dice: Arc::new(dice.fork()), outside };
        let driver = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let (engine, relay) = ground.fresh(&driver);
        let people = people::People::new(dice.fork());
        let mut world = Self {
            ground,
            driver,
            dice,
            around,
            node: None,
            events: Vec::new(),
            checks: Checks::default(),
            people,
        };
        let secret = Secret::from_bytes([9; 32]);
        let sealed = Place::Tenant(domain::id::Tenant::DEFAULT).seal(&vault(), &secret, [1; 24]);
        let made = engine.ensure_default_tenant(TenantId::from_u128(1), sealed, world.around.clock.wall());
        world.driver.block_on(made).expect("the tenant is made");
        world.checks.secrets.push(secret);
        world.be_born(engine, relay);
        world
    }

    fn node(&self) -> &Node {
        self.node.as_ref().expect("somebody lives")
    }

    fn moment(&self) -> Moment {
        Moment::of(&*self.around.clock)
    }

    fn note(&mut self, event: impl Into<String>) {
        let now = self.around.clock.now().micros() - 1_767_225_600_000_000;
        self.events.push(format!("{now:>14} {}", event.into()));
    }

    /// Lets the loops go on, and writes down what reached the outside.
    fn turn(&mut self) -> Option<Timestamp> {
        let mut next = self.node().turn();
        while let Some(call) = self.node().gate.take_prompt() {
            let done = self.driver.block_on(call.run(self.node().engine.clone()));
            done.answer();
            next = self.node().turn();
        }
        for news in self.around.outside.news() {
            self.note(news);
        }
        next
    }

    /// One thing happens.
    fn act(&mut self) {
        self.turn();
        match self.dice.below(100) {
            0..=39 => self.let_through(),
            40..=54 => self.people_act(),
            55..=71 => self.outside_answers(false),
            72..=87 => self.time_passes(),
            88..=90 => self.lose_an_answer(),
            91..=92 => self.turn_one_away(),
            93 => self.wall_jumps(),
            94 => self.doubt_the_lease(),
            95 => self.restart(),
            _ => self.crash(),
        }
        self.watch();
    }

    fn pick_call(&mut self) -> Option<Call> {
        let waiting = self.node().gate.waiting();
        if waiting == 0 {
            return None;
        }
        let which = self.dice.below(waiting as u64) as usize;
        self.node().gate.take(which)
    }

    /// A call reaches storage and its caller hears of it.
    fn let_through(&mut self) {
        let Some(call) = self.pick_call() else { return };
        let (what, engine) = (call.what.clone(), self.node().engine.clone());
        let done = self.driver.block_on(call.run(engine));
        self.note(format!("{what} -> {}", done.came_to));
        done.answer();
    }

    /// A call reaches storage and its caller never hears of it.
    fn lose_an_answer(&mut self) {
        let Some(call) = self.pick_call() else { return };
        let (what, engine) = (call.what.clone(), self.node().engine.clone());
        let done = self.driver.block_on(call.run(engine));
        self.note(format!("{what} -> {} (answer lost)", done.came_to));
        self.around.outside.count_fault();
        done.lose();
        self.node().relay().woken(&[Wake::Uncertain]);
    }

    fn turn_one_away(&mut self) {
        let Some(call) = self.pick_call() else { return };
        self.note(format!("{} (turned away)", call.what));
        self.around.outside.count_fault();
        call.refuse();
    }

    fn people_act(&mut self) {
        let mut people = std::mem::take(&mut self.people);
        people.act(self);
        self.people = people;
    }

    fn outside_answers(&mut self, friendly: bool) {
        let waiting = self.around.outside.waiting();
        if waiting == 0 {
            return;
        }
        let which = self.dice.below(waiting as u64) as usize;
        let what = self.around.outside.answer(which, &self.dice, friendly);
        self.note(what);
    }

    fn time_passes(&mut self) {
        let next = self.turn();
        let by = match self.dice.below(6) {
            0 => Duration::from_millis(1 + self.dice.below(50)),
            1 => Duration::from_secs(1 + self.dice.below(10)),
            2 => Duration::from_secs(60 * (1 + self.dice.below(30))),
            _ => next.map_or(Duration::from_secs(1), |next| next.since(self.around.clock.now())),
        };
        self.around.clock.advance(by);
        self.around.outside.time_out();
        self.note(format!("{by:?} pass"));
    }

    fn wall_jumps(&mut self) {
        let hours = *self.dice.pick(&[-24, -1, 1, 24]);
        self.around.clock.jump_wall(hours * 3_600_000_000);
        self.note(format!("the wall clock jumps {hours} h"));
    }

    /// The lease was not renewed for a while, or is again.
    fn doubt_the_lease(&mut self) {
        let may = !self.node().may_act();
        self.node().let_act(may);
        self.around.outside.count_fault();
        self.note(format!("may act: {may}"));
    }

    /// Stopped in good order and started again.
    fn restart(&mut self) {
        self.node().let_act(true);
        self.node().executor.drain();
        self.node().dispatcher.drain();
        self.note("stops");
        for _ in 0..20 {
            self.turn();
            self.let_through();
            self.outside_answers(false);
        }
        let leaving = self.node().engine.leave();
        self.driver.block_on(leaving).expect("it leaves");
        self.around.outside.count_fault();
        self.rise(Vec::new());
    }

    /// What was in memory is gone; what was on its way to storage may or may not have arrived.
    fn crash(&mut self) {
        self.note("crashes");
        self.around.outside.count_fault();
        if self.dice.below(3) == 0
            && let Some(call) = self.pick_call()
        {
            let (what, engine) = (call.what.clone(), self.node().engine.clone());
            let done = self.driver.block_on(call.run(engine));
            self.note(format!("{what} -> {} (nobody hears)", done.came_to));
        }
        let mut stale = Vec::new();
        while let Some(call) = self.node().gate.take(0) {
            stale.extend(Some(call).filter(|call| call.held));
        }
        self.rise(stale);
    }

    /// The next life. What the last one still had on its way arrives late, and must change nothing (I9).
    fn rise(&mut self, stale: Vec<Call>) {
        let engine = self.node.take().expect("somebody lives").die();
        let (engine, relay) = self.ground.reopen(engine, &self.driver);
        self.be_born(engine.clone(), relay);
        for call in stale {
            let what = call.what.clone();
            let done = self.driver.block_on(call.run(engine.clone()));
            self.note(format!("{what} -> {} (late)", done.came_to));
            if done.came_to != "LeaseLost" {
                self.checks.broken(format!("I9: a stale {what} came to {}", done.came_to));
            }
        }
    }

    fn be_born(&mut self, engine: Arc<dyn Engine>, relay: Arc<Relay>) {
        self.driver.block_on(engine.join(Duration::from_secs(30))).expect("it joins");
        self.node = Some(Node::start(engine.clone(), relay, &self.around));
        let at = self.moment();
        let recovered = self.driver.block_on(engine.take_over(at)).expect("it takes over");
        self.note(format!("starts: {recovered:?}"));
    }

    /// Somebody looks at what there is, as the API would show it (I11).
    fn watch(&mut self) {
        if self.dice.below(3) != 0 {
            return;
        }
        let engine = self.node().engine.clone();
        let (checks, dice) = (&mut self.checks, &self.dice);
        self.driver.block_on(checks.watch(&engine, dice));
    }

    /// The faults stop: everything must come to its end.
    fn come_to_rest(&mut self) {
        self.node().let_act(true);
        self.note("the faults stop");
        people::People::resume_all(self);
        for _ in 0..ROUNDS {
            let next = self.turn();
            if self.node().gate.waiting() > 0 {
                self.let_through();
            } else if self.around.outside.waiting() > 0 {
                self.outside_answers(true);
            } else if let Some(next) = next {
                self.around.clock.advance_to(next);
                self.around.outside.time_out();
            } else if self.node().idle() {
                return;
            }
        }
        self.checks.broken("I3: it does not come to rest".into());
    }

    fn finish(mut self) -> History {
        let engine = self.node().engine.clone();
        let dump = self.driver.block_on(storage::conformance::history::dump(&engine));
        let mut checks = std::mem::take(&mut self.checks);
        let (received, called) = (self.around.outside.received(), self.around.outside.called());
        self.driver.block_on(checks.judge(&engine, &received, &called));
        let engine_left = self.node.take().map(Node::die);
        drop(engine_left);
        History { events: self.events, dump, broken: checks.into_broken() }
    }
}
