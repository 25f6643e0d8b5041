//! What was kept long enough goes, in small steps, and nothing else.

use std::{sync::Arc, time::Duration};

use domain::{
    callback::With,
    event::{Event, EventKind, EventSet},
    id::{EventId, JobId, Tenant},
    job::{Job, Status},
    retention::{Fate, Retention},
};

use super::{Store, fixture::*};
use crate::{
    Apart, Attach, Attached, ClaimedJob, Deleted, DeliveryFilter, Due, Fetched, Forget, Found, Ping, Resent,
    STEP_JOBS, Scan, Submitted, Written,
};

const DAY: i64 = 86_400;
const FIRST: JobId = JobId::from_u128(0);

fn seconds(n: i64) -> Duration {
    Duration::from_secs(n.unsigned_abs())
}

/// Ten days of history, one hour of payloads of the task `short`.
fn retention() -> Arc<Retention> {
    let payloads = [("short".parse().unwrap(), seconds(3_600))].into();
    Arc::new(Retention { history: seconds(10 * DAY), tombstones: seconds(20 * DAY), payloads })
}

async fn scan(fixture: &Fixture<'_>, after: JobId, kept: i64, now: i64) -> Found {
    let (retention, made_before) = (retention(), at(now).now - seconds(kept));
    fixture.engine.scan(Scan { tenant: TENANT, after, made_before, retention, at: at(now) }).await.unwrap()
}

async fn prune(fixture: &Fixture<'_>, due: Vec<Due>, now: i64) -> u64 {
    fixture.engine.prune(due, true, at(now)).await.unwrap().expect("it insists")
}

/// A job that ended at once, in second 1, and what it answered.
async fn ended(fixture: &Fixture<'_>, job: Job) -> ClaimedJob {
    let claimed = fixture.running(job, 0).await;
    let result = format!("\"{}\"", "r".repeat(5_000));
    let finish = success(&claimed, "application/json", result.as_bytes(), 1);
    assert_eq!(fixture.engine.finish(finish).await.unwrap(), Written::Done);
    claimed
}

/// The same, and the receiver at `host` took it.
async fn delivered(fixture: &Fixture<'_>, task: &str, host: &str) -> ClaimedJob {
    let claimed = ended(fixture, Job { callbacks: to(&[host]), ..job(task, 0) }).await;
    let sending = fixture.claim_to(host, 9, 1).await.claimed.remove(0);
    fixture.engine.settle(took(&sending, 1)).await.unwrap();
    claimed
}

pub async fn what_was_kept_long_enough_goes(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let old = delivered(&fixture, "t", "a.example").await.job.id;
    let running = fixture.running(job("t", 0), 0).await.job.id;
    let delivery = fixture.deliveries_of(old).await[0].delivery.id;
    assert_eq!(fixture.engine.histories().await.unwrap(), [TENANT]);
    let early = scan(&fixture, FIRST, 10 * DAY, 10 * DAY).await;
    assert_eq!((early.due, early.left, early.next), (vec![], None, None), "made too late");
    let now = 10 * DAY + 2;
    let found = scan(&fixture, FIRST, 10 * DAY, now).await;
    let due = Due { tenant: TENANT, job: old, fate: Fate::Prune };
    assert_eq!((&found.due, found.left, found.next), (&vec![due], Some(running), None));
    assert!(fixture.engine.tombstone(Some(TENANT), old).await.unwrap().is_none());
    assert_eq!(prune(&fixture, found.due.clone(), now).await, 1);
    let fixture = fixture.crash().await;
    assert!(fixture.engine.job(TENANT, old).await.unwrap().is_none());
    assert!(fixture.engine.input(TENANT, old).await.unwrap().is_none());
    assert!(matches!(fixture.engine.result(TENANT, old).await.unwrap(), Fetched::Missing));
    assert!(fixture.engine.delivery(TENANT, delivery).await.unwrap().is_none());
    assert!(fixture.deliveries_of(old).await.is_empty());
    let left = fixture.engine.tombstone(Some(TENANT), old).await.unwrap().expect("it is left");
    assert_eq!((left.id, left.task.as_str(), left.status), (old, "t", Status::Succeeded));
    assert_eq!(left.finished_at, shown(1));
    assert_eq!(fixture.engine.tombstone(None, old).await.unwrap(), Some(left));
    assert!(fixture.engine.tombstone(Some(Tenant(2)), old).await.unwrap().is_none());
    assert_eq!(prune(&fixture, found.due, now).await, 0, "once");
    assert_eq!(fixture.job(running).await.id, running);
}

