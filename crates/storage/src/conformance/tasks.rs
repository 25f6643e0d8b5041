//! Paused tasks: known to every node, and after a crash.

use domain::{
    job::{Job, State},
    task::TaskName,
};

use super::{Store, fixture::*};
use crate::Wake;

fn name(text: &str) -> TaskName {
    text.parse().unwrap()
}

pub async fn paused_until_resumed(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    assert!(fixture.engine.paused_tasks().await.unwrap().is_empty());
    for task in ["b", "a", "b"] {
        fixture.engine.pause_task(name(task), shown(1)).await.unwrap();
    }
    let told = |paused: bool| move |wake: &Wake| matches!(wake, Wake::TaskPaused { task, paused: is } if *task == name("a") && *is == paused);
    fixture.recorder.woken("paused", told(true)).await;
    let fixture = fixture.crash().await;
    assert_eq!(fixture.engine.paused_tasks().await.unwrap(), [name("a"), name("b")]);
    for task in ["a", "a", "c"] {
        fixture.engine.resume_task(name(task)).await.unwrap();
    }
    fixture.recorder.woken("resumed", told(false)).await;
    assert_eq!(fixture.engine.paused_tasks().await.unwrap(), [name("b")]);
}

pub async fn the_oldest_that_waits_is_found_for_each_task(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    assert!(fixture.engine.oldest_waiting().await.unwrap().is_empty());
    fixture.running(job("running", 0), 0).await;
    for (task, seconds) in [("a", 5), ("a", 3), ("b", 4)] {
        fixture.submit(job(task, seconds), seconds).await;
    }
    let first = domain::job::Priority::new(0).unwrap();
    fixture.submit(Job { priority: first, ..job("a", 2) }, 2).await;
    let state = State::Queued { attempt: 0, run_at: Some(due(90)), started_at: None };
    fixture.submit(Job { state, ..job("later", 1) }, 1).await;
    let oldest = fixture.engine.oldest_waiting().await.unwrap();
    assert_eq!(oldest, [(name("a"), due(2)), (name("b"), due(4)), (name("later"), due(90))]);
}
