//! The end of an attempt, and a resend.

use domain::{
    delivery::{Attempt, Next, Outcome, Progress, Reason, Response, State, Status, Timings, Trigger},
    id::DeliveryId,
};

use super::{Store, fixture::*};
use crate::{ClaimedDelivery, DeliveryHold, Resent, Settle, Wake, Written};

const HOST: &str = "one.example";

fn refused(claimed: &ClaimedDelivery, next: Next, seconds: i64) -> Settle {
    settled(claimed, attempt(claimed, Outcome::HttpStatus, Some(500), seconds), next, seconds)
}

pub async fn succeeded(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let claimed = fixture.sending(HOST, 0).await;
    assert_eq!(fixture.engine.settle(took(&claimed, 3)).await.unwrap(), Written::Done);
    assert_eq!(fixture.engine.settle(took(&claimed, 3)).await.unwrap(), Written::LeaseLost);
    let fixture = fixture.crash().await;
    let detail = fixture.delivery(claimed.hold.delivery).await;
    assert!(matches!(detail.delivery.state, State::Succeeded { finished_at } if finished_at == shown(3)));
    assert_eq!((detail.delivery.status(), detail.delivery.attempt), (Status::Succeeded, 1));
    assert_same(&detail.attempts, &[took(&claimed, 3).attempt]);
    assert!(fixture.claim_to(HOST, 9, 999).await.claimed.is_empty());
    assert_eq!(fixture.engine.take_over(at(9)).await.unwrap().deliveries, 0);
}

pub async fn failed(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    for reason in [Reason::Exhausted, Reason::Gone] {
        let claimed = fixture.sending(HOST, 0).await;
        let settle = refused(&claimed, Next::Failed(reason), 3);
        assert_eq!(fixture.engine.settle(settle).await.unwrap(), Written::Done);
        let detail = fixture.delivery(claimed.hold.delivery).await;
        let State::Failed { finished_at, reason: read } = detail.delivery.state else { panic!("{detail:?}") };
        assert_eq!((finished_at, read, detail.attempts.len()), (shown(3), reason, 1));
        assert_eq!(fixture.claim_to(HOST, 9, 999).await.next_due, None);
    }
}

pub async fn again(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let first = fixture.sending(HOST, 0).await;
    let progress = Progress { steps: 1, since: due(-5), succeeded: false };
    let settle = refused(&first, Next::Again { due: due(30), progress }, 3);
    assert_eq!(fixture.engine.settle(settle).await.unwrap(), Written::Done);
    let detail = fixture.delivery(first.hold.delivery).await;
    assert!(matches!(detail.delivery.state, State::Waiting { due: at, .. } if at == due(30)), "{detail:?}");
    assert_eq!((detail.delivery.attempt, detail.attempts.len()), (1, 1));
    let lane = first.hold.lane;
    fixture
        .recorder
        .woken(
            "DeliveryDue",
            |wake| matches!(wake, Wake::DeliveryDue { lane: l, due: at } if *l == lane && *at == due(30)),
        )
        .await;
    let fixture = fixture.crash().await;
    assert_eq!(fixture.engine.take_over(at(9)).await.unwrap().deliveries, 0);
    let early = fixture.claim_to(HOST, 9, 29).await;
    assert_eq!((early.claimed.len(), early.next_due), (0, Some(due(30))));
    let second = fixture.claim_to(HOST, 9, 31).await.claimed.remove(0);
    assert_eq!((second.hold.attempt, second.progress, second.trigger), (2, progress, POLICY));
    assert_eq!((second.due, second.started_at), (due(30), shown(31)));
    assert_eq!((&second.body, second.event), (&first.body, first.event));
    assert_eq!(fixture.engine.settle(took(&second, 32)).await.unwrap(), Written::Done);
    let numbers: Vec<u32> =
        fixture.delivery(first.hold.delivery).await.attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, [1, 2]);
}

