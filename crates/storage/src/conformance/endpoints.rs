//! Endpoints: who hears of what under which number, what becomes of it while one is closed, and what attempts say of it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use domain::{
    callback::{Callback, Callbacks, Named, Sealed},
    delivery::{Next, Outcome, Progress, Reason, State, Trigger},
    endpoint::{DisabledReason, Endpoint, Plan, RecoveryState, Settings},
    event::{Event, EventKind, EventSet},
    id::{EndpointId, EventId, RecoveryId, Tenant},
    job::{Ending, Job},
    lane::{Breaker, Lane, Terms},
    problem::JobError,
};

use super::{Store, access::new_tenant, fixture::*};
use crate::{
    Announce, ClaimedDelivery, DeliveryFilter, EndpointFilter, Guard, Ping, Put, PutEndpoint, Resent, Settle,
    Wake, Written,
};

fn endpoint(number: u128, events: EventSet) -> Endpoint {
    let target = Callback { events, ..callback(&format!("n{number}.example"), &[]) };
    Endpoint {
        id: EndpointId::from_u128(number),
        tenant: TENANT,
        created_at: shown(0),
        version: 1,
        settings: Settings {
            target: Arc::new(target),
            description: "Orders".into(),
            tasks: None,
            max_in_flight: None,
            rate_limit: None,
            ordered: false,
            signature: domain::secret::Scheme::Hmac,
        },
        secret: Sealed(vec![7; 40]),
        previous: None,
        disabled: None,
    }
}

fn with(endpoint: &Endpoint) -> PutEndpoint {
    PutEndpoint { endpoint: endpoint.clone(), new: Some(9), recover: None, event: None, at: at(0) }
}

fn plan(number: u128, endpoint: EndpointId, reason: Option<Reason>) -> Plan {
    let id = RecoveryId::from_u128(number);
    let (since, until, rate, created_at) = (None, None, None, shown(0));
    Plan { id, tenant: TENANT, endpoint, reason, since, until, rate, created_at }
}

/// The next version of it.
fn change(endpoint: &mut Endpoint, change: impl FnOnce(&mut Endpoint), seconds: i64) -> PutEndpoint {
    endpoint.version += 1;
    change(endpoint);
    PutEndpoint { endpoint: endpoint.clone(), new: None, recover: None, event: None, at: at(seconds) }
}

impl Fixture<'_> {
    pub(super) async fn registered(&self, number: u128, events: EventSet) -> Endpoint {
        let endpoint = endpoint(number, events);
        assert_eq!(self.engine.put_endpoint(with(&endpoint)).await.unwrap(), Put::Done);
        endpoint
    }

    /// A job of this task that ends well.
    pub(super) async fn ends(&self, task: &str, callbacks: Callbacks, seconds: i64) -> Event {
        let claimed = self.running(Job { callbacks, ..job(task, seconds) }, seconds).await;
        let finish = done(&claimed, seconds);
        assert_eq!(self.engine.finish(finish.clone()).await.unwrap(), Written::Done);
        finish.event
    }

    /// What is to be sent to an endpoint, claimed; `beside`: what carries no number.
    pub(super) async fn sent_to(&self, id: EndpointId, beside: bool, seconds: i64) -> Vec<ClaimedDelivery> {
        let lane = if beside { Lane::beside_endpoint(id) } else { Lane::of_endpoint(id) };
        self.engine.claim_deliveries(vec![ask(lane, 100)], at(seconds)).await.unwrap().remove(0).claimed
    }

    /// Every delivery to an endpoint as number and state, oldest first.
    async fn told(&self, id: EndpointId) -> Vec<(Option<i64>, String)> {
        let filter = DeliveryFilter { endpoint: Some(id), ..all_deliveries() };
        let mut told: Vec<_> = self
            .engine
            .deliveries(filter)
            .await
            .unwrap()
            .items
            .iter()
            .map(|delivery| match delivery.state {
                State::Failed { reason, .. } => (delivery.sequence, reason.to_string()),
                _ => (delivery.sequence, delivery.status().to_string()),
            })
            .collect();
        told.sort();
        told
    }

    async fn tended(&self, seconds: i64) {
        for _ in 0..100 {
            if self.engine.tend_endpoints(at(seconds)).await.unwrap().is_none_or(|next| next > due(seconds)) {
                return;
            }
        }
        panic!("there is always more to do");
    }
}

