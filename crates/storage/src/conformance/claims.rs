//! Claims of jobs: in order, by lane, each once.

use std::{collections::HashSet, sync::Arc};

use domain::{
    job::{Job, Priority, State},
    lane::Lane,
};

use super::{Store, fixture::*};
use crate::{Submit, Wake};

fn later(task: &str, seconds: i64) -> Job {
    Job { state: State::Queued { attempt: 0, run_at: Some(due(seconds)), started_at: None }, ..job(task, 0) }
}

pub async fn in_the_order_of_due_and_id(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let [c, a, b, d] = [later("t", 30), later("t", 10), later("t", 10), later("t", 40)];
    for job in [&c, &a, &b, &d] {
        fixture.submit(job.clone(), 0).await;
    }
    let lane = a.lane();
    let none = fixture.claim(lane, 9, 9).await;
    assert_eq!((none.claimed.len(), none.next_due), (0, Some(due(10))));
    let claim = fixture.claim(lane, 9, 30).await;
    let order: Vec<_> = claim.claimed.iter().map(|claimed| claimed.job.id).collect();
    assert_eq!(order, [a.id, b.id, c.id]);
    assert_eq!(claim.next_due, Some(due(40)));
    assert_eq!(
        claim.claimed.iter().map(|claimed| claimed.due).collect::<Vec<_>>(),
        [due(10), due(10), due(30)]
    );
}

pub async fn at_most_as_many_as_asked_for(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    for seconds in 0..5 {
        fixture.submit(later("t", seconds), 0).await;
    }
    let lane = job("t", 0).lane();
    let mut left = [(2, 2, Some(2)), (2, 2, Some(4)), (2, 1, None), (2, 0, None)].into_iter();
    for (k, got, next) in &mut left {
        let claim = fixture.claim(lane, k, 100).await;
        assert_eq!((claim.claimed.len(), claim.next_due), (got, next.map(due)));
    }
    assert!(fixture.engine.claim_jobs(vec![], at(100)).await.unwrap().is_empty());
}

pub async fn lanes_do_not_mix(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let urgent = Job { priority: Priority::new(0).unwrap(), ..job("t", 0) };
    let (usual, other) = (job("t", 0), job("u", 0));
    for job in [&urgent, &usual, &other] {
        fixture.submit(job.clone(), 0).await;
    }
    let empty = Lane::of_job("nothing", "1", 5);
    let asks = [&urgent, &other].map(|job| ask(job.lane(), 5)).into_iter().chain([ask(empty, 5)]);
    let claims = fixture.engine.claim_jobs(asks.collect(), at(0)).await.unwrap();
    assert_eq!(claims.len(), 3);
    for claim in claims {
        let ids: Vec<_> = claim.claimed.iter().map(|claimed| claimed.job.id).collect();
        let expected = [&urgent, &other].into_iter().filter(|job| job.lane() == claim.lane).map(|job| job.id);
        assert_eq!(ids, expected.collect::<Vec<_>>());
        assert_eq!(claim.next_due, None);
    }
    assert_eq!(fixture.claim(usual.lane(), 5, 0).await.claimed.len(), 1);
}

pub async fn no_job_is_claimed_twice(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    for _ in 0..40 {
        fixture.submit(job("t", 0), 0).await;
    }
    let lane = job("t", 0).lane();
    let claims: Vec<_> = (0..10)
        .map(|_| {
            let engine = Arc::clone(&fixture.engine);
            tokio::spawn(async move { engine.claim_jobs(vec![ask(lane, 7)], at(0)).await.unwrap() })
        })
        .collect();
    let (mut ids, mut rows) = (HashSet::new(), 0);
    for claim in claims {
        for claimed in claim.await.unwrap().remove(0).claimed {
            ids.insert(claimed.job.id);
            rows += 1;
        }
    }
    assert_eq!((ids.len(), rows), (40, 40));
}

pub async fn expired_jobs_are_found_whatever_their_lane(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let expiring = |task: &str, expires: i64| Job { expires_at: Some(due(expires)), ..later(task, 1_000) };
    let (a, b, c, d) = (expiring("a", 10), expiring("b", 20), expiring("c", 30), expiring("d", 400));
    for job in [&c, &b, &a, &d] {
        fixture.submit(job.clone(), 0).await;
    }
    fixture.submit(job("never", 0), 0).await;
    let running = Job { expires_at: Some(due(15)), ..job("runs", 0) };
    fixture.running(running, 0).await;
    let (none, next) = fixture.engine.claim_expired(10, at(9)).await.unwrap();
    assert_eq!((none.len(), next), (0, Some(due(10))));
    let (two, next) = fixture.engine.claim_expired(2, at(50)).await.unwrap();
    assert_eq!(two.iter().map(|claimed| claimed.job.id).collect::<Vec<_>>(), [a.id, b.id]);
    assert_eq!(next, Some(due(30)));
    assert_eq!((two[0].hold.attempt, two[0].hold.fence), (1, fixture.fence));
    let (one, next) = fixture.engine.claim_expired(10, at(50)).await.unwrap();
    assert_eq!((one[0].job.id, one.len(), next), (c.id, 1, Some(due(400))));
}

pub async fn a_claimed_job_is_whole(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let job = Job {
        callbacks: to(&["one.example"]),
        expires_at: Some(due(900)),
        metadata: raw(r#"{"k":"v"}"#),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        ..job("t", 0)
    };
    fixture.engine.submit(Submit { input: "[true]".into(), ..submission(job.clone(), 0) }).await.unwrap();
    let claimed = fixture.claim(job.lane(), 1, 4).await.claimed.remove(0);
    let running = Job { state: State::Running { attempt: 1, started_at: shown(4) }, ..job.clone() };
    assert_same(&claimed.job, &running);
    assert_same(&fixture.job(job.id).await, &running);
    assert_eq!((&*claimed.input, claimed.due), ("[true]", due(0)));
    let hold = claimed.hold;
    assert_eq!((hold.tenant, hold.job, hold.lane), (TENANT, job.id, job.lane()));
    assert_eq!((hold.attempt, hold.fence), (1, fixture.fence));
    fixture
        .recorder
        .woken(
            "JobChanged",
            |wake| matches!(wake, Wake::JobChanged { job: id, ended: false } if *id == job.id),
        )
        .await;
}
