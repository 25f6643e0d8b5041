//! What becomes of what is for an endpoint while it is closed, and what attempts say of it.

use domain::{
    callback::Callbacks,
    delivery::{Next, Outcome, Progress, Reason, Trigger},
    endpoint::DisabledReason,
    event::{Event, EventKind, EventSet},
    id::{EventId, Tenant},
    lane::{Breaker, Lane},
};

use super::{change, plan};
use crate::{
    ClaimedDelivery, Ping, Put, PutEndpoint, Resent, Written,
    conformance::{Store, fixture::*},
};

pub async fn a_disabled_one_is_numbered_and_recovered(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let mut endpoint = fixture.registered(1, EventSet::TERMINAL).await;
    fixture.ends("t", Callbacks::default(), 1).await;
    let stop = change(&mut endpoint, |endpoint| endpoint.disabled = Some(DisabledReason::Requested), 2);
    let event = Event::endpoint_disabled(&stop.endpoint, shown(2));
    let stop = PutEndpoint { event: Some(event.clone()), ..stop };
    assert_eq!(fixture.engine.put_endpoint(stop).await.unwrap(), Put::Done);
    assert!(fixture.sent_to(endpoint.id, false, 3).await.is_empty(), "nothing that waited is sent");
    fixture.ends("t", Callbacks::default(), 3).await;
    fixture.tended(4).await;
    let disabled = |n| (Some(n), "endpoint_disabled".to_owned());
    assert_eq!(fixture.told(endpoint.id).await, [(None, "pending".into()), disabled(1), disabled(2)]);
    let told = fixture.sent_to(endpoint.id, true, 4).await;
    assert_eq!((told.len(), told[0].event, told[0].kind), (1, event.id, EventKind::EndpointDisabled));
    assert_eq!(told[0].endpoint.as_ref().unwrap().sequence, None);

    let fixture = fixture.crash().await;
    let start = change(&mut endpoint, |endpoint| endpoint.disabled = None, 5);
    let start = PutEndpoint { recover: Some(plan(1, endpoint.id, Some(Reason::EndpointDisabled))), ..start };
    assert_eq!(fixture.engine.put_endpoint(start).await.unwrap(), Put::Done);
    fixture.tended(6).await;
    let sent = fixture.sent_to(endpoint.id, false, 7).await;
    let order: Vec<_> = sent.iter().map(|c| c.endpoint.as_ref().unwrap().sequence).collect();
    assert_eq!(
        (order, sent[0].trigger, sent[0].hold.attempt),
        (vec![Some(1), Some(2)], Trigger::Recovery, 1)
    );
    fixture.ends("t", Callbacks::default(), 8).await;
    assert_eq!(fixture.told(endpoint.id).await.last(), Some(&(Some(3), "pending".into())));
}

pub async fn what_waits_for_a_deleted_one_fails(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let endpoint = fixture.registered(1, EventSet::TERMINAL).await;
    fixture.ends("t", Callbacks::default(), 1).await;
    fixture.ends("t", Callbacks::default(), 1).await;
    let claimed = fixture.sent_to(endpoint.id, false, 1).await;
    let [out, dead] = &claimed[..] else { panic!("{claimed:?}") };
    let closed = attempt(dead, Outcome::Timeout, None, 2);
    fixture.engine.settle(settled(dead, closed, Next::Failed(Reason::Exhausted), 2)).await.unwrap();
    assert_eq!(fixture.engine.resend(TENANT, dead.hold.delivery, at(2)).await.unwrap(), Resent::Due);
    fixture.ends("t", Callbacks::default(), 2).await;
    assert!(fixture.engine.remove_endpoint(TENANT, endpoint.id, at(3)).await.unwrap());
    for beside in [false, true] {
        assert!(fixture.sent_to(endpoint.id, beside, 4).await.is_empty());
    }
    fixture.ends("t", Callbacks::default(), 4).await;
    fixture.tended(5).await;
    // The one that was out comes back and waits again: somebody sees to it.
    let progress = domain::delivery::Progress { steps: 1, since: due(1), succeeded: false };
    let again =
        settled(out, attempt(out, Outcome::Timeout, None, 6), Next::Again { due: due(60), progress }, 6);
    assert_eq!(fixture.engine.settle(again).await.unwrap(), Written::Done);
    fixture.tended(7).await;
    let deleted = |n| (Some(n), "endpoint_deleted".to_owned());
    assert_eq!(fixture.told(endpoint.id).await, [deleted(1), deleted(2), deleted(3)]);
    let detail = fixture.delivery(out.hold.delivery).await;
    assert_eq!((detail.delivery.attempt, detail.attempts.len(), &*detail.body), (1, 1, &*out.body));
}

