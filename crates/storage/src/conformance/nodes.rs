//! Who holds what, and what becomes of it when they are gone.

use domain::{
    chance::Moment,
    delivery::{Next, Outcome, Progress},
    event::Event,
    fleet::Holds,
    job::{Job, Status},
};

use super::{Store, fixture::*};
use crate::{Announce, Drained, LaneStart, Recovered, Renewed, Requeue, Shared, StorageError, Wake, Written};

pub async fn what_a_dead_node_held_is_due_again(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let running = fixture.running(job("t", 0), 0).await;
    let waiting = fixture.submit(job("u", 0), 0).await;
    let sending = fixture.sending("a.example", 0).await;
    let fixture = fixture.crash().await;
    assert_ne!(fixture.fence, running.hold.fence);
    // Until somebody looks, the row says what it said.
    assert_eq!(fixture.job(running.job.id).await.status(), Status::Running);
    let recovered = fixture.engine.take_over(at(10)).await.unwrap();
    assert_eq!(recovered, Recovered { jobs: 1, deliveries: 1 });
    assert_eq!(fixture.engine.take_over(at(11)).await.unwrap(), Recovered::default());
    let read = fixture.job(running.job.id).await;
    assert_eq!((read.status(), read.attempt(), read.started_at()), (Status::Queued, 1, Some(shown(0))));
    assert_same(&fixture.job(waiting.id).await, &waiting);
    for lane in [running.hold.lane, sending.hold.lane] {
        let touched = |wake: &Wake| match wake {
            Wake::JobDue { lane: l, due: at, .. } | Wake::DeliveryDue { lane: l, due: at } => {
                *l == lane && *at == due(10)
            }
            _ => false,
        };
        fixture.recorder.woken("the lanes it touched", touched).await;
    }
    let again = fixture.claim(running.hold.lane, 9, 10).await.claimed.remove(0);
    assert_eq!((again.job.id, again.hold.attempt, again.due), (running.job.id, 2, due(10)));
    let sent = fixture.claim_to("a.example", 9, 10).await.claimed.remove(0);
    assert_eq!((sent.hold.attempt, sent.due, sent.trigger), (2, due(10), POLICY));
    assert_eq!(sent.progress, sending.progress);
    // What this node holds in this life is nobody's to take.
    assert_eq!(fixture.engine.take_over(at(12)).await.unwrap(), Recovered::default());
    assert_eq!(fixture.engine.finish(done(&again, 13)).await.unwrap(), Written::Done);
    assert_eq!(fixture.engine.settle(took(&sent, 13)).await.unwrap(), Written::Done);
}

pub async fn interrupted_attempts_keep_the_numbers_whole(store: &dyn Store) {
    let mut fixture = Fixture::new(store).await;
    let first = fixture.sending("a.example", 0).await;
    let progress = Progress { steps: 1, since: due(0), succeeded: false };
    let refused = attempt(&first, Outcome::HttpStatus, Some(500), 1);
    fixture.engine.settle(settled(&first, refused, Next::Again { due: due(2), progress }, 1)).await.unwrap();
    for seconds in [10, 20] {
        assert_eq!(fixture.claim_to("a.example", 9, seconds).await.claimed.len(), 1);
        fixture = fixture.crash().await;
        fixture.engine.take_over(at(seconds + 5)).await.unwrap();
    }
    let last = fixture.claim_to("a.example", 9, 30).await.claimed.remove(0);
    assert_eq!((last.hold.attempt, last.progress), (4, progress));
    fixture.engine.settle(took(&last, 31)).await.unwrap();
    let attempts = fixture.delivery(last.hold.delivery).await.attempts;
    let told: Vec<_> = attempts.iter().map(|a| (a.number, a.outcome, a.started_at, a.ended_at)).collect();
    assert_eq!(
        told[1..],
        [
            (2, Outcome::Interrupted, shown(10), shown(15)),
            (3, Outcome::Interrupted, shown(20), shown(25)),
            (4, Outcome::Delivered, shown(30), shown(31)),
        ]
    );
    let said = domain::delivery::Attempt::interrupted(2, POLICY, shown(10), shown(15));
    assert_same(&attempts[1], &said);
}

