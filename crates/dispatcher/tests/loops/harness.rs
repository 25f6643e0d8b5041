//! One node on a temporary file, and the world outside it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use domain::{
    callback::{Callback, Callbacks},
    chance::{Clock, Dice, Moment},
    delivery::{Delivery, Outcome, Response, Rules, State, Timings, Trigger},
    endpoint::{Endpoint, Settings},
    event::{Event, EventKind, EventSet},
    id::{DeliveryId, EndpointId, EventId, JobId, Tenant, TenantId},
    job::{self, Ended, Ending, Job, Links, Priority},
    retry::RetryPolicy,
    seal::Place,
    secret::Secret,
    time::Timestamp,
    vault::{MasterKey, Vault},
};
use ringback_dispatcher::{Dispatcher, Parts, Request, Sent, Transport};
use storage::{
    DeliveryDetail, DeliveryFilter, DeliveryTaker, Engine, Finish, Guard, Listener, Ping, Put, PutEndpoint,
    Resent, Submit, Takers, Written,
};
use testkit::{HandClock, SeededDice};
use tokio::sync::Semaphore;

pub(crate) const TENANT: Tenant = Tenant::DEFAULT;

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// What is kept over a crash: the file, the clock, and the world outside.
pub(crate) struct Ground {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) dice: Arc<SeededDice>,
    pub(crate) world: Arc<World>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) secret: Secret,
    pub(crate) may_act: Arc<AtomicBool>,
    pub(crate) max_in_flight: u32,
}

/// One life of a node.
pub(crate) struct Node {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) dispatcher: Arc<Dispatcher>,
    world: Arc<World>,
    clock: Arc<HandClock>,
    dice: Arc<SeededDice>,
    vault: Arc<Vault>,
    secret: Secret,
}

/// Every receiver there is, by host. Each answers 200 until it is told otherwise.
#[derive(Default)]
pub(crate) struct World {
    hosts: Mutex<HashMap<String, Host>>,
    pub(crate) seen: Mutex<Vec<Request>>,
    pub(crate) hanging: AtomicUsize,
}

#[derive(Default)]
struct Host {
    answers: VecDeque<Sent>,
    /// While there is one, requests wait for a permit.
    gate: Option<Arc<Semaphore>>,
}

pub(crate) fn status(status: u16) -> Sent {
    answer(status, &[])
}

/// So quick that claims may run ahead.
pub(crate) fn quick() -> Sent {
    let timings = Timings { total: Some(1.0), ..Timings::default() };
    Sent { timings, ..status(200) }
}

pub(crate) fn answer(status: u16, headers: &[(&str, &str)]) -> Sent {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sent::answered(status, Response::new(headers, b"", false))
}

impl World {
    /// The next answers of a host.
    pub(crate) fn script(&self, host: &str, answers: impl IntoIterator<Item = Sent>) {
        self.hosts.lock().unwrap().entry(host.into()).or_default().answers.extend(answers);
    }

    /// From now on the host's requests hang until they are let go.
    pub(crate) fn hang(&self, host: &str) {
        let mut hosts = self.hosts.lock().unwrap();
        hosts.entry(host.into()).or_default().gate = Some(Arc::new(Semaphore::new(0)));
    }

    /// Lets so many of them be answered.
    pub(crate) fn let_go(&self, host: &str, requests: usize) {
        self.hosts.lock().unwrap()[host].gate.as_ref().unwrap().add_permits(requests);
    }

    /// Whatever was scripted for a host and not asked for.
    pub(crate) fn forget(&self, host: &str) {
        self.hosts.lock().unwrap().entry(host.into()).or_default().answers.clear();
    }

