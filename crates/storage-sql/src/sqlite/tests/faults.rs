//! A full disk, a poisoned command, a writer that is behind.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use domain::{
    callback::{Callbacks, Sealed},
    chance::Moment,
    id::{JobId, Tenant, TenantId},
    job::{Job, Priority, State},
    time::Timestamp,
};
use serde_json::value::RawValue;
use storage::{Access, Jobs, Nodes, StorageError, Submit, Submitted};

use crate::sqlite::{Sqlite, fault::Fault, queue::Class, writer::Writer};

const AT: Moment = Moment {
    now: Timestamp::from_micros(1_767_225_600_000_000),
    wall: Timestamp::from_micros(1_767_225_600_000_000),
};

fn open() -> (tempfile::TempDir, Arc<Sqlite>) {
    let folder = tempfile::tempdir().unwrap();
    let engine = Sqlite::open(&folder.path().join("test.db")).unwrap();
    (folder, Arc::new(engine))
}

fn submission(number: u128, input: &str) -> Submit {
    let job = Job {
        id: JobId::new(AT.now, number << 20),
        tenant: Tenant::DEFAULT,
        task: "echo".parse().unwrap(),
        priority: Priority::DEFAULT,
        timeout: Duration::from_secs(60),
        max_attempts: 3,
        metadata: Arc::from(RawValue::from_string("{}".into()).unwrap()),
        traceparent: None,
        callbacks: Callbacks::default(),
        created_at: AT.wall,
        expires_at: None,
        cancel_requested_at: None,
        rerun_of: None,
        progress: None,
        state: State::Queued { attempt: 0, run_at: None, started_at: None },
    };
    Submit { job, input: input.into(), due: AT.now, idempotency: None, at: AT }
}

/// Runs SQL on the writer's own connection, in its transaction.
fn sql(w: &mut Writer<'_>, sql: &&'static str) -> Result<(), Fault> {
    Ok(w.connection.execute_batch(sql)?)
}

/// Holds the writer inside a transaction until the other end of the channel goes.
fn hold(engine: &Sqlite) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let (inside, entered) = mpsc::channel::<()>();
    let wait = |_: &mut Writer<'_>,
                (inside, held): &(mpsc::Sender<()>, std::sync::Mutex<mpsc::Receiver<()>>)| {
        let _ = inside.send(());
        let _ = held.lock().unwrap().recv();
        Ok(())
    };
    drop(engine.queue.ask(Class::First, (inside, std::sync::Mutex::new(held)), wait).unwrap());
    entered.recv().unwrap();
    release
}

#[tokio::test]
async fn a_full_disk_refuses_and_heals_by_itself() {
    let (_folder, engine) = open();
    let input = format!("\"{}\"", "x".repeat(200_000));
    engine.ask(Class::First, "PRAGMA max_page_count = 100", sql).await.unwrap();
    let mut accepted = 0;
    let error = loop {
        match engine.submit(submission(accepted, &input)).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 100, "the disk never filled");
    };
    assert!(matches!(error, StorageError::Unavailable { unknown: false, .. }), "{error:?}");
    let refused = submission(accepted, &input).job.id;
    assert!(engine.job(Tenant::DEFAULT, refused).await.unwrap().is_none());

    engine.ask(Class::First, "PRAGMA max_page_count = 1000000", sql).await.unwrap();
    let again = engine.submit(submission(accepted, &input)).await;
    assert!(matches!(again, Ok(Submitted::Accepted(_))), "{again:?}");
    assert!(engine.job(Tenant::DEFAULT, refused).await.unwrap().is_some());
}

#[tokio::test]
async fn a_poisoned_command_fails_by_itself() {
    let (_folder, engine) = open();
    let release = hold(&engine);
    let poisoned = engine.queue.ask(Class::First, "SELECT no_such_function()", sql).unwrap();
    let good = engine.clone();
    let good = tokio::spawn(async move { good.submit(submission(1, "1")).await });
    let twice = engine.clone();
    // The same id again is a mistake of ours, and no reason to refuse its neighbours.
    let twice = tokio::spawn(async move { twice.submit(submission(1, "2")).await });
    tokio::task::yield_now().await;
    drop(release);
    assert!(matches!(poisoned.await.unwrap(), Err(StorageError::Unavailable { unknown: false, .. })));
    assert!(matches!(good.await.unwrap(), Ok(Submitted::Accepted(_))));
    assert!(twice.await.unwrap().is_err());
    assert_eq!(&*engine.input(Tenant::DEFAULT, submission(1, "").job.id).await.unwrap().unwrap(), "1");
}

#[tokio::test]
async fn a_writer_that_is_behind_refuses_after_a_second_and_loses_nothing() {
    let (_folder, engine) = open();
    let release = hold(&engine);
    let mut waiting = Vec::new();
    for number in 0..4096 {
        let engine = engine.clone();
        waiting.push(tokio::spawn(async move { engine.submit(submission(number, "1")).await }));
    }
    while engine.admission.free() > 0 {
        tokio::task::yield_now().await;
    }
    let late = engine.submit(submission(5000, "1")).await;
    assert!(matches!(late, Err(StorageError::Overloaded)), "{late:?}");
    drop(release);
    for answer in waiting {
        assert!(matches!(answer.await.unwrap(), Ok(Submitted::Accepted(_))));
    }
}

#[tokio::test]
async fn what_ends_goes_before_what_begins() {
    let (_folder, engine) = open();
    let release = hold(&engine);
    let submitting = engine.clone();
    let submitting = tokio::spawn(async move { submitting.submit(submission(1, "1")).await });
    tokio::task::yield_now().await;
    // Asked later, written earlier: it finds no job yet.
    let count = |w: &mut Writer<'_>, (): &()| {
        Ok(w.connection.query_row("SELECT count(*) FROM jobs", [], |row| row.get::<_, i64>(0))?)
    };
    let earlier = engine.queue.ask(Class::First, (), count).unwrap();
    drop(release);
    assert_eq!(earlier.await.unwrap().unwrap(), 0);
    submitting.await.unwrap().unwrap();
}

#[tokio::test]
async fn dropped_without_a_word_it_keeps_what_was_answered_and_frees_the_file() {
    let (folder, engine) = open();
    let id = TenantId::new(AT.now, 1);
    engine.ensure_default_tenant(id, Sealed(vec![1]), AT.wall).await.unwrap();
    engine.submit(submission(1, "1")).await.unwrap();
    drop(engine);
    let engine = Sqlite::open(&folder.path().join("test.db")).unwrap();
    assert!(engine.job(Tenant::DEFAULT, submission(1, "").job.id).await.unwrap().is_some());
    engine.close().await;
    let late = engine.submit(submission(2, "1")).await;
    assert!(matches!(late, Err(StorageError::Closed)), "{late:?}");
    assert!(engine.check().await.is_err());
}
