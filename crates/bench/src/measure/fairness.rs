//! What the receivers that are well pay for those that are not: the same light load to nine of them, alone and beside
//! something that goes wrong.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use serde::Serialize;

use super::{beside, drain};
use crate::{
    Outcome,
    hang::Hanging,
    ledger::Ledger,
    load::{Load, Pace, tenant_key},
    metrics::Metrics,
    process::resident_mib,
    receive::Receiver,
    report::complain,
    service::{Engine, KEY, Kind, Place, Service, Stock},
};

/// Receivers that are well, each at an address of its own.
const HEALTHY: u8 = 9;

/// Jobs a second to receivers that hang.
const HANGING_RATE: f64 = 100.0;

/// Jobs a second of the tenant that floods.
const FLOOD_RATE: f64 = 2_000.0;

/// Connections that submissions take turns on.
const CONNECTIONS: usize = 8;

/// Those of a flood, and of what fills a lane: so many that their pace is not that of a single answer.
const MANY_CONNECTIONS: usize = 64;

/// Not counted: caches fill, and what goes wrong gets going.
const SETTLE: Duration = Duration::from_secs(6);

/// At most this long is spent on filling a lane.
const FILLING: Duration = Duration::from_secs(1_800);

/// While a lane is filled: how often is looked, and how often said how far it is.
const LOOK: Duration = Duration::from_millis(100);
const NEWS: Duration = Duration::from_secs(10);

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Trouble {
    /// One receiver hangs.
    One,
    /// A thousand do.
    Thousand,
    /// Another tenant floods.
    Flood,
    /// A lane has very many rows that are due, and nobody there.
    Backlog,
}

impl Trouble {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::One => "one receiver hangs",
            Self::Thousand => "1,000 receivers hang",
            Self::Flood => "a tenant floods",
            Self::Backlog => "a dead lane is full",
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Jobs a second to those that are well.
    pub(crate) rate: f64,
    /// Of each half.
    pub(crate) lasts: Duration,
    /// Rows in the dead lane.
    pub(crate) waiting: usize,
}

/// The healthy in one half of a run.
#[derive(Clone, Serialize)]
pub(crate) struct Half {
    pub(crate) delivered_per_second: f64,
    /// From the 202 to the receipt: p50 and p99.
    pub(crate) wait_ms: [f64; 2],
    pub(crate) resident_mib: f64,
    pub(crate) missing: u64,
    /// p50 and p99 of each second.
    pub(crate) seconds: Vec<[f64; 2]>,
}

/// One run: first alone, then beside the trouble.
#[derive(Clone, Serialize)]
pub(crate) struct Fairness {
    pub(crate) trouble: Trouble,
    pub(crate) engine: Engine,
    pub(crate) quiet: Half,
    pub(crate) troubled: Half,
    /// Webhooks that a receiver held, or rows that waited, or jobs that flooded in.
    pub(crate) amount: u64,
    /// The longest that a receiver was waited for that hangs; its deadline is 5 s.
    pub(crate) longest_attempt_ms: Option<f64>,
}

impl Fairness {
    /// How much longer the healthy wait at p99, and their share of the throughput.
    pub(crate) fn ratios(&self) -> (f64, f64) {
        let (quiet, troubled) = (&self.quiet, &self.troubled);
        (troubled.wait_ms[1] / quiet.wait_ms[1], troubled.delivered_per_second / quiet.delivered_per_second)
    }
}

