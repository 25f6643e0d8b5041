//! Callbacks added later: read by whoever ends the job, or sent at once; never neither, never both.

use std::sync::Arc;

use domain::{
    callback::{Callbacks, With},
    delivery::{self, Outcome, Progress},
    event::EventKind,
    job::{Ending, Job},
};

use super::{Store, fixture::*};
use crate::{Attach, Attached, DeliveryFilter, Guard, Written};

fn more(job: &Job, host: &str, events: &[EventKind]) -> Callbacks {
    match job.callbacks.with(callback(host, events)) {
        With::Added(callbacks) => callbacks,
        other => panic!("not added: {other:?}"),
    }
}

fn attach(job: &Job, host: &str, seconds: i64) -> Attach {
    let callbacks = more(job, host, &[EventKind::JobSucceeded, EventKind::JobCanceled]);
    Attach { job: job.clone(), callbacks, at: at(seconds) }
}

pub async fn whoever_ends_the_job_reads_it(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let claimed = fixture.running(Job { callbacks: to(&["a.example"]), ..job("t", 0) }, 0).await;
    let read = fixture.job(claimed.job.id).await;
    assert_eq!(fixture.engine.attach_callback(attach(&read, "b.example", 1)).await.unwrap(), Attached::Done);
    let shown = fixture.job(read.id).await;
    assert_eq!(shown.callbacks.iter().count(), 2);
    // Ended by whoever claimed it before, and knew of one.
    assert_eq!(fixture.engine.finish(done(&claimed, 2)).await.unwrap(), Written::Done);
    let deliveries = fixture.deliveries_of(read.id).await;
    let mut urls: Vec<_> = deliveries.iter().map(|d| d.delivery.url.as_str()).collect();
    urls.sort_unstable();
    assert_eq!(urls, ["https://a.example/hook", "https://b.example/hook"]);
    assert_eq!(deliveries[0].delivery.event, deliveries[1].delivery.event);
}

pub async fn a_queued_job_that_is_canceled_reads_it(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let read = fixture.submit(job("t", 0), 0).await;
    assert_eq!(fixture.engine.attach_callback(attach(&read, "b.example", 1)).await.unwrap(), Attached::Done);
    fixture.engine.cancel(cancel(&read, 2)).await.unwrap();
    let deliveries = fixture.deliveries_of(read.id).await;
    assert!(deliveries.len() == 1 && deliveries[0].body.contains("job.canceled"));
}

pub async fn an_ended_job_sends_its_event_at_once(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let claimed = fixture.running(Job { callbacks: to(&["a.example"]), ..job("t", 0) }, 0).await;
    let finish = done(&claimed, 1);
    let (event, body) = (finish.event.id, finish.event.body.clone());
    fixture.engine.finish(finish).await.unwrap();
    let fixture = fixture.crash().await;
    let ended = fixture.job(claimed.job.id).await;
    assert_eq!(
        fixture.engine.attach_callback(attach(&ended, "b.example", 50)).await.unwrap(),
        Attached::Done
    );
    let late = fixture.claim_to("b.example", 9, 50).await.claimed;
    assert_eq!(late.len(), 1);
    assert_eq!((late[0].event, &*late[0].body, late[0].trigger), (event, &*body, POLICY));
    assert_eq!(late[0].progress, Progress { steps: 0, since: due(50), succeeded: false });
    assert_eq!(late[0].target.url.as_str(), "https://b.example/hook");
    fixture.engine.settle(took(&late[0], 51)).await.unwrap();
    let there = fixture.delivery(late[0].hold.delivery).await.delivery;
    assert_eq!((there.created_at, there.status()), (shown(1), delivery::Status::Succeeded));
}

pub async fn an_ended_job_sends_nothing_that_was_not_asked_for(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let claimed = fixture.running(job("t", 0), 0).await;
    fixture.engine.finish(done(&claimed, 1)).await.unwrap();
    let ended = fixture.job(claimed.job.id).await;
    let callbacks = more(&ended, "b.example", &[EventKind::JobFailed, EventKind::JobStarted]);
    let attach = Attach { job: ended.clone(), callbacks, at: at(2) };
    assert_eq!(fixture.engine.attach_callback(attach).await.unwrap(), Attached::Done);
    assert!(fixture.deliveries_of(ended.id).await.is_empty());
    assert_eq!(fixture.job(ended.id).await.callbacks.iter().count(), 1);
}

