//! How long a job takes from its submission to its webhook when there is room: the load is light and steady.

use std::{sync::Arc, thread, time::Duration};

use serde::Serialize;

use super::{beside, drain};
use crate::{
    Outcome,
    ledger::Ledger,
    load::{Load, Pace},
    process::Usage,
    receive::Receiver,
    service::{Engine, KEY, Kind, Place, Stock},
};

/// Connections that submissions take turns on.
const CONNECTIONS: usize = 4;

/// Not counted: caches fill and connections open.
const WARM_UP: Duration = Duration::from_secs(1);

#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Jobs a second.
    pub(crate) rate: f64,
    pub(crate) lasts: Duration,
}

/// One run; p50 and p99.
#[derive(Clone, Serialize)]
pub(crate) struct Latency {
    pub(crate) kind: Kind,
    pub(crate) engine: Engine,
    pub(crate) samples: usize,
    pub(crate) answer_ms: [f64; 2],
    pub(crate) receipt_ms: [f64; 2],
    /// Of the service, in hundredths of one core.
    pub(crate) cpu_percent: f64,
    pub(crate) missing: u64,
}

pub(crate) fn run(
    stock: &Stock,
    receiver: &Receiver,
    kind: Kind,
    engine: Engine,
    plan: Plan,
) -> Outcome<Latency> {
    let place = Place::new(stock, kind, engine, &receiver.url())?;
    let service = place.start()?;
    let whole = WARM_UP + plan.lasts;
    let ledger = Arc::new(Ledger::open((plan.rate * whole.as_secs_f64() * 2.0) as usize + 16));
    receiver.write_to(&ledger);
    let load = Load {
        addresses: vec![service.address],
        key: KEY.into(),
        task: "echo",
        callbacks: vec![receiver.callback()],
        connections: CONNECTIONS,
        pace: Pace::Rate(plan.rate),
        lasts: whole,
    };
    let (begin, before) = beside(
        || load.run(&ledger),
        || {
            thread::sleep(WARM_UP);
            (ledger.now(), Usage::of(service.pid()))
        },
    )?;
    let end = ledger.now();
    let used = Usage::of(service.pid()).since(before);
    let missing = drain(&ledger);
    let (answers, receipts) = ledger.delays(begin, end);
    Ok(Latency {
        kind,
        engine,
        samples: receipts.len(),
        answer_ms: [0.5, 0.99].map(|q| answers.quantile_ms(q)),
        receipt_ms: [0.5, 0.99].map(|q| receipts.quantile_ms(q)),
        cpu_percent: used.cpu * 100.0 / ((end - begin) as f64 / 1e9),
        missing,
    })
}
