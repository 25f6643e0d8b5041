//! An engine under test and short words for what every case does with it.

use std::{cell::Cell, sync::Arc, time::Duration};

use domain::{
    callback::{Callback, Callbacks, Sealed},
    callback_url::CallbackUrl,
    chance::Moment,
    delivery::{self, Attempt, Outcome, Timings, Trigger},
    event::{Event, EventKind, EventSet},
    id::{DeliveryId, EventId, JobId, Tenant, TenantId},
    job::{Ended, Ending, Job, JobResult, Links, Priority, State},
    lane::{Ask, Caps, Group, Lane, Lanes, Terms},
    lease::Fence,
    time::Timestamp,
};
use serde_json::value::RawValue;

use super::{Store, recorder::Recorder};
use crate::{
    Cancel, ClaimedDelivery, ClaimedJob, DeliveryDetail, DeliveryFilter, Engine, EventMark, Finish, Guard,
    Idempotency, JobFilter, LaneClaim, Settle, Submit, Submitted,
};

pub(super) const LEASE: Duration = Duration::from_secs(60);
pub(super) const TENANT: Tenant = Tenant::DEFAULT;

/// 2026-01-01T00:00:00Z and so many seconds, for scheduling; the wall clock shows one day more, so that a mix-up shows.
pub(super) fn at(seconds: i64) -> Moment {
    let now = Timestamp::from_micros(1_767_225_600_000_000 + seconds * 1_000_000);
    Moment { now, wall: now + Duration::from_secs(86_400) }
}

pub(super) fn due(seconds: i64) -> Timestamp {
    at(seconds).now
}

pub(super) fn shown(seconds: i64) -> Timestamp {
    at(seconds).wall
}

thread_local! {
    static NUMBER: Cell<u64> = const { Cell::new(1) };
}

/// Ids must differ, and follow the order in which they were made. Each test has a thread of its own.
fn next_number() -> u128 {
    u128::from(NUMBER.replace(NUMBER.get() + 1)) << 20
}

/// From here on ids are made as at the start of the test.
pub(super) fn numbers_from_one() {
    NUMBER.set(1);
}

pub(super) fn raw(text: &str) -> Arc<RawValue> {
    Arc::from(RawValue::from_string(text.to_owned()).unwrap())
}

pub(super) fn ask(lane: Lane, k: u32) -> Ask {
    ask_under(Terms::default(), lane, k)
}

/// The same, of whoever believes that these are the lane's terms.
pub(super) fn ask_under(terms: Terms, lane: Lane, k: u32) -> Ask {
    let mut lanes = Lanes::new(Caps { start: 1_000, most: 1_000, ahead: 0 });
    lanes.set_group(Group(0), 1_000);
    lanes.set_terms(lane, Group(0), terms);
    lanes.touch(lane, Group(0), due(-1_000_000));
    let mut ask = lanes.pick(due(0), 1).remove(0);
    ask.k = k;
    ask
}

/// One row, the oldest.
pub(super) fn probe(lane: Lane) -> Ask {
    let mut one = ask(lane, 1);
    one.probe = true;
    one
}

pub(super) fn callback(host: &str, events: &[EventKind]) -> Callback {
    Callback {
        url: CallbackUrl::stored(&format!("https://{host}/hook")).unwrap(),
        events: events.iter().copied().collect(),
        headers: None,
        secret: None,
        retry: None,
        timeout: None,
    }
}

/// Asks for the three that end a job.
pub(super) fn to(hosts: &[&str]) -> Callbacks {
    let terminal: Vec<EventKind> = EventSet::TERMINAL.iter().collect();
    Callbacks::new(hosts.iter().map(|host| callback(host, &terminal)).collect())
}

/// A job as the API makes one, with nothing special about it.
pub(super) fn job(task: &str, seconds: i64) -> Job {
    Job {
        id: JobId::new(due(seconds), next_number()),
        tenant: TENANT,
        task: task.parse().unwrap(),
        priority: Priority::DEFAULT,
        timeout: Duration::from_secs(60),
        max_attempts: 3,
        metadata: raw("{}"),
        traceparent: None,
        callbacks: Callbacks::default(),
        created_at: shown(seconds),
        expires_at: None,
        cancel_requested_at: None,
        rerun_of: None,
        progress: None,
        state: State::Queued { attempt: 0, run_at: None, started_at: None },
    }
}

