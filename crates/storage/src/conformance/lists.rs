//! Lists: newest first, filtered, by page, and of one tenant only.

use domain::{
    delivery::{self, Next, Outcome, Reason},
    id::Tenant,
    job::{Job, Status},
};

use super::{Store, fixture::*};
use crate::{DeliveryFilter, Fetched, JobFilter, Resent};

pub async fn jobs_by_page(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let mut expected = Vec::new();
    for seconds in 0..7 {
        expected.insert(0, fixture.submit(job("t", seconds), seconds).await);
    }
    let (mut read, mut before, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = fixture.engine.jobs(JobFilter { before, limit: 3, ..all_jobs() }).await.unwrap();
        before = page.items.last().map(|job| job.id);
        read.extend(page.items);
        pages += 1;
        if !page.more {
            break;
        }
    }
    assert_eq!(pages, 3);
    assert_same(&read, &expected);
    let page = fixture.engine.jobs(JobFilter { limit: 7, ..all_jobs() }).await.unwrap();
    assert_eq!((page.items.len(), page.more), (7, false));
}

pub async fn jobs_by_filter(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let running = fixture.running(job("runs", 0), 0).await.job.id;
    let ended = fixture.running(job("ends", 10), 10).await;
    fixture.engine.finish(done(&ended, 11)).await.unwrap();
    let canceled = fixture.submit(job("ends", 20), 20).await;
    fixture.engine.cancel(cancel(&canceled, 21)).await.unwrap();
    let queued = fixture.submit(job("waits", 30), 30).await.id;
    let (ended, canceled) = (ended.job.id, canceled.id);
    let status = |status| JobFilter { status: Some(status), ..all_jobs() };
    let task = |task: &str| JobFilter { task: Some(task.parse().unwrap()), ..all_jobs() };
    let between = |after, before| JobFilter {
        created_after: Some(shown(after)),
        created_before: Some(shown(before)),
        ..all_jobs()
    };
    for (name, filter, expected) in [
        ("all", all_jobs(), vec![queued, canceled, ended, running]),
        ("queued", status(Status::Queued), vec![queued]),
        ("running", status(Status::Running), vec![running]),
        ("succeeded", status(Status::Succeeded), vec![ended]),
        ("failed", status(Status::Failed), vec![]),
        ("canceled", status(Status::Canceled), vec![canceled]),
        ("task", task("ends"), vec![canceled, ended]),
        ("both", JobFilter { status: Some(Status::Succeeded), ..task("ends") }, vec![ended]),
        ("neither", JobFilter { status: Some(Status::Queued), ..task("ends") }, vec![]),
        ("between", between(5, 25), vec![canceled, ended]),
        ("the bounds are outside", between(10, 20), vec![]),
        ("before", JobFilter { before: Some(canceled), ..all_jobs() }, vec![ended, running]),
    ] {
        let page = fixture.engine.jobs(filter).await.unwrap();
        assert_eq!(page.items.iter().map(|job| job.id).collect::<Vec<_>>(), expected, "{name}");
        assert!(!page.more);
    }
}

pub async fn deliveries_by_page(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    for seconds in 0..3 {
        let claimed = fixture
            .running(Job { callbacks: to(&["a.example", "b.example"]), ..job("t", seconds) }, seconds)
            .await;
        fixture.engine.finish(done(&claimed, seconds)).await.unwrap();
    }
    let all = fixture.engine.deliveries(all_deliveries()).await.unwrap();
    let ids: Vec<_> = all.items.iter().map(|delivery| delivery.id).collect();
    assert!(ids.len() == 6 && ids.is_sorted_by(|a, b| a > b), "{ids:?}");
    let first = fixture.engine.deliveries(DeliveryFilter { limit: 4, ..all_deliveries() }).await.unwrap();
    let before = Some(first.items[3].id);
    let rest =
        fixture.engine.deliveries(DeliveryFilter { before, limit: 4, ..all_deliveries() }).await.unwrap();
    assert_eq!((first.more, rest.more), (true, false));
    let paged: Vec<_> = first.items.iter().chain(&rest.items).map(|delivery| delivery.id).collect();
    assert_eq!(paged, ids);
}

pub async fn deliveries_by_filter(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let good = fixture.sending("a.example", 0).await;
    fixture.engine.settle(took(&good, 1)).await.unwrap();
    let dead = fixture.sending("b.example", 10).await;
    let closed = attempt(&dead, Outcome::Timeout, None, 11);
    fixture.engine.settle(settled(&dead, closed, Next::Failed(Reason::Exhausted), 11)).await.unwrap();
    let open = fixture.sending("c.example", 20).await;
    let (id, job) = (|claimed: &crate::ClaimedDelivery| claimed.hold.delivery, open.job.unwrap());
    let status = |status| DeliveryFilter { status: Some(status), ..all_deliveries() };
    let outcome = |outcome| DeliveryFilter { outcome: Some(outcome), ..all_deliveries() };
    for (name, filter, expected) in [
        ("all", all_deliveries(), vec![id(&open), id(&dead), id(&good)]),
        ("job", DeliveryFilter { job: Some(job), ..all_deliveries() }, vec![id(&open)]),
        ("event", DeliveryFilter { event: Some(dead.event), ..all_deliveries() }, vec![id(&dead)]),
        ("pending", status(delivery::Status::Pending), vec![id(&open)]),
        ("succeeded", status(delivery::Status::Succeeded), vec![id(&good)]),
        ("failed", status(delivery::Status::Failed), vec![id(&dead)]),
        ("delivered", outcome(Outcome::Delivered), vec![id(&good)]),
        ("timeout", outcome(Outcome::Timeout), vec![id(&dead)]),
        ("dns", outcome(Outcome::Dns), vec![]),
        ("job and status", DeliveryFilter { job: Some(job), ..status(delivery::Status::Failed) }, vec![]),
        ("before", DeliveryFilter { before: Some(id(&dead)), ..all_deliveries() }, vec![id(&good)]),
        (
            "between",
            DeliveryFilter {
                created_after: Some(shown(5)),
                created_before: Some(shown(15)),
                ..all_deliveries()
            },
            vec![id(&dead)],
        ),
    ] {
        let page = fixture.engine.deliveries(filter).await.unwrap();
        assert_eq!(page.items.iter().map(|delivery| delivery.id).collect::<Vec<_>>(), expected, "{name}");
        for delivery in page.items {
            assert_same(&delivery, &fixture.delivery(delivery.id).await.delivery);
        }
    }
}

pub async fn other_tenants_see_nothing(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let claimed = fixture.sending("a.example", 0).await;
    let (job, delivery, other) = (claimed.job.unwrap(), claimed.hold.delivery, Tenant(2));
    assert!(fixture.engine.job(other, job).await.unwrap().is_none());
    assert!(fixture.engine.input(other, job).await.unwrap().is_none());
    assert!(matches!(fixture.engine.result(other, job).await.unwrap(), Fetched::Missing));
    assert!(fixture.engine.delivery(other, delivery).await.unwrap().is_none());
    assert_eq!(fixture.engine.resend(other, delivery, at(1)).await.unwrap(), Resent::Missing);
    assert!(fixture.engine.jobs(JobFilter { tenant: other, ..all_jobs() }).await.unwrap().items.is_empty());
    let filter = DeliveryFilter { tenant: other, job: Some(job), ..all_deliveries() };
    assert!(fixture.engine.deliveries(filter).await.unwrap().items.is_empty());
}
