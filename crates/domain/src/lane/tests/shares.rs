//! Lanes that always have more: who gets how much.

use super::*;

/// Keeps `loads` (lane, rows it has) going on few slots; returns what each got when `rows` were handed out, checking
/// at each moment that no two lanes that still have rows are further apart than a turn.
fn hand_out(loads: &mut [(Lane, u32)], slots: u32, steps: &[(u32, u32)]) -> Vec<u32> {
    let mut lanes = lanes(Caps::UNBOUNDED, slots);
    let mut got = vec![0; loads.len()];
    let mut flying = std::collections::VecDeque::new();
    loads.iter().for_each(|(lane, _)| lanes.touch(*lane, ALL, t(0)));
    for (now, &(most, ended)) in (1..).zip(steps) {
        for ask in lanes.pick(t(now), most) {
            let n = loads.iter().position(|(lane, _)| *lane == ask.lane).unwrap();
            let rows = ask.k.min(loads[n].1);
            loads[n].1 -= rows;
            got[n] += rows;
            flying.extend(std::iter::repeat_n(ask.lane, rows as usize));
            lanes.claimed(&ask, rows, (loads[n].1 > 0).then_some(t(0)));
        }
        let busy = || got.iter().zip(loads.iter()).filter(|(_, (_, left))| *left > 0).map(|(got, _)| *got);
        let apart = busy().max().unwrap_or(0) - busy().min().unwrap_or(0);
        assert!(apart <= QUANTUM, "{got:?} of {loads:?}");
        (0..ended).filter_map(|_| flying.pop_front()).for_each(|lane| lanes.done(lane, ALL));
    }
    got
}

proptest! {
    #[test]
    fn equal_lanes_are_within_a_turn_of_each_other(
        count in 2..20_i64,
        slots in 1..50_u32,
        steps in prop::collection::vec((1..30_u32, 0..30_u32), 1..200),
    ) {
        let mut loads: Vec<_> = (0..count).map(|n| (lane(n, 5), u32::MAX)).collect();
        hand_out(&mut loads, slots, &steps);
    }

    #[test]
    fn a_light_lane_waits_for_a_turn_of_each_busy_one_at_most(
        busy in 1..20_i64,
        most in 1..30_u32,
    ) {
        let mut lanes = lanes(Caps::UNBOUNDED, u32::MAX);
        let (late, mut before) = (lane(99, 5), 0);
        (0..busy).for_each(|n| lanes.touch(lane(n, 5), ALL, t(0)));
        for now in 1.. {
            if now == 7 {
                lanes.touch(late, ALL, t(now));
            }
            let asks = lanes.pick(t(now), most);
            asks.iter().for_each(|ask| lanes.claimed(ask, ask.k, Some(t(0))));
            let reached = asks.iter().any(|ask| ask.lane == late);
            if reached {
                break;
            }
            before += if now < 7 { 0 } else { most };
            prop_assert!(before <= busy as u32 * QUANTUM, "{before} rows went before it");
        }
    }
}

#[test]
fn rows_of_a_light_lane_leave_their_share_to_the_others() {
    let mut loads = vec![(lane(1, 0), 10_000), (lane(2, 0), 10), (lane(3, 0), 10_000)];
    let got = hand_out(&mut loads, 8, &[(8, 8); 100]);
    assert_eq!(got[1], 10);
    assert!(got[0] + got[2] > 700, "{got:?}");
}

#[test]
fn however_many_hang_half_of_the_slots_are_for_those_that_answer() {
    let mut lanes = lanes(Caps { start: 8, most: 32, ahead: 16 }, 64);
    let quick = lane(300, 0);
    assert!(lanes.reserve(quick, ALL, t(0)) && lanes.send(quick, ALL, false));
    lanes.heard(quick, ALL, Heard { answer: Answer::Quick, sign: Sign::Taken, probe: false }, t(0));
    // A hundred destinations that never answer, eight rows each.
    for n in 0..100 {
        lanes.touch(lane(n, 0), ALL, t(0));
    }
    let hung = lanes.pick(t(1), 1_000);
    let each: Vec<u32> = hung.iter().map(|ask| ask.k).collect();
    assert_eq!(each.iter().sum::<u32>(), 32, "half of them, {each:?}");
    assert_eq!(each.iter().filter(|k| **k == 1).count(), 8, "one each once 24 are taken: {each:?}");
    hung.iter().for_each(|ask| lanes.claimed(ask, ask.k, Some(t(0))));
    assert!(lanes.pick(t(2), 1_000).is_empty());
    assert_eq!(lanes.next_due(), None, "nothing goes before one of them ends");
    assert!(!lanes.reserve(lane(200, 0), ALL, t(2)), "nor does one that is new");

    (0..9)
        .for_each(|n| assert!(lanes.reserve(quick, ALL, t(2)), "one that answers has as many as ever: {n}"));

    assert!(lanes.send(hung[0].lane, ALL, false));
    let nothing = Heard { answer: Answer::Neutral, sign: Sign::There, probe: false };
    lanes.heard(hung[0].lane, ALL, nothing, t(3));
    assert!(lanes.next_due().is_some(), "the place of one that ended is free");
    let next = lanes.pick(t(3), 1_000).remove(0);
    assert!(hung.iter().all(|ask| ask.lane != next.lane), "for one that has nothing yet");
}