pub async fn a_tenant_has_at_most_so_many(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let engine = &fixture.engine;
    engine.create_tenant(new_tenant(2, "two")).await.unwrap();
    let put =
        |number: u128, most: u32| PutEndpoint { new: Some(most), ..with(&endpoint(number, EventSet::NONE)) };
    let mut racing = tokio::task::JoinSet::new();
    for number in 1..=8 {
        let (engine, put) = (engine.clone(), put(number, 3));
        racing.spawn(async move { engine.put_endpoint(put).await.unwrap() });
    }
    let answers = racing.join_all().await;
    assert_eq!(answers.iter().filter(|answer| **answer == Put::Done).count(), 3, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| **answer == Put::Full).count(), 5, "{answers:?}");
    let theirs = Endpoint { tenant: Tenant(2), ..endpoint(9, EventSet::NONE) };
    let theirs = PutEndpoint { new: Some(1), ..with(&theirs) };
    assert_eq!(engine.put_endpoint(theirs).await.unwrap(), Put::Done, "another tenant's are its own");

    // A change is no new one, and what was refused or was there already takes no place.
    let all = EndpointFilter { tenant: TENANT, before: None, limit: 9 };
    let mut kept = engine.endpoints(all).await.unwrap().items;
    assert_eq!(kept.len(), 3);
    let stop = change(&mut kept[0], |endpoint| endpoint.disabled = Some(DisabledReason::Requested), 1);
    assert_eq!(engine.put_endpoint(stop).await.unwrap(), Put::Done);
    assert!(engine.remove_endpoint(TENANT, kept[1].id, at(2)).await.unwrap());
    let there = PutEndpoint { new: Some(3), ..with(&kept[2]) };
    assert_eq!(engine.put_endpoint(there).await.unwrap(), Put::Changed);
    let fixture = fixture.crash().await;
    assert_eq!(fixture.engine.put_endpoint(put(20, 3)).await.unwrap(), Put::Done, "a deletion makes room");
    assert_eq!(fixture.engine.put_endpoint(put(21, 3)).await.unwrap(), Put::Full, "a disabled one counts");
    assert_eq!(fixture.engine.put_endpoint(put(21, u32::MAX)).await.unwrap(), Put::Done);
}

pub async fn reads_back_as_it_was_put(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let mut first = fixture.registered(1, EventSet::EVERY).await;
    let second = fixture.registered(2, EventSet::TERMINAL).await;
    assert_eq!(fixture.engine.put_endpoint(with(&first)).await.unwrap(), Put::Changed, "it is there");
    let stale = change(&mut first.clone(), |_| {}, 1);
    let mut full = change(
        &mut first,
        |endpoint| {
            endpoint.settings.tasks = Some(vec!["report".parse().unwrap()]);
            endpoint.previous = Some((Sealed(vec![1; 9]), shown(60)));
            endpoint.disabled = Some(DisabledReason::Requested);
        },
        1,
    );
    assert_eq!(fixture.engine.put_endpoint(full.clone()).await.unwrap(), Put::Done);
    assert_eq!(fixture.engine.put_endpoint(stale).await.unwrap(), Put::Changed);
    full.endpoint = Endpoint { id: EndpointId::from_u128(3), ..full.endpoint };
    assert_eq!(fixture.engine.put_endpoint(full).await.unwrap(), Put::Missing);
    let fixture = fixture.crash().await;
    assert_same(&fixture.engine.endpoint(TENANT, first.id).await.unwrap().unwrap(), &first);
    assert!(fixture.engine.endpoint(Tenant(2), first.id).await.unwrap().is_none());
    let filter = EndpointFilter { tenant: TENANT, before: None, limit: 1 };
    let page = fixture.engine.endpoints(filter).await.unwrap();
    assert!(page.more);
    assert_same(&page.items, &std::slice::from_ref(&second));
    let page = fixture.engine.endpoints(EndpointFilter { before: Some(second.id), ..filter }).await.unwrap();
    assert_same(&page.items, &[first.clone()]);
    assert!(fixture.engine.remove_endpoint(TENANT, first.id, at(2)).await.unwrap());
    assert!(!fixture.engine.remove_endpoint(TENANT, first.id, at(2)).await.unwrap());
    assert!(fixture.engine.endpoint(TENANT, first.id).await.unwrap().is_none());
}