    pub(crate) fn requests(&self, host: &str) -> Vec<Request> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|request| request.uri.host() == Some(host)).cloned().collect()
    }

    pub(crate) fn hanging(&self) -> usize {
        self.hanging.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Transport for World {
    async fn send(&self, request: Request) -> Sent {
        let host = request.uri.host().unwrap().to_owned();
        self.seen.lock().unwrap().push(request);
        let gate = self.hosts.lock().unwrap().entry(host.clone()).or_default().gate.clone();
        if let Some(gate) = gate {
            self.hanging.fetch_add(1, Ordering::SeqCst);
            gate.acquire().await.unwrap().forget();
            self.hanging.fetch_sub(1, Ordering::SeqCst);
        }
        let next = self.hosts.lock().unwrap().entry(host).or_default().answers.pop_front();
        next.unwrap_or_else(|| status(200))
    }
}

/// Asks for the terminal events, by the server's rules.
pub(crate) fn callback(host: &str) -> Callback {
    Callback {
        url: domain::callback_url::CallbackUrl::stored(&format!("https://{host}/hook")).unwrap(),
        events: EventSet::TERMINAL,
        headers: None,
        secret: None,
        retry: None,
        timeout: None,
    }
}

impl Ground {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            clock: Arc::default(),
            dice: Arc::new(SeededDice::new(7)),
            world: Arc::default(),
            vault: Arc::new(Vault::new(MasterKey::from_bytes([1; 32]))),
            secret: Secret::from_bytes([2; 32]),
            may_act: Arc::new(AtomicBool::new(true)),
            max_in_flight: 64,
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("ringback.db")
    }

    /// From now on no attempt can be closed, until [`Ground::mend_storage`].
    pub(crate) fn break_storage(&self) {
        let connection = rusqlite::Connection::open(self.path()).unwrap();
        let trigger =
            "CREATE TRIGGER broken BEFORE INSERT ON attempts BEGIN SELECT RAISE(ABORT, 'broken'); END";
        connection.execute_batch(trigger).unwrap();
    }

    /// From now on so many rows can be brought forward and no more, until [`Ground::mend_storage`].
    pub(crate) fn break_storage_after(&self, brought_forward: u32) {
        let connection = rusqlite::Connection::open(self.path()).unwrap();
        let recovery = Trigger::Recovery.code();
        let trigger = format!(
            "CREATE TABLE brought_forward (id BLOB); \
             CREATE TRIGGER broken BEFORE UPDATE OF due_at ON delivery_queue WHEN NEW.trigger = {recovery} BEGIN \
             SELECT RAISE(ABORT, 'broken') WHERE (SELECT count(*) FROM brought_forward) >= {brought_forward}; \
             INSERT INTO brought_forward VALUES (NEW.id); END"
        );
        connection.execute_batch(&trigger).unwrap();
    }

    pub(crate) fn mend_storage(&self) {
        rusqlite::Connection::open(self.path()).unwrap().execute_batch("DROP TRIGGER broken").unwrap();
    }

    /// Starts a node as the server does.
    pub(crate) async fn start(&self) -> Node {
        let url = format!("sqlite:{}", self.path().display());
        let engine = storage_sql::open(&url, storage_sql::Options { connections: 4, ..Default::default() })
            .await
            .unwrap();
        let at = Moment::of(&*self.clock);
        let sealed = Place::Tenant(TENANT).seal(&self.vault, &self.secret, [0; 24]);
        engine.ensure_default_tenant(TenantId::new(at.wall, 1), sealed, at.wall).await.unwrap();
        engine.join(seconds(30)).await.unwrap();
        let may_act = self.may_act.clone();
        let retry = RetryPolicy::Schedule { delays: vec![seconds(5), seconds(60)], jitter: 0.0 };
        let dispatcher = Dispatcher::new(Parts {
            engine: engine.clone(),
            transport: self.world.clone(),
            vault: self.vault.clone(),
            clock: self.clock.clone(),
            dice: self.dice.clone(),
            rules: Rules { retry, timeout: seconds(15) },
            max_in_flight: self.max_in_flight,
            per_lane_in_flight: 16,
            may_act: Arc::new(move || may_act.load(Ordering::SeqCst)),
        });
        let weak: Weak<Dispatcher> = Arc::downgrade(&dispatcher);
        engine.attach(Takers {
            jobs: None,
            deliveries: Some(weak.clone() as Weak<dyn DeliveryTaker>),
            listeners: vec![weak as Weak<dyn Listener>],
        });
        engine.take_over(at).await.unwrap();
        let (world, clock, dice) = (self.world.clone(), self.clock.clone(), self.dice.clone());
        let (vault, secret) = (self.vault.clone(), Secret::from_bytes([2; 32]));
        let node = Node { engine, dispatcher, world, clock, dice, vault, secret };
        node.settle().await;
        node
    }
}

