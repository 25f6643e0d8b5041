//! The checker: which invariants of a run are broken, and by what.

mod jobs;
mod seen;
#[cfg(test)]
mod tests;
mod webhooks;

use std::{collections::HashMap, fmt};

use super::{Dump, DumpDelivery, DumpJob, Event, Line};

/// What must hold, numbered as in the project's reliability page. I10 (spacing) has stories of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Invariant {
    /// Every job answered with 202 is there, with the same input.
    I1,
    /// A submission whose answer was lost made 0 or 1 job; its key finds it.
    I2,
    /// When the faults stop, every job is terminal.
    I3,
    /// A terminal job has one terminal event; each delivery ends, with a reason if it failed.
    I4,
    /// Succeeded means the receiver answered 2xx; failed means the policy ran out or the reason holds.
    I5,
    /// Every request belongs to one event, with the same bytes and id on each attempt, and verifies.
    I6,
    /// Attempts are numbered 1..n; no request without a recorded attempt.
    I7,
    /// No duplicate after a 2xx and no second execution, unless a crash overlaps it.
    I8,
    /// What a dead node began and did not finish changes nothing.
    I9,
    /// Nobody who polls sees a terminal state left, an attempt vanish or a result change.
    I11,
}

/// One broken invariant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What shows it.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.what)
    }
}

/// What the checker has to know of the run's configuration.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The tenant's signing secret, never rotated in the run.
    pub secret: String,
    /// How many counted attempts the retry policy allows.
    pub attempts: usize,
}

/// Everything that is wrong with this run. Pure: the same history gives the same verdict.
pub fn check(lines: &[Line], dump: &Dump, rules: &Rules) -> Vec<Violation> {
    let run = Run::new(lines, dump, rules);
    let mut found = Found::default();
    jobs::check(&run, &mut found);
    webhooks::check(&run, &mut found);
    seen::check(&run, &mut found);
    found.0
}

#[derive(Default)]
struct Found(Vec<Violation>);

impl Found {
    fn add(&mut self, invariant: Invariant, what: impl Into<String>) {
        self.0.push(Violation { invariant, what: what.into() });
    }
}

/// The history, indexed.
struct Run<'a> {
    lines: &'a [Line],
    dump: &'a Dump,
    rules: &'a Rules,
    jobs: HashMap<&'a str, &'a DumpJob>,
    deliveries: HashMap<&'a str, Vec<&'a DumpDelivery>>,
    /// From when the server may have been dead until it was ready again.
    outages: Vec<(u64, u64)>,
}

impl<'a> Run<'a> {
    fn new(lines: &'a [Line], dump: &'a Dump, rules: &'a Rules) -> Self {
        let mut deliveries: HashMap<&str, Vec<_>> = HashMap::new();
        for delivery in &dump.deliveries {
            deliveries.entry(&delivery.job).or_default().push(delivery);
        }
        let of = |event| lines.iter().filter(move |line| line.event == event).map(|line| line.at);
        // The line `killed` comes just before the kill: what is seen soon after it may still be the old life's doing.
        let outages = of(Event::Killed)
            .map(|killed| (killed, of(Event::Ready).find(|&ready| ready > killed).unwrap_or(u64::MAX)))
            .collect();
        Self {
            lines,
            dump,
            rules,
            jobs: dump.jobs.iter().map(|job| (&*job.id, job)).collect(),
            deliveries,
            outages,
        }
    }

    /// Whether the server can have died between these two moments.
    fn killed_between(&self, from: u64, to: u64) -> bool {
        self.outages.iter().any(|&(killed, ready)| killed <= to && from <= ready)
    }
}

fn is_terminal(status: &str) -> bool {
    matches!(status, "succeeded" | "failed" | "canceled")
}
