//! One delivery: sent at once, retried when its time has come, ended as the contract says.

use domain::{
    callback::Callback,
    chance::Clock,
    delivery::{Outcome, Status, Trigger},
    duration::Span,
    retry::RetryPolicy,
};

use super::harness::{Ground, answer, callback, failed, seconds, status};

#[tokio::test]
async fn what_is_committed_is_sent_at_once() {
    let ground = Ground::new();
    let node = ground.start().await;
    let id = node.deliver("a.example").await;
    node.settle().await;
    assert_eq!(node.shows(id).await, "delivered, succeeded");
    let detail = node.get(id).await;
    let attempt = &detail.attempts[0];
    assert_eq!((attempt.number, attempt.status, attempt.trigger), (1, Some(200), Trigger::Policy));
    assert!(attempt.response.is_some() && attempt.timings_ms.queue.is_some());
    let requests = ground.world.requests("a.example");
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].uri, "https://a.example/hook");
    assert_eq!(requests[0].body, detail.body.as_bytes());
    assert_eq!(requests[0].timeout, seconds(15));
    assert!(node.dispatcher.idle());
}

#[tokio::test]
async fn attempts_follow_the_schedule_and_the_bytes_never_change() {
    let ground = Ground::new();
    let node = ground.start().await;
    ground.world.script("a.example", [status(500), failed(Outcome::Timeout), status(204)]);
    let id = node.deliver("a.example").await;
    node.settle().await;
    for (wait, shown) in [(5, "http_status, waiting"), (60, "http_status, timeout, waiting")] {
        assert_eq!(node.shows(id).await, shown);
        assert_eq!(node.due(id).await, ground.clock.now() + seconds(wait));
        node.advance(seconds(wait - 1)).await;
        assert_eq!(node.shows(id).await, shown, "not before its time");
        node.advance(seconds(1)).await;
    }
    assert_eq!(node.shows(id).await, "http_status, timeout, delivered, succeeded");
    let requests = ground.world.requests("a.example");
    assert_eq!(requests.len(), 3);
    let numbers: Vec<_> = node.get(id).await.attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    for later in &requests[1..] {
        assert_eq!(later.body, requests[0].body);
        assert_eq!(later.headers["webhook-id"], requests[0].headers["webhook-id"]);
        assert_ne!(later.headers["webhook-timestamp"], requests[0].headers["webhook-timestamp"]);
        assert_ne!(later.headers["webhook-signature"], requests[0].headers["webhook-signature"]);
    }
}

#[tokio::test]
async fn how_a_delivery_ends() {
    use Outcome::*;
    for (name, answers, shown) in [
        ("gone", vec![status(410)], "http_status, gone"),
        ("gone later", vec![status(500), status(410)], "http_status, http_status, gone"),
        (
            "out of steps",
            vec![status(500), status(301), status(404)],
            "http_status, http_status, http_status, exhausted",
        ),
        ("nobody there", vec![failed(Dns), failed(Connect), failed(Tls)], "dns, connect, tls, exhausted"),
        ("blocked", vec![failed(AddressBlocked), status(200)], "address_blocked, delivered, succeeded"),
    ] {
        let ground = Ground::new();
        let node = ground.start().await;
        ground.world.script("a.example", answers);
        let id = node.deliver("a.example").await;
        for _ in 0..3 {
            node.settle().await;
            node.advance(seconds(60)).await;
        }
        assert_eq!(node.shows(id).await, shown, "{name}");
    }
}

#[tokio::test]
async fn our_own_failures_use_up_no_step() {
    let ground = Ground::new();
    let node = ground.start().await;
    ground.world.script("a.example", (0..20).map(|_| failed(Outcome::LocalResource)));
    let id = node.deliver("a.example").await;
    node.settle().await;
    for _ in 0..20 {
        node.advance(seconds(1)).await;
    }
    let detail = node.get(id).await;
    assert_eq!((detail.delivery.status(), detail.attempts.len()), (Status::Succeeded, 21));
}

#[tokio::test]
async fn retry_after_is_a_floor_where_it_counts() {
    // The wall clock reads 2026-01-01T00:00:00Z, a Thursday.
    for (code, value, wait) in [
        (429, "30", 30),
        (503, "Thu, 01 Jan 2026 00:00:40 GMT", 40),
        (503, "2", 5),
        (429, "soon", 5),
        (500, "30", 5),
        (429, "999999999", 24 * 60 * 60),
    ] {
        let ground = Ground::new();
        let node = ground.start().await;
        ground.world.script("a.example", [answer(code, &[("retry-after", value)])]);
        let id = node.deliver("a.example").await;
        node.settle().await;
        assert_eq!(node.due(id).await, ground.clock.now() + seconds(wait), "{code} {value}");
        node.advance(seconds(wait)).await;
        assert_eq!(node.shows(id).await, "http_status, delivered, succeeded");
    }
}

#[tokio::test]
async fn a_callback_brings_its_own_rules() {
    let ground = Ground::new();
    let node = ground.start().await;
    let retry = RetryPolicy::Schedule { delays: vec![seconds(7)], jitter: 0.0 };
    let own = Callback { retry: Some(retry), timeout: Some(Span(seconds(3))), ..callback("a.example") };
    ground.world.script("a.example", [status(500), status(500)]);
    let id = node.ends(vec![own]).await[0];
    node.settle().await;
    assert_eq!(node.due(id).await, ground.clock.now() + seconds(7));
    node.advance(seconds(7)).await;
    assert_eq!(node.shows(id).await, "http_status, http_status, exhausted");
    assert!(ground.world.requests("a.example").iter().all(|request| request.timeout == seconds(3)));
}

#[tokio::test]
async fn a_resend_goes_at_once_whatever_came_before() {
    use domain::chance::Moment;
    use storage::Resent;
    let ground = Ground::new();
    let node = ground.start().await;
    ground.world.script("a.example", [status(200), status(500), status(410), status(200)]);
    let id = node.deliver("a.example").await;
    node.settle().await;
    for shown in [
        "delivered, http_status, succeeded",
        "delivered, http_status, http_status, succeeded",
        "delivered, http_status, http_status, delivered, succeeded",
    ] {
        let resent =
            node.engine.resend(super::harness::TENANT, id, Moment::of(&*ground.clock)).await.unwrap();
        assert_eq!(resent, Resent::Due);
        node.settle().await;
        assert_eq!(node.shows(id).await, shown);
    }
    let last = node.get(id).await.attempts.pop().unwrap();
    assert_eq!((last.number, last.trigger), (4, Trigger::Resend));
}