impl Node {
    /// A job that ends now and calls back; its deliveries, in order.
    pub(crate) async fn ends(&self, callbacks: Vec<Callback>) -> Vec<DeliveryId> {
        let id = JobId::new(self.clock.now(), self.dice.bits());
        self.job_ends(id, callbacks, None).await
    }

    pub(crate) async fn job_ends(
        &self,
        id: JobId,
        callbacks: Vec<Callback>,
        traceparent: Option<&str>,
    ) -> Vec<DeliveryId> {
        let at = Moment::of(&*self.clock);
        let count = u32::try_from(callbacks.len()).unwrap();
        let job = Job {
            id,
            tenant: TENANT,
            task: "echo".parse().unwrap(),
            priority: Priority::DEFAULT,
            timeout: seconds(60),
            max_attempts: 3,
            metadata: Arc::from(serde_json::value::RawValue::from_string("{}".into()).unwrap()),
            traceparent: traceparent.map(Into::into),
            callbacks: Callbacks::new(callbacks),
            created_at: at.wall,
            expires_at: None,
            cancel_requested_at: None,
            rerun_of: None,
            progress: None,
            state: job::State::Queued { attempt: 0, run_at: None, started_at: None },
        };
        let submit = Submit { job: job.clone(), input: "{}".into(), due: at.now, idempotency: None, at };
        self.engine.submit(submit).await.unwrap();
        let ended = Ended { attempt: 0, started_at: None, finished_at: at.wall, ending: Ending::Canceled };
        let links = Links::new("", id);
        let event = Event::ended(EventId::new(at.now, self.dice.bits()), &job, &ended, &links);
        let deliveries = (0..count).map(|n| DeliveryId::of(event.id, n)).collect();
        let guard = Guard::Queued { attempt: 0 };
        let finish = Finish { job, guard, ended, result: None, event, links, at };
        assert_eq!(self.engine.finish(finish).await.unwrap(), Written::Done);
        deliveries
    }

    /// One job that calls back to `host`.
    pub(crate) async fn deliver(&self, host: &str) -> DeliveryId {
        self.ends(vec![callback(host)]).await[0]
    }

    /// An endpoint at `host` that hears of everything, as it is to be from now on.
    pub(crate) async fn endpoint(&self, host: &str, settings: impl FnOnce(&mut Settings)) -> EndpointId {
        let at = Moment::of(&*self.clock);
        let id = EndpointId::new(at.now, self.dice.bits());
        let target = Callback { events: EventSet::EVERY, ..callback(host) };
        let mut given = Settings {
            target: Arc::new(target),
            description: String::new(),
            tasks: None,
            max_in_flight: None,
            rate_limit: None,
            ordered: false,
            signature: domain::secret::Scheme::Hmac,
        };
        settings(&mut given);
        let secret = Place::Endpoint(TENANT, id).seal(&self.vault, &self.secret, [0; 24]);
        let endpoint = Endpoint {
            id,
            tenant: TENANT,
            created_at: at.wall,
            version: 1,
            settings: given,
            secret,
            previous: None,
            disabled: None,
        };
        let put = PutEndpoint { endpoint, new: Some(9), recover: None, event: None, at };
        assert_eq!(self.engine.put_endpoint(put).await.unwrap(), Put::Done);
        id
    }

    /// The next version of it.
    pub(crate) async fn change(&self, id: EndpointId, settings: impl FnOnce(&mut Settings)) {
        let mut endpoint = self.engine.endpoint(TENANT, id).await.unwrap().unwrap();
        endpoint.version += 1;
        settings(&mut endpoint.settings);
        let at = Moment::of(&*self.clock);
        let put = PutEndpoint { endpoint, new: None, recover: None, event: None, at };
        assert_eq!(self.engine.put_endpoint(put).await.unwrap(), Put::Done);
    }

    pub(crate) async fn ping(&self, endpoint: EndpointId) {
        let at = Moment::of(&*self.clock);
        let found = self.engine.endpoint(TENANT, endpoint).await.unwrap().unwrap();
        let event = Event::endpoint_disabled(&found, at.wall);
        let kind = EventKind::EndpointPing;
        self.engine.ping(Ping { tenant: TENANT, endpoint, event, kind, at }).await.unwrap().unwrap();
    }

