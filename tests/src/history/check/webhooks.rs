//! I4–I8 of events, deliveries and what the receiver got.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use standardwebhooks::Webhook;

use super::{Event, Found, Invariant, Run, is_terminal};
use crate::history::{DumpAttempt, DumpDelivery};

/// How far the receiver's note of a request may lie outside of the attempt's own times: it reads late when busy.
const SLACK: i64 = 1_000_000;

struct Got<'a> {
    at: u64,
    wall: i64,
    headers: &'a [(String, String)],
    body: &'a str,
    answer: Option<u16>,
}

pub(super) fn check(run: &Run<'_>, found: &mut Found) {
    events_are_one_per_job(run, found);
    let mut by_event: HashMap<&str, Vec<Got<'_>>> = HashMap::new();
    for line in run.lines {
        let Event::Webhook { headers, body, wall, answer } = &line.event else { continue };
        let got = Got { at: line.at, wall: *wall, headers, body, answer: *answer };
        match headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("webhook-id")) {
            Some((_, id)) => by_event.entry(id).or_default().push(got),
            None => found.add(Invariant::I6, format!("a request without webhook-id: {body}")),
        }
    }
    let nothing = Vec::new();
    let mut events = HashSet::new();
    for delivery in &run.dump.deliveries {
        if !events.insert(&*delivery.event) {
            found.add(
                Invariant::I4,
                format!("two deliveries of {}, and jobs here have one callback", delivery.event),
            );
        }
        let requests = by_event.get(&*delivery.event).unwrap_or(&nothing);
        ended_as_it_says(run, delivery, requests, found);
        requests_are_genuine(run, delivery, requests, found);
        attempts_are_recorded(delivery, requests, found);
        nothing_after_success(run, delivery, requests, found);
    }
    for id in by_event.keys().filter(|id| !events.contains(**id)) {
        found.add(Invariant::I6, format!("requests for {id}, an event without delivery"));
    }
}

fn events_are_one_per_job(run: &Run<'_>, found: &mut Found) {
    let mut called_back = HashMap::new();
    for line in run.lines {
        if let Event::Submitting { input, callback, .. } = &line.event {
            called_back.insert(&**input, *callback);
        }
    }
    for job in run.dump.jobs.iter().filter(|job| is_terminal(&job.status)) {
        let deliveries = run.deliveries.get(&*job.id).map_or(&[][..], Vec::as_slice);
        let wanted = usize::from(called_back.get(&*job.input).copied().unwrap_or(false));
        if deliveries.len() != wanted {
            let text = format!("{} has ended with {} events told, not {wanted}", job.id, deliveries.len());
            found.add(Invariant::I4, text);
        }
        for delivery in deliveries {
            let body: Value = serde_json::from_str(&delivery.body).unwrap_or_default();
            let kind = format!("job.{}", job.status);
            let told = &body["data"]["job"];
            if delivery.event_type != kind || body["type"] != *kind || told["status"] != *job.status {
                found.add(
                    Invariant::I4,
                    format!("{} is {} and told as {}", job.id, job.status, delivery.body),
                );
            }
            if told["id"] != *job.id || told["result"] != job.result || told["attempt"] != job.attempt {
                found.add(Invariant::I4, format!("{} is told otherwise: {}", job.id, delivery.body));
            }
        }
    }
}

fn counted(attempt: &DumpAttempt) -> bool {
    !matches!(attempt.outcome.as_deref(), Some("interrupted" | "local_resource") | None)
}