pub async fn what_changed_meanwhile_is_said(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let claimed = fixture.running(job("t", 0), 0).await;
    let read = fixture.job(claimed.job.id).await;
    assert_eq!(fixture.engine.attach_callback(attach(&read, "a.example", 1)).await.unwrap(), Attached::Done);
    // Read before that one.
    assert_eq!(
        fixture.engine.attach_callback(attach(&read, "b.example", 1)).await.unwrap(),
        Attached::Changed
    );
    let running = fixture.job(read.id).await;
    fixture.engine.finish(done(&claimed, 2)).await.unwrap();
    // Read before it ended.
    assert_eq!(
        fixture.engine.attach_callback(attach(&running, "b.example", 3)).await.unwrap(),
        Attached::Changed
    );
    assert_eq!(fixture.deliveries_of(read.id).await.len(), 1);
    assert_eq!(
        fixture.engine.attach_callback(attach(&job("t", 0), "b.example", 3)).await.unwrap(),
        Attached::Missing
    );
    let foreign = Job { tenant: domain::id::Tenant(2), ..running };
    assert_eq!(
        fixture.engine.attach_callback(attach(&foreign, "b.example", 3)).await.unwrap(),
        Attached::Missing
    );
}

/// Sixteen are added while the job ends: each is in the end's event or sent by itself, once.
pub async fn never_neither_and_never_both(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    for round in 0..4 {
        let claimed = fixture.running(job("t", round), round).await;
        let id = claimed.job.id;
        let adding: Vec<_> = (0..16)
            .map(|n| {
                let engine = Arc::clone(&fixture.engine);
                tokio::spawn(async move {
                    loop {
                        let job = engine.job(TENANT, id).await.unwrap().unwrap();
                        let attach = attach(&job, &format!("r{n}.example"), 5);
                        if engine.attach_callback(attach).await.unwrap() == Attached::Done {
                            return;
                        }
                    }
                })
            })
            .collect();
        let finish = match round {
            0 | 1 => done(&claimed, 5),
            _ => finish(&claimed.job, Guard::Held(claimed.hold), Ending::Canceled, 5),
        };
        assert_eq!(fixture.engine.finish(finish).await.unwrap(), Written::Done);
        for added in adding {
            added.await.unwrap();
        }
        let filter = DeliveryFilter { job: Some(id), ..all_deliveries() };
        let deliveries = fixture.engine.deliveries(filter).await.unwrap().items;
        let mut urls: Vec<_> = deliveries.iter().map(|d| d.url.as_str().to_owned()).collect();
        urls.sort();
        urls.dedup();
        assert_eq!((deliveries.len(), urls.len()), (16, 16), "round {round}");
    }
}

pub async fn a_waiting_delivery_is_canceled(store: &dyn Store) {
    use crate::DeliveryCanceled::{Done, Missing, TooLate};
    let fixture = Fixture::new(store).await;
    let claimed = fixture.sending("a.example", 0).await;
    let id = claimed.hold.delivery;
    let refused = attempt(&claimed, Outcome::HttpStatus, Some(500), 1);
    let progress = Progress { steps: 1, since: due(0), succeeded: false };
    let again = delivery::Next::Again { due: due(99), progress };
    fixture.engine.settle(settled(&claimed, refused, again, 1)).await.unwrap();
    let cancel = |seconds| fixture.engine.cancel_delivery(TENANT, id, at(seconds));
    assert_eq!(cancel(2).await.unwrap(), Done);
    let detail = fixture.delivery(id).await;
    assert!(
        matches!(detail.delivery.state, delivery::State::Failed { finished_at, reason: delivery::Reason::Canceled }
            if finished_at == shown(2))
    );
    assert_eq!((detail.delivery.attempt, detail.attempts.len()), (1, 1));
    assert!(fixture.claim_to("a.example", 9, 200).await.claimed.is_empty());
    assert_eq!(cancel(3).await.unwrap(), TooLate);
    assert_eq!(fixture.engine.cancel_delivery(domain::id::Tenant(2), id, at(3)).await.unwrap(), Missing);
    // It may be asked for again.
    assert_eq!(fixture.engine.resend(TENANT, id, at(4)).await.unwrap(), crate::Resent::Due);
    let again = fixture.claim_to("a.example", 9, 4).await.claimed.remove(0);
    assert_eq!(again.hold.attempt, 2);
    fixture.engine.settle(took(&again, 5)).await.unwrap();
    assert_eq!(cancel(6).await.unwrap(), TooLate);
}

pub async fn an_attempt_in_flight_is_let_go(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let claimed = fixture.sending("a.example", 0).await;
    let id = claimed.hold.delivery;
    let canceled = fixture.engine.cancel_delivery(TENANT, id, at(2)).await.unwrap();
    assert_eq!(canceled, crate::DeliveryCanceled::Done);
    // Whatever it ends with comes to nothing; that it left is on record.
    assert_eq!(fixture.engine.settle(took(&claimed, 3)).await.unwrap(), Written::LeaseLost);
    let detail = fixture.delivery(id).await;
    assert_eq!(detail.delivery.status(), delivery::Status::Failed);
    assert_eq!((detail.delivery.attempt, detail.attempts.len()), (1, 1));
    let attempt = &detail.attempts[0];
    assert_eq!((attempt.number, attempt.outcome), (1, Outcome::Interrupted));
    assert_eq!((attempt.started_at, attempt.ended_at), (shown(0), shown(2)));
    assert_eq!(attempt.error.as_deref(), Some(delivery::Attempt::LET_GO));
}
