//! I11: what somebody who polls has seen stays true.

use std::collections::HashMap;

use super::{Event, Found, Invariant, Run, is_terminal};
use crate::history::{DumpDelivery, DumpJob};

pub(super) fn check(run: &Run<'_>, found: &mut Found) {
    let mut jobs: HashMap<&str, &DumpJob> = HashMap::new();
    let mut deliveries: HashMap<&str, &DumpDelivery> = HashMap::new();
    for line in run.lines {
        match &line.event {
            Event::SeenJob { job } => {
                if let Some(before) = jobs.insert(&job.id, job) {
                    job_goes_on(before, job, found);
                }
            }
            Event::SeenDelivery { delivery } => {
                if let Some(before) = deliveries.insert(&delivery.id, delivery) {
                    delivery_goes_on(before, delivery, found);
                }
            }
            _ => {}
        }
    }
    for (id, before) in jobs {
        match run.jobs.get(id) {
            Some(last) => job_goes_on(before, last, found),
            None => found.add(Invariant::I11, format!("{id} was seen and is not there")),
        }
    }
    for (id, before) in deliveries {
        match run.dump.deliveries.iter().find(|delivery| delivery.id == id) {
            Some(last) => delivery_goes_on(before, last, found),
            None => found.add(Invariant::I11, format!("{id} was seen and is not there")),
        }
    }
}

fn job_goes_on(before: &DumpJob, after: &DumpJob, found: &mut Found) {
    let same = (&before.status, &before.result, &before.finished_at)
        == (&after.status, &after.result, &after.finished_at);
    if is_terminal(&before.status) && (!same || before.attempt != after.attempt) {
        found.add(Invariant::I11, format!("{} had ended: {before:?} became {after:?}", before.id));
    }
    if after.attempt < before.attempt {
        found.add(
            Invariant::I11,
            format!("{} went from attempt {} to {}", before.id, before.attempt, after.attempt),
        );
    }
}

fn delivery_goes_on(before: &DumpDelivery, after: &DumpDelivery, found: &mut Found) {
    let id = &before.id;
    // Nobody resends in a crash run.
    let ended = before.status != "pending";
    if ended && (&before.status, &before.reason) != (&after.status, &after.reason) {
        found.add(Invariant::I11, format!("{id} had ended {} and is {}", before.status, after.status));
    }
    for attempt in &before.attempts {
        let still = after.attempts.iter().find(|other| other.number == attempt.number);
        let same = match (&attempt.outcome, still) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(_), Some(still)) => still == attempt,
        };
        if !same {
            found.add(Invariant::I11, format!("{id}: {attempt:?} became {still:?}"));
        }
    }
}
