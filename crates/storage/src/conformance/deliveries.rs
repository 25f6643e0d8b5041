//! Claims of deliveries: in order, each once, its attempt on stable storage before it is handed out.

use std::{collections::HashSet, sync::Arc};

use domain::{
    delivery::{self, Progress},
    event::EventKind,
    job::Job,
};

use super::{Store, fixture::*};
use crate::{DeliveryHold, Wake};

pub async fn claimed_in_order_with_their_attempt_open(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let mut events = Vec::new();
    for seconds in [1, 2, 3] {
        let claimed = fixture.running(Job { callbacks: to(&["one.example"]), ..job("t", 0) }, 0).await;
        let finish = done(&claimed, seconds);
        events.push((finish.event.id, claimed.job.id, finish.event.body.clone()));
        fixture.engine.finish(finish).await.unwrap();
    }
    let early = fixture.claim_to("one.example", 9, 0).await;
    assert_eq!((early.claimed.len(), early.next_due), (0, Some(due(1))));
    let claim = fixture.claim_to("one.example", 2, 5).await;
    assert_eq!((claim.claimed.len(), claim.next_due), (2, Some(due(3))));
    for (claimed, (event, job, body)) in claim.claimed.iter().zip(&events) {
        assert_eq!((claimed.event, claimed.kind, claimed.job), (*event, EventKind::JobSucceeded, Some(*job)));
        assert_eq!((&*claimed.body, claimed.trigger, claimed.started_at), (&**body, POLICY, shown(5)));
        assert_eq!((claimed.hold.attempt, claimed.hold.fence), (1, fixture.fence));
        assert_eq!(claimed.progress, Progress { steps: 0, since: claimed.due, succeeded: false });
        assert_eq!(claimed.target.url.as_str(), "https://one.example/hook");
        let detail = fixture.delivery(claimed.hold.delivery).await;
        assert_eq!((detail.delivery.attempt, detail.attempts.len()), (1, 0));
        assert!(
            matches!(detail.delivery.state, delivery::State::InFlight { started_at, .. } if started_at == shown(5))
        );
    }
}

pub async fn no_delivery_is_claimed_twice(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    for _ in 0..20 {
        let claimed = fixture.running(Job { callbacks: to(&["one.example"; 2]), ..job("t", 0) }, 0).await;
        fixture.engine.finish(done(&claimed, 0)).await.unwrap();
    }
    let lane = callback("one.example", &[]).lane(TENANT);
    let claims: Vec<_> = (0..10)
        .map(|_| {
            let engine = Arc::clone(&fixture.engine);
            tokio::spawn(async move { engine.claim_deliveries(vec![ask(lane, 7)], at(0)).await.unwrap() })
        })
        .collect();
    let (mut ids, mut rows) = (HashSet::new(), 0);
    for claim in claims {
        for claimed in claim.await.unwrap().remove(0).claimed {
            ids.insert(claimed.hold.delivery);
            rows += 1;
        }
    }
    assert_eq!((ids.len(), rows), (40, 40));
}

pub async fn a_large_body_is_sent_as_written(store: &dyn Store) {
    let fixture = Fixture::with_room(store, 0, 1).await;
    let callbacks = to(&["one.example", "one.example"]);
    let claimed = fixture.running(Job { callbacks, ..job("t", 0) }, 0).await;
    let result = format!("\"{}\"", "é".repeat(20_000));
    let finish = success(&claimed, "application/json", result.as_bytes(), 1);
    let body = finish.event.body.clone();
    assert!(body.len() > 40_000);
    fixture.engine.finish(finish).await.unwrap();
    fixture.recorder.until("the delivery", |seen| !seen.deliveries.is_empty()).await;
    assert_eq!(&*fixture.recorder.seen().deliveries[0].body, &*body);
    let fixture = fixture.crash().await;
    assert_eq!(fixture.engine.take_over(at(2)).await.unwrap().deliveries, 1);
    for claimed in fixture.claim_to("one.example", 9, 2).await.claimed {
        assert_eq!(&*claimed.body, &*body);
        assert_eq!(&*fixture.delivery(claimed.hold.delivery).await.body, &*body);
    }
}

pub async fn what_was_not_sent_goes_back(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let claimed = fixture.running(Job { callbacks: to(&["one.example"; 2]), ..job("t", 0) }, 0).await;
    fixture.engine.finish(done(&claimed, 1)).await.unwrap();
    let [sent, not_sent] = <[_; 2]>::try_from(fixture.claim_to("one.example", 9, 2).await.claimed).unwrap();
    let before = fixture.delivery(not_sent.hold.delivery).await;
    assert_eq!(fixture.engine.put_back(vec![not_sent.hold]).await.unwrap(), 1);
    fixture
        .recorder
        .woken("DeliveryDue", |wake| {
            matches!(wake, Wake::DeliveryDue { lane, due: at } if *lane == not_sent.hold.lane && *at == due(1))
        })
        .await;
    let waits = fixture.delivery(not_sent.hold.delivery).await;
    assert_eq!((before.delivery.attempt, waits.delivery.attempt, waits.attempts.len()), (1, 0, 0));
    assert!(matches!(waits.delivery.state, delivery::State::Waiting { due: at, .. } if at == due(1)));

    let again = fixture.claim_to("one.example", 9, 3).await.claimed.remove(0);
    assert_eq!((again.hold, again.started_at), (not_sent.hold, shown(3)), "its first attempt opens now");
    fixture.engine.settle(took(&sent, 4)).await.unwrap();
    let lost = vec![sent.hold, DeliveryHold { attempt: 2, ..again.hold }];
    assert_eq!(fixture.engine.put_back(lost).await.unwrap(), 0);
    let holds = [&sent, &again].map(|claimed| claimed.hold.delivery);
    let states = [fixture.delivery(holds[0]).await, fixture.delivery(holds[1]).await];
    assert!(matches!(states[0].delivery.state, delivery::State::Succeeded { .. }), "over");
    assert!(matches!(states[1].delivery.state, delivery::State::InFlight { .. }), "another attempt");
}