pub async fn one_event_is_one_delivery_under_the_next_number(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let all = fixture.registered(1, EventSet::TERMINAL).await;
    let none = fixture.registered(2, EventSet::NONE).await;
    let mut reports = endpoint(3, EventSet::TERMINAL);
    reports.settings.tasks = Some(vec!["report".parse().unwrap()]);
    fixture.engine.put_endpoint(with(&reports)).await.unwrap();
    let elsewhere = Endpoint { tenant: Tenant(2), ..endpoint(4, EventSet::EVERY) };
    fixture.engine.put_endpoint(with(&elsewhere)).await.unwrap();

    let first = fixture.ends("report", Callbacks::default(), 1).await;
    // Named by the job and asking by itself: still one.
    let named = [all.id, none.id].map(|endpoint| Named { endpoint, events: EventSet::TERMINAL });
    let second = fixture.ends("t", Callbacks::with_named(Vec::new(), named.to_vec()), 2).await;
    let third = fixture.ends("t", Callbacks::default(), 3).await;

    let sent = fixture.sent_to(all.id, false, 9).await;
    let numbered: Vec<_> =
        sent.iter().map(|claimed| (claimed.event, claimed.endpoint.as_ref().unwrap().sequence)).collect();
    assert_eq!(numbered, [(first.id, Some(1)), (second.id, Some(2)), (third.id, Some(3))]);
    assert_eq!(
        (&*sent[1].body, sent[1].target.url.as_str()),
        (&*second.body, all.settings.target.url.as_str())
    );
    assert_eq!(sent[0].endpoint.as_ref().unwrap().secret, all.secret);
    assert_eq!(fixture.sent_to(none.id, false, 9).await.len(), 1);
    assert_eq!(fixture.sent_to(reports.id, false, 9).await.len(), 1);
    assert!(fixture.sent_to(elsewhere.id, false, 9).await.is_empty());
    assert_eq!(fixture.told(all.id).await.len(), 3);
}

pub async fn numbers_have_no_gap_however_many_finish_at_once(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let endpoint = fixture.registered(1, EventSet::TERMINAL).await;
    for _ in 0..40 {
        fixture.submit(job("t", 0), 0).await;
    }
    let claimed = fixture.claim(job("t", 0).lane(), 100, 0).await.claimed;
    let finishes: Vec<_> = claimed
        .iter()
        .map(|claimed| {
            let (engine, finish) = (fixture.engine.clone(), done(claimed, 1));
            tokio::spawn(async move { engine.finish(finish).await.unwrap() })
        })
        .collect();
    for finish in finishes {
        assert_eq!(finish.await.unwrap(), Written::Done);
    }
    let sent = fixture.sent_to(endpoint.id, false, 2).await;
    let numbers: HashSet<_> = sent.iter().map(|c| c.endpoint.as_ref().unwrap().sequence.unwrap()).collect();
    assert_eq!((numbers.len(), numbers), (40, (1..=40).collect()));
}

pub async fn starts_are_announced_where_an_endpoint_hears_of_them(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    assert!(!fixture.engine.hears_of_starts(TENANT));
    let endpoint = fixture.registered(1, [EventKind::JobStarted].into_iter().collect()).await;
    fixture.recorder.woken("the change", |wake| matches!(wake, Wake::EndpointChanged { .. })).await;
    let fixture = fixture.crash().await;
    fixture.engine.take_over(at(0)).await.unwrap();
    assert!(fixture.engine.hears_of_starts(TENANT) && !fixture.engine.hears_of_starts(Tenant(2)));
    let claimed = fixture.running(job("t", 0), 0).await;
    let event = Event::started(&claimed.job, shown(0), &links(claimed.job.id));
    let announce = Announce { job: claimed.job.clone(), hold: claimed.hold, event, at: at(0) };
    assert_eq!(fixture.engine.announce(announce.clone()).await.unwrap(), Written::Done);
    assert_eq!(fixture.engine.announce(announce).await.unwrap(), Written::Done);
    assert_eq!(fixture.told(endpoint.id).await, [(Some(1), "pending".into())]);
    fixture.engine.remove_endpoint(TENANT, endpoint.id, at(1)).await.unwrap();
    fixture.engine.take_over(at(1)).await.unwrap();
    assert!(!fixture.engine.hears_of_starts(TENANT));
}

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

