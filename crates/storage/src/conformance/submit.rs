//! Submissions: recorded, found again by their key, whole.

use std::{sync::Arc, time::Duration};

use domain::{
    callback::{Callback, Callbacks, Sealed},
    duration::Span,
    event::EventKind,
    id::JobId,
    job::{Job, Priority, State},
    retry::RetryPolicy,
};

use super::{Store, fixture::*};
use crate::{Submit, Submitted, Wake};

/// Every field that a submission can set.
fn full() -> Job {
    let callback = Callback {
        headers: Some(Sealed(vec![7, 0, 255])),
        secret: Some(Sealed(vec![0, 255, 7])),
        retry: Some(RetryPolicy::default_delivery()),
        timeout: Some(Span(Duration::from_secs(3))),
        ..callback("one.example", &[EventKind::JobStarted, EventKind::JobFailed])
    };
    Job {
        priority: Priority::new(2).unwrap(),
        timeout: Duration::from_millis(1_500),
        max_attempts: 30,
        metadata: raw(r#"{"ä": "\u0000", "b":"1.10"}"#),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        callbacks: Callbacks::new(vec![callback]),
        expires_at: Some(due(900)),
        rerun_of: Some(JobId::from_u128(77)),
        state: State::Queued { attempt: 0, run_at: Some(due(30)), started_at: None },
        ..job("report", 0)
    }
}

pub async fn reads_back_whole_after_a_crash(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let (plain, full) = (job("t", 0), full());
    for job in [&plain, &full] {
        let accepted = fixture.submit(job.clone(), 0).await;
        assert_same(&accepted, job);
        assert_same(&fixture.job(job.id).await, job);
    }
    let fixture = fixture.crash().await;
    for job in [plain, full] {
        assert_same(&fixture.job(job.id).await, &job);
        assert_eq!(fixture.engine.input(TENANT, job.id).await.unwrap().as_deref(), Some("{}"));
    }
    assert!(fixture.engine.job(TENANT, JobId::from_u128(5)).await.unwrap().is_none());
    assert!(fixture.engine.input(TENANT, JobId::from_u128(5)).await.unwrap().is_none());
}

pub async fn an_input_is_kept_as_sent(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let long = format!("\"{}\"", "é".repeat(200_000));
    let inputs = [
        "null",
        " { \"a\" : 1.10 , \"b\":1e400 }\n",
        "\"\\u0000\"",
        &"1".repeat(2_048),
        &"1".repeat(2_049),
        &long,
    ];
    let mut ids = Vec::new();
    for input in inputs {
        let submit = Submit { input: input.into(), ..submission(job("t", 0), 0) };
        ids.push(submit.job.id);
        fixture.engine.submit(submit).await.unwrap();
    }
    let fixture = fixture.crash().await;
    let claimed = fixture.claim(job("t", 0).lane(), 100, 0).await.claimed;
    for (id, input) in ids.iter().zip(inputs) {
        assert_eq!(fixture.engine.input(TENANT, *id).await.unwrap().as_deref(), Some(input));
        let claimed = claimed.iter().find(|claimed| claimed.job.id == *id).unwrap();
        assert_eq!(&*claimed.input, input);
    }
}

pub async fn a_key_finds_its_job(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let with_key = |key| Submit { idempotency: key, ..submission(job("t", 0), 0) };
    let first = with_key(key(1, 1));
    let id = first.job.id;
    assert!(matches!(fixture.engine.submit(first).await.unwrap(), Submitted::Accepted(job) if job.id == id));
    let replay = with_key(key(1, 1));
    let unborn = replay.job.id;
    assert!(
        matches!(fixture.engine.submit(replay).await.unwrap(), Submitted::Replayed(found) if found == id)
    );
    assert!(fixture.engine.job(TENANT, unborn).await.unwrap().is_none());
    assert!(matches!(fixture.engine.submit(with_key(key(1, 2))).await.unwrap(), Submitted::KeyReused));
    // The same is told without recording anything.
    let told = async |one| fixture.engine.replay(key(one, 1).unwrap()).await.unwrap();
    assert!(matches!(told(1).await, Some(Submitted::Replayed(found)) if found == id));
    assert!(told(2).await.is_none());
    let other = fixture.engine.replay(key(1, 2).unwrap()).await.unwrap();
    assert!(matches!(other, Some(Submitted::KeyReused)));
    assert!(matches!(fixture.engine.submit(with_key(key(2, 1))).await.unwrap(), Submitted::Accepted(_)));
    // Also once it has ended.
    for claimed in fixture.claim(job("t", 0).lane(), 10, 0).await.claimed {
        fixture.engine.finish(done(&claimed, 1)).await.unwrap();
    }
    assert!(
        matches!(fixture.engine.submit(with_key(key(1, 1))).await.unwrap(), Submitted::Replayed(found) if found == id)
    );
    assert_eq!(fixture.engine.jobs(all_jobs()).await.unwrap().items.len(), 2);
}

pub async fn a_key_survives_a_crash(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let submit = || Submit { idempotency: key(1, 1), ..submission(job("t", 0), 0) };
    let first = submit();
    let id = first.job.id;
    fixture.engine.submit(first).await.unwrap();
    let fixture = fixture.crash().await;
    assert!(
        matches!(fixture.engine.submit(submit()).await.unwrap(), Submitted::Replayed(found) if found == id)
    );
}

pub async fn eight_at_once_make_one_job(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let engine = Arc::clone(&fixture.engine);
            let submit = Submit { idempotency: key(1, 1), ..submission(job("t", 0), 0) };
            tokio::spawn(async move { engine.submit(submit).await.unwrap() })
        })
        .collect();
    let (mut accepted, mut replayed) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await.unwrap() {
            Submitted::Accepted(job) => accepted.push(job.id),
            Submitted::Replayed(id) => replayed.push(id),
            Submitted::KeyReused => panic!("the same request is no other request"),
        }
    }
    assert_eq!(accepted.len(), 1);
    assert_eq!(replayed, [accepted[0]; 7]);
    assert_eq!(fixture.engine.jobs(all_jobs()).await.unwrap().items.len(), 1);
}

pub async fn a_time_to_run_is_kept(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let later =
        Job { state: State::Queued { attempt: 0, run_at: Some(due(30)), started_at: None }, ..job("t", 0) };
    let lane = later.lane();
    fixture.submit(later.clone(), 0).await;
    let early = fixture.claim(lane, 10, 29).await;
    assert!(early.claimed.is_empty());
    assert_eq!(early.next_due, Some(due(30)));
    let claimed = fixture.claim(lane, 10, 30).await;
    assert_eq!(claimed.claimed.len(), 1);
    assert_eq!(claimed.claimed[0].due, due(30));
    assert_eq!(claimed.next_due, None);
}

pub async fn commits_are_told(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let job = Job { expires_at: Some(due(900)), ..job("t", 0) };
    fixture.submit(job.clone(), 0).await;
    let lane_due = |wake: &Wake| matches!(wake, Wake::JobDue { lane, task, due: at } if *lane == job.lane() && *task == job.task && *at == due(0));
    fixture.recorder.woken("JobDue", lane_due).await;
    fixture
        .recorder
        .woken("JobExpires", |wake| matches!(wake, Wake::JobExpires { at } if *at == due(900)))
        .await;
}