pub async fn what_is_still_to_be_sent_stays(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let id = ended(&fixture, Job { callbacks: to(&["a.example"]), ..job("t", 0) }).await.job.id;
    let now = 30 * DAY;
    let found = scan(&fixture, FIRST, 10 * DAY, now).await;
    assert_eq!((found.due, found.left), (vec![], Some(id)));
    // Found, and brought back to life before it was pruned.
    let sending = fixture.claim_to("a.example", 9, 2).await.claimed.remove(0);
    fixture.engine.settle(took(&sending, 2)).await.unwrap();
    let found = scan(&fixture, FIRST, 10 * DAY, now).await;
    assert_eq!(found.due.len(), 1);
    let resent = fixture.engine.resend(TENANT, sending.hold.delivery, at(3)).await.unwrap();
    assert_eq!(resent, Resent::Due);
    assert_eq!(prune(&fixture, found.due.clone(), now).await, 0);
    let again = fixture.claim_to("a.example", 9, 3).await.claimed.remove(0);
    assert_eq!(prune(&fixture, found.due.clone(), now).await, 0, "in flight");
    let unchanged = domain::delivery::Next::Unchanged;
    let outcome = attempt(&again, domain::delivery::Outcome::Delivered, Some(200), 4);
    fixture.engine.settle(settled(&again, outcome, unchanged, 4)).await.unwrap();
    assert_eq!(prune(&fixture, found.due, now).await, 1);
}

pub async fn a_key_finds_its_job_for_a_day(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let key = key(7, 1);
    let mut submit = submission(job("t", 0), 0);
    submit.idempotency = key;
    let (id, lane) = (submit.job.id, submit.job.lane());
    fixture.engine.submit(submit).await.unwrap();
    let claimed = fixture.claim(lane, 9, 0).await.claimed.remove(0);
    fixture.engine.finish(done(&claimed, 1)).await.unwrap();
    let short = Arc::new(Retention { history: seconds(60), ..(*retention()).clone() });
    let scan = |now: i64| Scan {
        tenant: TENANT,
        after: FIRST,
        made_before: at(now).now - seconds(60),
        retention: short.clone(),
        at: at(now),
    };
    let found = fixture.engine.scan(scan(DAY - 1)).await.unwrap();
    assert_eq!((found.due, found.left), (vec![], Some(id)));
    let found = fixture.engine.scan(scan(DAY)).await.unwrap();
    assert_eq!(found.due.len(), 1);
    let replay = fixture.engine.replay(key.unwrap()).await.unwrap();
    assert!(matches!(replay, Some(Submitted::Replayed(found)) if found == id));
    assert_eq!(prune(&fixture, found.due, DAY).await, 1);
    // The key went with its job: it may be used for another request.
    assert!(fixture.engine.replay(key.unwrap()).await.unwrap().is_none());
    let mut submit = submission(job("t", DAY), DAY);
    submit.idempotency = super::fixture::key(7, 2);
    assert!(matches!(fixture.engine.submit(submit).await.unwrap(), Submitted::Accepted(_)));
}