pub async fn dead_letters_are_told_to_others(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let events: EventSet = [EventKind::JobSucceeded, EventKind::DeliveryFailed].into_iter().collect();
    let (one, two) = (fixture.registered(1, events).await, fixture.registered(2, events).await);
    fixture.ends("t", to(&["a.example"]), 1).await;
    let to_callback = fixture.claim_to("a.example", 9, 2).await.claimed.remove(0);
    let to_one = fixture.sent_to(one.id, false, 2).await.remove(0);
    for claimed in [&to_callback, &to_one] {
        let mut failed = fixture.delivery(claimed.hold.delivery).await.delivery;
        failed.state = State::Failed { finished_at: shown(3), reason: Reason::Exhausted };
        let dead_letter = Some(Event::delivery_failed(&failed, shown(3)));
        let closed = attempt(claimed, Outcome::Dns, None, 3);
        let settle = settled(claimed, closed, Next::Failed(Reason::Exhausted), 3);
        fixture.engine.settle(Settle { dead_letter, ..settle }).await.unwrap();
    }
    let kinds = async |id: EndpointId| {
        let mut kinds: Vec<_> = fixture
            .engine
            .deliveries(DeliveryFilter { endpoint: Some(id), ..all_deliveries() })
            .await
            .unwrap()
            .items
            .iter()
            .map(|delivery| (delivery.sequence, delivery.kind))
            .collect();
        kinds.sort();
        kinds
    };
    let (good, dead) = (EventKind::JobSucceeded, EventKind::DeliveryFailed);
    assert_eq!(kinds(one.id).await, [(Some(1), good), (Some(2), dead)], "not of its own");
    assert_eq!(kinds(two.id).await, [(Some(1), good), (Some(2), dead), (Some(3), dead)]);
}

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
    while fixture.engine.bring_forward(lane, at(10)).await.unwrap() {}
    let sent = fixture.sent_to(endpoint.id, false, 11).await;
    let order: Vec<_> = sent.iter().map(|claimed| (claimed.event, claimed.trigger)).collect();
    assert_eq!(order, [(events[1], Trigger::Recovery), (events[2], Trigger::Recovery)], "oldest first");
    assert!(
        fixture.engine.claim_deliveries(vec![super::fixture::probe(lane)], at(12)).await.unwrap()[0]
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

pub async fn an_ask_under_other_terms_brings_nothing_but_the_terms(store: &dyn Store) {
    let fixture = Fixture::with_room(store, 0, 9).await;
    let mut endpoint = endpoint(1, EventSet::TERMINAL);
    endpoint.settings.max_in_flight = Some(2);
    fixture.engine.put_endpoint(with(&endpoint)).await.unwrap();
    let lane = Lane::of_endpoint(endpoint.id);
    let claim = async |terms, seconds| {
        let asks = vec![ask_under(terms, lane, 1)];
        let claim = fixture.engine.claim_deliveries(asks, at(seconds)).await.unwrap().remove(0);
        (claim.claimed.len(), claim.terms, claim.next_due)
    };
    let (two, five) =
        (Terms { most: Some(2), ..Terms::default() }, Terms { most: Some(5), ..Terms::default() });
    assert_eq!(claim(two, 0).await, (0, two, None));
    fixture.ends("t", Callbacks::default(), 1).await;
    fixture.recorder.until("what was born claimed", |seen| seen.deliveries.len() == 1).await;
    fixture.recorder.seen().room.1 = 0;
    for seconds in 2..=4 {
        fixture.ends("t", Callbacks::default(), seconds).await;
    }
    assert_eq!(claim(Terms::default(), 5).await, (0, two, Some(due(2))));
    assert_eq!(claim(two, 5).await, (1, two, Some(due(3))));
    let put = change(&mut endpoint, |endpoint| endpoint.settings.max_in_flight = Some(5), 6);
    fixture.engine.put_endpoint(put).await.unwrap();
    assert_eq!(claim(two, 7).await, (0, five, Some(due(3))));
    assert_eq!(claim(five, 7).await, (1, five, Some(due(4))));
    let put = change(&mut endpoint, |endpoint| endpoint.settings.max_in_flight = None, 8);
    fixture.engine.put_endpoint(put).await.unwrap();
    assert_eq!(claim(five, 9).await, (0, Terms::default(), Some(due(4))));
    assert_eq!(claim(Terms::default(), 9).await, (1, Terms::default(), None));
}

pub async fn what_is_out_of_a_lane_with_terms_is_one_nodes(store: &dyn Store) {
    if !store.shares() {
        return;
    }
    let (first, second) = (Fixture::with_room(store, 0, 9).await, Fixture::with_room(store, 0, 9).await);
    let mut endpoint = endpoint(1, EventSet::TERMINAL);
    endpoint.settings.max_in_flight = Some(2);
    first.engine.put_endpoint(with(&endpoint)).await.unwrap();
    let (lane, terms) = (Lane::of_endpoint(endpoint.id), endpoint.settings.terms());
    let claim = async |fixture: &Fixture<'_>, seconds| {
        let asks = vec![ask_under(terms, lane, 1)];
        fixture.engine.claim_deliveries(asks, at(seconds)).await.unwrap().remove(0).claimed
    };
    first.ends("t", Callbacks::default(), 1).await;
    first.recorder.until("what was born claimed", |seen| seen.deliveries.len() == 1).await;
    for seconds in 2..=4 {
        second.ends("t", Callbacks::default(), seconds).await;
    }
    assert!(second.recorder.seen().deliveries.is_empty(), "nothing is born claimed beside another node's");
    assert!(claim(&second, 5).await.is_empty() && claim(&first, 5).await.len() == 1);
    let out = std::mem::take(&mut first.recorder.seen().deliveries);
    first.engine.settle(took(&out[0], 6)).await.unwrap();
    assert!(claim(&second, 6).await.is_empty(), "one is still out");
    // What dies with its node is out until it was taken over.
    first.engine.leave().await.unwrap();
    assert!(claim(&second, 7).await.is_empty());
    second.engine.take_over(at(7)).await.unwrap();
    assert_eq!(claim(&second, 7).await.len(), 1);
    second.ends("t", Callbacks::default(), 8).await;
    second.recorder.until("what was born claimed", |seen| seen.deliveries.len() == 1).await;
}

