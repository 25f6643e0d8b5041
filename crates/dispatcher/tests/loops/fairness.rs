//! Lanes: how much one receiver gets at a time, and that none delays another.

use domain::{chance::Clock, delivery::Outcome};

use super::harness::{Ground, failed, quick, seconds, status};

#[tokio::test]
async fn a_lane_starts_with_eight_in_flight_and_grows_with_good_answers() {
    let ground = Ground::new();
    let node = ground.start().await;
    ground.world.hang("a.example");
    for _ in 0..60 {
        node.deliver("a.example").await;
    }
    node.settle().await;
    assert_eq!(ground.world.hanging(), 8);
    ground.world.let_go("a.example", 8);
    node.settle().await;
    assert_eq!(ground.world.hanging(), 9, "one more for a round of good answers");
    ground.world.let_go("a.example", 30);
    node.settle().await;
    assert!((10..=16).contains(&ground.world.hanging()), "{}", ground.world.hanging());
    ground.world.let_go("a.example", 60);
    node.settle().await;
    assert_eq!(ground.world.requests("a.example").len(), 60);
    assert!(node.dispatcher.idle());
}

#[tokio::test]
async fn a_quick_lane_is_claimed_ahead_and_what_was_not_sent_goes_back_in_trouble() {
    let ground = Ground::new();
    let node = ground.start().await;
    ground.world.script("a.example", (0..40).map(|_| quick()));
    for _ in 0..40 {
        node.deliver("a.example").await;
    }
    node.settle().await;
    ground.world.hang("a.example");
    let mut ids = Vec::new();
    for _ in 0..100 {
        ids.push(node.deliver("a.example").await);
    }
    node.settle().await;
    let out = ground.world.hanging();
    let shown = |shows: &'static str| {
        let (node, ids) = (&node, &ids);
        async move {
            let mut count = 0;
            for id in ids {
                count += usize::from(node.shows(*id).await == shows);
            }
            count
        }
    };
    assert!((9..=16).contains(&out), "{out}");
    let in_hand = shown("in flight").await;
    assert!(in_hand > 16 && in_hand <= 16 + 32, "as far ahead as half of the slots: {in_hand}");
    assert_eq!(shown("waiting").await, 100 - in_hand);

    ground.world.script("a.example", [failed(Outcome::Timeout)]);
    ground.world.let_go("a.example", 1);
    node.settle().await;
    assert_eq!(ground.world.hanging(), out - 1, "nothing takes its place");
    assert_eq!((shown("in flight").await, shown("timeout, waiting").await), (out - 1, 1));
    let back = node.get(ids[99]).await;
    assert_eq!((back.delivery.attempt, back.attempts.len()), (0, 0), "not sent, not counted");

    ground.world.let_go("a.example", 200);
    node.settle().await;
    assert_eq!(shown("delivered, succeeded").await, 99);
    assert_eq!(ground.world.requests("a.example").len(), 140);
}

#[tokio::test]
async fn what_waits_in_hand_goes_back_when_the_node_stops() {
    let ground = Ground::new();
    let node = ground.start().await;
    ground.world.script("a.example", (0..20).map(|_| quick()));
    for _ in 0..20 {
        node.deliver("a.example").await;
    }
    node.settle().await;
    ground.world.hang("a.example");
    let mut ids = Vec::new();
    for _ in 0..30 {
        ids.push(node.deliver("a.example").await);
    }
    node.settle().await;
    let out = ground.world.hanging();
    node.dispatcher.drain();
    node.settle().await;
    assert_eq!(node.shows(ids[29]).await, "waiting");
    assert_eq!((node.dispatcher.in_hand(), node.dispatcher.idle()), (out, false));
    ground.world.let_go("a.example", 30);
    node.settle().await;
    assert!(node.dispatcher.idle());
    assert_eq!(ground.world.requests("a.example").len(), 20 + out, "none begins after the drain");
}

#[tokio::test]
async fn a_lane_shrinks_when_there_is_no_answer() {
    let ground = Ground::new();
    let node = ground.start().await;
    ground.world.script("a.example", (0..8).map(|_| failed(Outcome::Timeout)));
    ground.world.hang("a.example");
    for _ in 0..20 {
        node.deliver("a.example").await;
    }
    node.settle().await;
    ground.world.let_go("a.example", 3);
    node.settle().await;
    assert_eq!(ground.world.hanging(), 5, "8, halved three times: no more go");
    ground.world.let_go("a.example", 5);
    node.settle().await;
    assert_eq!(ground.world.hanging(), 0, "after five failures in a row none do");
}

#[tokio::test]
async fn a_receiver_that_hangs_delays_no_other() {
    let ground = Ground::new();
    let node = ground.start().await;
    ground.world.hang("slow.example");
    for _ in 0..100 {
        node.deliver("slow.example").await;
    }
    node.settle().await;
    assert_eq!(ground.world.hanging(), 8);
    for n in 0..20 {
        let id = node.deliver("quick.example").await;
        node.settle().await;
        assert_eq!(node.shows(id).await, "delivered, succeeded", "the {n}th");
    }
    assert_eq!(ground.world.requests("slow.example").len(), 8);
}

#[tokio::test]
async fn no_more_are_in_flight_than_there_are_slots() {
    let ground = Ground { max_in_flight: 10, ..Ground::new() };
    let node = ground.start().await;
    ground.world.script("quick.example", [quick()]);
    node.deliver("quick.example").await;
    node.settle().await;
    for n in 0..6 {
        ground.world.hang(&format!("{n}.example"));
        for _ in 0..5 {
            node.deliver(&format!("{n}.example")).await;
        }
    }
    node.settle().await;
    assert_eq!(ground.world.hanging(), 5, "those of which nobody knows that they are quick share half");
    ground.world.hang("quick.example");
    for _ in 0..9 {
        node.deliver("quick.example").await;
    }
    node.settle().await;
    assert_eq!(ground.world.hanging(), 10);
    for n in 0..6 {
        ground.world.let_go(&format!("{n}.example"), 5);
    }
    ground.world.let_go("quick.example", 9);
    node.settle().await;
    assert_eq!(ground.world.seen.lock().unwrap().len(), 40);
}

#[tokio::test]
async fn a_backlog_goes_in_turns() {
    // Both lanes are full when their turn comes; neither goes twice before the other.
    let ground = Ground { max_in_flight: 1, ..Ground::new() };
    let node = ground.start().await;
    ground.world.hang("gate.example");
    node.deliver("gate.example").await;
    node.settle().await;
    for host in ["a.example", "b.example"] {
        for _ in 0..12 {
            node.deliver(host).await;
        }
    }
    ground.world.let_go("gate.example", 1);
    node.settle().await;
    let seen = ground.world.seen.lock().unwrap();
    let hosts: Vec<_> = seen[1..].iter().map(|request| request.uri.host().unwrap()).collect();
    assert_eq!(hosts.len(), 24);
    let first_half = hosts[..12].iter().filter(|&&host| host == "a.example").count();
    assert!((4..=8).contains(&first_half), "{hosts:?}");
}

#[tokio::test]
async fn rows_that_wait_for_a_timer_do_not_hold_the_lane() {
    let ground = Ground::new();
    let node = ground.start().await;
    ground.world.script("a.example", [status(500)]);
    let first = node.deliver("a.example").await;
    node.settle().await;
    let second = node.deliver("a.example").await;
    node.settle().await;
    assert_eq!(node.shows(first).await, "http_status, waiting");
    assert_eq!(node.shows(second).await, "delivered, succeeded");
    assert_eq!(node.dispatcher.step().await, Some(ground.clock.now() + seconds(5)));
}
