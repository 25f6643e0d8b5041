//! Who hears of what under which number: finishes, starts, dead letters, feeds.

use std::{collections::HashSet, time::Duration};

use domain::{
    callback::{Callbacks, Named, Sealed},
    delivery::{Next, Outcome, Reason, State},
    endpoint::{DisabledReason, Endpoint},
    event::{Event, EventKind, EventSet},
    id::{EndpointId, EventId, Tenant},
    job::Ending,
    problem::JobError,
};

use super::{change, endpoint, with};
use crate::{
    Announce, DeliveryFilter, EndpointFilter, Guard, Ping, Put, PutEndpoint, Settle, Wake, Written,
    conformance::{Store, access::new_tenant, fixture::*},
};

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