pub async fn what_is_not_held_is_given_back(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let lost = fixture.running(job("t", 0), 0).await;
    let held = fixture.running(job("t", 0), 0).await;
    let lost_delivery = fixture.sending("a.example", 0).await;
    let held_delivery = fixture.sending("b.example", 0).await;
    let (jobs, deliveries) = (vec![held.job.id], vec![held_delivery.hold.delivery]);
    let given = fixture.engine.give_back(Some(jobs), Some(deliveries), at(5)).await.unwrap();
    assert_eq!(given, Recovered { jobs: 1, deliveries: 1 });
    let read = fixture.job(lost.job.id).await;
    assert_eq!((read.status(), read.attempt()), (Status::Queued, 0));
    let attempts = fixture.delivery(lost_delivery.hold.delivery).await.attempts;
    assert_eq!(
        attempts.iter().map(|a| (a.number, a.outcome)).collect::<Vec<_>>(),
        [(1, Outcome::Interrupted)]
    );
    assert_eq!(fixture.engine.finish(done(&lost, 6)).await.unwrap(), Written::LeaseLost);
    assert_eq!(fixture.engine.settle(took(&lost_delivery, 6)).await.unwrap(), Written::LeaseLost);
    assert_eq!(fixture.engine.finish(done(&held, 6)).await.unwrap(), Written::Done);
    assert_eq!(fixture.engine.settle(took(&held_delivery, 6)).await.unwrap(), Written::Done);
    let again = fixture.claim(lost.hold.lane, 9, 5).await.claimed.remove(0);
    assert_eq!((again.job.id, again.hold.attempt), (lost.job.id, 1));
    let sent = fixture.claim_to("a.example", 9, 5).await.claimed.remove(0);
    assert_eq!(sent.hold.attempt, 2);
    let lane = lost.hold.lane;
    fixture
        .recorder
        .woken(
            "JobDue",
            |wake| matches!(wake, Wake::JobDue { lane: l, due: at, .. } if *l == lane && *at == due(5)),
        )
        .await;
}

pub async fn a_stage_that_is_not_named_is_left_alone(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let job = fixture.running(job("t", 0), 0).await;
    let delivery = fixture.sending("a.example", 0).await;
    assert_eq!(fixture.engine.give_back(None, None, at(1)).await.unwrap(), Recovered::default());
    let given = fixture.engine.give_back(None, Some(vec![]), at(1)).await.unwrap();
    assert_eq!(given, Recovered { jobs: 0, deliveries: 1 });
    let given = fixture.engine.give_back(Some(vec![]), None, at(1)).await.unwrap();
    assert_eq!(given, Recovered { jobs: 1, deliveries: 0 });
    assert_eq!(fixture.engine.finish(done(&job, 2)).await.unwrap(), Written::LeaseLost);
    assert_eq!(fixture.engine.settle(took(&delivery, 2)).await.unwrap(), Written::LeaseLost);
}

pub async fn a_stale_epoch_changes_nothing(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let stale = fixture.running(Job { callbacks: to(&["z.example"]), ..job("t", 0) }, 0).await;
    let stale_sending = fixture.sending("a.example", 0).await;
    let fixture = fixture.crash().await;
    fixture.engine.take_over(at(10)).await.unwrap();
    let event = Event::started(&stale.job, shown(11), &links(stale.job.id));
    let announce = Announce { job: stale.job.clone(), hold: stale.hold, event, at: at(11) };
    let requeue = Requeue { hold: stale.hold, due: due(99), counted: false };
    // Both while the rows are free and once somebody else holds them in the next attempt.
    for round in 0..2 {
        assert_eq!(fixture.engine.finish(done(&stale, 11)).await.unwrap(), Written::LeaseLost, "{round}");
        assert_eq!(fixture.engine.requeue(requeue).await.unwrap(), Written::LeaseLost, "{round}");
        assert_eq!(fixture.engine.announce(announce.clone()).await.unwrap(), Written::LeaseLost, "{round}");
        assert_eq!(
            fixture.engine.settle(took(&stale_sending, 11)).await.unwrap(),
            Written::LeaseLost,
            "{round}"
        );
        if round == 0 {
            assert_eq!(fixture.claim(stale.hold.lane, 9, 10).await.claimed.len(), 1);
            assert_eq!(fixture.claim_to("a.example", 9, 10).await.claimed.len(), 1);
        }
    }
    let read = fixture.job(stale.job.id).await;
    assert_eq!((read.status(), read.attempt()), (Status::Running, 2));
    assert!(fixture.deliveries_of(stale.job.id).await.is_empty());
    assert_eq!(fixture.delivery(stale_sending.hold.delivery).await.attempts.len(), 1);
}