pub async fn unchanged(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let first = fixture.sending(HOST, 0).await;
    fixture.engine.settle(took(&first, 1)).await.unwrap();
    assert_eq!(fixture.engine.resend(TENANT, first.hold.delivery, at(5)).await.unwrap(), Resent::Due);
    let extra = fixture.claim_to(HOST, 9, 5).await.claimed.remove(0);
    assert!(extra.progress.succeeded);
    assert_eq!(fixture.engine.settle(refused(&extra, Next::Unchanged, 6)).await.unwrap(), Written::Done);
    let detail = fixture.delivery(first.hold.delivery).await;
    assert!(matches!(detail.delivery.state, State::Succeeded { finished_at } if finished_at == shown(1)));
    assert_eq!((detail.delivery.attempt, detail.attempts.len()), (2, 2));
    assert!(fixture.claim_to(HOST, 9, 999).await.claimed.is_empty());
}

pub async fn only_the_holder_settles(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let claimed = fixture.sending(HOST, 0).await;
    let fence = |node: i64, epoch: i64| domain::lease::Fence {
        node: claimed.hold.fence.node + node,
        epoch: claimed.hold.fence.epoch + epoch,
    };
    for hold in [
        DeliveryHold { fence: fence(1, 0), ..claimed.hold },
        DeliveryHold { fence: fence(0, 1), ..claimed.hold },
        DeliveryHold { attempt: 2, ..claimed.hold },
        DeliveryHold { delivery: DeliveryId::from_u128(9), ..claimed.hold },
    ] {
        assert_eq!(
            fixture.engine.settle(Settle { hold, ..took(&claimed, 1) }).await.unwrap(),
            Written::LeaseLost
        );
    }
    let detail = fixture.delivery(claimed.hold.delivery).await;
    assert!(matches!(detail.delivery.state, State::InFlight { .. }) && detail.attempts.is_empty());
    assert_eq!(fixture.engine.settle(took(&claimed, 2)).await.unwrap(), Written::Done);
}

pub async fn an_attempt_reads_back_whole(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let first = fixture.sending(HOST, 0).await;
    let timings = Timings {
        queue: Some(0.25),
        dns: Some(1.5),
        connect: Some(2.0),
        tls: Some(0.125),
        first_byte: Some(7.75),
        total: Some(11.375),
    };
    let response = Response::new(vec![("x-a".into(), "b\u{fffd}".into()); 2], b"\xff\x00", true);
    let whole = Attempt {
        error: Some("It answered 503.".into()),
        remote_address: Some("2001:db8::1".parse().unwrap()),
        timings_ms: timings,
        response: Some(response),
        ..attempt(&first, Outcome::HttpStatus, Some(503), 2)
    };
    let next = |seconds| Next::Again {
        due: due(seconds),
        progress: Progress { steps: 1, since: due(0), succeeded: false },
    };
    fixture.engine.settle(settled(&first, whole.clone(), next(3), 2)).await.unwrap();
    let mut attempts = vec![whole];
    for (seconds, &outcome) in (3..).zip(Outcome::ALL) {
        let claimed = fixture.claim_to(HOST, 1, seconds).await.claimed.remove(0);
        let attempt = attempt(&claimed, outcome, None, seconds);
        fixture.engine.settle(settled(&claimed, attempt.clone(), next(seconds + 1), seconds)).await.unwrap();
        attempts.push(attempt);
    }
    let fixture = fixture.crash().await;
    assert_same(&fixture.delivery(first.hold.delivery).await.attempts, &attempts);
}

pub async fn a_resend_brings_a_waiting_one_forward(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let first = fixture.sending(HOST, 0).await;
    let id = first.hold.delivery;
    let progress = Progress { steps: 2, since: due(-5), succeeded: false };
    fixture.engine.settle(refused(&first, Next::Again { due: due(3_000), progress }, 3)).await.unwrap();
    assert_eq!(fixture.engine.resend(TENANT, id, at(10)).await.unwrap(), Resent::Due);
    let lane = first.hold.lane;
    fixture
        .recorder
        .woken(
            "DeliveryDue",
            |wake| matches!(wake, Wake::DeliveryDue { lane: l, due: at } if *l == lane && *at == due(10)),
        )
        .await;
    let second = fixture.claim_to(HOST, 9, 10).await.claimed.remove(0);
    assert_eq!((second.trigger, second.hold.attempt, second.progress.steps), (Trigger::Resend, 2, 2));
    // What follows is by policy again.
    fixture.engine.settle(refused(&second, Next::Again { due: due(20), progress }, 11)).await.unwrap();
    let third = fixture.claim_to(HOST, 9, 20).await.claimed.remove(0);
    assert_eq!((third.trigger, third.hold.attempt), (POLICY, 3));
    assert_eq!(
        fixture.engine.resend(TENANT, DeliveryId::from_u128(5), at(10)).await.unwrap(),
        Resent::Missing
    );
    assert_eq!(fixture.engine.resend(domain::id::Tenant(2), id, at(10)).await.unwrap(), Resent::Missing);
}