pub(super) fn submission(job: Job, seconds: i64) -> Submit {
    let run_at = match job.state {
        State::Queued { run_at, .. } => run_at,
        _ => None,
    };
    Submit {
        job,
        input: "{}".into(),
        due: run_at.unwrap_or(due(seconds)),
        idempotency: None,
        at: at(seconds),
    }
}

pub(super) fn key(key: u8, request: u8) -> Option<Idempotency> {
    Some(Idempotency { digest: [key; 16], fingerprint: [request; 32] })
}

pub(super) fn links(job: JobId) -> Links {
    Links::new("https://ringback.example", job)
}

/// An end of `job` as it was read, in the attempt that it says.
pub(super) fn finish(job: &Job, guard: Guard, ending: Ending, seconds: i64) -> Finish {
    let ended =
        Ended { attempt: job.attempt(), started_at: job.started_at(), finished_at: shown(seconds), ending };
    let event = Event::ended(EventId::new(due(seconds), next_number()), job, &ended, &links(job.id));
    Finish { job: job.clone(), guard, ended, result: None, event, links: links(job.id), at: at(seconds) }
}

/// It succeeded with these bytes.
pub(super) fn success(claimed: &ClaimedJob, content_type: &str, bytes: &[u8], seconds: i64) -> Finish {
    let ending = Ending::Succeeded(JobResult::of(content_type, bytes));
    Finish { result: Some(bytes.into()), ..finish(&claimed.job, Guard::Held(claimed.hold), ending, seconds) }
}

pub(super) fn done(claimed: &ClaimedJob, seconds: i64) -> Finish {
    success(claimed, "application/json", b"{}", seconds)
}

pub(super) fn cancel(job: &Job, seconds: i64) -> Cancel {
    Cancel { finish: finish(job, Guard::Queued { attempt: job.attempt() }, Ending::Canceled, seconds) }
}

/// A closed attempt of what was claimed.
pub(super) fn attempt(
    claimed: &ClaimedDelivery,
    outcome: Outcome,
    status: Option<u16>,
    seconds: i64,
) -> Attempt {
    Attempt {
        number: claimed.hold.attempt,
        trigger: claimed.trigger,
        started_at: claimed.started_at,
        ended_at: shown(seconds),
        outcome,
        status,
        error: (outcome != Outcome::Delivered).then(|| "It did not work.".into()),
        remote_address: None,
        timings_ms: Timings::default(),
        response: None,
    }
}

pub(super) fn settled(
    claimed: &ClaimedDelivery,
    attempt: Attempt,
    next: delivery::Next,
    seconds: i64,
) -> Settle {
    let endpoint = claimed.endpoint.as_ref().map(|endpoint| endpoint.id);
    Settle {
        hold: claimed.hold,
        attempt,
        next,
        endpoint,
        not_before: None,
        dead_letter: None,
        at: at(seconds),
    }
}

/// The receiver took it.
pub(super) fn took(claimed: &ClaimedDelivery, seconds: i64) -> Settle {
    settled(
        claimed,
        attempt(claimed, Outcome::Delivered, Some(204), seconds),
        delivery::Next::Succeeded,
        seconds,
    )
}

pub(super) fn all_jobs() -> JobFilter {
    JobFilter {
        tenant: TENANT,
        status: None,
        task: None,
        created_after: None,
        created_before: None,
        before: None,
        limit: 100,
    }
}

pub(super) fn all_deliveries() -> DeliveryFilter {
    DeliveryFilter {
        tenant: TENANT,
        job: None,
        endpoint: None,
        event: None,
        status: None,
        outcome: None,
        created_after: None,
        created_before: None,
        before: None,
        limit: 100,
    }
}

/// An engine that this node has joined.
pub(super) struct Fixture<'a> {
    store: &'a dyn Store,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) fence: Fence,
    pub(super) recorder: Arc<Recorder>,
}

impl<'a> Fixture<'a> {
    /// With a recorder behind it that takes nothing but hears everything.
    pub(super) async fn new(store: &'a dyn Store) -> Self {
        Self::with_room(store, 0, 0).await
    }

    /// With one that has so many slots for jobs and for deliveries.
    pub(super) async fn with_room(store: &'a dyn Store, jobs: u32, deliveries: u32) -> Self {
        let engine = store.open().await;
        let recorder = Recorder::behind(&engine, jobs, deliveries);
        let fence = engine.join(LEASE).await.unwrap();
        let id = TenantId::from_u128(1);
        engine.ensure_default_tenant(id, Sealed(vec![1; 40]), at(0).wall).await.unwrap();
        Self { store, engine, fence, recorder }
    }

