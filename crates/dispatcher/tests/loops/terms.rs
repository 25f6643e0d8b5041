//! What endpoints allow: how many at once, how many in a time, and in which order.

use std::collections::HashMap;

use domain::{
    chance::{Clock, Dice},
    lane::Lane,
};
use testkit::SeededDice;

use super::harness::{Ground, seconds, status};

#[tokio::test]
async fn no_more_are_out_than_its_owner_allows() {
    let ground = Ground::new();
    let node = ground.start().await;
    let id = node.endpoint("a.example", |settings| settings.max_in_flight = Some(2)).await;
    ground.world.hang("a.example");
    for _ in 0..6 {
        node.ends(Vec::new()).await;
    }
    node.settle().await;
    assert_eq!(ground.world.hanging(), 2);
    ground.world.let_go("a.example", 1);
    node.settle().await;
    assert_eq!((ground.world.hanging(), ground.world.requests("a.example").len()), (2, 3));
    node.crash().await;

    let node = ground.start().await;
    assert_eq!(ground.world.requests("a.example").len(), 5, "the two that were interrupted, again");
    node.change(id, |settings| settings.max_in_flight = None).await;
    ground.world.let_go("a.example", 9);
    node.settle().await;
    assert_eq!(ground.world.requests("a.example").len(), 8, "all that there are");
}

/// The numbers that a host was sent, in the order of requests.
fn numbers(ground: &Ground, host: &str) -> Vec<i64> {
    let requests = ground.world.requests(host);
    let number = |request: &ringback_dispatcher::Request| {
        request.headers["webhook-sequence"].to_str().unwrap().parse().unwrap()
    };
    requests.iter().map(number).collect()
}

#[tokio::test]
async fn a_rate_lets_one_go_at_a_time() {
    let ground = Ground::new();
    let node = ground.start().await;
    let id =
        node.endpoint("a.example", |settings| settings.rate_limit = Some("2/10s".parse().unwrap())).await;
    for _ in 0..4 {
        node.ends(Vec::new()).await;
    }
    node.settle().await;
    assert_eq!(ground.world.requests("a.example").len(), 1);
    let now = ground.clock.now();
    let standing = node.engine.standing(Lane::of_endpoint(id), now);
    assert_eq!(standing.rate, Some(now + seconds(5)));
    node.advance(seconds(4)).await;
    assert_eq!(ground.world.requests("a.example").len(), 1, "not before its time");
    node.advance(seconds(1)).await;
    assert_eq!(ground.world.requests("a.example").len(), 2);
    node.crash().await;
    // A start knows the rate before it sends anything.
    let node = ground.start().await;
    assert_eq!(ground.world.requests("a.example").len(), 3);
    node.advance(seconds(5)).await;
    assert_eq!(ground.world.requests("a.example").len(), 4);
    let mut all = numbers(&ground, "a.example");
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3, 4]);
}

#[tokio::test]
async fn the_first_success_after_a_failed_head_sends_what_waits_at_once() {
    let ground = Ground::new();
    let node = ground.start().await;
    let id = node.endpoint("a.example", |settings| settings.ordered = true).await;
    ground.world.script("a.example", [status(500)]);
    for _ in 0..3 {
        node.ends(Vec::new()).await;
    }
    node.settle().await;
    assert_eq!(numbers(&ground, "a.example"), [1], "the others wait for the first");
    node.ping(id).await;
    node.settle().await;
    let sent: Vec<_> = ground.world.requests("a.example");
    assert!(!sent[1].headers.contains_key("webhook-sequence"), "a ping waits for no order");
    assert_eq!(sent.len(), 5, "and what waits need not sit out its timer");
}

/// Whatever fails, crashes, is resent or comes while others wait: a number is sent first only after all before it have
/// succeeded or failed for good.
#[tokio::test]
async fn an_order_is_kept_in_whatever_happens() {
    for seed in 0..8 {
        let (ground, dice) = (Ground::new(), SeededDice::new(seed));
        let mut node = ground.start().await;
        let id = node.endpoint("a.example", |settings| settings.ordered = true).await;
        let mut resent: HashMap<i64, usize> = HashMap::new();
        for _ in 0..40 {
            match dice.bits() % 10 {
                0..4 => {
                    node.ends(Vec::new()).await;
                }
                4..6 => ground.world.script("a.example", [status(500), status(503)]),
                6 => {
                    node.crash().await;
                    node = ground.start().await;
                }
                7 => {
                    if let Some(number) = node.resend_one(id, dice.bits()).await {
                        *resent.entry(number).or_default() += 1;
                    }
                }
                _ => node.advance(seconds(1 + (dice.bits() % 90) as u64)).await,
            }
            node.settle().await;
        }
        // Five minutes at most between probes, and no more failures.
        ground.world.forget("a.example");
        for _ in 0..40 {
            node.advance(seconds(300)).await;
        }
        let seen = numbers(&ground, "a.example");
        let first = |number: i64| seen.iter().position(|seen| *seen == number);
        for number in 1..=node.last_of(id).await {
            let at =
                first(number).unwrap_or_else(|| panic!("seed {seed}: {number} was never sent: {seen:?}"));
            let Some(next) = first(number + 1) else { continue };
            let late = seen[next..].iter().filter(|late| **late == number).count();
            let may = resent.get(&number).copied().unwrap_or(0);
            assert!(at < next && late <= may * 3, "seed {seed}: {number} is out of order: {seen:?}");
        }
    }
}
