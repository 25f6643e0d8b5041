//! One node on a temporary file, with everything outside it scripted.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use domain::{
    callback::Callbacks,
    chance::{Clock, Dice, Moment},
    id::{JobId, Tenant, TenantId},
    job::{Ending, Job, Priority, State, Status},
    result_link::ResultLinks,
    retry::RetryPolicy,
    task::{HttpRun, Run, TaskSpec},
    time::Timestamp,
};
use ringback_executor::{Answer, Executor, Parts, Request, Unreachable, Upstream};
use storage::{Engine, JobTaker, Listener, Submit, Submitted, Takers};
use testkit::{HandClock, SeededDice};

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// What is kept over a crash: the file, the clock, and the world outside.
pub(crate) struct Ground {
    dir: Arc<tempfile::TempDir>,
    pub(crate) clock: Arc<HandClock>,
    dice: Arc<SeededDice>,
    pub(crate) upstream: Arc<Script>,
    pub(crate) may_act: Arc<AtomicBool>,
    pub(crate) tasks: Vec<TaskSpec>,
}

/// One life of a node.
pub(crate) struct Node {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) executor: Arc<Executor>,
    clock: Arc<HandClock>,
    dice: Arc<SeededDice>,
    /// The file outlives the ground that a test did not keep.
    _dir: Arc<tempfile::TempDir>,
}

/// Answers upstream calls as told; a call beyond the script hangs until it is dropped.
#[derive(Default)]
pub(crate) struct Script {
    answers: Mutex<VecDeque<Result<Answer, Unreachable>>>,
    pub(crate) seen: Mutex<Vec<Request>>,
    hanging: Arc<()>,
}

impl Script {
    pub(crate) fn answer(&self, answer: Answer) {
        self.answers.lock().unwrap().push_back(Ok(answer));
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// Calls that hang right now.
    pub(crate) fn hanging(&self) -> usize {
        Arc::strong_count(&self.hanging) - 1
    }
}

#[async_trait]
impl Upstream for Script {
    async fn call(&self, request: Request) -> Result<Answer, Unreachable> {
        self.seen.lock().unwrap().push(request);
        let answer = self.answers.lock().unwrap().pop_front();
        match answer {
            Some(answer) => answer,
            None => {
                let _hangs = self.hanging.clone();
                std::future::pending().await
            }
        }
    }
}

fn task(name: &str, run: Run) -> TaskSpec {
    TaskSpec {
        name: name.parse().unwrap(),
        run,
        timeout: seconds(60),
        retry: RetryPolicy::Schedule { delays: vec![seconds(10); 5], jitter: 0.0 },
        concurrency: 2,
        input_schema: None,
        max_result: 1024,
    }
}

impl Ground {
    pub(crate) fn new() -> Self {
        let url = "http://up.example/work".parse().unwrap();
        let secret = Some(Arc::new(domain::secret::Secret::from_bytes([9; 32])));
        Self {
            dir: Arc::new(tempfile::tempdir().unwrap()),
            clock: Arc::default(),
            dice: Arc::new(SeededDice::new(7)),
            upstream: Arc::default(),
            may_act: Arc::new(AtomicBool::new(true)),
            tasks: vec![
                task("echo", Run::Echo),
                task("sleep", Run::Sleep),
                task("fail", Run::Fail),
                task("http", Run::Http(HttpRun { url, secret })),
            ],
        }
    }

    /// Storage that refuses every write until this is dropped: somebody else is writing.
    pub(crate) fn outage(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.path()).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        connection
    }