pub(crate) fn run(stock: &Stock, engine: Engine, trouble: Trouble, plan: Plan) -> Outcome<Fairness> {
    let healthy = (1..=HEALTHY)
        .map(|n| Receiver::at(Ipv4Addr::new(127, 0, 1, n), Duration::ZERO))
        .collect::<Outcome<Vec<_>>>()?;
    let place = Place::new(stock, Kind::Ringback, engine, "http://127.0.0.1:9/")?;
    let service = place.start()?;
    let load = Load {
        addresses: vec![service.address],
        key: KEY.into(),
        task: "echo",
        callbacks: healthy.iter().map(Receiver::callback).collect(),
        connections: CONNECTIONS,
        pace: Pace::Rate(plan.rate),
        lasts: SETTLE + plan.lasts,
    };
    // One for both halves: a receiver's connections, which are kept, write to the one they began with.
    let ledger = Arc::new(Ledger::open(2 * room(plan.rate, load.lasts)));
    healthy.iter().for_each(|receiver| receiver.write_to(&ledger));
    let half = || measure(&service, &ledger, &load, plan);
    let quiet = half()?;
    let (troubled, amount, longest) = match trouble {
        Trouble::One => beside_hanging(1, plan.rate / f64::from(HEALTHY), &load, half)?,
        Trouble::Thousand => beside_hanging(1_000, HANGING_RATE, &load, half)?,
        Trouble::Flood => {
            let receiver = Receiver::at(Ipv4Addr::new(127, 0, 1, 100), Duration::ZERO)?;
            let key = tenant_key(service.address)?;
            let callbacks = vec![receiver.callback()];
            let pace = Pace::Rate(FLOOD_RATE);
            let flood = Load { key, callbacks, pace, connections: MANY_CONNECTIONS, ..load.clone() };
            let ledger = Arc::new(Ledger::open(room(FLOOD_RATE, load.lasts)));
            receiver.write_to(&ledger);
            (beside(|| flood.run(&ledger), half)??, ledger.accepted_count(), None)
        }
        Trouble::Backlog => {
            let dead = nobody()?;
            let callbacks = vec![format!(r#""http://{dead}/hooks""#)];
            let (pace, connections) = (Pace::Closed, MANY_CONNECTIONS);
            let load = Load { callbacks, connections, pace, lasts: FILLING, ..load.clone() };
            let rows = fill(&load, plan.waiting)?;
            place.rest()?;
            (half()?, rows, None)
        }
    };
    Ok(Fairness { trouble, engine, quiet, troubled, amount, longest_attempt_ms: longest })
}

/// Fills a lane through the service itself, as its clients would. Says how many rows it has once all their jobs have
/// ended, so that nothing but the lane is left of them.
fn fill(load: &Load, rows: usize) -> Outcome<u64> {
    let (ledger, begin) = (Arc::new(Ledger::open(rows)), Instant::now());
    let mut last = begin;
    let mut say = |what: &str| {
        if last.elapsed() >= NEWS {
            last = Instant::now();
            let (accepted, seconds) = (ledger.accepted_count(), begin.elapsed().as_secs());
            complain(&format!("  {what}: {accepted} of {rows} rows after {seconds} s"));
        }
    };
    thread::scope(|scope| {
        let filling = scope.spawn(|| load.run(&ledger));
        while !filling.is_finished() {
            thread::sleep(LOOK);
            say("filling the lane");
        }
        filling.join().map_err(|_| "the loader panicked")?
    })?;
    while load.addresses.iter().any(|node| unfinished(*node).is_none_or(|jobs| jobs > 0.0)) {
        if begin.elapsed() > FILLING {
            return Err(format!("the jobs that fill the lane had not all ended after {FILLING:?}").into());
        }
        thread::sleep(LOOK);
        say("their jobs end");
    }
    Ok(ledger.accepted_count())
}

/// How many jobs wait or run.
fn unfinished(address: SocketAddr) -> Option<f64> {
    let metrics = Metrics::of(address);
    Some(metrics.sum(&["ringback_jobs_waiting"])? + metrics.sum(&["ringback_jobs_running"])?)
}

fn beside_hanging(
    count: u16,
    rate: f64,
    load: &Load,
    half: impl Fn() -> Outcome<Half>,
) -> Outcome<(Half, u64, Option<f64>)> {
    let hanging = Hanging::start(count)?;
    let callbacks = hanging.callbacks();
    let trouble = Load { callbacks, pace: Pace::Rate(rate), connections: 2, ..load.clone() };
    let ledger = Arc::new(Ledger::open(room(rate, load.lasts)));
    let troubled = beside(|| trouble.run(&ledger), half)??;
    let (held, longest) = hanging.held();
    Ok((troubled, held, Some(longest.as_secs_f64() * 1e3)))
}

/// One half: what is sent in its first seconds does not count.
fn measure(service: &Service, ledger: &Arc<Ledger>, load: &Load, plan: Plan) -> Outcome<Half> {
    let before = ledger.accepted_count().saturating_sub(ledger.received_count());
    let (begin, end, resident_mib) = beside(
        || load.run(ledger),
        || {
            thread::sleep(SETTLE);
            let begin = ledger.now();
            thread::sleep(plan.lasts);
            (begin, ledger.now(), resident_mib(service.pid()))
        },
    )?;
    let missing = drain(ledger).saturating_sub(before);
    let waits = ledger.waits(begin, end);
    let second = |n: u64| {
        let from = begin + n * 1_000_000_000;
        let waits = ledger.waits(from, from + 1_000_000_000);
        [0.5, 0.99].map(|q| waits.quantile_ms(q))
    };
    let (_, delivered) = ledger.between(begin, end);
    Ok(Half {
        delivered_per_second: delivered as f64 / ((end - begin) as f64 / 1e9),
        wait_ms: [0.5, 0.99].map(|q| waits.quantile_ms(q)),
        resident_mib,
        missing,
        seconds: (0..plan.lasts.as_secs()).map(second).collect(),
    })
}

fn room(rate: f64, lasts: Duration) -> usize {
    (rate * lasts.as_secs_f64() * 2.0) as usize + 64
}

/// An address at which nobody listens.
fn nobody() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::new(127, 0, 1, 200), 0))?.local_addr()?)
}
