//! As many jobs a second as go through from end to end, and what each of them costs.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::Duration,
};

use serde::Serialize;

use super::{beside, drain};
use crate::{
    Outcome,
    ledger::Ledger,
    load::{Load, Pace},
    metrics::Metrics,
    process::{Usage, resident_mib},
    receive::Receiver,
    service::{Engine, KEY, Kind, Place, Service, Stock},
};

/// More than any service here takes, so that the ledger has room.
const MOST_PER_SECOND: usize = 60_000;

#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) connections: usize,
    /// Not counted.
    pub(crate) warm_up: Duration,
    pub(crate) lasts: Duration,
}

/// One run. Rates are of the counted time alone; what a job costs is over all jobs of the run.
#[derive(Clone, Serialize)]
pub(crate) struct Saturation {
    pub(crate) kind: Kind,
    pub(crate) engine: Engine,
    pub(crate) connections: usize,
    pub(crate) jobs: u64,
    pub(crate) accepted_per_second: f64,
    pub(crate) delivered_per_second: f64,
    /// Accepted and not yet delivered when the load ended.
    pub(crate) backlog: u64,
    pub(crate) answer_ms: [f64; 2],
    pub(crate) receipt_ms: [f64; 2],
    pub(crate) cpu_us_per_job: f64,
    /// Of PostgreSQL's own processes.
    pub(crate) database_cpu_us_per_job: Option<f64>,
    pub(crate) statements_per_job: Option<f64>,
    pub(crate) commits_per_job: Option<f64>,
    /// To disks by the service itself (SQLite), or to the write-ahead log (PostgreSQL).
    pub(crate) written_per_job: f64,
    pub(crate) resident_mib: f64,
    pub(crate) refused: u64,
    pub(crate) repeated: u64,
    pub(crate) missing: u64,
}

impl Saturation {
    /// Jobs a second that were accepted *and* delivered.
    pub(crate) fn rate(&self) -> f64 {
        self.accepted_per_second.min(self.delivered_per_second)
    }
}

pub(crate) fn run(
    stock: &Stock,
    receiver: &Receiver,
    kind: Kind,
    engine: Engine,
    plan: Plan,
) -> Outcome<Saturation> {
    let place = Place::new(stock, kind, engine, &receiver.url())?;
    let services = place.start_all()?;
    let whole = plan.warm_up + plan.lasts;
    let ledger = Arc::new(Ledger::open(MOST_PER_SECOND * (whole.as_secs() as usize + 1)));
    receiver.write_to(&ledger);
    let load = Load {
        addresses: services.iter().map(|service| service.address).collect(),
        key: KEY.into(),
        task: "echo",
        callbacks: vec![receiver.callback()],
        connections: plan.connections,
        pace: Pace::Closed,
        lasts: whole,
    };
    let before = Reading::take(stock, engine, &services)?;
    let (begin, end, backlog) = beside(
        || load.run(&ledger),
        || {
            thread::sleep(plan.warm_up);
            let begin = ledger.now();
            thread::sleep(plan.lasts);
            let backlog = ledger.accepted_count().saturating_sub(ledger.received_count());
            (begin, ledger.now(), backlog)
        },
    )?;
    let missing = drain(&ledger);
    let after = Reading::take(stock, engine, &services)?;
    let seconds = (end - begin) as f64 / 1e9;
    let (accepted, delivered) = ledger.between(begin, end);
    let (answers, receipts) = ledger.delays(begin, end);
    let jobs = ledger.accepted_count();
    let used = after.service.since(before.service);
    Ok(Saturation {
        kind,
        engine,
        connections: plan.connections,
        jobs,
        accepted_per_second: accepted as f64 / seconds,
        delivered_per_second: delivered as f64 / seconds,
        backlog,
        answer_ms: [0.5, 0.99].map(|q| answers.quantile_ms(q)),
        receipt_ms: [0.5, 0.99].map(|q| receipts.quantile_ms(q)),
        cpu_us_per_job: used.cpu * 1e6 / jobs as f64,
        database_cpu_us_per_job: match (before.database, after.database) {
            (Some(before), Some(after)) if kind != Kind::Nothing => {
                Some(after.since(before).cpu * 1e6 / jobs as f64)
            }
            _ => None,
        },
        statements_per_job: counted(&before, &after, STATEMENTS, jobs),
        commits_per_job: counted(&before, &after, COMMITS, jobs),
        written_per_job: match engine {
            Engine::Sqlite => used.written as f64,
            Engine::Postgres => after.log_bytes.saturating_sub(before.log_bytes) as f64,
        } / jobs as f64,
        resident_mib: services.iter().map(|service| resident_mib(service.pid())).sum(),
        refused: ledger.refused.load(Relaxed),
        repeated: ledger.repeated.load(Relaxed) + ledger.strange.load(Relaxed),
        missing,
    })
}

const STATEMENTS: &[&str] = &["ringback_storage_statements_total", "bare_statements_total"];
const COMMITS: &[&str] = &["ringback_storage_commits_total", "bare_commits_total"];

fn counted(before: &Reading, after: &Reading, names: &[&str], jobs: u64) -> Option<f64> {
    let sum =
        |reading: &Reading| -> Option<f64> { reading.metrics.iter().map(|metrics| metrics.sum(names)).sum() };
    Some((sum(after)? - sum(before).unwrap_or(0.0)) / jobs as f64)
}

/// Every counter at one moment.
struct Reading {
    service: Usage,
    database: Option<Usage>,
    log_bytes: u64,
    /// Of each process.
    metrics: Vec<Metrics>,
}

impl Reading {
    fn take(stock: &Stock, engine: Engine, services: &[Service]) -> Outcome<Self> {
        let database = stock.database.as_ref().filter(|_| engine == Engine::Postgres);
        Ok(Self {
            service: Usage::of_all(services.iter().map(Service::pid)),
            database: database.and_then(|d| d.usage()),
            log_bytes: database.map_or(Ok(0), |d| d.log_bytes())?,
            metrics: services.iter().map(|service| Metrics::of(service.address)).collect(),
        })
    }
}