    /// Somebody else with the same storage.
    pub(crate) fn elsewhere(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).unwrap()
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("ringback.db")
    }

    /// Starts a node as the server does.
    pub(crate) async fn start(&self) -> Node {
        let url = format!("sqlite:{}", self.path().display());
        let engine = storage_sql::open(&url, storage_sql::Options { connections: 4, ..Default::default() })
            .await
            .unwrap();
        engine.join(seconds(30)).await.unwrap();
        let at = Moment::of(&*self.clock);
        let sealed = domain::callback::Sealed(vec![1; 40]);
        engine.ensure_default_tenant(TenantId::new(at.wall, 1), sealed, at.wall).await.unwrap();
        let may_act = self.may_act.clone();
        let executor = Executor::new(Parts {
            engine: engine.clone(),
            tasks: Arc::new(self.tasks.clone()),
            upstream: self.upstream.clone(),
            clock: self.clock.clone(),
            dice: self.dice.clone(),
            links: Arc::new(ResultLinks::new([3; 32], &[])),
            public_url: String::new(),
            may_act: Arc::new(move || may_act.load(Ordering::SeqCst)),
        });
        let (taker, listener): (Weak<Executor>, Weak<Executor>) =
            (Arc::downgrade(&executor), Arc::downgrade(&executor));
        let (taker, listener): (Weak<dyn JobTaker>, Weak<dyn Listener>) = (taker, listener);
        engine.attach(Takers { jobs: Some(taker), deliveries: None, listeners: vec![listener] });
        engine.take_over(at).await.unwrap();
        Node { engine, executor, clock: self.clock.clone(), dice: self.dice.clone(), _dir: self.dir.clone() }
    }

    /// A node that has read its lanes, so that jobs can be born claimed.
    pub(crate) async fn start_ready(&self) -> Node {
        let node = self.start().await;
        node.settle().await;
        node
    }
}

impl Node {
    /// A job of `task`, not yet submitted.
    pub(crate) fn job(&self, task: &str) -> Job {
        let at = Moment::of(&*self.clock);
        Job {
            id: JobId::new(at.now, self.dice.bits()),
            tenant: Tenant::DEFAULT,
            task: task.parse().unwrap(),
            priority: Priority::DEFAULT,
            timeout: seconds(60),
            max_attempts: 3,
            metadata: Arc::from(serde_json::value::RawValue::from_string("{}".into()).unwrap()),
            traceparent: None,
            callbacks: Callbacks::default(),
            created_at: at.wall,
            expires_at: None,
            cancel_requested_at: None,
            rerun_of: None,
            progress: None,
            state: State::Queued { attempt: 0, run_at: None, started_at: None },
        }
    }

    pub(crate) async fn submit(&self, job: Job, input: &str) -> JobId {
        self.submit_due(job, input, self.clock.now()).await
    }

    pub(crate) async fn submit_due(&self, job: Job, input: &str, due: Timestamp) -> JobId {
        let (id, at) = (job.id, Moment::of(&*self.clock));
        let submit = Submit { job, input: input.into(), due, idempotency: None, at };
        assert!(matches!(self.engine.submit(submit).await.unwrap(), Submitted::Accepted(_)));
        id
    }

    /// A plain job of `task`.
    pub(crate) async fn run(&self, task: &str, input: &str) -> JobId {
        self.submit(self.job(task), input).await
    }

    pub(crate) async fn get(&self, id: JobId) -> Job {
        self.engine.job(Tenant::DEFAULT, id).await.unwrap().unwrap()
    }

    /// Steps until nothing moves any more while the clock stands. Storage has threads of its own: this is the one place
    /// that lets real time pass, and only for as long as they take.
    pub(crate) async fn settle(&self) {
        let (mut quiet, mut rounds) = (0, 0);
        while quiet < 3 {
            rounds += 1;
            assert!(rounds < 5_000, "it does not come to rest");
            self.executor.step().await;
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            quiet = if self.executor.quiet() { quiet + 1 } else { 0 };
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Time passes, once all that was due before has happened, and everything that follows from it.
    pub(crate) async fn advance(&self, by: Duration) {
        self.settle().await;
        self.clock.advance(by);
        self.settle().await;
    }

    /// What a job is now, as `status attempt`, with the error's slug.
    pub(crate) async fn shows(&self, id: JobId) -> String {
        let job = self.get(id).await;
        let error = match job.ended().map(|ended| &ended.ending) {
            Some(Ending::Failed(error)) => {
                let problem: serde_json::Value = serde_json::from_str(error.as_json()).unwrap();
                problem["type"].as_str().unwrap().replace("/problems/", " ")
            }
            _ => String::new(),
        };
        format!("{} {}{error}", job.status(), job.attempt())
    }

    /// How many of these are running.
    pub(crate) async fn running(&self, ids: &[JobId]) -> usize {
        let mut running = 0;
        for &id in ids {
            running += usize::from(self.get(id).await.status() == Status::Running);
        }
        running
    }

    /// The process dies: nothing is given back and nothing is closed in order.
    pub(crate) async fn crash(self) {
        let engine = self.engine.clone();
        self.executor.drain();
        drop(self);
        // The file's lock ends with the engine's threads, which a dead process has none of.
        engine.close().await;
    }
}
