//! One life of a node: the real executor and dispatcher on a runtime of their own, stepped by hand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dispatcher::Dispatcher;
use domain::{
    delivery::Rules,
    result_link::ResultLinks,
    retry::RetryPolicy,
    task::{HttpRun, Run, TaskSpec},
    time::Timestamp,
    vault::{MasterKey, Vault},
};
use executor::Executor;
use storage::Engine;
use tokio::runtime::Runtime;

use super::{gate::Gate, outside::Outside, relay::Relay};
use crate::{HandClock, SeededDice};

/// Enough turns for whatever one answer sets off to come to rest.
const TURNS: usize = 40;

pub(super) struct Node {
    pub(super) executor: Arc<Executor>,
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) gate: Arc<Gate>,
    pub(super) engine: Arc<dyn Engine>,
    relay: Arc<Relay>,
    may_act: Arc<AtomicBool>,
    runtime: Runtime,
}

/// What outlives a node.
pub(super) struct Around {
    pub(super) clock: Arc<HandClock>,
    pub(super) dice: Arc<SeededDice>,
    pub(super) outside: Arc<Outside>,
}

pub(super) fn vault() -> Arc<Vault> {
    Arc::new(Vault::new(MasterKey::from_bytes([5; 32])))
}

pub(super) fn links() -> Arc<ResultLinks> {
    Arc::new(ResultLinks::new([3; 32], &[]))
}

/// The server's rules for callbacks that bring none.
pub(super) fn rules() -> Rules {
    Rules { retry: RetryPolicy::default_delivery(), timeout: Duration::from_secs(15) }
}

fn tasks() -> Vec<TaskSpec> {
    let task = |name: &str, run| TaskSpec {
        name: name.parse().expect("a task's name"),
        run,
        timeout: Duration::from_secs(600),
        retry: RetryPolicy::default_task(),
        concurrency: 3,
        input_schema: None,
        max_result: 1 << 20,
    };
    let url = "http://up.example/work".parse().expect("a URL");
    vec![
        task("echo", Run::Echo),
        task("sleep", Run::Sleep),
        task("fail", Run::Fail),
        task("http", Run::Http(HttpRun { url, secret: None })),
    ]
}

impl Node {
    /// It joined already; what is left to do is to look around.
    pub(super) fn start(engine: Arc<dyn Engine>, relay: Arc<Relay>, around: &Around) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let gate = Gate::before(engine.clone());
        let may_act = Arc::new(AtomicBool::new(true));
        let lease = may_act.clone();
        let lease: Arc<dyn Fn() -> bool + Send + Sync> = Arc::new(move || lease.load(Ordering::SeqCst));
        let executor = Executor::new(executor::Parts {
            engine: gate.clone(),
            tasks: Arc::new(tasks()),
            upstream: around.outside.clone(),
            clock: around.clock.clone(),
            dice: around.dice.clone(),
            links: links(),
            public_url: "https://ringback.example".into(),
            may_act: lease.clone(),
        });
        let dispatcher = Dispatcher::new(dispatcher::Parts {
            engine: gate.clone(),
            transport: around.outside.clone(),
            vault: vault(),
            clock: around.clock.clone(),
            dice: around.dice.clone(),
            rules: rules(),
            max_in_flight: 6,
            per_lane_in_flight: 4,
            may_act: lease,
        });
        relay.pass_to(executor.clone(), dispatcher.clone(), vec![executor.clone(), dispatcher.clone()]);
        Self { executor, dispatcher, gate, engine, relay, may_act, runtime }
    }

    /// Steps both loops until nothing moves but what waits at the gate or outside. Says when a loop wants to be stepped
    /// again.
    pub(super) fn turn(&self) -> Option<Timestamp> {
        self.runtime.block_on(async {
            let mut next = None;
            for _ in 0..3 {
                next = [self.executor.step().await, self.dispatcher.step().await].into_iter().flatten().min();
                for _ in 0..TURNS {
                    tokio::task::yield_now().await;
                }
            }
            next
        })
    }

    pub(super) fn idle(&self) -> bool {
        self.executor.idle() && self.dispatcher.idle()
    }

    /// Whether the lease is beyond doubt.
    pub(super) fn let_act(&self, may: bool) {
        self.may_act.store(may, Ordering::SeqCst);
    }

    pub(super) fn may_act(&self) -> bool {
        self.may_act.load(Ordering::SeqCst)
    }

    pub(super) fn relay(&self) -> &Relay {
        &self.relay
    }

    /// Everything that it had in memory is gone.
    pub(super) fn die(self) -> Arc<dyn Engine> {
        self.relay.cut();
        drop(self.runtime);
        self.engine
    }
}
