//! What the engine alone does: submit with a key, finish, settle, each job and delivery born claimed, no work and no
//! request in between. `cargo run --release -p ringback-storage-sql --example throughput -- sqlite:/path/to.db [seconds] [waiting]`

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a measurement, not the product")]

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use domain::{
    callback::{Callback, Callbacks},
    callback_url::CallbackUrl,
    chance::Moment,
    delivery::{Attempt, Next, Outcome, Trigger},
    event::{Event, EventSet},
    id::{EventId, JobId, Tenant},
    job::{Ended, Ending, Job, JobResult, Links, Priority, State},
    lane::{Lane, Terms},
    task::TaskName,
    time::Timestamp,
};
use ringback_storage_sql::{Options, open};
use serde_json::value::RawValue;
use storage::{
    ClaimedDelivery, ClaimedJob, DeliveryTaker, Engine, Finish, Guard, Idempotency, JobTaker, Settle, Submit,
    Takers, Written,
};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

enum Work {
    Job(Box<ClaimedJob>),
    Delivery(Box<ClaimedDelivery>),
}

struct Taker(UnboundedSender<Work>);

impl JobTaker for Taker {
    fn reserve(&self, _: &TaskName, _: Lane, _: Timestamp) -> bool {
        true
    }
    fn unreserve(&self, _: &TaskName, _: Lane) {}
    fn take(&self, job: ClaimedJob) {
        let _ = self.0.send(Work::Job(Box::new(job)));
    }
}

impl DeliveryTaker for Taker {
    fn reserve(&self, _: Lane, _: Terms, _: Timestamp) -> bool {
        true
    }
    fn unreserve(&self, _: Lane) {}
    fn take(&self, delivery: ClaimedDelivery) {
        let _ = self.0.send(Work::Delivery(Box::new(delivery)));
    }
}

static NUMBER: AtomicU64 = AtomicU64::new(1);

fn random() -> u128 {
    // Distinct and spread, which is all that rows ask of it.
    let n = u128::from(NUMBER.fetch_add(1, Ordering::Relaxed));
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}

fn moment() -> Moment {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp::from_micros(now.as_micros() as i64);
    Moment { now, wall: now }
}

fn submission(callbacks: &Callbacks, task: &TaskName, metadata: &Arc<RawValue>, input: &Arc<str>) -> Submit {
    let at = moment();
    let job = Job {
        id: JobId::new(at.now, random()),
        tenant: Tenant::DEFAULT,
        task: task.clone(),
        priority: Priority::DEFAULT,
        timeout: Duration::from_secs(60),
        max_attempts: 3,
        metadata: metadata.clone(),
        traceparent: None,
        callbacks: callbacks.clone(),
        created_at: at.wall,
        expires_at: None,
        cancel_requested_at: None,
        rerun_of: None,
        progress: None,
        state: State::Queued { attempt: 0, run_at: None, started_at: None },
    };
    let (a, b) = (random(), random());
    let mut fingerprint = [0; 32];
    fingerprint[..16].copy_from_slice(&b.to_le_bytes());
    let idempotency = Some(Idempotency { digest: a.to_le_bytes(), fingerprint });
    Submit { job, input: input.clone(), due: at.now, idempotency, at }
}

fn finish(job: ClaimedJob) -> Finish {
    let at = moment();
    let bytes: Arc<[u8]> = job.input.as_bytes().into();
    let ended = Ended {
        attempt: 1,
        started_at: job.job.started_at(),
        finished_at: at.wall,
        ending: Ending::Succeeded(JobResult::of("application/json", &bytes)),
    };
    let links = Links::new("", job.job.id);
    let event = Event::ended(EventId::new(at.now, random()), &job.job, &ended, &links);
    Finish { guard: Guard::Held(job.hold), job: job.job, ended, result: Some(bytes), event, links, at }
}

