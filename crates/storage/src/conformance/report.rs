//! How far running work is: shown while it runs, and sent to whoever asked for it.

use std::sync::Arc;

use domain::{
    callback::Callbacks,
    delivery::{self, Reason},
    event::{Event, EventKind},
    id::EventId,
    job::{Job, Progress},
};

use super::{Store, fixture::*};
use crate::{ClaimedJob, JobHold, Report, Requeue, Wake, Written};

fn said(claimed: &ClaimedJob, fraction: f64, number: u128, seconds: i64) -> Report {
    let progress =
        Progress { fraction: Some(fraction), message: Some("so far".into()), updated_at: shown(seconds) };
    let job = Job { progress: Some(Arc::new(progress)), ..claimed.job.clone() };
    let event = Event::progress(EventId::new(due(seconds), number), &job, shown(seconds), &links(job.id));
    Report { job, hold: claimed.hold, event, replaces: None, at: at(seconds) }
}

fn fraction(job: &Job) -> Option<f64> {
    job.progress.as_ref()?.fraction
}

pub async fn what_is_said_shows_and_stays_with_the_end(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let claimed = fixture.running(job("t", 0), 0).await;
    let id = claimed.job.id;
    assert!(fixture.job(id).await.progress.is_none());
    assert_eq!(fixture.engine.report(said(&claimed, 0.25, 1, 1)).await.unwrap(), Written::Done);
    fixture
        .recorder
        .woken("changed", |wake| matches!(wake, Wake::JobChanged { job, ended: false } if *job == id))
        .await;
    assert_eq!(fixture.engine.report(said(&claimed, 0.5, 2, 2)).await.unwrap(), Written::Done);
    let there = fixture.job(id).await.progress.unwrap();
    assert_eq!(
        (there.fraction, there.message.as_deref(), there.updated_at),
        (Some(0.5), Some("so far"), shown(2))
    );
    assert!(fixture.deliveries_of(id).await.is_empty(), "nobody asked");
    let last = said(&claimed, 1.0, 3, 3).job;
    let end = crate::Finish { job: last, ..done(&claimed, 3) };
    assert_eq!(fixture.engine.finish(end).await.unwrap(), Written::Done);
    let fixture = fixture.crash().await;
    assert_eq!(fraction(&fixture.job(id).await), Some(1.0));
}

pub async fn only_the_holder_says(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let claimed = fixture.running(job("t", 0), 0).await;
    let mut stale = said(&claimed, 0.5, 1, 1);
    stale.hold = JobHold { attempt: 2, ..claimed.hold };
    assert_eq!(fixture.engine.report(stale).await.unwrap(), Written::LeaseLost);
    assert!(fixture.job(claimed.job.id).await.progress.is_none());
    fixture.engine.report(said(&claimed, 0.5, 1, 1)).await.unwrap();
    let requeue = Requeue { hold: claimed.hold, due: due(9), counted: true };
    fixture.engine.requeue(requeue).await.unwrap();
    assert!(fixture.job(claimed.job.id).await.progress.is_none(), "the next attempt begins anew");
    assert_eq!(fixture.engine.report(said(&claimed, 0.6, 2, 2)).await.unwrap(), Written::LeaseLost);
    // A node that died takes what its work said with it.
    let again = fixture.claim(claimed.hold.lane, 1, 9).await.claimed.remove(0);
    fixture.engine.report(said(&again, 0.7, 3, 10)).await.unwrap();
    let fixture = fixture.crash().await;
    fixture.engine.take_over(at(20)).await.unwrap();
    assert!(fixture.job(claimed.job.id).await.progress.is_none());
}

pub async fn who_asked_gets_the_latest(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let callbacks = Callbacks::new(vec![
        callback("a.example", &[EventKind::JobProgress]),
        callback("b.example", &[EventKind::JobSucceeded]),
    ]);
    let claimed = fixture.running(Job { callbacks, ..job("t", 0) }, 0).await;
    let first = said(&claimed, 0.1, 1, 1);
    let mut second = said(&claimed, 0.2, 2, 2);
    second.replaces = Some(first.event.id);
    let mut third = said(&claimed, 0.3, 3, 3);
    third.replaces = Some(second.event.id);
    fixture.engine.report(first).await.unwrap();
    fixture.engine.report(second.clone()).await.unwrap();
    // The first never left, and gives way; the second is out, and goes on.
    let sending = fixture.claim_to("a.example", 9, 2).await.claimed;
    assert_eq!(sending.len(), 1);
    assert_eq!((sending[0].event, sending[0].kind), (second.event.id, EventKind::JobProgress));
    assert!(
        sending[0].body.contains(r#""progress":{"fraction":0.2,"message":"so far""#),
        "{}",
        sending[0].body
    );
    fixture.engine.report(third.clone()).await.unwrap();
    fixture.engine.settle(took(&sending[0], 4)).await.unwrap();
    let states: Vec<_> = fixture
        .deliveries_of(claimed.job.id)
        .await
        .into_iter()
        .map(|detail| match detail.delivery.state {
            delivery::State::Failed { reason: Reason::Canceled, .. } => "canceled",
            delivery::State::Succeeded { .. } => "succeeded",
            delivery::State::Waiting { .. } => "waiting",
            _ => "?",
        })
        .collect();
    assert_eq!(states, ["canceled", "succeeded", "waiting"]);
    assert!(fixture.claim_to("b.example", 9, 9).await.claimed.is_empty());
}