    /// Resends one of what an endpoint was sent that is over; its number.
    pub(crate) async fn resend_one(&self, endpoint: EndpointId, which: u128) -> Option<i64> {
        let over: Vec<_> = self
            .sent_to(endpoint)
            .await
            .into_iter()
            .filter(|delivery| matches!(delivery.state, State::Succeeded { .. } | State::Failed { .. }))
            .collect();
        let one = over.get(which as usize % over.len().max(1))?;
        let at = Moment::of(&*self.clock);
        assert_eq!(self.engine.resend(TENANT, one.id, at).await.unwrap(), Resent::Due);
        one.sequence
    }

    /// The last number that an endpoint's events were given.
    pub(crate) async fn last_of(&self, endpoint: EndpointId) -> i64 {
        self.engine.feed(TENANT, endpoint, 0, 1).await.unwrap().unwrap().last
    }

    /// How many of an endpoint's deliveries have succeeded, by their rows.
    pub(crate) async fn succeeded(&self, endpoint: EndpointId) -> usize {
        let succeeded = |delivery: &Delivery| matches!(delivery.state, State::Succeeded { .. });
        let (mut count, mut before) = (0, None);
        loop {
            let page = self.deliveries(endpoint, before).await;
            let Some(last) = page.last() else { return count };
            before = Some(last.id);
            count += page.iter().filter(|delivery| succeeded(delivery)).count();
        }
    }

    async fn sent_to(&self, endpoint: EndpointId) -> Vec<Delivery> {
        self.deliveries(endpoint, None).await
    }

    async fn deliveries(&self, endpoint: EndpointId, before: Option<DeliveryId>) -> Vec<Delivery> {
        let filter = DeliveryFilter {
            tenant: TENANT,
            job: None,
            endpoint: Some(endpoint),
            event: None,
            status: None,
            outcome: None,
            created_after: None,
            created_before: None,
            before,
            limit: 100,
        };
        self.engine.deliveries(filter).await.unwrap().items
    }

    pub(crate) async fn get(&self, id: DeliveryId) -> DeliveryDetail {
        self.engine.delivery(TENANT, id).await.unwrap().unwrap()
    }

    /// The outcomes of a delivery's closed attempts, and then its state in one word.
    pub(crate) async fn shows(&self, id: DeliveryId) -> String {
        let detail = self.get(id).await;
        let mut words: Vec<&str> = detail.attempts.iter().map(|attempt| attempt.outcome.name()).collect();
        words.push(match &detail.delivery.state {
            State::Waiting { .. } => "waiting",
            State::InFlight { .. } => "in flight",
            State::Succeeded { .. } => "succeeded",
            State::Failed { reason, .. } => reason.name(),
        });
        words.join(", ")
    }

    /// When a waiting delivery is due.
    pub(crate) async fn due(&self, id: DeliveryId) -> Timestamp {
        match self.get(id).await.delivery.state {
            State::Waiting { due, .. } => due,
            other => panic!("not waiting: {other:?}"),
        }
    }

    /// Steps until nothing moves any more while the clock stands: storage has threads of its own, so this is the one
    /// place that lets real time pass, and only as much as they take.
    pub(crate) async fn settle(&self) {
        let mut quiet = 0;
        while quiet < 5 {
            let next = self.dispatcher.step().await;
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            let due = next.is_some_and(|at| at <= self.clock.now());
            quiet = if due || self.dispatcher.in_hand() > self.world.hanging() { 0 } else { quiet + 1 };
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Some steps, while what is in hand cannot go on.
    pub(crate) async fn steps(&self) {
        for _ in 0..10 {
            self.dispatcher.step().await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Steps until so much has happened, while what is in hand cannot all go on.
    pub(crate) async fn steps_until(&self, happened: impl Fn() -> bool) {
        let steps = async {
            while !happened() {
                self.steps().await;
            }
        };
        tokio::time::timeout(seconds(20), steps).await.expect("it happens");
    }

    /// Time passes, and everything that follows from it.
    pub(crate) async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.settle().await;
    }

    /// The process dies: nothing is given back, and nothing is closed in order.
    pub(crate) async fn crash(self) {
        let engine = self.engine.clone();
        self.dispatcher.abandon();
        drop(self);
        // The file's lock ends with the engine's threads, which a dead process has none of.
        engine.close().await;
    }
}

/// No answer came.
pub(crate) fn failed(outcome: Outcome) -> Sent {
    Sent::failed(outcome, "as scripted")
}