fn settle(delivery: ClaimedDelivery) -> Settle {
    let at = moment();
    let attempt = Attempt {
        outcome: Outcome::Delivered,
        status: Some(204),
        error: None,
        ..Attempt::interrupted(1, Trigger::Policy, delivery.started_at, at.wall)
    };
    Settle {
        hold: delivery.hold,
        attempt,
        next: Next::Succeeded,
        endpoint: None,
        not_before: None,
        dead_letter: None,
        at,
    }
}

async fn drive(engine: Arc<dyn Engine>, waiting: usize, seconds: u64) -> (u64, Duration, Vec<Duration>) {
    let (sender, mut work) = unbounded_channel();
    let taker = Arc::new(Taker(sender));
    let jobs: Arc<dyn JobTaker> = taker.clone();
    let deliveries: Arc<dyn DeliveryTaker> = taker.clone();
    engine.attach(Takers {
        jobs: Some(Arc::downgrade(&jobs)),
        deliveries: Some(Arc::downgrade(&deliveries) as Weak<dyn DeliveryTaker>),
        listeners: vec![],
    });
    let settled = Arc::new(AtomicU64::new(0));
    let (engine_of_work, settled_of_work) = (engine.clone(), settled.clone());
    tokio::spawn(async move {
        while let Some(next) = work.recv().await {
            let (engine, settled) = (engine_of_work.clone(), settled_of_work.clone());
            match next {
                Work::Job(job) => tokio::spawn(async move {
                    assert_eq!(engine.finish(finish(*job)).await.ok(), Some(Written::Done));
                }),
                Work::Delivery(delivery) => tokio::spawn(async move {
                    assert_eq!(engine.settle(settle(*delivery)).await.ok(), Some(Written::Done));
                    settled.fetch_add(1, Ordering::Relaxed);
                }),
            };
        }
    });
    let url = CallbackUrl::stored("http://127.0.0.1:9/hook").unwrap_or_else(|_| unreachable!());
    let callback =
        Callback { url, events: EventSet::TERMINAL, headers: None, secret: None, retry: None, timeout: None };
    let callbacks = Callbacks::new(vec![callback]);
    let task: TaskName = "echo".parse().unwrap_or_else(|_| unreachable!());
    let metadata: Arc<RawValue> =
        Arc::from(RawValue::from_string("{}".into()).unwrap_or_else(|_| unreachable!()));
    let input: Arc<str> = format!("{{\"text\":\"{}\"}}", "x".repeat(380)).into();
    let begun = Instant::now();
    let clients: Vec<_> = (0..waiting)
        .map(|_| {
            let (engine, callbacks, task, metadata, input) =
                (engine.clone(), callbacks.clone(), task.clone(), metadata.clone(), input.clone());
            tokio::spawn(async move {
                let mut took = Vec::new();
                while begun.elapsed().as_secs() < seconds {
                    let sent = Instant::now();
                    let submit = submission(&callbacks, &task, &metadata, &input);
                    assert!(engine.submit(submit).await.is_ok());
                    took.push(sent.elapsed());
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for client in clients {
        took.extend(client.await.unwrap_or_default());
    }
    let accepted = took.len() as u64;
    while settled.load(Ordering::Relaxed) < accepted {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (accepted, begun.elapsed(), took)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "sqlite:throughput.db".into());
    let seconds = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(5);
    let waiting = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(64);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let engine = match open(&url, Options::default()).await {
            Ok(engine) => engine,
            Err(error) => return println!("{error}"),
        };
        assert!(engine.join(Duration::from_secs(30)).await.is_ok());
        let (accepted, elapsed, mut took) = drive(engine.clone(), waiting, seconds).await;
        took.sort_unstable();
        let percentile = |p: usize| took.get(took.len() * p / 100).copied().unwrap_or_default();
        println!(
            "{:.0} jobs/s submitted, finished and settled; {waiting} waiting; submit p50 {:?} p99 {:?}",
            accepted as f64 / elapsed.as_secs_f64(),
            percentile(50),
            percentile(99),
        );
        engine.close().await;
    });
}
