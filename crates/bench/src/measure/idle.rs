//! What a node costs that has nothing to do.

use std::{thread, time::Duration};

use serde::Serialize;

use crate::{
    Outcome,
    process::{Usage, resident_mib},
    service::{Engine, Kind, Place, Stock},
};

/// Until start-up has settled.
const SETTLE: Duration = Duration::from_secs(2);

#[derive(Clone, Serialize)]
pub(crate) struct Idle {
    pub(crate) engine: Engine,
    /// From the start of the process on an empty storage to the first 200 of `/readyz`.
    pub(crate) ready_ms: f64,
    pub(crate) resident_mib: f64,
    /// Of all its threads.
    pub(crate) wakeups_per_second: f64,
    pub(crate) written_bytes: u64,
    pub(crate) cpu_percent: f64,
}

pub(crate) fn run(stock: &Stock, engine: Engine, lasts: Duration) -> Outcome<Idle> {
    let place = Place::new(stock, Kind::Ringback, engine, "http://127.0.0.1:9/")?;
    let service = place.start()?;
    thread::sleep(SETTLE);
    let before = Usage::of(service.pid());
    thread::sleep(lasts);
    let used = Usage::of(service.pid()).since(before);
    let seconds = lasts.as_secs_f64();
    Ok(Idle {
        engine,
        ready_ms: service.ready_in.as_secs_f64() * 1e3,
        resident_mib: resident_mib(service.pid()),
        wakeups_per_second: used.wakeups as f64 / seconds,
        written_bytes: used.written,
        cpu_percent: used.cpu * 100.0 / seconds,
    })
}