    /// The process dies; another starts and has not yet looked around.
    pub(super) async fn crash(self) -> Self {
        let store = self.store;
        drop(self);
        store.expire_leases().await;
        Self::new(store).await
    }

    /// Submits a job at so many seconds and reads it back.
    pub(super) async fn submit(&self, job: Job, seconds: i64) -> Job {
        match self.engine.submit(submission(job, seconds)).await.unwrap() {
            Submitted::Accepted(job) => job,
            other => panic!("not accepted: {other:?}"),
        }
    }

    /// Claims up to `k` of a lane.
    pub(super) async fn claim(&self, lane: Lane, k: u32, seconds: i64) -> LaneClaim<ClaimedJob> {
        let mut claims = self.engine.claim_jobs(vec![ask(lane, k)], at(seconds)).await.unwrap();
        assert_eq!((claims.len(), claims[0].lane), (1, lane), "one answer for one ask");
        claims.remove(0)
    }

    /// Submits a job and claims it, in the same second.
    pub(super) async fn running(&self, job: Job, seconds: i64) -> ClaimedJob {
        let (id, lane) = (job.id, job.lane());
        self.submit(job, seconds).await;
        let mut claimed = self.claim(lane, 100, seconds).await.claimed;
        assert_eq!(claimed.iter().map(|c| c.job.id).collect::<Vec<_>>(), [id]);
        claimed.remove(0)
    }

    /// Claims up to `k` deliveries to a host.
    pub(super) async fn claim_to(&self, host: &str, k: u32, seconds: i64) -> LaneClaim<ClaimedDelivery> {
        let lane = callback(host, &[]).lane(TENANT);
        let mut claims = self.engine.claim_deliveries(vec![ask(lane, k)], at(seconds)).await.unwrap();
        assert_eq!((claims.len(), claims[0].lane), (1, lane), "one answer for one ask");
        claims.remove(0)
    }

    /// A job that ended well, with one delivery to `host`, claimed: the attempt is open.
    pub(super) async fn sending(&self, host: &str, seconds: i64) -> ClaimedDelivery {
        let claimed = self.running(Job { callbacks: to(&[host]), ..job("t", seconds) }, seconds).await;
        self.engine.finish(done(&claimed, seconds)).await.unwrap();
        let mut deliveries = self.claim_to(host, 100, seconds).await.claimed;
        assert_eq!(deliveries.len(), 1);
        deliveries.remove(0)
    }

    /// The tenant's feed from `mark` until it has shown so many events, and where it stands then.
    ///
    /// An engine may hold an event back while an older transaction is open anywhere in the database (that of a case beside
    /// this one too), so a reader asks again.
    pub(super) async fn hears(&self, mut mark: EventMark, count: usize) -> (Vec<EventId>, EventMark) {
        let mut seen = Vec::new();
        let all = async {
            while seen.len() < count {
                let page = self.engine.events(TENANT, mark, 2).await.unwrap();
                seen.extend(page.items.iter().map(|item| item.event));
                mark = page.next;
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LEASE, all).await.expect("the events are shown in the end");
        (seen, mark)
    }

    pub(super) async fn job(&self, id: JobId) -> Job {
        self.engine.job(TENANT, id).await.unwrap().expect("the job is there")
    }

    pub(super) async fn delivery(&self, id: DeliveryId) -> DeliveryDetail {
        self.engine.delivery(TENANT, id).await.unwrap().expect("the delivery is there")
    }

    /// Every delivery of a job, oldest first, whole.
    pub(super) async fn deliveries_of(&self, job: JobId) -> Vec<DeliveryDetail> {
        let filter = DeliveryFilter { job: Some(job), ..all_deliveries() };
        let mut details = Vec::new();
        for delivery in self.engine.deliveries(filter).await.unwrap().items.iter().rev() {
            details.push(self.delivery(delivery.id).await);
        }
        details
    }
}

/// Two values that show the same are the same: most rows hold what has no `==`, such as JSON text.
#[track_caller]
pub(super) fn assert_same(left: &impl std::fmt::Debug, right: &impl std::fmt::Debug) {
    assert_eq!(format!("{left:#?}"), format!("{right:#?}"));
}

pub(super) const POLICY: Trigger = Trigger::Policy;
