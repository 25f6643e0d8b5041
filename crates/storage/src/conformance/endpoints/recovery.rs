//! What is sent before its time, or once more: resends, probes, recoveries.

use domain::{
    callback::Callbacks,
    delivery::{Next, Outcome, Reason, Trigger},
    endpoint::{Plan, RecoveryState},
    event::EventSet,
    id::{RecoveryId, Tenant},
    lane::Lane,
};

use super::plan;
use crate::{
    Resent, Settle,
    conformance::{Store, fixture::*},
};

pub async fn a_resend_goes_beside_the_lane(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let endpoint = fixture.registered(1, EventSet::TERMINAL).await;
    fixture.ends("t", Callbacks::default(), 1).await;
    let claimed = fixture.sent_to(endpoint.id, false, 1).await.remove(0);
    fixture.engine.settle(took(&claimed, 2)).await.unwrap();
    assert_eq!(fixture.engine.resend(TENANT, claimed.hold.delivery, at(3)).await.unwrap(), Resent::Due);
    assert!(fixture.sent_to(endpoint.id, false, 4).await.is_empty());
    let again = fixture.sent_to(endpoint.id, true, 4).await.remove(0);
    assert_eq!(again.endpoint.as_ref().unwrap().sequence, Some(1), "its number is its own");
    assert_eq!((again.hold.attempt, again.event), (2, claimed.event));
}

pub async fn a_probe_takes_the_oldest_and_a_recovery_brings_forward(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let endpoint = fixture.registered(1, EventSet::TERMINAL).await;
    let lane = Lane::of_endpoint(endpoint.id);
    let mut events = Vec::new();
    for seconds in 1..=4 {
        events.push(fixture.ends("t", Callbacks::default(), seconds).await.id);
    }
    let claimed = fixture.sent_to(endpoint.id, false, 5).await;
    for (n, claimed) in claimed.iter().enumerate() {
        // The last one's receiver asked for more time.
        let (again, floor) =
            (500 + 10 * (claimed.due.since(due(0)).as_secs() as i64), (n == 3).then_some(due(700)));
        let progress = domain::delivery::Progress { steps: 1, since: claimed.due, succeeded: false };
        let closed = attempt(claimed, Outcome::HttpStatus, Some(503), 6);
        let settle = settled(claimed, closed, Next::Again { due: due(again), progress }, 6);
        fixture.engine.settle(Settle { not_before: floor, ..settle }).await.unwrap();
    }
    assert!(fixture.sent_to(endpoint.id, false, 7).await.is_empty());
    let probe =
        fixture.engine.claim_deliveries(vec![probe(lane)], at(8)).await.unwrap().remove(0).claimed.remove(0);
    assert_eq!((probe.event, probe.trigger, probe.hold.attempt), (events[0], Trigger::Probe, 2));
    fixture.engine.settle(took(&probe, 9)).await.unwrap();
    // A claim that has just looked through the lane hides nothing that is due long since from then on.
    assert!(fixture.sent_to(endpoint.id, false, 10).await.is_empty());
    while fixture.engine.bring_forward(lane, at(10)).await.unwrap() {}
    let sent = fixture.sent_to(endpoint.id, false, 11).await;
    let order: Vec<_> = sent.iter().map(|claimed| (claimed.event, claimed.trigger)).collect();
    assert_eq!(order, [(events[1], Trigger::Recovery), (events[2], Trigger::Recovery)], "oldest first");
    assert!(
        fixture
            .engine
            .claim_deliveries(vec![crate::conformance::fixture::probe(lane)], at(12))
            .await
            .unwrap()[0]
            .claimed
            .is_empty()
    );
    assert_eq!(fixture.sent_to(endpoint.id, false, 700).await.len(), 1);
}

pub async fn a_recovery_goes_as_fast_as_it_may_and_can_be_stopped(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let endpoint = fixture.registered(1, EventSet::TERMINAL).await;
    for seconds in 1..=6 {
        fixture.ends("t", Callbacks::default(), seconds).await;
    }
    for (n, claimed) in fixture.sent_to(endpoint.id, false, 7).await.iter().enumerate() {
        let settle = match n {
            0 => took(claimed, 8),
            _ => {
                let closed = attempt(claimed, Outcome::HttpStatus, Some(500), 8);
                settled(claimed, closed, Next::Failed(Reason::Exhausted), 8)
            }
        };
        fixture.engine.settle(settle).await.unwrap();
    }
    // All dead letters but the first and the last, two in ten seconds.
    let rate = Some("2/10s".parse().unwrap());
    let some = Plan { since: Some(shown(3)), until: Some(shown(6)), rate, ..plan(1, endpoint.id, None) };
    assert!(fixture.engine.begin_recovery(some, at(10)).await.unwrap());
    let shown_now = async |fixture: &Fixture<'_>, id| {
        let recovery = fixture.engine.recovery(TENANT, RecoveryId::from_u128(id)).await.unwrap().unwrap();
        (recovery.state, recovery.recovered, recovery.reached)
    };
    assert_eq!(fixture.engine.tend_endpoints(at(10)).await.unwrap(), Some(due(15)));
    let early = fixture.engine.tend_endpoints(at(14)).await.unwrap();
    assert_eq!(early, Some(due(15)), "not before its time");
    assert_eq!(shown_now(&fixture, 1).await, (RecoveryState::Running, 1, 3));
    let fixture = fixture.crash().await;
    for (now, next, reached) in [(20, Some(due(25)), 4), (25, Some(due(30)), 5), (30, None, 6)] {
        assert_eq!(fixture.engine.tend_endpoints(at(now)).await.unwrap(), next);
        assert_eq!(shown_now(&fixture, 1).await.2, reached);
    }
    assert_eq!(shown_now(&fixture, 1).await, (RecoveryState::Finished, 3, 6));
    let sent = fixture.sent_to(endpoint.id, false, 31).await;
    let numbers: Vec<_> = sent.iter().filter_map(|c| c.endpoint.as_ref().unwrap().sequence).collect();
    assert_eq!(numbers, [3, 4, 5]);

    assert!(
        fixture.engine.begin_recovery(Plan { rate, ..plan(2, endpoint.id, None) }, at(30)).await.unwrap()
    );
    assert!(fixture.engine.stop_recovery(TENANT, RecoveryId::from_u128(2), at(31)).await.unwrap());
    assert!(fixture.engine.stop_recovery(TENANT, RecoveryId::from_u128(2), at(32)).await.unwrap());
    assert!(!fixture.engine.stop_recovery(Tenant(2), RecoveryId::from_u128(2), at(32)).await.unwrap());
    assert_eq!(fixture.engine.tend_endpoints(at(40)).await.unwrap(), None);
    assert_eq!(shown_now(&fixture, 2).await, (RecoveryState::Stopped, 0, 0));
    let read = fixture.engine.recovery(TENANT, RecoveryId::from_u128(2)).await.unwrap().unwrap();
    assert_eq!((read.finished_at, read.plan.rate, read.last), (Some(shown(31)), rate, 6));
    assert!(fixture.engine.recovery(Tenant(2), RecoveryId::from_u128(2)).await.unwrap().is_none());
    let elsewhere = Plan { tenant: Tenant(2), ..plan(3, endpoint.id, None) };
    assert!(!fixture.engine.begin_recovery(elsewhere, at(41)).await.unwrap());
}