pub async fn a_start_finds_every_lane(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    assert_eq!(fixture.engine.lanes().await.unwrap(), []);
    let sending = fixture.sending("a.example", 0).await;
    let progress = Progress { steps: 1, since: due(0), succeeded: false };
    let refused = attempt(&sending, Outcome::HttpStatus, Some(500), 1);
    fixture
        .engine
        .settle(settled(&sending, refused, Next::Again { due: due(50), progress }, 1))
        .await
        .unwrap();
    let in_flight = fixture.sending("b.example", 0).await;
    let running = fixture.running(job("runs", 0), 0).await;
    let first = fixture.submit(job("first", 3), 3).await;
    for _ in 0..3 {
        fixture.submit(job("first", 9), 9).await;
    }
    let second = fixture.submit(job("second", 7), 7).await;
    let fixture = fixture.crash().await;
    let mut found = fixture.engine.lanes().await.unwrap();
    let of = |job: &Job, seconds| LaneStart {
        lane: job.lane(),
        task: Some(job.task.clone()),
        due: due(seconds),
        failing: false,
    };
    let mut expected = vec![
        of(&first, 3),
        of(&second, 7),
        LaneStart { lane: sending.hold.lane, task: None, due: due(50), failing: false },
    ];
    found.sort_by_key(|start| start.lane);
    expected.sort_by_key(|start| start.lane);
    assert_eq!(found, expected);
    fixture.engine.take_over(at(60)).await.unwrap();
    let lanes: Vec<_> = fixture.engine.lanes().await.unwrap().iter().map(|start| start.lane).collect();
    assert_eq!(lanes.len(), 5);
    assert!(lanes.contains(&in_flight.hold.lane) && lanes.contains(&running.hold.lane));
    let backlogs = fixture.engine.backlogs();
    for (task, waiting) in [("first", 4), ("second", 1), ("runs", 1)] {
        let backlog = backlogs.of(&task.parse().unwrap(), due(60));
        assert_eq!((backlog.waiting, backlog.running), (waiting, 0), "{task}");
    }
}

pub async fn who_leaves_frees_its_work(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let running = fixture.running(job("t", 0), 0).await;
    assert!(matches!(fixture.engine.extend(LEASE, true).await.unwrap(), Renewed::Done(_)));
    let check = fixture.engine.check().await.unwrap();
    assert!(!check.engine.is_empty() && check.schema >= 1, "{check:?}");
    fixture.engine.leave().await.unwrap();
    fixture.engine.close().await;
    drop(fixture);
    // No lease is made to pass: it left.
    let fixture = Fixture::new(store).await;
    assert_eq!(fixture.engine.take_over(at(1)).await.unwrap().jobs, 1);
    assert_eq!(fixture.claim(running.hold.lane, 9, 1).await.claimed.len(), 1);
}

pub async fn a_renewal_tells_who_is_there(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let Renewed::Done(roster) = fixture.engine.extend(LEASE, true).await.unwrap() else {
        panic!("it is lost")
    };
    let row = roster.node(fixture.fence.node).unwrap().clone();
    assert_eq!((roster.nodes.len(), row.fence, row.takes, row.drain_at), (1, fixture.fence, true, None));
    assert!(row.started_at <= roster.now && row.lease_until > roster.now, "{row:?}");
    assert_eq!(roster.fleet().len(), 1);
    assert_eq!(fixture.engine.roster().await.unwrap().nodes[0].name, row.name);
    let Renewed::Done(roster) = fixture.engine.extend(LEASE, false).await.unwrap() else {
        panic!("it is lost")
    };
    assert!(!roster.node(fixture.fence.node).unwrap().takes);
}