pub async fn an_order_is_kept_whatever_comes_back(store: &dyn Store) {
    let fixture = Fixture::with_room(store, 0, 9).await;
    let mut endpoint = endpoint(1, EventSet::TERMINAL);
    endpoint.settings.ordered = true;
    fixture.engine.put_endpoint(with(&endpoint)).await.unwrap();
    let (lane, terms) = (Lane::of_endpoint(endpoint.id), endpoint.settings.terms());
    fixture.recorder.seen().room.1 = 0;
    for seconds in 1..=4 {
        fixture.ends("t", Callbacks::default(), seconds).await;
    }
    let claim = async |fixture: &Fixture<'_>, probe: bool, seconds| {
        let mut ask = ask_under(terms, lane, 9);
        ask.probe = probe;
        let asks = vec![ask];
        let mut claim = fixture.engine.claim_deliveries(asks, at(seconds)).await.unwrap().remove(0);
        assert!(claim.claimed.len() <= 1, "one at a time");
        (claim.claimed.pop(), claim.next_due)
    };
    let number = |claimed: &ClaimedDelivery| claimed.endpoint.as_ref().unwrap().sequence.unwrap();
    let waits_for = async |fixture: &Fixture<'_>, delivery| {
        let at = due(20);
        let shown = serde_json::to_value(fixture.delivery(delivery).await.delivery.view(at)).unwrap();
        shown["waiting_for"].as_str().map(str::to_owned)
    };
    let ends = |claimed: &ClaimedDelivery, next, seconds| {
        settled(claimed, attempt(claimed, Outcome::HttpStatus, Some(500), seconds), next, seconds)
    };

    let (first, _) = claim(&fixture, false, 5).await;
    let first = first.unwrap();
    assert_eq!(number(&first), 1);
    assert_eq!(claim(&fixture, false, 5).await.0.map(|c| number(&c)), None, "while the first is out");
    let progress = Progress { steps: 1, since: due(1), succeeded: false };
    let again = ends(&first, Next::Again { due: due(60), progress }, 6);
    fixture.engine.settle(again).await.unwrap();
    let (held, next) = claim(&fixture, false, 7).await;
    assert_eq!((held.is_none(), next), (true, Some(due(60))), "the second waits for the first");
    let all = fixture.engine.deliveries(all_deliveries()).await.unwrap().items;
    let (second, head) = (all[all.len() - 2].id, all[all.len() - 1].id);
    assert_eq!(waits_for(&fixture, second).await.as_deref(), Some("order"));
    assert_eq!(waits_for(&fixture, head).await.as_deref(), Some("timer"));

    // A probe takes the first whatever its time, and so does a recovery.
    let (probe, _) = claim(&fixture, true, 8).await;
    let probe = probe.unwrap();
    assert_eq!((number(&probe), probe.trigger), (1, Trigger::Probe));
    let again = ends(&probe, Next::Again { due: due(90), progress }, 9);
    fixture.engine.settle(again).await.unwrap();
    assert!(!fixture.engine.bring_forward(lane, at(10)).await.unwrap());
    let (first, _) = claim(&fixture, false, 10).await;
    let first = first.unwrap();
    assert_eq!((number(&first), first.trigger), (1, Trigger::Recovery));

    // A crash brings the first back, not the next.
    let fixture = fixture.crash().await;
    fixture.engine.take_over(at(11)).await.unwrap();
    let (first, _) = claim(&fixture, false, 11).await;
    let first = first.unwrap();
    assert_eq!(number(&first), 1);
    fixture.engine.settle(ends(&first, Next::Failed(Reason::Exhausted), 12)).await.unwrap();
    let (second, _) = claim(&fixture, false, 12).await;
    let second = second.unwrap();
    assert_eq!(number(&second), 2, "the first has failed for good");

    // What was put back is the next again; what is resent goes beside, and what is recovered before what waits.
    fixture.engine.put_back(vec![second.hold]).await.unwrap();
    let (second, _) = claim(&fixture, false, 13).await;
    let second = second.unwrap();
    assert_eq!(number(&second), 2);
    assert_eq!(fixture.engine.resend(TENANT, first.hold.delivery, at(13)).await.unwrap(), Resent::Due);
    let resent = fixture.sent_to(endpoint.id, true, 13).await;
    assert_eq!(resent.iter().map(number).collect::<Vec<_>>(), [1]);
    fixture.engine.settle(ends(&resent[0], Next::Failed(Reason::Exhausted), 14)).await.unwrap();
    assert!(fixture.engine.begin_recovery(plan(1, endpoint.id, None), at(14)).await.unwrap());
    fixture.tended(14).await;
    assert_eq!(claim(&fixture, false, 15).await.0.map(|c| number(&c)), None, "the second is still out");
    fixture.engine.settle(took(&second, 15)).await.unwrap();
    for expected in [1, 3, 4] {
        let (next, _) = claim(&fixture, false, 16).await;
        let next = next.unwrap();
        assert_eq!(number(&next), expected);
        fixture.engine.settle(took(&next, 16)).await.unwrap();
    }
    assert_eq!(claim(&fixture, false, 17).await.0.map(|c| number(&c)), None);
}

