//! What an endpoint's owner allows: how many at once, and in which order.

use domain::{
    callback::Callbacks,
    delivery::{Next, Outcome, Progress, Reason, Trigger},
    event::EventSet,
    lane::{Lane, Terms},
};

use super::{change, endpoint, plan, with};
use crate::{
    ClaimedDelivery, Put, Resent,
    conformance::{Store, fixture::*},
};

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
