//! An hour in which somebody else keeps a transaction open: nothing that was deleted since can be cleared away, so what the
//! queues leave behind grows. It must not be walked over.

use std::{sync::Arc, thread, time::Duration};

use serde::Serialize;

use super::{beside, drain};
use crate::{
    Outcome,
    database::{Held as Transaction, number},
    ledger::Ledger,
    load::{Load, Pace},
    process::Usage,
    receive::Receiver,
    service::{Engine, KEY, Kind, Place, Stock},
};

/// Into so many parts the time is cut.
const PARTS: u32 = 6;

const DEAD: &str =
    "SELECT coalesce(sum(n_dead_tup), 0)::bigint FROM pg_stat_user_tables WHERE relname LIKE '%_queue'";
const QUEUES: &str = "SELECT pg_total_relation_size('job_queue') + pg_total_relation_size('delivery_queue')";
const HISTORY: &str = "SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_class t CROSS JOIN LATERAL \
     pg_partition_tree(t.oid) WHERE t.relkind = 'p'";

#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Jobs a second.
    pub(crate) rate: f64,
    pub(crate) lasts: Duration,
}

/// One part of the time.
#[derive(Clone, Serialize)]
pub(crate) struct Held {
    /// For how long the transaction had been open at its end.
    pub(crate) minutes: f64,
    pub(crate) jobs: usize,
    pub(crate) receipt_ms: [f64; 2],
    pub(crate) cpu_us_per_job: f64,
    pub(crate) database_cpu_us_per_job: Option<f64>,
    pub(crate) dead_rows: u64,
    pub(crate) queues_mib: f64,
    pub(crate) history_mib: f64,
}

/// What was read at the end of a part.
struct Reading {
    at: u64,
    service: Usage,
    database: Option<Usage>,
    dead_rows: u64,
    queues: u64,
    history: u64,
}

pub(crate) fn run(stock: &Stock, receiver: &Receiver, plan: Plan) -> Outcome<Vec<Held>> {
    let place = Place::new(stock, Kind::Ringback, Engine::Postgres, &receiver.url())?;
    let service = place.start()?;
    let database = stock.database.as_ref().ok_or("no database was opened")?;
    let ledger = Arc::new(Ledger::open((plan.rate * plan.lasts.as_secs_f64() * 1.5) as usize + 16));
    receiver.write_to(&ledger);
    let load = Load {
        addresses: vec![service.address],
        key: KEY.into(),
        task: "echo",
        callbacks: vec![receiver.callback()],
        connections: 8,
        pace: Pace::Rate(plan.rate),
        lasts: plan.lasts,
    };
    let held = Transaction::open(place.storage())?;
    let read = || -> Outcome<Reading> {
        Ok(Reading {
            at: ledger.now(),
            service: Usage::of(service.pid()),
            database: database.usage(),
            dead_rows: number(place.storage(), DEAD)?,
            queues: number(place.storage(), QUEUES)?,
            history: number(place.storage(), HISTORY)?,
        })
    };
    let mut readings = vec![read()?];
    let rest: Outcome<Vec<Reading>> = beside(
        || load.run(&ledger),
        || {
            let part = |_| {
                thread::sleep(plan.lasts / PARTS);
                read()
            };
            (0..PARTS).map(part).collect()
        },
    )?;
    readings.extend(rest?);
    let missing = drain(&ledger);
    drop(held);
    if missing > 0 {
        return Err(format!("{missing} webhooks never arrived").into());
    }
    let parts = readings.iter().zip(&readings[1..]).zip(1..);
    Ok(parts
        .map(|((before, after), n)| {
            let (_, receipts) = ledger.delays(before.at, after.at);
            let jobs = receipts.len();
            let each = |used: Usage| used.cpu * 1e6 / jobs.max(1) as f64;
            Held {
                minutes: (plan.lasts / PARTS * n).as_secs_f64() / 60.0,
                jobs,
                receipt_ms: [0.5, 0.99].map(|q| receipts.quantile_ms(q)),
                cpu_us_per_job: each(after.service.since(before.service)),
                database_cpu_us_per_job: after
                    .database
                    .zip(before.database)
                    .map(|(after, before)| each(after.since(before))),
                dead_rows: after.dead_rows,
                queues_mib: after.queues as f64 / 1_048_576.0,
                history_mib: after.history as f64 / 1_048_576.0,
            }
        })
        .collect())
}