pub async fn an_order_is_changed_only_while_nothing_is_queued(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let mut endpoint = fixture.registered(1, EventSet::TERMINAL).await;
    fixture.ends("t", Callbacks::default(), 1).await;
    let put = change(&mut endpoint.clone(), |endpoint| endpoint.settings.ordered = true, 2);
    assert_eq!(fixture.engine.put_endpoint(put.clone()).await.unwrap(), Put::Waits);
    let out = fixture.sent_to(endpoint.id, false, 3).await;
    assert_eq!(fixture.engine.put_endpoint(put.clone()).await.unwrap(), Put::Waits, "it is out");
    fixture.engine.settle(took(&out[0], 4)).await.unwrap();
    assert_eq!(fixture.engine.put_endpoint(put).await.unwrap(), Put::Done);
    endpoint = fixture.engine.endpoint(TENANT, endpoint.id).await.unwrap().unwrap();
    assert!(endpoint.settings.ordered);
    fixture.ends("t", Callbacks::default(), 5).await;
    let back = change(&mut endpoint.clone(), |endpoint| endpoint.settings.ordered = false, 6);
    assert_eq!(fixture.engine.put_endpoint(back).await.unwrap(), Put::Waits);
    let other = change(&mut endpoint, |endpoint| endpoint.settings.max_in_flight = Some(3), 6);
    assert_eq!(fixture.engine.put_endpoint(other).await.unwrap(), Put::Done);
}