pub async fn a_resend_revives_a_dead_letter(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let first = fixture.sending(HOST, 0).await;
    let id = first.hold.delivery;
    fixture.engine.settle(refused(&first, Next::Failed(Reason::Exhausted), 3)).await.unwrap();
    let fixture = fixture.crash().await;
    assert_eq!(fixture.engine.resend(TENANT, id, at(10)).await.unwrap(), Resent::Due);
    let detail = fixture.delivery(id).await;
    assert!(matches!(detail.delivery.state, State::Waiting { due: at, .. } if at == due(10)), "{detail:?}");
    assert_eq!(detail.delivery.status(), Status::Pending);
    let second = fixture.claim_to(HOST, 9, 10).await.claimed.remove(0);
    assert_eq!((second.trigger, second.hold.attempt), (Trigger::Resend, 2));
    assert_eq!(second.progress, Progress { steps: 0, since: due(10), succeeded: false });
    assert_eq!((&second.body, second.event, second.job), (&first.body, first.event, first.job));
    assert_eq!(fixture.engine.settle(took(&second, 11)).await.unwrap(), Written::Done);
    let detail = fixture.delivery(id).await;
    assert!(matches!(detail.delivery.state, State::Succeeded { finished_at } if finished_at == shown(11)));
    assert_eq!(detail.attempts.len(), 2);
}

pub async fn a_resend_of_a_success_stays_a_success(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let first = fixture.sending(HOST, 0).await;
    let id = first.hold.delivery;
    fixture.engine.settle(took(&first, 1)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(fixture.engine.resend(TENANT, id, at(5)).await.unwrap(), Resent::Due);
        assert_eq!(fixture.delivery(id).await.delivery.status(), Status::Succeeded);
    }
    let extra = fixture.claim_to(HOST, 9, 5).await.claimed;
    assert_eq!(extra.len(), 1);
    assert_eq!((extra[0].trigger, extra[0].hold.attempt), (Trigger::Resend, 2));
    let delivery = fixture.delivery(id).await.delivery;
    assert_eq!((delivery.status(), delivery.attempt), (Status::Succeeded, 2));
    assert!(
        matches!(delivery.state, State::InFlight { succeeded_at: Some(at), .. } if at == shown(1)),
        "{delivery:?}"
    );
    // The node dies in it: the extra attempt is repeated, the success stands.
    let fixture = fixture.crash().await;
    fixture.engine.take_over(at(8)).await.unwrap();
    let extra = fixture.claim_to(HOST, 9, 8).await.claimed.remove(0);
    assert_eq!((extra.hold.attempt, extra.progress.succeeded), (3, true));
    fixture.engine.settle(settled(&extra, took(&extra, 9).attempt, Next::Unchanged, 9)).await.unwrap();
    let detail = fixture.delivery(id).await;
    assert!(matches!(detail.delivery.state, State::Succeeded { finished_at } if finished_at == shown(1)));
    let outcomes: Vec<_> = detail.attempts.iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [Outcome::Delivered, Outcome::Interrupted, Outcome::Delivered]);
}

pub async fn a_resend_waits_for_the_attempt_in_flight(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let claimed = fixture.sending(HOST, 0).await;
    assert_eq!(fixture.engine.resend(TENANT, claimed.hold.delivery, at(1)).await.unwrap(), Resent::InFlight);
    assert_eq!(fixture.engine.settle(took(&claimed, 2)).await.unwrap(), Written::Done);
}