pub async fn a_ping_goes_to_one_whatever_its_state(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let mut endpoint = fixture.registered(1, EventSet::NONE).await;
    let other = fixture.registered(2, EventSet::EVERY).await;
    let stop = change(&mut endpoint, |endpoint| endpoint.disabled = Some(DisabledReason::Failing), 1);
    fixture.engine.put_endpoint(stop).await.unwrap();
    let event = Event::ping(EventId::new(due(2), 9), &endpoint, shown(2));
    let ping = Ping { tenant: TENANT, endpoint: endpoint.id, event, kind: EventKind::JobFailed, at: at(2) };
    let id = fixture.engine.ping(ping.clone()).await.unwrap().unwrap();
    fixture.tended(3).await;
    let sent = fixture.sent_to(endpoint.id, true, 4).await;
    assert_eq!((sent.len(), sent[0].hold.delivery, sent[0].kind), (1, id, EventKind::JobFailed));
    assert_eq!((sent[0].job, &*sent[0].body), (None, &*ping.event.body));
    assert!(fixture.told(other.id).await.is_empty());
    assert!(fixture.engine.ping(Ping { tenant: Tenant(2), ..ping }).await.unwrap().is_none());
    assert_eq!(fixture.engine.settle(took(&sent[0], 5)).await.unwrap(), Written::Done);
}

pub async fn a_410_disables_at_once(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let endpoint = fixture.registered(1, EventSet::TERMINAL).await;
    let hearer = fixture.registered(2, [EventKind::EndpointDisabled].into_iter().collect()).await;
    fixture.ends("t", Callbacks::default(), 1).await;
    fixture.ends("t", Callbacks::default(), 1).await;
    let sent = fixture.sent_to(endpoint.id, false, 2).await;
    for claimed in &sent {
        let gone = attempt(claimed, Outcome::HttpStatus, Some(410), 3);
        fixture.engine.settle(settled(claimed, gone, Next::Failed(Reason::Gone), 3)).await.unwrap();
    }
    let fixture = fixture.crash().await;
    let read = fixture.engine.endpoint(TENANT, endpoint.id).await.unwrap().unwrap();
    assert_eq!((read.disabled, read.version), (Some(DisabledReason::Gone), 2));
    let gone = |n| (Some(n), "gone".to_owned());
    assert_eq!(fixture.told(endpoint.id).await, [(None, "pending".into()), gone(1), gone(2)]);
    let told = fixture.sent_to(hearer.id, true, 4).await;
    assert_eq!((told.len(), told[0].kind), (1, EventKind::EndpointDisabled));
    assert!(told[0].body.contains("\"disabled_reason\":\"gone\""), "{}", told[0].body);
}

pub async fn failing_for_days_and_for_many_disables(store: &dyn Store) {
    const DAY: i64 = 86_400;
    let fixture = Fixture::new(store).await;
    let endpoint = fixture.registered(1, EventSet::TERMINAL).await;
    let fails = async |fixture: &Fixture<'_>, seconds: i64| {
        fixture.ends("t", Callbacks::default(), seconds).await;
        let claimed = fixture.sent_to(endpoint.id, false, seconds).await.remove(0);
        let closed = attempt(&claimed, Outcome::Timeout, None, seconds);
        let settle = settled(&claimed, closed, Next::Failed(Reason::Exhausted), seconds);
        assert_eq!(fixture.engine.settle(settle).await.unwrap(), Written::Done);
        fixture.engine.endpoint(TENANT, endpoint.id).await.unwrap().unwrap().disabled
    };
    assert_eq!(fails(&fixture, 0).await, None);
    fixture.ends("t", Callbacks::default(), 1).await;
    let claimed = fixture.sent_to(endpoint.id, false, 1).await.remove(0);
    fixture.engine.settle(took(&claimed, 1)).await.unwrap();
    for n in 0..19 {
        assert_eq!(fails(&fixture, 2 + n).await, None);
    }
    let fixture = fixture.crash().await;
    assert_eq!(fails(&fixture, 2 + 5 * DAY).await, Some(DisabledReason::Failing), "what is stored decides");
}

