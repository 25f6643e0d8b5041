//! Tables for what a reader asks first, then a world of rows in which any history keeps the promises.

use proptest::prelude::*;

use super::*;

mod order;
mod shares;
mod world;

const CAPS: Caps = Caps { start: 8, most: 32, ahead: 0 };
const ALL: Group = Group(0);

fn t(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// The `n`-th lane of a priority.
fn lane(n: i64, priority: u8) -> Lane {
    Lane(n << 4 | i64::from(priority))
}

fn lanes(caps: Caps, slots: u32) -> Lanes {
    let mut lanes = Lanes::new(caps);
    lanes.set_group(ALL, slots);
    lanes
}

/// One of this lane goes out and is answered.
fn answer(lanes: &mut Lanes, lane: Lane, answer: Answer) {
    hear(lanes, lane, Heard { answer, sign: Sign::None, probe: false }, t(0));
}

/// The same, and what the breaker hears.
fn hear(lanes: &mut Lanes, lane: Lane, heard: Heard, now: Timestamp) -> bool {
    lanes.send(lane, ALL, heard.probe);
    lanes.heard(lane, ALL, heard, now)
}

fn asked(asks: &[Ask]) -> Vec<(Lane, u32)> {
    asks.iter().map(|ask| (ask.lane, ask.k)).collect()
}

#[test]
fn a_row_is_born_claimed_where_nothing_was_first() {
    let (a, b, worse) = (lane(1, 5), lane(2, 5), lane(3, 6));
    let mut lanes = lanes(CAPS, 3);
    assert!(lanes.reserve(a, ALL, t(0)));
    lanes.touch(a, ALL, t(10));
    assert!(lanes.reserve(a, ALL, t(9)), "a timer is not first");
    assert!(!lanes.reserve(a, ALL, t(10)), "a due row is");
    assert!(!lanes.reserve(b, ALL, t(10)), "in a lane as good, too");
    assert!(!lanes.reserve(worse, ALL, t(10)), "and in a better one");
    assert!(lanes.reserve(lane(4, 4), ALL, t(10)), "not in a worse one");
    assert!(!lanes.reserve(lane(5, 0), ALL, t(10)), "without a slot nothing is");
    assert_eq!((lanes.in_hand(), lanes.free(ALL)), (3, 0));
}

#[test]
fn a_claim_that_is_out_keeps_nothing_from_being_born_claimed() {
    let a = lane(1, 5);
    let mut lanes = lanes(CAPS, 100);
    assert!((0..4).all(|_| lanes.reserve(a, ALL, t(0))), "its cap is eight");
    lanes.touch(a, ALL, t(0));
    let ask = lanes.pick(t(0), 2).remove(0);
    assert!(lanes.reserve(a, ALL, t(0)), "the claim has the slots that it asked for");
    lanes.claimed(&ask, 1, None);

    lanes.touch(a, ALL, t(1));
    let ask = lanes.pick(t(1), 1).remove(0);
    lanes.claimed(&ask, 1, Some(t(0)));
    assert_eq!(asked(&lanes.pick(t(1), 1)), [(a, 1)], "out again, with slots left over");
    assert!(!lanes.reserve(a, ALL, t(1)), "there are older ones than it");
}

/// While claims alone are refused, what they were to bring does not wait for all that comes meanwhile.
#[test]
fn nothing_overtakes_what_a_claim_could_not_bring() {
    let a = lane(1, 5);
    for again in [0, 9] {
        let mut lanes = lanes(CAPS, 100);
        lanes.touch(a, ALL, t(0));
        let ask = lanes.pick(t(0), 1).remove(0);
        lanes.claimed(&ask, 1, Some(t(0)));
        let ask = lanes.pick(t(0), 1).remove(0);
        assert!(!lanes.reserve(a, ALL, t(0)), "there are older ones");
        lanes.refused(&ask, Some(t(again)));
        assert!(!lanes.reserve(a, ALL, t(0)), "there still are");
        let ask = lanes.pick(t(9), 2).remove(0);
        assert!(!lanes.reserve(a, ALL, t(9)), "and while they are asked for again");
        lanes.claimed(&ask, 1, None);
        assert!(lanes.reserve(a, ALL, t(9)), "that was the last");
    }
}

#[test]
fn a_lane_at_its_cap_holds_up_no_other() {
    let (slow, quick) = (lane(1, 0), lane(2, 0));
    let mut lanes = lanes(CAPS, 100);
    lanes.touch(slow, ALL, t(0));
    let asks = lanes.pick(t(0), 100);
    assert_eq!(asked(&asks), [(slow, 8)]);
    lanes.claimed(&asks[0], 8, Some(t(0)));
    assert_eq!(lanes.next_due(), None, "it waits for an answer");
    assert!(!lanes.reserve(slow, ALL, t(1)));
    assert!(lanes.reserve(quick, ALL, t(1)));

    answer(&mut lanes, slow, Answer::Bad);
    assert_eq!((lanes.cap(slow, ALL), lanes.next_due()), (4, None));
    (0..4).for_each(|_| answer(&mut lanes, slow, Answer::Neutral));
    assert_eq!(lanes.next_due(), Some(t(0)));
    assert_eq!(asked(&lanes.pick(t(1), 100)), [(slow, 1)]);
}

const TAKEN: Heard = Heard { answer: Answer::Good, sign: Sign::Taken, probe: false };
const FAILS: Heard = Heard { answer: Answer::Bad, sign: Sign::Fails, probe: false };

/// A lane whose breaker opened at the time 0, with nothing in flight.
fn dead(slots: u32) -> (Lanes, Lane) {
    let (mut lanes, dead) = (lanes(CAPS, slots), lane(1, 0));
    for _ in 0..5 {
        assert!(lanes.reserve(dead, ALL, t(0)));
        assert!(!hear(&mut lanes, dead, FAILS, t(0)));
    }
    (lanes, dead)
}

#[test]
fn an_open_breaker_lets_one_probe_through_at_its_time() {
    let ((mut lanes, dead), well) = (dead(100), lane(2, 0));
    let second = |n: i64| t(n * 1_000_000);
    assert_eq!(lanes.breaker(dead, ALL), Breaker::Open(second(5)));
    assert!(!lanes.reserve(dead, ALL, t(1)) && lanes.reserve(well, ALL, t(1)), "it holds up no other");
    lanes.touch(dead, ALL, t(2));
    assert!(lanes.pick(second(4), 100).is_empty());
    assert_eq!(lanes.next_due(), Some(second(5)), "however many rows wait");
    let asks = lanes.pick(second(5), 100);
    assert_eq!((asked(&asks), asks[0].probe), (vec![(dead, 1)], true));
    lanes.claimed(&asks[0], 1, Some(t(2)));
    assert!(lanes.pick(second(6), 100).is_empty(), "one at a time");
    assert!(!hear(&mut lanes, dead, Heard { probe: true, ..FAILS }, second(6)));
    assert_eq!(lanes.next_due(), Some(second(16)));

    let asks = lanes.pick(second(16), 100);
    lanes.claimed(&asks[0], 1, Some(t(2)));
    assert!(hear(&mut lanes, dead, Heard { probe: true, ..TAKEN }, second(17)), "it is back");
    assert_eq!((lanes.cap(dead, ALL), lanes.breaker(dead, ALL)), (1, Breaker::Closed), "slowly at first");
    assert_eq!(asked(&lanes.pick(second(17), 100)), [(dead, 1)]);
    assert!(!hear(&mut lanes, dead, TAKEN, second(18)));
    assert_eq!(lanes.cap(dead, ALL), 2);
}

#[test]
fn a_probe_goes_before_its_rows_time_and_is_not_asked_for_in_vain() {
    let (mut lanes, dead) = dead(100);
    let second = |n: i64| t(n * 1_000_000);
    lanes.touch(dead, ALL, second(3_600));
    assert_eq!(lanes.next_due(), Some(second(5)));
    let asks = lanes.pick(second(5), 100);
    assert_eq!(lanes.next_due(), None);
    lanes.claimed(&asks[0], 0, Some(second(3_600)));
    assert_eq!(lanes.next_due(), Some(second(10)), "its receiver asked for more time");
    assert!(lanes.taken_beside(dead, ALL, second(6)), "a ping came through");
    assert_eq!(lanes.next_due(), Some(second(3_600)));
}

#[test]
fn failures_are_counted_over_idle_times() {
    let (mut lanes, dead) = (lanes(CAPS, 100), lane(1, 0));
    let neutral = Heard { answer: Answer::Neutral, ..FAILS };
    for n in 0..5 {
        assert!(lanes.reserve(dead, ALL, t(n)), "{n}");
        hear(&mut lanes, dead, neutral, t(n));
    }
    assert_eq!(lanes.breaker(dead, ALL), Breaker::Open(t(5_000_004)));
}

#[test]
fn what_others_served_meanwhile_is_learned_anew() {
    let (mut lanes, lane) = dead(100);
    assert_ne!(lanes.breaker(lane, ALL), Breaker::Closed);
    lanes.leave(ALL, |_| true);
    assert_eq!((lanes.breaker(lane, ALL), lanes.cap(lane, ALL)), (Breaker::Closed, CAPS.start));
    // Whoever served it had it open: it is found so again.
    lanes.was_open(lane, ALL, t(9));
    assert_eq!(lanes.breaker(lane, ALL), Breaker::Open(t(9)));
}

#[test]
fn behind_an_open_breaker_only_the_probe_goes_out() {
    let (mut lanes, dead) = (lanes(Caps { ahead: 4, ..CAPS }, 100), lane(1, 0));
    let quick = Heard { answer: Answer::Quick, ..TAKEN };
    (0..8).for_each(|_| assert!(lanes.reserve(dead, ALL, t(0))));
    (0..8).for_each(|_| assert!(!hear(&mut lanes, dead, quick, t(0))));
    lanes.touch(dead, ALL, t(0));
    let asks = lanes.pick(t(0), 100);
    assert_eq!(asked(&asks), [(dead, 13)], "its cap, and four ahead");
    lanes.claimed(&asks[0], 13, Some(t(0)));
    (0..5).for_each(|_| assert!(!hear(&mut lanes, dead, FAILS, t(0))));
    assert!(
        lanes.is_shut(dead, ALL) && !lanes.send(dead, ALL, false),
        "what waits in hand is to be put back"
    );
    (0..8).for_each(|_| lanes.done(dead, ALL));
    let second = |n: i64| t(n * 1_000_000);
    let asks = lanes.pick(second(5), 100);
    assert_eq!((asked(&asks), asks[0].probe), (vec![(dead, 1)], true));
    lanes.claimed(&asks[0], 1, Some(t(0)));
    assert!(!lanes.send(dead, ALL, false) && lanes.send(dead, ALL, true));
    lanes.recall(dead, ALL);
    lanes.probe_done(dead, ALL);
    assert_eq!(
        lanes.breaker(dead, ALL),
        Breaker::Open(second(10)),
        "one that was not sent is followed by another"
    );
}

#[test]
fn terms_hold_whatever_was_learned() {
    let (mut lanes, small) = (lanes(CAPS, 100), lane(1, 0));
    let at_most = |most| Terms { most, ..Terms::default() };
    lanes.set_terms(small, ALL, at_most(Some(2)));
    assert_eq!((lanes.cap(small, ALL), lanes.known()), (2, 1), "kept while it is idle");
    lanes.touch(small, ALL, t(0));
    let asks = lanes.pick(t(0), 100);
    assert_eq!(asked(&asks), [(small, 2)]);
    lanes.claimed(&asks[0], 2, Some(t(0)));
    lanes.set_terms(small, ALL, at_most(Some(3)));
    assert_eq!(asked(&lanes.pick(t(0), 100)), [(small, 1)]);
    lanes.set_terms(small, ALL, at_most(None));
    assert_eq!(lanes.cap(small, ALL), 8);
}

#[test]
fn a_rest_is_kept() {
    let (mut lanes, tired) = (lanes(CAPS, 100), lane(1, 0));
    lanes.touch(tired, ALL, t(0));
    lanes.rest(tired, ALL, t(60));
    assert!(lanes.pick(t(59), 100).is_empty() && !lanes.reserve(tired, ALL, t(59)));
    assert_eq!(lanes.next_due(), Some(t(60)));
    assert_eq!(asked(&lanes.pick(t(60), 100)), [(tired, 8)]);
}

#[test]
fn quick_lanes_run_ahead_of_their_caps_in_half_of_the_slots() {
    let (a, b, slow) = (lane(1, 0), lane(2, 0), lane(3, 0));
    let mut lanes = lanes(Caps { start: 1, most: 2, ahead: 100 }, 20);
    for lane in [a, b] {
        for _ in 0..9 {
            assert!(lanes.reserve(lane, ALL, t(0)));
            answer(&mut lanes, lane, Answer::Quick);
        }
    }
    [a, b, slow].iter().for_each(|lane| lanes.touch(*lane, ALL, t(0)));
    let asks = lanes.pick(t(0), 100);
    let mut got = asked(&asks);
    got.sort();
    assert_eq!(got, [(a, 8), (b, 6), (slow, 1)], "their caps, and ten between them");
    asks.iter().for_each(|ask| lanes.claimed(ask, ask.k, Some(t(0))));
    assert_eq!(
        [a, a, a].map(|lane| lanes.send(lane, ALL, false)),
        [true, true, false],
        "no more of them go out"
    );
    let quick = Heard { answer: Answer::Quick, sign: Sign::Taken, probe: false };
    assert!(!lanes.heard(a, ALL, quick, t(0)));
    assert!(lanes.send(a, ALL, false));
    assert_eq!(asked(&lanes.pick(t(0), 100)), [(a, 1)], "and each that was answered makes room for one");
}

#[test]
fn what_an_ask_did_not_find_is_given_back() {
    let mut lanes = lanes(CAPS, 6);
    lanes.touch(lane(1, 0), ALL, t(0));
    let asks = lanes.pick(t(0), 100);
    assert_eq!((asked(&asks), lanes.free(ALL)), (vec![(lane(1, 0), 6)], 0));
    assert!(lanes.pick(t(0), 100).is_empty(), "it is asked once");
    lanes.claimed(&asks[0], 2, None);
    lanes.claimed(&asks[0], 0, Some(t(0)));
    assert_eq!((lanes.in_hand(), lanes.free(ALL), lanes.next_due()), (2, 4, None), "and answered once");
}

#[test]
fn a_touch_during_a_claim_is_kept() {
    for (touch, next_due, then) in [
        (Some(5), None, Some(5)),
        (Some(5), Some(9), Some(5)),
        (Some(9), Some(5), Some(5)),
        (None, Some(5), Some(5)),
        (None, None, None),
    ] {
        let mut lanes = lanes(CAPS, 100);
        lanes.touch(lane(1, 0), ALL, t(0));
        let asks = lanes.pick(t(0), 1);
        touch.into_iter().for_each(|due| lanes.touch(lane(1, 0), ALL, t(due)));
        assert!(lanes.pick(t(9), 1).is_empty(), "a lane is asked once at a time");
        lanes.claimed(&asks[0], 1, next_due.map(t));
        assert_eq!(lanes.next_due(), then.map(t), "{touch:?} {next_due:?}");
    }
}

#[test]
fn better_priorities_go_first_and_turns_go_round() {
    let mut lanes = lanes(Caps::UNBOUNDED, 100);
    for n in [(1, 7), (2, 7), (3, 0)] {
        lanes.touch(lane(n.0, n.1), ALL, t(0));
    }
    let first = lanes.pick(t(0), 3);
    assert_eq!(asked(&first), [(lane(3, 0), 3)]);
    lanes.claimed(&first[0], 2, None);
    let second = lanes.pick(t(0), 6);
    assert_eq!(asked(&second), [(lane(1, 7), 4), (lane(2, 7), 2)]);
    second.iter().for_each(|ask| lanes.claimed(ask, ask.k, Some(t(0))));
    let third = lanes.pick(t(0), 3);
    assert_eq!(asked(&third), [(lane(2, 7), 2), (lane(1, 7), 1)], "the turn cut short goes on");
}

#[test]
fn a_pick_begins_with_another_group_each_time() {
    let mut lanes = Lanes::new(Caps::UNBOUNDED);
    for group in [Group(1), Group(2), Group(3)] {
        lanes.set_group(group, 100);
        lanes.touch(lane(1, 0), group, t(0));
    }
    let mut order = Vec::new();
    for _ in 0..6 {
        let asks = lanes.pick(t(0), 10);
        order.extend(asks.iter().map(|ask| ask.group.0));
        asks.iter().for_each(|ask| lanes.claimed(ask, ask.k, Some(t(0))));
    }
    assert_eq!(order, [1, 2, 3, 1, 2, 3]);
}

#[test]
fn no_slots_is_a_pause() {
    let mut lanes = lanes(CAPS, 4);
    lanes.touch(lane(1, 0), ALL, t(0));
    lanes.set_group(ALL, 0);
    assert_eq!((lanes.pick(t(5), 9), lanes.next_due()), (vec![], None));
    assert!(!lanes.reserve(lane(2, 0), ALL, t(5)));
    lanes.set_group(ALL, 4);
    assert_eq!(lanes.next_due(), Some(t(0)));
}

#[test]
fn idle_lanes_are_forgotten_but_for_the_latest_that_learned() {
    let mut lanes = lanes(CAPS, 100);
    for n in 0..10_010 {
        assert!(lanes.reserve(lane(n, 0), ALL, t(0)));
        answer(&mut lanes, lane(n, 0), Answer::Bad);
        assert!(lanes.reserve(lane(-1 - n, 0), ALL, t(0)));
        answer(&mut lanes, lane(-1 - n, 0), Answer::Good);
    }
    assert_eq!(lanes.known(), 10_000);
    assert_eq!((lanes.cap(lane(9, 0), ALL), lanes.cap(lane(10, 0), ALL)), (8, 4));
    answer(&mut lanes, lane(10, 0), Answer::Bad);
    assert_eq!((lanes.cap(lane(10, 0), ALL), lanes.in_hand()), (4, 0), "nothing was in hand");
}