pub async fn payloads_may_go_earlier(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let short = delivered(&fixture, "short", "a.example").await.job.id;
    let long = delivered(&fixture, "long", "b.example").await.job.id;
    let delivery = fixture.deliveries_of(short).await[0].delivery.id;
    let now = 3_602;
    let found = scan(&fixture, FIRST, 3_600, now).await;
    assert_eq!(found.due, [Due { tenant: TENANT, job: short, fate: Fate::Erase }]);
    assert_eq!(prune(&fixture, found.due, now).await, 1);
    let fixture = fixture.crash().await;
    let kept = fixture.job(short).await;
    assert_eq!((kept.status(), kept.callbacks.iter().count()), (Status::Succeeded, 1));
    assert!(fixture.engine.input(TENANT, short).await.unwrap().is_none());
    assert!(matches!(fixture.engine.result(TENANT, short).await.unwrap(), Fetched::None(_)));
    let detail = fixture.delivery(delivery).await;
    assert_eq!((&*detail.body, detail.attempts.len()), ("", 1));
    // There is nothing to send any more.
    assert_eq!(fixture.engine.resend(TENANT, delivery, at(now)).await.unwrap(), Resent::Erased);
    let With::Added(callbacks) = kept.callbacks.with(callback("c.example", &[EventKind::JobSucceeded]))
    else {
        panic!("it is a new one");
    };
    let attach = Attach { job: kept, callbacks, at: at(now) };
    assert_eq!(fixture.engine.attach_callback(attach).await.unwrap(), Attached::Missing);
    assert_eq!(scan(&fixture, FIRST, 3_600, now).await.due, [], "once");
    assert!(fixture.engine.input(TENANT, long).await.unwrap().is_some());
    assert!(matches!(fixture.engine.result(TENANT, long).await.unwrap(), Fetched::Content(_)));
    // In the end all of it goes.
    let found = scan(&fixture, FIRST, 10 * DAY, 11 * DAY).await;
    assert_eq!(prune(&fixture, found.due, 11 * DAY).await, 2);
    assert!(fixture.engine.tombstone(Some(TENANT), short).await.unwrap().is_some());
}