pub async fn health_is_counted_from_attempts(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let endpoint = fixture.registered(1, EventSet::TERMINAL).await;
    for _ in 0..4 {
        fixture.ends("t", Callbacks::default(), 1).await;
    }
    let claimed = fixture.sent_to(endpoint.id, false, 1).await;
    for claimed in &claimed[..2] {
        fixture.engine.settle(took(claimed, 3)).await.unwrap();
    }
    let progress = domain::delivery::Progress { steps: 1, since: due(1), succeeded: false };
    let failed = attempt(&claimed[2], Outcome::HttpStatus, Some(500), 4);
    fixture
        .engine
        .settle(settled(&claimed[2], failed, Next::Again { due: due(60), progress }, 4))
        .await
        .unwrap();
    let health = fixture.engine.endpoint_health(endpoint.id, at(5)).await.unwrap();
    assert_eq!((health.waiting, health.success_rate), (1, Some(2.0 / 3.0)));
    assert_eq!((health.p50_ms, health.p95_ms), (Some(2_000.0), Some(3_000.0)));
    let last = health.last_error.unwrap();
    assert_eq!((last.delivery, last.status, last.at), (claimed[2].hold.delivery, Some(500), shown(4)));
    let later = fixture.engine.endpoint_health(endpoint.id, at(90_000)).await.unwrap();
    assert_eq!((later.waiting, later.success_rate), (1, None), "a day is over");
}

pub async fn a_start_finds_whose_receivers_fail(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let endpoint = fixture.registered(1, EventSet::TERMINAL).await;
    for seconds in 1..=7 {
        fixture.ends("t", to(&["a.example"]), seconds).await;
    }
    let lane = Lane::of_endpoint(endpoint.id);
    let sent = fixture.sent_to(endpoint.id, false, 7).await;
    let again = |claimed: &ClaimedDelivery, outcome, status, seconds| {
        let progress = Progress { steps: 1, since: due(1), succeeded: false };
        let next = Next::Again { due: due(500), progress };
        fixture.engine.settle(settled(claimed, attempt(claimed, outcome, status, seconds), next, seconds))
    };
    let failing = async || {
        let lanes = fixture.engine.lanes().await.unwrap();
        assert!(lanes.iter().all(|start| start.lane == lane || !start.failing), "a host's lane or a job's");
        lanes.iter().any(|start| start.failing)
    };
    // Whoever does not serve it judges by the same.
    let breaker = async || Breaker::recorded(&fixture.engine.endpoint_record(endpoint.id).await.unwrap());
    for (n, claimed) in (8..).zip(&sent[..4]) {
        again(claimed, Outcome::HttpStatus, Some(500), n).await.unwrap();
    }
    let event = Event::ping(EventId::new(due(12), 9), &endpoint, shown(12));
    let ping =
        Ping { tenant: TENANT, endpoint: endpoint.id, event, kind: EventKind::EndpointPing, at: at(12) };
    fixture.engine.ping(ping).await.unwrap();
    again(&fixture.sent_to(endpoint.id, true, 12).await[0], Outcome::Connect, None, 12).await.unwrap();
    assert_eq!(
        (failing().await, breaker().await),
        (false, Breaker::Closed),
        "what goes beside it opens none"
    );
    again(&sent[4], Outcome::HttpStatus, Some(500), 13).await.unwrap();
    assert_eq!((failing().await, breaker().await), (true, Breaker::Open(shown(13 + 5))));
    let probe =
        fixture.engine.claim_deliveries(vec![probe(lane)], at(18)).await.unwrap().remove(0).claimed.remove(0);
    assert_eq!(breaker().await, Breaker::HalfOpen);
    again(&probe, Outcome::HttpStatus, Some(500), 19).await.unwrap();
    assert_eq!(breaker().await, Breaker::Open(shown(19 + 10)));
    again(&sent[5], Outcome::LocalResource, None, 20).await.unwrap();
    assert!(failing().await, "what was ours says nothing of it");
    assert_eq!(breaker().await, Breaker::Open(shown(19 + 10)));
    fixture.engine.settle(took(&sent[6], 21)).await.unwrap();
    assert_eq!((failing().await, breaker().await), (false, Breaker::Closed), "it is back");
}
