//! Cancels: what they find, and that they are not forgotten.

use domain::job::{Job, Status};

use super::{Store, fixture::*};
use crate::{Canceled, Requeue, Wake, Written};

pub async fn a_queued_job_ends(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let job = fixture.submit(Job { callbacks: to(&["one.example"]), ..job("t", 0) }, 0).await;
    assert_eq!(fixture.engine.cancel(cancel(&job, 3)).await.unwrap(), Canceled::Ended);
    let ended = fixture.job(job.id).await;
    assert_eq!((ended.status(), ended.attempt(), ended.started_at()), (Status::Canceled, 0, None));
    assert_eq!(ended.ended().unwrap().finished_at, shown(3));
    let deliveries = fixture.deliveries_of(job.id).await;
    assert!(deliveries.len() == 1 && deliveries[0].body.contains("job.canceled"));
    assert!(fixture.claim(job.lane(), 9, 9).await.claimed.is_empty());
    fixture
        .recorder
        .woken("ended", |wake| matches!(wake, Wake::JobChanged { job: id, ended: true } if *id == job.id))
        .await;
}

pub async fn a_running_job_is_asked_to_stop(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let claimed = fixture.running(job("t", 0), 0).await;
    let id = claimed.job.id;
    for seconds in [3, 4] {
        let read = fixture.job(id).await;
        assert_eq!(fixture.engine.cancel(cancel(&read, seconds)).await.unwrap(), Canceled::Requested);
    }
    let read = fixture.job(id).await;
    // The first request stands.
    assert_eq!((read.status(), read.cancel_requested_at), (Status::Running, Some(shown(3))));
    fixture
        .recorder
        .woken("CancelRequested", |wake| matches!(wake, Wake::CancelRequested { job } if *job == id))
        .await;
    assert_eq!(fixture.engine.finish(done(&claimed, 5)).await.unwrap(), Written::Done);
    let ended = fixture.job(id).await;
    assert_eq!((ended.status(), ended.cancel_requested_at), (Status::Succeeded, Some(shown(3))));
}

pub async fn an_ended_job_is_too_late(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let claimed = fixture.running(job("t", 0), 0).await;
    fixture.engine.finish(done(&claimed, 1)).await.unwrap();
    let ended = fixture.job(claimed.job.id).await;
    assert_eq!(fixture.engine.cancel(cancel(&ended, 2)).await.unwrap(), Canceled::TooLate);
    // Also when it was read before it ended.
    assert_eq!(fixture.engine.cancel(cancel(&claimed.job, 2)).await.unwrap(), Canceled::TooLate);
    assert_same(&fixture.job(claimed.job.id).await, &ended);
    assert_eq!(fixture.engine.cancel(cancel(&job("t", 0), 2)).await.unwrap(), Canceled::Missing);
    let foreign = Job { tenant: domain::id::Tenant(2), ..claimed.job };
    assert_eq!(fixture.engine.cancel(cancel(&foreign, 2)).await.unwrap(), Canceled::Missing);
}

pub async fn what_changed_meanwhile_is_said(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let read = fixture.submit(job("t", 0), 0).await;
    let claimed = fixture.claim(read.lane(), 1, 0).await.claimed.remove(0);
    let requeue = Requeue { hold: claimed.hold, due: due(60), counted: true };
    assert_eq!(fixture.engine.requeue(requeue).await.unwrap(), Written::Done);
    // Read with no attempt; by now there was one: what it says about the end would be wrong.
    assert_eq!(fixture.engine.cancel(cancel(&read, 2)).await.unwrap(), Canceled::Changed);
    let read = fixture.job(read.id).await;
    assert_eq!((read.status(), read.attempt()), (Status::Queued, 1));
    assert_eq!(fixture.engine.cancel(cancel(&read, 2)).await.unwrap(), Canceled::Ended);
    let ended = fixture.job(read.id).await;
    assert_eq!((ended.attempt(), ended.started_at()), (1, Some(shown(0))));
}

pub async fn a_request_outlives_the_node(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let claimed = fixture.running(job("t", 0), 0).await;
    fixture.engine.cancel(cancel(&claimed.job, 3)).await.unwrap();
    let fixture = fixture.crash().await;
    assert_eq!(fixture.engine.take_over(at(10)).await.unwrap().jobs, 1);
    let again = fixture.claim(claimed.hold.lane, 9, 10).await.claimed.remove(0);
    assert_eq!((again.job.cancel_requested_at, again.hold.attempt), (Some(shown(3)), 2));
}
