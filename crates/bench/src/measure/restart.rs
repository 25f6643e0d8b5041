//! How soon a node is back after `kill -9` with many jobs pending.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use super::drain;
use crate::{
    Outcome,
    ledger::Ledger,
    load::{Load, Pace},
    process::resident_mib,
    receive::Receiver,
    service::{Engine, KEY, Kind, Place, Stock},
};

/// Ample for what a slow machine takes to accept the pending jobs.
const FILLING: Duration = Duration::from_secs(120);

/// One restart.
#[derive(Clone, Serialize)]
pub(crate) struct Restart {
    pub(crate) engine: Engine,
    /// Accepted before the kill and not finished: most wait, as many run as may at once.
    pub(crate) pending: u64,
    /// From the start of the process to the first 200 of `/readyz`.
    pub(crate) ready_ms: f64,
    /// From the submission of a new job of another task, once ready, to its webhook.
    pub(crate) first_webhook_ms: f64,
    pub(crate) resident_mib: f64,
}

/// Fills one node with jobs whose work never ends, then kills and starts it `times` times.
pub(crate) fn run(
    stock: &Stock,
    receiver: &Receiver,
    engine: Engine,
    pending: usize,
    times: usize,
) -> Outcome<Vec<Restart>> {
    // An upstream that never answers within the run.
    let upstream = Receiver::start(Duration::from_secs(3600))?;
    let place = Place::new(stock, Kind::Ringback, engine, &upstream.url())?;
    let mut service = place.start()?;
    let ledger = Arc::new(Ledger::open(pending));
    let load = Load {
        addresses: vec![service.address],
        key: KEY.into(),
        task: "hold",
        callbacks: Vec::new(),
        connections: 64,
        pace: Pace::Closed,
        lasts: FILLING,
    };
    load.run(&ledger)?;
    let mut restarts = Vec::new();
    for _ in 0..times {
        drop(service);
        service = place.start()?;
        let ready_ms = service.ready_in.as_secs_f64() * 1e3;
        let one = Arc::new(Ledger::open(1));
        receiver.write_to(&one);
        let load = Load {
            addresses: vec![service.address],
            task: "echo",
            callbacks: vec![receiver.callback()],
            connections: 1,
            ..load.clone()
        };
        load.run(&one)?;
        if drain(&one) > 0 {
            return Err("a job submitted after a restart was not delivered".into());
        }
        let (_, receipts) = one.delays(0, u64::MAX);
        restarts.push(Restart {
            engine,
            pending: ledger.accepted_count(),
            ready_ms,
            first_webhook_ms: receipts.quantile_ms(1.0),
            resident_mib: resident_mib(service.pid()),
        });
    }
    Ok(restarts)
}
