//! Everything that a store holds, as text: for comparing before and after, and one engine with another.

use std::{fmt::Write, sync::Arc};

use domain::{
    delivery::{Next, Outcome, Progress, Reason},
    job::{Ending, Job},
    problem::JobError,
};

use super::{Store, fixture::*};
use crate::{DeliveryFilter, Engine, Fetched, Guard, JobFilter, Requeue};

/// What `engine` says about everything that the default tenant has, oldest first.
///
/// # Panics
/// If it cannot be read.
pub async fn dump(engine: &Arc<dyn Engine>) -> String {
    let (mut text, mut jobs, mut deliveries) = (String::new(), Vec::new(), Vec::new());
    loop {
        let before = jobs.last().map(|job: &Job| job.id);
        let page = engine.jobs(JobFilter { before, ..all_jobs() }).await.unwrap();
        jobs.extend(page.items);
        if !page.more {
            break;
        }
    }
    for job in jobs.iter().rev() {
        let input = engine.input(TENANT, job.id).await.unwrap();
        let result = match engine.result(TENANT, job.id).await.unwrap() {
            Fetched::Content(content) => Some(content),
            Fetched::None(_) | Fetched::Missing => None,
        };
        let _ = writeln!(text, "{job:#?}\ninput {input:?}\nresult {result:?}");
    }
    loop {
        let before = deliveries.last().map(|delivery: &domain::delivery::Delivery| delivery.id);
        let page = engine.deliveries(DeliveryFilter { before, ..all_deliveries() }).await.unwrap();
        deliveries.extend(page.items);
        if !page.more {
            break;
        }
    }
    for delivery in deliveries.iter().rev() {
        let detail = engine.delivery(TENANT, delivery.id).await.unwrap();
        let _ = writeln!(text, "{detail:#?}");
    }
    text
}

/// A script with a bit of everything. Its jobs are numbered anew each time; all else is the same each time.
async fn play(fixture: &Fixture<'_>) {
    let callbacks = || to(&["a.example", "b.example"]);
    for seconds in 0..12 {
        fixture.submit(Job { callbacks: callbacks(), ..job("t", seconds) }, seconds).await;
    }
    let claimed = fixture.claim(job("t", 0).lane(), 9, 20).await.claimed;
    let held = |n: usize| Guard::Held(claimed[n].hold);
    let lost = Ending::Failed(JobError::lost());
    fixture.engine.finish(success(&claimed[0], "application/json", b"{\"n\": 1.10}", 21)).await.unwrap();
    fixture.engine.finish(success(&claimed[1], "text/plain", &[b'x'; 5_000], 22)).await.unwrap();
    fixture.engine.finish(finish(&claimed[2].job, held(2), lost, 23)).await.unwrap();
    fixture.engine.finish(finish(&claimed[3].job, held(3), Ending::Canceled, 24)).await.unwrap();
    fixture.engine.requeue(Requeue { hold: claimed[4].hold, due: due(80), counted: true }).await.unwrap();
    fixture.engine.requeue(Requeue { hold: claimed[5].hold, due: due(90), counted: false }).await.unwrap();
    fixture.engine.cancel(cancel(&claimed[6].job, 25)).await.unwrap();
    let sent = fixture.claim_to("a.example", 9, 30).await.claimed;
    fixture.engine.settle(took(&sent[0], 31)).await.unwrap();
    let refused = |n: usize| attempt(&sent[n], Outcome::HttpStatus, Some(500), 32);
    let progress = Progress { steps: 1, since: due(32), succeeded: false };
    fixture
        .engine
        .settle(settled(&sent[1], refused(1), Next::Again { due: due(99), progress }, 32))
        .await
        .unwrap();
    fixture.engine.settle(settled(&sent[2], refused(2), Next::Failed(Reason::Gone), 32)).await.unwrap();
}

pub async fn the_same_script_reads_back_the_same_after_a_crash(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    play(&fixture).await;
    let before = dump(&fixture.engine).await;
    let fixture = fixture.crash().await;
    assert_eq!(dump(&fixture.engine).await, before);
    fixture.engine.take_over(at(200)).await.unwrap();
    let after = dump(&fixture.engine).await;
    let fixture = fixture.crash().await;
    assert_eq!(dump(&fixture.engine).await, after);
}

/// Two engines that were told the same hold the same.
///
/// # Panics
/// If they do not.
pub async fn two_engines_hold_the_same(left: &dyn Store, right: &dyn Store) {
    let mut told = Vec::new();
    for store in [left, right] {
        numbers_from_one();
        let fixture = Fixture::new(store).await;
        play(&fixture).await;
        let mut text = dump(&fixture.engine).await;
        let fixture = fixture.crash().await;
        fixture.engine.take_over(at(200)).await.unwrap();
        text.push_str(&dump(&fixture.engine).await);
        told.push(text);
    }
    assert_eq!(told[0], told[1]);
}