pub async fn steps_are_small_and_go_on_where_the_last_ended(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let mut all = Vec::new();
    for _ in 0..STEP_JOBS + 5 {
        let claimed = fixture.running(job("t", 0), 0).await;
        fixture.engine.finish(done(&claimed, 1)).await.unwrap();
        all.push(claimed.job.id);
    }
    let first = scan(&fixture, FIRST, 10 * DAY, 11 * DAY).await;
    assert_eq!((first.due.len(), first.next), (STEP_JOBS, Some(all[STEP_JOBS - 1])));
    let second = scan(&fixture, first.next.unwrap(), 10 * DAY, 11 * DAY).await;
    assert_eq!((second.due.len(), second.next), (5, None));
    // Large ones go alone.
    for _ in 0..3 {
        let claimed = fixture.running(job("large", 0), 0).await;
        let finish = success(&claimed, "text/plain", &[b'x'; 200_000], 1);
        fixture.engine.finish(finish).await.unwrap();
    }
    let large = scan(&fixture, all[STEP_JOBS + 4], 10 * DAY, 11 * DAY).await;
    assert!(large.due.len() == 1 && large.next.is_some(), "{large:?}");
    let mut after = FIRST;
    let mut gone = 0;
    loop {
        let found = scan(&fixture, after, 10 * DAY, 11 * DAY).await;
        gone += prune(&fixture, found.due, 11 * DAY).await;
        match found.next {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(gone, STEP_JOBS as u64 + 8);
    assert!(fixture.engine.jobs(all_jobs()).await.unwrap().items.is_empty());
}

/// As the housekeeper does: what goes as a whole, then step by step what does not.
async fn let_go(fixture: &Fixture<'_>, kept: i64, now: i64) {
    let until = fixture.engine.drop_old(seconds(kept), at(now)).await.unwrap();
    let made_before =
        until.map_or(at(now).now - seconds(kept), |until| until.min(at(now).now - seconds(kept)));
    let retention = Arc::new(Retention { history: seconds(kept), ..(*retention()).clone() });
    let mut after = FIRST;
    loop {
        let (retention, at) = (retention.clone(), at(now));
        let scan = Scan { tenant: TENANT, after, made_before, retention, at };
        let found = fixture.engine.scan(scan).await.unwrap();
        if !found.due.is_empty() {
            prune(fixture, found.due, now).await;
        }
        match found.next {
            Some(next) => after = next,
            None => return,
        }
    }
}

pub async fn history_goes_as_a_whole_and_what_lives_stays(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    // Kept for ten days, in ranges of one day each, the first of which begins in a minute.
    let kept = 10 * DAY;
    assert_eq!(fixture.engine.drop_old(seconds(kept), at(-100)).await.unwrap().unwrap_or(due(-40)), due(-40));
    let endpoint = fixture.registered(1, EventSet::TERMINAL).await;
    let mut keyed = submission(Job { callbacks: to(&["a.example"]), ..job("t", 0) }, 0);
    keyed.idempotency = key(7, 1);
    fixture.engine.submit(keyed.clone()).await.unwrap();
    let claimed = fixture.claim(keyed.job.lane(), 9, 0).await.claimed.remove(0);
    let result = format!("\"{}\"", "r".repeat(5_000));
    fixture.engine.finish(success(&claimed, "application/json", result.as_bytes(), 1)).await.unwrap();
    let sending = fixture.claim_to("a.example", 9, 1).await.claimed.remove(0);
    fixture.engine.settle(took(&sending, 1)).await.unwrap();
    let gone = keyed.job.id;
    // Still to be sent, still running, ended days later, made a day later.
    let pending = ended(&fixture, Job { callbacks: to(&["b.example"]), ..job("t", 0) }).await.job.id;
    let running = fixture.running(job("runs", 0), 0).await;
    let late = fixture.running(Job { callbacks: to(&["c.example"]), ..job("late", 0) }, 0).await;
    fixture.engine.finish(done(&late, 5 * DAY)).await.unwrap();
    let sent = fixture.claim_to("c.example", 9, 5 * DAY).await.claimed.remove(0);
    fixture.engine.settle(took(&sent, 5 * DAY)).await.unwrap();
    let young = fixture.running(job("young", 4 * DAY), 4 * DAY).await;
    fixture.engine.finish(done(&young, 4 * DAY)).await.unwrap();
    for sent in fixture.sent_to(endpoint.id, false, 5 * DAY).await {
        fixture.engine.settle(took(&sent, 5 * DAY)).await.unwrap();
    }
    // Before all of the first day is old, nothing goes.
    let_go(&fixture, kept, kept).await;
    assert!(fixture.engine.job(TENANT, gone).await.unwrap().is_some());
    let now = kept + DAY + 1;
    let everything = async |fixture: &Fixture<'_>| {
        let mut seen = Vec::new();
        for id in [pending, running.job.id, late.job.id, young.job.id] {
            seen.push(format!("{:#?}", fixture.job(id).await));
            seen.push(format!("{:#?}", fixture.deliveries_of(id).await));
            seen.push(format!("{:?}", fixture.engine.input(TENANT, id).await.unwrap()));
            seen.push(format!("{:?}", fixture.engine.result(TENANT, id).await.unwrap()));
        }
        seen
    };
    let before = everything(&fixture).await;
    let_go(&fixture, kept, now).await;
    let_go(&fixture, kept, now).await;
    assert_eq!(everything(&fixture).await, before, "what lives is as it was");
    assert!(fixture.engine.job(TENANT, gone).await.unwrap().is_none());
    assert!(matches!(fixture.engine.result(TENANT, gone).await.unwrap(), Fetched::Missing));
    assert!(fixture.engine.delivery(TENANT, sending.hold.delivery).await.unwrap().is_none());
    assert!(fixture.engine.tombstone(Some(TENANT), gone).await.unwrap().is_some());
    for id in [pending, running.job.id, late.job.id] {
        assert!(fixture.engine.tombstone(Some(TENANT), id).await.unwrap().is_none(), "it lives");
    }
    assert!(fixture.engine.replay(key(7, 1).unwrap()).await.unwrap().is_none(), "its key went with it");
    let feed = fixture.engine.feed(TENANT, endpoint.id, 0, 9).await.unwrap().unwrap();
    let numbers: Vec<_> = feed.items.iter().map(|item| item.sequence.unwrap()).collect();
    assert_eq!((numbers, feed.last, feed.pruned_before), (vec![2, 3, 4], 4, 2));
    // And it goes on.
    assert_eq!(fixture.engine.finish(done(&running, now)).await.unwrap(), Written::Done);
    let sending = fixture.claim_to("b.example", 9, now).await.claimed.remove(0);
    assert_eq!(fixture.engine.settle(took(&sending, now)).await.unwrap(), Written::Done);
    let again = fixture.running(job("t", now), now).await;
    assert_eq!(fixture.engine.finish(done(&again, now)).await.unwrap(), Written::Done);
    // In the end all of it.
    let end = now + 3 * kept;
    for sent in fixture.sent_to(endpoint.id, false, end).await {
        fixture.engine.settle(took(&sent, end)).await.unwrap();
    }
    let_go(&fixture, kept, end).await;
    let_go(&fixture, kept, end + DAY).await;
    assert!(fixture.engine.jobs(all_jobs()).await.unwrap().items.is_empty());
    assert!(fixture.engine.deliveries(all_deliveries()).await.unwrap().items.is_empty());
    let feed = fixture.engine.feed(TENANT, endpoint.id, 0, 9).await.unwrap().unwrap();
    assert_eq!((feed.items.len() as i64, feed.pruned_before), (0, feed.last + 1));
}

pub async fn a_deleted_job_leaves_its_tombstone_and_its_key(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let key = key(7, 1);
    let mut submit = submission(Job { callbacks: to(&["a.example", "b.example"]), ..job("t", 0) }, 0);
    submit.idempotency = key;
    let (id, lane) = (submit.job.id, submit.job.lane());
    fixture.engine.submit(submit.clone()).await.unwrap();
    let delete = |seconds| fixture.engine.delete_job(TENANT, id, at(seconds));
    assert_eq!(delete(0).await.unwrap(), Deleted::NotFinished);
    let claimed = fixture.claim(lane, 9, 0).await.claimed.remove(0);
    assert_eq!(delete(0).await.unwrap(), Deleted::NotFinished);
    fixture.engine.finish(done(&claimed, 1)).await.unwrap();
    let sending = fixture.claim_to("a.example", 9, 1).await.claimed.remove(0);
    assert_eq!(fixture.engine.delete_job(Tenant(2), id, at(2)).await.unwrap(), Deleted::Missing);
    assert_eq!(delete(2).await.unwrap(), Deleted::Done);
    assert_eq!(delete(3).await.unwrap(), Deleted::Missing);
    // Nothing of it is sent any more, and what was out changes nothing.
    assert_eq!(fixture.engine.settle(took(&sending, 3)).await.unwrap(), Written::LeaseLost);
    assert!(fixture.claim_to("b.example", 9, 99).await.claimed.is_empty());
    assert!(fixture.engine.job(TENANT, id).await.unwrap().is_none());
    assert!(fixture.engine.tombstone(Some(TENANT), id).await.unwrap().is_some());
    submit.job.id = job("t", 0).id;
    let again = fixture.engine.submit(submit).await.unwrap();
    assert!(matches!(again, Submitted::Replayed(found) if found == id), "{again:?}");
}

pub async fn tombstones_are_forgotten(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let mut submit = submission(job("t", 0), 0);
    submit.idempotency = key(7, 1);
    let (id, lane) = (submit.job.id, submit.job.lane());
    fixture.engine.submit(submit).await.unwrap();
    let claimed = fixture.claim(lane, 9, 0).await.claimed.remove(0);
    fixture.engine.finish(done(&claimed, 1)).await.unwrap();
    fixture.engine.delete_job(TENANT, id, at(5)).await.unwrap();
    let forget = |now: i64| Forget {
        tenant: TENANT,
        after: FIRST,
        made_before: at(now).now,
        gone_before: at(now).wall,
    };
    assert_eq!(fixture.engine.forget(forget(4)).await.unwrap(), None);
    assert!(fixture.engine.tombstone(Some(TENANT), id).await.unwrap().is_some());
    assert_eq!(fixture.engine.forget(forget(5)).await.unwrap(), None);
    assert!(fixture.engine.tombstone(Some(TENANT), id).await.unwrap().is_none());
    assert!(fixture.engine.replay(key(7, 1).unwrap()).await.unwrap().is_none(), "with its key");
}

pub async fn what_happened_to_no_job_goes_too(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let endpoint = fixture.registered(1, EventSet::TERMINAL).await;
    let mut pings = Vec::new();
    for seconds in 1..=STEP_JOBS as i64 + 3 {
        let event = Event::ping(EventId::new(due(seconds), 9), &endpoint, shown(seconds));
        pings.push(event.id);
        let (kind, at) = (EventKind::EndpointPing, at(seconds));
        let ping = Ping { tenant: TENANT, endpoint: endpoint.id, event, kind, at };
        fixture.engine.ping(ping).await.unwrap().expect("it is there");
    }
    let last = pings.len() as i64;
    let (ours, of_a_job) =
        (fixture.sent_to(endpoint.id, true, last).await, delivered(&fixture, "t", "a.example").await);
    assert_eq!(ours.len(), pings.len());
    // The first is never answered, the last is too young.
    for sent in &ours[1..] {
        fixture.engine.settle(took(sent, last)).await.unwrap();
    }
    let apart = |after, now: i64| Apart {
        tenant: TENANT,
        after,
        made_before: at(now).now,
        told_before: at(now).wall,
    };
    let none = EventId::from_u128(0);
    assert_eq!(fixture.engine.prune_apart(apart(none, 1)).await.unwrap(), None, "made too late");
    let step = fixture.engine.prune_apart(apart(none, last)).await.unwrap();
    assert_eq!(step, Some(pings[STEP_JOBS - 1]), "one step, and where to go on");
    assert_eq!(fixture.engine.prune_apart(apart(step.unwrap(), last)).await.unwrap(), None);
    let fixture = fixture.crash().await;
    let filter = DeliveryFilter { endpoint: Some(endpoint.id), ..all_deliveries() };
    let left = fixture.engine.deliveries(filter).await.unwrap().items;
    let left: Vec<_> = left.iter().map(|delivery| delivery.event).collect();
    let kept =
        [pings[pings.len() - 1], fixture.deliveries_of(of_a_job.job.id).await[0].delivery.event, pings[0]];
    assert_eq!(left.len(), 3, "the last, the one that a job had, and the first: {left:?}");
    assert!(kept.iter().all(|event| left.contains(event)), "{left:?}");
    assert_eq!(fixture.engine.prune_apart(apart(none, last + 9)).await.unwrap(), None);
    let filter = DeliveryFilter { endpoint: Some(endpoint.id), ..all_deliveries() };
    let left = fixture.engine.deliveries(filter).await.unwrap().items.len();
    assert_eq!(left, 2, "what is to be sent stays, and what a job had goes with it");
}

pub async fn feeds_say_what_was_pruned(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let endpoint = fixture.registered(1, EventSet::TERMINAL).await;
    // The first job still has a delivery to be sent to somebody else when the second is pruned.
    let waits = ended(&fixture, Job { callbacks: to(&["b.example"]), ..job("t", 0) }).await.job.id;
    let goes = ended(&fixture, job("t", 0)).await.job.id;
    for sent in fixture.sent_to(endpoint.id, false, 1).await {
        fixture.engine.settle(took(&sent, 1)).await.unwrap();
    }
    let now = 10 * DAY + 2;
    let found = scan(&fixture, FIRST, 10 * DAY, now).await;
    assert_eq!(found.due.iter().map(|due| due.job).collect::<Vec<_>>(), [goes]);
    prune(&fixture, found.due, now).await;
    let fixture = fixture.crash().await;
    let feed = fixture.engine.feed(TENANT, endpoint.id, 0, 9).await.unwrap().unwrap();
    let numbers: Vec<_> = feed.items.iter().map(|item| item.sequence).collect();
    assert_eq!(
        (numbers, feed.last, feed.pruned_before),
        (vec![Some(1)], 2, 3),
        "{waits} is kept, and not all before 3"
    );
}
