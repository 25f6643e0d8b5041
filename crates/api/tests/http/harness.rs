//! One API on a temporary file. Work is done by hand: what is submitted is handed over and ended by the test.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, Weak, atomic::AtomicBool},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode},
};
use domain::{
    callback_url::UrlPolicy,
    chance::{Clock, Dice, Moment},
    event::Event,
    id::{EventId, JobId, Tenant, TenantId},
    job::{Ended, Ending, JobResult, Links},
    lane::{Lane, Terms},
    problem::JobError,
    result_link::ResultLinks,
    retry::RetryPolicy,
    seal::Place,
    secret::Secret,
    task::{Run, TaskName, TaskSpec},
    time::Timestamp,
    vault::{MasterKey, Vault},
};
use prometheus_client::registry::Registry;
use ringback_api::{KeyRing, Limits, Metrics, Parts, Tasks, Waits, router};
use serde_json::{Value, json};
use storage::{
    ClaimedDelivery, ClaimedJob, DeliveryTaker, Engine, Finish, Guard, JobTaker, Listener, Takers, Written,
};
use testkit::{
    HandClock, SeededDice,
    described::{Description, Exchange},
};
use tower::ServiceExt;

pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const MAX_BODY: usize = 4_096;

/// Takes what is born claimed, one job at a time.
#[derive(Default)]
pub(crate) struct Hands {
    busy: Mutex<bool>,
    jobs: Mutex<HashMap<JobId, ClaimedJob>>,
    deliveries: Mutex<Vec<ClaimedDelivery>>,
}

impl JobTaker for Hands {
    fn reserve(&self, _: &TaskName, _: Lane, _: Timestamp) -> bool {
        !std::mem::replace(&mut *self.busy.lock().unwrap(), true)
    }
    fn unreserve(&self, _: &TaskName, _: Lane) {
        *self.busy.lock().unwrap() = false;
    }
    fn take(&self, job: ClaimedJob) {
        self.jobs.lock().unwrap().insert(job.job.id, job);
    }
}

impl DeliveryTaker for Hands {
    fn reserve(&self, _: Lane, _: Terms, _: Timestamp) -> bool {
        true
    }
    fn unreserve(&self, _: Lane) {}
    fn take(&self, delivery: ClaimedDelivery) {
        self.deliveries.lock().unwrap().push(delivery);
    }
}

pub(crate) struct World {
    pub(crate) router: Router,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) draining: Arc<AtomicBool>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) links: Arc<ResultLinks>,
    hands: Arc<Hands>,
    dice: Arc<SeededDice>,
    _waits: Arc<Waits>,
    _dir: tempfile::TempDir,
}

/// What the API says of itself.
pub(crate) fn description() -> &'static Description {
    static DESCRIPTION: LazyLock<Description> =
        LazyLock::new(|| Description::new(&ringback_api::openapi("")));
    &DESCRIPTION
}

struct Fine;

impl ringback_api::Standing for Fine {
    fn lease(&self) -> Result<String, String> {
        Ok("held".into())
    }
    fn clock(&self) -> Result<String, String> {
        Ok("right".into())
    }
}

fn weak<T>(arc: &Arc<T>) -> Weak<T> {
    Arc::downgrade(arc)
}

