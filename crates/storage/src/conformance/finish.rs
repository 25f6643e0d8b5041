//! The end of a job: one transaction for the job, its event and its deliveries; and what comes before the end.

use std::sync::Arc;

use domain::{
    callback::Callbacks,
    delivery,
    event::{Event, EventKind},
    id::{DeliveryId, EventId},
    job::{Ending, Job, JobResult, State, Status},
    problem::JobError,
};

use super::{Store, fixture::*};
use crate::{Announce, Canceled, Fetched, Finish, Guard, JobHold, Requeue, Wake, Written};

pub async fn succeeded_with_its_event(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let callbacks = to(&["one.example", "two.example"]);
    let claimed = fixture.running(Job { callbacks, ..job("t", 0) }, 0).await;
    let finish = success(&claimed, "application/json", br#"{"price": 1.10}"#, 7);
    assert_eq!(fixture.engine.finish(finish.clone()).await.unwrap(), Written::Done);
    let fixture = fixture.crash().await;
    let expected = claimed.job.as_ended(finish.ended.clone());
    assert_same(&fixture.job(claimed.job.id).await, &expected);
    let deliveries = fixture.deliveries_of(claimed.job.id).await;
    let mut ids: Vec<_> = deliveries.iter().map(|detail| detail.delivery.id).collect();
    let mut derived = [0, 1].map(|place| DeliveryId::of(finish.event.id, place));
    ids.sort();
    derived.sort();
    assert_eq!(ids, derived);
    for detail in deliveries {
        let delivery = detail.delivery;
        assert_eq!((&*detail.body, detail.attempts.len()), (&*finish.event.body, 0));
        assert_eq!((delivery.event, delivery.kind), (finish.event.id, EventKind::JobSucceeded));
        assert_eq!((delivery.job, delivery.tenant, delivery.attempt), (Some(claimed.job.id), TENANT, 0));
        assert_eq!(delivery.created_at, shown(7));
        assert!(matches!(delivery.state, delivery::State::Waiting { due: at, .. } if at == due(7)));
    }
    // It is over: nothing is left to do twice.
    assert_eq!(fixture.engine.finish(done(&claimed, 8)).await.unwrap(), Written::LeaseLost);
    assert!(fixture.claim(claimed.hold.lane, 9, 9).await.claimed.is_empty());
    assert_eq!(fixture.engine.take_over(at(9)).await.unwrap().jobs, 0);
}

pub async fn failed_with_its_problem(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let claimed = fixture.running(job("t", 0), 0).await;
    let error = JobError::stored(r#"{"type":"/problems/x", "n": 1.10}"#.into()).unwrap();
    let finish = finish(&claimed.job, Guard::Held(claimed.hold), Ending::Failed(error), 7);
    assert_eq!(fixture.engine.finish(finish.clone()).await.unwrap(), Written::Done);
    assert_same(&fixture.job(claimed.job.id).await, &claimed.job.as_ended(finish.ended));
    let result = fixture.engine.result(TENANT, claimed.job.id).await.unwrap();
    assert!(matches!(result, Fetched::None(job) if job.status() == Status::Failed));
}

pub async fn a_result_is_kept_as_given(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let waiting =
        fixture.submit(Job { priority: domain::job::Priority::new(9).unwrap(), ..job("t", 0) }, 0).await;
    assert!(matches!(fixture.engine.result(TENANT, waiting.id).await.unwrap(), Fetched::None(_)));
    let long_text = format!("\"{}\"", "x".repeat(100_000));
    let cases: [(&str, &[u8]); 8] = [
        ("application/json", b"1.10"),
        ("application/json", b"{ \"n\": 1e400 }"),
        ("application/json", b""),
        ("application/vnd.x+json; charset=utf-8", b"[0]"),
        ("text/plain", b"\xff\x00\xfe"),
        ("application/octet-stream", &[7; 2_049]),
        ("application/json", &[b'1'; 3_000]),
        ("application/json", long_text.as_bytes()),
    ];
    let mut ended = Vec::new();
    for (content_type, bytes) in cases {
        let claimed = fixture.running(job("t", 0), 0).await;
        let finish = success(&claimed, content_type, bytes, 1);
        assert_eq!(fixture.engine.finish(finish.clone()).await.unwrap(), Written::Done);
        ended.push((claimed.job.as_ended(finish.ended), content_type, bytes));
    }
    let fixture = fixture.crash().await;
    for (job, content_type, bytes) in ended {
        assert_same(&fixture.job(job.id).await, &job);
        for fetched in
            [fixture.engine.result(TENANT, job.id).await, fixture.engine.linked_result(job.id).await]
        {
            let Fetched::Content(content) = fetched.unwrap() else { panic!("no result: {job:?}") };
            assert_eq!((&*content.content_type, &*content.bytes), (content_type, bytes));
            assert_eq!(content.sha256, JobResult::of(content_type, bytes).info.sha256);
        }
    }
    let nobody = job("t", 0).id;
    assert!(matches!(fixture.engine.result(TENANT, nobody).await.unwrap(), Fetched::Missing));
    assert!(matches!(fixture.engine.linked_result(nobody).await.unwrap(), Fetched::Missing));
}

pub async fn only_the_holder_ends_it(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let claimed = fixture.running(job("t", 0), 0).await;
    let fence = |node: i64, epoch: i64| domain::lease::Fence {
        node: claimed.hold.fence.node + node,
        epoch: claimed.hold.fence.epoch + epoch,
    };
    for hold in [
        JobHold { fence: fence(1, 0), ..claimed.hold },
        JobHold { fence: fence(0, 1), ..claimed.hold },
        JobHold { fence: fence(0, -1), ..claimed.hold },
        JobHold { attempt: 2, ..claimed.hold },
    ] {
        let finish = Finish { guard: Guard::Held(hold), ..done(&claimed, 1) };
        assert_eq!(fixture.engine.finish(finish).await.unwrap(), Written::LeaseLost);
        let requeue = Requeue { hold, due: due(1), counted: true };
        assert_eq!(fixture.engine.requeue(requeue).await.unwrap(), Written::LeaseLost);
    }
    let queued = Finish { guard: Guard::Queued { attempt: 1 }, ..done(&claimed, 1) };
    assert_eq!(fixture.engine.finish(queued).await.unwrap(), Written::LeaseLost);
    assert_same(&fixture.job(claimed.job.id).await, &claimed.job);
    assert!(fixture.deliveries_of(claimed.job.id).await.is_empty());
    assert_eq!(fixture.engine.finish(done(&claimed, 2)).await.unwrap(), Written::Done);
}

pub async fn a_queued_job_ends_only_as_it_was_read(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let job = fixture.submit(job("t", 0), 0).await;
    let end = |attempt| finish(&job, Guard::Queued { attempt }, Ending::Failed(JobError::expired()), 2);
    assert_eq!(fixture.engine.finish(end(1)).await.unwrap(), Written::LeaseLost);
    assert_eq!(fixture.job(job.id).await.status(), Status::Queued);
    assert_eq!(fixture.engine.finish(end(0)).await.unwrap(), Written::Done);
    assert_eq!(fixture.engine.finish(end(0)).await.unwrap(), Written::LeaseLost);
    let ended = fixture.job(job.id).await;
    assert_eq!((ended.status(), ended.attempt()), (Status::Failed, 0));
}

pub async fn a_late_cancel_request_is_in_the_event(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let claimed = fixture.running(Job { callbacks: to(&["one.example"]), ..job("t", 0) }, 0).await;
    assert_eq!(fixture.engine.cancel(cancel(&claimed.job, 3)).await.unwrap(), Canceled::Requested);
    // The executor has not heard of it: its event says that nobody asked.
    let finish = done(&claimed, 4);
    assert!(finish.event.body.contains(r#""cancel_requested_at":null"#));
    assert_eq!(fixture.engine.finish(finish.clone()).await.unwrap(), Written::Done);
    let amended = Job { cancel_requested_at: Some(shown(3)), ..claimed.job.clone() };
    let expected = Event::ended(finish.event.id, &amended, &finish.ended, &finish.links);
    let deliveries = fixture.deliveries_of(claimed.job.id).await;
    assert_eq!(&*deliveries[0].body, &*expected.body);
    assert_same(&fixture.job(claimed.job.id).await, &amended.as_ended(finish.ended));
}

pub async fn only_those_who_asked_hear_of_it(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let callbacks = Callbacks::new(vec![
        callback("ok.example", &[EventKind::JobSucceeded]),
        callback("bad.example", &[EventKind::JobFailed, EventKind::JobStarted]),
        callback("all.example", EventKind::ALL),
        callback("all.example", EventKind::ALL),
    ]);
    let claimed = fixture.running(Job { callbacks, ..job("t", 0) }, 0).await;
    let finish = finish(&claimed.job, Guard::Held(claimed.hold), Ending::Failed(JobError::lost()), 1);
    fixture.engine.finish(finish.clone()).await.unwrap();
    let mut ids: Vec<_> = fixture.deliveries_of(claimed.job.id).await.iter().map(|d| d.delivery.id).collect();
    let mut expected = [1, 2, 3].map(|place| DeliveryId::of(finish.event.id, place));
    ids.sort();
    expected.sort();
    assert_eq!(ids, expected);
    let lane = callback("all.example", &[]).lane(TENANT);
    fixture
        .recorder
        .woken(
            "DeliveryDue",
            |wake| matches!(wake, Wake::DeliveryDue { lane: l, due: at } if *l == lane && *at == due(1)),
        )
        .await;
    let all = fixture.claim_to("all.example", 9, 1).await.claimed;
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].target.events, callback("all.example", EventKind::ALL).events);
}

pub async fn nobody_asked(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let claimed = fixture.running(job("t", 0), 0).await;
    fixture.engine.finish(done(&claimed, 1)).await.unwrap();
    assert!(fixture.deliveries_of(claimed.job.id).await.is_empty());
    fixture
        .recorder
        .woken(
            "ended",
            |wake| matches!(wake, Wake::JobChanged { job, ended: true } if *job == claimed.job.id),
        )
        .await;
}

pub async fn requeued_for_the_next_attempt(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let first = fixture.running(job("t", 0), 0).await;
    let requeue = Requeue { hold: first.hold, due: due(60), counted: true };
    assert_eq!(fixture.engine.requeue(requeue).await.unwrap(), Written::Done);
    assert_eq!(fixture.engine.requeue(requeue).await.unwrap(), Written::LeaseLost);
    assert_eq!(fixture.engine.finish(done(&first, 1)).await.unwrap(), Written::LeaseLost);
    let state = State::Queued { attempt: 1, run_at: Some(due(60)), started_at: Some(shown(0)) };
    assert_same(&fixture.job(first.job.id).await, &Job { state, ..first.job.clone() });
    let lane = first.hold.lane;
    fixture
        .recorder
        .woken(
            "JobDue",
            |wake| matches!(wake, Wake::JobDue { lane: l, due: at, .. } if *l == lane && *at == due(60)),
        )
        .await;
    let fixture = fixture.crash().await;
    assert!(fixture.claim(lane, 9, 59).await.claimed.is_empty());
    let second = fixture.claim(lane, 9, 61).await.claimed.remove(0);
    let state = State::Running { attempt: 2, started_at: shown(0) };
    assert_same(&second.job, &Job { state, ..first.job.clone() });
    assert_eq!((second.hold.attempt, second.due), (2, due(60)));
    assert_eq!(fixture.engine.finish(done(&second, 62)).await.unwrap(), Written::Done);
    let ended = fixture.job(first.job.id).await;
    assert_eq!((ended.attempt(), ended.started_at()), (2, Some(shown(0))));
}

pub async fn requeued_uncounted(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let first = fixture.running(job("t", 0), 0).await;
    let requeue = Requeue { hold: first.hold, due: due(5), counted: false };
    assert_eq!(fixture.engine.requeue(requeue).await.unwrap(), Written::Done);
    let read = fixture.job(first.job.id).await;
    assert_eq!((read.status(), read.attempt()), (Status::Queued, 0));
    let again = fixture.claim(first.hold.lane, 9, 5).await.claimed.remove(0);
    assert_eq!(again.hold.attempt, 1);
    assert_eq!(fixture.engine.finish(done(&again, 6)).await.unwrap(), Written::Done);
}

pub async fn announced_once(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let callbacks =
        Callbacks::new(vec![callback("one.example", &[EventKind::JobStarted, EventKind::JobSucceeded])]);
    let claimed = fixture.running(Job { callbacks, ..job("t", 0) }, 0).await;
    let announce = |hold, seconds| {
        let event = Event::started(&claimed.job, shown(seconds), &links(claimed.job.id));
        Announce { job: claimed.job.clone(), hold, event, at: at(seconds) }
    };
    let stale = JobHold { attempt: 7, ..claimed.hold };
    assert_eq!(fixture.engine.announce(announce(stale, 1)).await.unwrap(), Written::LeaseLost);
    assert!(fixture.deliveries_of(claimed.job.id).await.is_empty());
    for seconds in [1, 2] {
        assert_eq!(fixture.engine.announce(announce(claimed.hold, seconds)).await.unwrap(), Written::Done);
    }
    let deliveries = fixture.deliveries_of(claimed.job.id).await;
    assert_eq!(deliveries.len(), 1);
    assert_eq!(deliveries[0].delivery.event, EventId::started(claimed.job.id));
    assert_eq!(
        (deliveries[0].delivery.kind, deliveries[0].delivery.created_at),
        (EventKind::JobStarted, shown(1))
    );
    assert!(deliveries[0].body.contains(r#""status":"running""#));
    assert_eq!(fixture.engine.finish(done(&claimed, 3)).await.unwrap(), Written::Done);
    assert_eq!(fixture.engine.announce(announce(claimed.hold, 4)).await.unwrap(), Written::LeaseLost);
    assert_eq!(fixture.claim_to("one.example", 9, 9).await.claimed.len(), 2);
}

/// What waits at the same moment shares a transaction: winners and losers in one batch each get their own answer.
pub async fn one_batch_may_hold_everything(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    for _ in 0..30 {
        fixture.submit(Job { callbacks: to(&["one.example"]), ..job("t", 0) }, 0).await;
    }
    let claimed = fixture.claim(job("t", 0).lane(), 30, 0).await.claimed;
    let mut finishes = Vec::new();
    for claimed in &claimed {
        // The same end twice, and one under a wrong attempt.
        let wrong = JobHold { attempt: 9, ..claimed.hold };
        for finish in
            [done(claimed, 1), done(claimed, 1), Finish { guard: Guard::Held(wrong), ..done(claimed, 1) }]
        {
            let engine = Arc::clone(&fixture.engine);
            finishes.push(tokio::spawn(async move { engine.finish(finish).await.unwrap() }));
        }
        let engine = Arc::clone(&fixture.engine);
        tokio::spawn(async move { engine.submit(submission(job("t", 0), 0)).await.unwrap() });
    }
    let mut done = 0;
    for finish in finishes {
        done += u32::from(finish.await.unwrap() == Written::Done);
    }
    assert_eq!(done, 30);
    assert_eq!(fixture.claim_to("one.example", 100, 1).await.claimed.len(), 30);
}
