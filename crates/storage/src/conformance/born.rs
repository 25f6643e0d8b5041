//! Born claimed: where a slot is free, a row is written as already claimed and handed over in memory.

use domain::{
    callback::Callbacks,
    delivery,
    event::{Event, EventKind},
    job::{Job, State},
};

use super::{Store, fixture::*};
use crate::{Announce, Submit, Wake, Written};

pub async fn without_a_taker_it_is_queued(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let job = job("t", 0);
    // A recorder without room refuses; one that is gone cannot even be asked.
    fixture.submit(job.clone(), 0).await;
    assert_eq!(fixture.recorder.seen().asked, 1);
    assert_eq!(fixture.claim(job.lane(), 10, 0).await.claimed.len(), 1);
}

pub async fn a_reserved_job_is_handed_over(store: &dyn Store) {
    let fixture = Fixture::with_room(store, 1, 0).await;
    let next = job("t", 6);
    let job = Job { metadata: raw(r#"{"a":"b"}"#), callbacks: to(&["one.example"]), ..job("t", 5) };
    let accepted =
        fixture.engine.submit(Submit { input: "[1.10]".into(), ..submission(job.clone(), 5) }).await.unwrap();
    let crate::Submitted::Accepted(accepted) = accepted else { panic!("{accepted:?}") };
    assert_eq!(accepted.id, job.id);
    fixture.recorder.until("the job", |seen| !seen.jobs.is_empty()).await;
    let taken = fixture.recorder.seen().jobs.remove(0);
    assert_eq!((&*taken.input, taken.due), ("[1.10]", due(5)));
    assert_eq!((taken.hold.attempt, taken.hold.fence, taken.hold.lane), (1, fixture.fence, job.lane()));
    let running = Job { state: State::Running { attempt: 1, started_at: shown(5) }, ..job.clone() };
    assert_same(&taken.job, &running);
    assert_same(&fixture.job(job.id).await, &running);
    assert!(fixture.claim(job.lane(), 10, 5).await.claimed.is_empty());
    // There is no second slot.
    let second = next;
    fixture.submit(second.clone(), 6).await;
    assert_eq!(fixture.claim(job.lane(), 10, 6).await.claimed[0].job.id, second.id);
    assert_eq!(fixture.engine.finish(done(&taken, 7)).await.unwrap(), Written::Done);
    assert_eq!(fixture.recorder.seen().jobs.len(), 0);
}

pub async fn a_refused_job_is_queued(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let job = job("t", 0);
    fixture.submit(job.clone(), 0).await;
    fixture.recorder.woken("JobDue", |wake| matches!(wake, Wake::JobDue { .. })).await;
    assert_same(&fixture.job(job.id).await, &job);
    assert!(fixture.recorder.seen().jobs.is_empty());
}

pub async fn what_is_not_due_is_not_born_claimed(store: &dyn Store) {
    let fixture = Fixture::with_room(store, 1, 1).await;
    let state = State::Queued { attempt: 0, run_at: Some(due(10)), started_at: None };
    let job = Job { state, ..job("t", 0) };
    fixture.submit(job.clone(), 0).await;
    assert_same(&fixture.job(job.id).await, &job);
    let seen = fixture.recorder.seen();
    assert_eq!((seen.room.0, seen.jobs.len()), (1, 0));
}

pub async fn a_replay_gives_its_slot_back(store: &dyn Store) {
    let fixture = Fixture::with_room(store, 2, 0).await;
    let submit = |request| Submit { idempotency: key(1, request), ..submission(job("t", 0), 0) };
    for request in [1, 1, 2] {
        fixture.engine.submit(submit(request)).await.unwrap();
    }
    fixture.recorder.until("one slot left", |seen| seen.room.0 == 1 && seen.jobs.len() == 1).await;
}

pub async fn a_reserved_delivery_is_handed_over(store: &dyn Store) {
    let fixture = Fixture::with_room(store, 0, 1).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let job = Job {
        traceparent: Some(trace.into()),
        callbacks: to(&["one.example", "two.example"]),
        ..job("t", 0)
    };
    let claimed = fixture.running(job.clone(), 0).await;
    let finish = done(&claimed, 9);
    let event = finish.event.clone();
    fixture.engine.finish(finish).await.unwrap();
    fixture.recorder.until("the delivery", |seen| !seen.deliveries.is_empty()).await;
    let taken = fixture.recorder.seen().deliveries.remove(0);
    assert_eq!((taken.event, taken.kind, taken.job), (event.id, EventKind::JobSucceeded, Some(job.id)));
    assert_eq!((&*taken.body, taken.traceparent.as_deref()), (&*event.body, Some(trace)));
    assert_eq!((taken.trigger, taken.due, taken.started_at), (POLICY, due(9), shown(9)));
    assert_eq!((taken.hold.attempt, taken.hold.fence), (1, fixture.fence));
    assert_eq!(taken.progress, delivery::Progress { steps: 0, since: due(9), succeeded: false });
    assert_eq!(taken.hold.lane, taken.target.lane(TENANT));
    let detail = fixture.delivery(taken.hold.delivery).await;
    let open = matches!(detail.delivery.state,
        delivery::State::InFlight { started_at, trigger: POLICY, succeeded_at: None } if started_at == shown(9));
    assert!(open && detail.attempts.is_empty() && detail.delivery.attempt == 1, "{detail:?}");
    // The other one found no room and waits.
    let other =
        if taken.target.url.host().to_string() == "one.example" { "two.example" } else { "one.example" };
    assert_eq!(fixture.claim_to(other, 9, 9).await.claimed.len(), 1);
    assert_eq!(fixture.engine.settle(took(&taken, 10)).await.unwrap(), Written::Done);
}

pub async fn announced_deliveries_are_handed_over_too(store: &dyn Store) {
    let fixture = Fixture::with_room(store, 0, 9).await;
    let callbacks = Callbacks::new(vec![callback("one.example", &[EventKind::JobStarted])]);
    let claimed = fixture.running(Job { callbacks, ..job("t", 0) }, 0).await;
    let event = Event::started(&claimed.job, shown(0), &links(claimed.job.id));
    let announce = Announce { job: claimed.job.clone(), hold: claimed.hold, event: event.clone(), at: at(0) };
    assert_eq!(fixture.engine.announce(announce).await.unwrap(), Written::Done);
    fixture.recorder.until("the delivery", |seen| seen.deliveries.len() == 1).await;
    assert_eq!(fixture.recorder.seen().deliveries[0].event, event.id);
    assert_eq!(fixture.recorder.seen().room.1, 8);
}