fn task(name: &str, input_schema: Option<Value>) -> TaskSpec {
    TaskSpec {
        name: name.parse().unwrap(),
        run: Run::Echo,
        timeout: Duration::from_secs(60),
        retry: RetryPolicy::default_task(),
        concurrency: 1,
        input_schema,
        max_result: 1 << 20,
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::at("").await
    }

    /// With a `public_url`.
    pub(crate) async fn at(public_url: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("ringback.db").display());
        let engine = storage_sql::open(&url, storage_sql::Options::default()).await.unwrap();
        let (clock, dice) = (Arc::new(HandClock::default()), Arc::new(SeededDice::new(7)));
        let vault = Arc::new(Vault::new(MasterKey::from_bytes([1; 32])));
        let links = Arc::new(ResultLinks::of(&vault));
        engine.join(Duration::from_secs(30)).await.unwrap();
        let secret = Place::Tenant(Tenant::DEFAULT).seal(&vault, &Secret::from_bytes([7; 32]), [7; 24]);
        let tenant = TenantId::new(clock.now(), dice.bits());
        engine.ensure_default_tenant(tenant, secret, clock.now()).await.unwrap();
        let (hands, waits, keys) = (Arc::new(Hands::default()), Waits::new(), KeyRing::new());
        engine.attach(Takers {
            jobs: Some(weak(&hands) as Weak<dyn JobTaker>),
            deliveries: Some(weak(&hands) as Weak<dyn DeliveryTaker>),
            listeners: vec![weak(&waits) as Weak<dyn Listener>, weak(&keys) as _],
        });
        let (metrics, mut registry) = (Metrics::default(), Registry::default());
        metrics.register(&mut registry);
        let draining = Arc::new(AtomicBool::new(false));
        let schema = json!({"type": "object", "required": ["pages"]});
        let router = router(Parts {
            engine: engine.clone(),
            tasks: Tasks::new(vec![task("echo", None), task("strict", Some(schema))]).unwrap(),
            clock: clock.clone(),
            dice: dice.clone(),
            vault: vault.clone(),
            links: links.clone(),
            public_url: public_url.into(),
            url_policy: Arc::new(UrlPolicy::default()),
            bootstrap_key: Some(KEY.into()),
            keys: keys.clone(),
            limits: Limits {
                max_body: MAX_BODY,
                submit_per_tenant: None,
                waiting_per_tenant: 0,
                endpoints_per_tenant: 0,
            },
            cors_origins: Vec::new(),
            metrics,
            registry: Arc::new(registry),
            waits: waits.clone(),
            draining: draining.clone(),
            standing: Arc::new(Fine),
        });
        Self { router, engine, clock, draining, vault, links, hands, dice, _waits: waits, _dir: dir }
    }

    /// Whatever comes back is as the API's description has it.
    pub(crate) async fn send(&self, request: Call) -> Answer {
        let (method, uri) = (request.0.method().clone(), request.0.uri().clone());
        let response = self.router.clone().oneshot(request.0).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        let exchange = Exchange {
            method: &method,
            path: uri.path(),
            sent: None,
            status: parts.status.as_u16(),
            headers: &parts.headers,
            body: &body,
        };
        if let Err(why) = description().judge(&exchange) {
            panic!("{why}");
        }
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, uri: &str) -> Answer {
        self.send(Call::get(uri)).await
    }

    /// A job of the task `echo`.
    pub(crate) async fn submit(&self, body: Value) -> Value {
        let answer = self.send(Call::post("/v1/jobs", &body.to_string())).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()
    }

    /// One that runs, and is held by the test.
    pub(crate) async fn running(&self) -> JobId {
        self.running_with(json!({"task": "echo"})).await
    }

    pub(crate) async fn running_with(&self, body: Value) -> JobId {
        let job = self.submit(body).await;
        assert_eq!(job["status"], "running", "one job at a time is born claimed");
        id(&job)
    }

    /// Ends a running job with a result.
    pub(crate) async fn succeed(&self, job: JobId, content_type: &str, bytes: &[u8]) {
        let result = JobResult::of(content_type, bytes);
        self.end(job, Ending::Succeeded(result), Some(bytes)).await;
    }

    /// Ends it with an error.
    pub(crate) async fn fail(&self, job: JobId) {
        self.end(job, Ending::Failed(JobError::new("task-failed", "The work failed", "So it goes.")), None)
            .await;
    }

    async fn end(&self, job: JobId, ending: Ending, result: Option<&[u8]>) {
        let claimed = self.hands.jobs.lock().unwrap().remove(&job).expect("it runs");
        let at = Moment::of(&*self.clock);
        let links = Links::signed("", job, &self.links, at.wall);
        let ended = Ended { attempt: 1, started_at: Some(at.wall), finished_at: at.wall, ending };
        let event = Event::ended(EventId::new(at.now, self.dice.bits()), &claimed.job, &ended, &links);
        let finish = Finish {
            job: claimed.job,
            guard: Guard::Held(claimed.hold),
            ended,
            result: result.map(Arc::from),
            event,
            links,
            at,
        };
        assert_eq!(self.engine.finish(finish).await.unwrap(), Written::Done);
        *self.hands.busy.lock().unwrap() = false;
    }

    /// The delivery that was handed over last.
    pub(crate) fn delivery(&self) -> ClaimedDelivery {
        self.hands.deliveries.lock().unwrap().pop().expect("one was handed over")
    }
}

pub(crate) fn id(job: &Value) -> JobId {
    job["id"].as_str().unwrap().parse().unwrap()
}

/// A request with the key, unless it is taken off.
pub(crate) struct Call(pub(crate) Request<Body>);

impl Call {
    pub(crate) fn new(method: Method, uri: &str, body: impl Into<Body>) -> Self {
        let request =
            Request::builder().method(method).uri(uri).header("authorization", format!("Bearer {KEY}"));
        Self(request.body(body.into()).unwrap())
    }

    pub(crate) fn get(uri: &str) -> Self {
        Self::new(Method::GET, uri, Body::empty())
    }

    pub(crate) fn post(uri: &str, json: &str) -> Self {
        Self::new(Method::POST, uri, json.to_owned()).with("content-type", "application/json")
    }

    /// Without a body.
    pub(crate) fn poke(uri: &str) -> Self {
        Self::new(Method::POST, uri, Body::empty())
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.0.headers_mut().append(name, value.parse().unwrap());
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.headers_mut().remove(name);
        self
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// A problem, whole, of this kind.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, slug: &str) -> Value {
        let body = self.json();
        assert_eq!(
            (self.status.as_u16(), &body["type"]),
            (status, &json!(format!("/problems/{slug}"))),
            "{self:?}"
        );
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(body["status"], status);
        for member in ["title", "detail", "instance", "request_id"] {
            assert!(body[member].is_string(), "{member} of {body}");
        }
        assert_eq!(body["request_id"], self.header("ringback-request-id"));
        body
    }
}