pub async fn slots_are_taken_and_told(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let holds: Holds = [("t".parse().unwrap(), 3), ("u".parse().unwrap(), 0)].into_iter().collect();
    let version = fixture.engine.roster().await.unwrap().version;
    assert_eq!(fixture.engine.share(holds.clone(), version).await.unwrap(), Shared::Done);
    let roster = fixture.engine.roster().await.unwrap();
    assert_eq!(roster.node(fixture.fence.node).unwrap().holds, holds);
    assert_eq!(holds.iter().count(), 1);
}

pub async fn a_node_is_asked_to_drain(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let node = fixture.fence.node;
    assert_eq!(fixture.engine.drain(node + 7).await.unwrap(), Drained::Missing);
    assert_eq!(fixture.engine.drain(node).await.unwrap(), Drained::Asked);
    let asked = fixture.engine.roster().await.unwrap().node(node).unwrap().drain_at;
    assert!(asked.is_some());
    assert_eq!(fixture.engine.drain(node).await.unwrap(), Drained::Asked, "again");
    assert_eq!(fixture.engine.roster().await.unwrap().node(node).unwrap().drain_at, asked);
    fixture.recorder.woken("FleetChanged", |wake| matches!(wake, Wake::FleetChanged)).await;
}

pub async fn who_joins_again_frees_what_it_held(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let running = fixture.running(job("t", 0), 0).await;
    let sending = fixture.sending("a.example", 0).await;
    let again = fixture.engine.join(LEASE).await.unwrap();
    assert_eq!((again.node, again.epoch), (fixture.fence.node, fixture.fence.epoch + 1));
    let freed = fixture.engine.take_over(at(5)).await.unwrap();
    assert_eq!(freed, Recovered { jobs: 1, deliveries: 1 });
    assert_eq!(fixture.engine.finish(done(&running, 6)).await.unwrap(), Written::LeaseLost);
    assert_eq!(fixture.engine.settle(took(&sending, 6)).await.unwrap(), Written::LeaseLost);
    let claimed = fixture.claim(running.hold.lane, 9, 6).await.claimed.remove(0);
    assert_eq!((claimed.hold.fence, claimed.hold.attempt), (again, 2));
    assert_eq!(fixture.engine.finish(done(&claimed, 7)).await.unwrap(), Written::Done);
}

pub async fn counters_follow_commits(store: &dyn Store) {
    let fixture = Fixture::with_room(store, 1, 0).await;
    let numbers = |Moment { now, .. }| {
        let backlog = fixture.engine.backlogs().of(&"t".parse().unwrap(), now);
        (backlog.waiting, backlog.running)
    };
    fixture.submit(job("t", 0), 0).await;
    fixture.recorder.until("the job", |seen| !seen.jobs.is_empty()).await;
    assert_eq!(numbers(at(0)), (0, 1));
    let born = fixture.recorder.seen().jobs.remove(0);
    for _ in 0..3 {
        fixture.submit(job("t", 0), 0).await;
    }
    assert_eq!(numbers(at(0)), (3, 1));
    let claimed = fixture.claim(born.hold.lane, 2, 0).await.claimed;
    assert_eq!(numbers(at(0)), (1, 3));
    let requeue = Requeue { hold: claimed[0].hold, due: due(50), counted: true };
    fixture.engine.requeue(requeue).await.unwrap();
    assert_eq!(numbers(at(0)), (2, 2));
    fixture.engine.finish(done(&claimed[1], 1)).await.unwrap();
    fixture.engine.finish(done(&claimed[1], 1)).await.unwrap();
    fixture.engine.finish(done(&born, 1)).await.unwrap();
    assert_eq!(numbers(at(1)), (2, 0));
    let queued = fixture.job(claimed[0].job.id).await;
    fixture.engine.cancel(cancel(&queued, 2)).await.unwrap();
    assert_eq!(numbers(at(2)), (1, 0));
    assert!(fixture.engine.backlogs().of(&"t".parse().unwrap(), due(2)).pace > 0.0);
}

pub async fn a_closed_engine_says_so(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let kept = fixture.submit(job("t", 0), 0).await;
    fixture.engine.close().await;
    let refused = fixture.engine.submit(submission(job("t", 0), 0)).await;
    assert!(matches!(refused, Err(StorageError::Closed)), "{refused:?}");
    let fixture = fixture.crash().await;
    assert_eq!(fixture.engine.jobs(all_jobs()).await.unwrap().items.len(), 1);
    assert_same(&fixture.job(kept.id).await, &kept);
}