pub async fn failed_jobs_are_heard_of_too(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let endpoint = fixture.registered(1, [EventKind::JobFailed].into_iter().collect()).await;
    fixture.ends("t", Callbacks::default(), 1).await;
    let claimed = fixture.running(job("t", 2), 2).await;
    let failed = finish(&claimed.job, Guard::Held(claimed.hold), Ending::Failed(JobError::lost()), 2);
    fixture.engine.finish(failed.clone()).await.unwrap();
    let canceled = fixture.submit(job("t", 3), 3).await;
    fixture.engine.cancel(cancel(&canceled, 3)).await.unwrap();
    let sent = fixture.sent_to(endpoint.id, false, 4).await;
    assert_eq!(sent.iter().map(|claimed| claimed.event).collect::<Vec<_>>(), [failed.event.id]);
    assert!(Duration::from_secs(1) > sent[0].created_at.since(shown(2)));
}

pub async fn feeds_show_everything_once(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let endpoint = fixture.registered(1, EventSet::TERMINAL).await;
    let empty = fixture.engine.feed(TENANT, endpoint.id, 0, 9).await.unwrap().unwrap();
    assert_eq!((empty.items.len(), empty.last, empty.pruned_before), (0, 0, 1));
    let mut events = Vec::new();
    for seconds in 1..=5 {
        events.push(fixture.ends("t", Callbacks::default(), seconds).await);
    }
    let ping = Event::ping(EventId::new(due(6), 9), &endpoint, shown(6));
    let kind = EventKind::EndpointPing;
    fixture
        .engine
        .ping(Ping { tenant: TENANT, endpoint: endpoint.id, event: ping, kind, at: at(6) })
        .await
        .unwrap();
    let fixture = fixture.crash().await;

    let feed = fixture.engine.feed(TENANT, endpoint.id, 1, 3).await.unwrap().unwrap();
    assert_eq!((feed.last, feed.pruned_before), (5, 1));
    let shown_items: Vec<_> =
        feed.items.iter().map(|i| (i.sequence, i.event, i.timestamp, &*i.body)).collect();
    let expected: Vec<_> =
        (1..4).map(|n| (Some(n as i64 + 1), events[n].id, events[n].timestamp, &*events[n].body)).collect();
    assert_eq!(shown_items, expected);
    assert!(fixture.engine.feed(Tenant(2), endpoint.id, 0, 9).await.unwrap().is_none());

    let (seen, mark) = fixture.hears(crate::EventMark::default(), 5).await;
    assert_eq!(seen, events.iter().map(|event| event.id).collect::<Vec<_>>());
    assert!(fixture.engine.events(Tenant(2), crate::EventMark::default(), 9).await.unwrap().items.is_empty());
    let late = fixture.ends("t", Callbacks::default(), 7).await;
    let (seen, mark) = fixture.hears(mark, 1).await;
    assert_eq!(seen, [late.id]);
    assert!(fixture.engine.events(TENANT, mark, 9).await.unwrap().items.is_empty());
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