fn ended_as_it_says(run: &Run<'_>, delivery: &DumpDelivery, requests: &[Got<'_>], found: &mut Found) {
    let id = &delivery.id;
    let answered = |wanted: fn(u16) -> bool| requests.iter().filter_map(|got| got.answer).any(wanted);
    let count = delivery.attempts.iter().filter(|attempt| counted(attempt)).count();
    match (&*delivery.status, delivery.reason.as_deref()) {
        ("succeeded", None) => {
            if !answered(|status| (200..300).contains(&status)) {
                found.add(Invariant::I5, format!("{id} succeeded and nobody answered 2xx"));
            }
            if !delivery.attempts.iter().any(|attempt| attempt.outcome.as_deref() == Some("delivered")) {
                found.add(Invariant::I5, format!("{id} succeeded and no attempt was delivered"));
            }
        }
        ("failed", Some("gone")) => {
            if !answered(|status| status == 410) {
                found.add(Invariant::I5, format!("{id} is gone and nobody answered 410"));
            }
        }
        ("failed", Some("exhausted")) => {
            if count != run.rules.attempts {
                found
                    .add(Invariant::I5, format!("{id} is exhausted after {count} of {}", run.rules.attempts));
            }
        }
        (status, reason) => found.add(Invariant::I4, format!("{id} ends {status} with {reason:?}")),
    }
    if count > run.rules.attempts {
        found.add(
            Invariant::I5,
            format!("{id} has {count} attempts, the policy allows {}", run.rules.attempts),
        );
    }
}

fn requests_are_genuine(run: &Run<'_>, delivery: &DumpDelivery, requests: &[Got<'_>], found: &mut Found) {
    for got in requests {
        let event = &delivery.event;
        if got.body != delivery.body {
            found.add(
                Invariant::I6,
                format!("{event} was sent as {}, recorded as {}", got.body, delivery.body),
            );
        }
        let mut names = HashSet::new();
        for (name, _) in got.headers {
            if !names.insert(name.to_ascii_lowercase()) {
                found.add(Invariant::I6, format!("{event}: header {name} came twice"));
            }
        }
        if !verifies(&run.rules.secret, event, got) {
            found.add(Invariant::I6, format!("{event} does not verify: {:?}", got.headers));
        }
    }
}

/// Compares with what a foreign library would have signed; without that library's look at today's clock.
fn verifies(secret: &str, event: &str, got: &Got<'_>) -> bool {
    let header =
        |name: &str| got.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str());
    let Some(stamp) = header("webhook-timestamp").and_then(|stamp| stamp.parse().ok()) else { return false };
    let signed = Webhook::new(secret).and_then(|webhook| webhook.sign(event, stamp, got.body.as_bytes()));
    signed.is_ok_and(|signed| header("webhook-signature") == Some(&*signed))
}

fn attempts_are_recorded(delivery: &DumpDelivery, requests: &[Got<'_>], found: &mut Found) {
    let id = &delivery.id;
    let numbers: Vec<_> = delivery.attempts.iter().map(|attempt| attempt.number).collect();
    if !numbers.iter().copied().eq(1..=u32::try_from(numbers.len()).unwrap_or(u32::MAX)) {
        found.add(Invariant::I7, format!("the attempts of {id} are numbered {numbers:?}"));
    }
    // Each request is given the first attempt not yet used up in which it can have been made.
    let mut unused: Vec<_> = delivery.attempts.iter().collect();
    for got in requests {
        let made_in = |attempt: &&DumpAttempt| {
            attempt.started_at <= got.wall + SLACK
                && attempt.ended_at.is_none_or(|end| got.wall - SLACK <= end)
        };
        match unused.iter().position(made_in) {
            Some(at) => drop(unused.remove(at)),
            None => {
                let text = format!(
                    "{id}: a request at {} without a recorded attempt: {:?}",
                    got.wall, delivery.attempts
                );
                found.add(Invariant::I7, text);
            }
        }
    }
}

fn nothing_after_success(run: &Run<'_>, delivery: &DumpDelivery, requests: &[Got<'_>], found: &mut Found) {
    for pair in requests.windows(2) {
        let taken = pair[0].answer.is_some_and(|status| (200..300).contains(&status));
        if taken && !run.killed_between(pair[0].at, pair[1].at) {
            found.add(Invariant::I8, format!("{} was sent again after a 2xx", delivery.id));
        }
    }
}
