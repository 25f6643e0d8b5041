use domain::{
    fleet::{Holds, Member},
    id::{EndpointId, Tenant},
};

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn desk() -> Desk {
    let mut desk = Desk::new(4, 4);
    assert!(desk.begin_reading_lanes(at(1)) && !desk.begin_reading_lanes(at(2)), "once");
    desk
}

#[test]
fn storage_is_told_what_is_held_once_nothing_is_on_its_way() {
    let (mut desk, lane) = (desk(), Lane(16));
    assert!(desk.reserve(lane, Terms::default(), at(1)));
    desk.doubt(at(1));
    assert!(!desk.reserve(lane, Terms::default(), at(1)), "nothing is born claimed while in doubt");
    desk.touch(lane, at(0));
    assert!(desk.pick(at(1), 9).is_empty(), "and nothing claimed");
    assert_eq!((desk.begin_telling(at(1)), desk.next()), (None, None));
    desk.unreserve(lane);
    assert_eq!(desk.next(), Some(at(1)));
    assert_eq!(desk.begin_telling(at(1)), Some(vec![]));
    assert_eq!(desk.begin_telling(at(1)), None, "once");
    desk.doubt(at(2));
    desk.told(None, at(3));
    assert_eq!(desk.doubt, Doubt::Since(at(3)), "another outcome was lost meanwhile");
    assert_eq!(desk.begin_telling(at(3)), Some(vec![]));
    desk.told(Some(at(9)), at(4));
    assert_eq!((desk.begin_telling(at(8)), desk.next()), (None, Some(at(9))));
    assert_eq!(desk.begin_telling(at(9)), Some(vec![]));
    desk.told(None, at(9));
    assert_eq!(desk.pick(at(9), 9).len(), 1);
}

#[test]
fn the_loop_is_woken_only_for_what_it_would_oversleep() {
    let (mut desk, lane) = (desk(), Lane(16));
    assert!(!desk.is_overslept(), "nothing to do");
    desk.touch(lane, at(10));
    assert!(desk.is_overslept());
    assert!(!desk.is_overslept(), "it was told");
    desk.touch(Lane(32), at(20));
    assert!(!desk.is_overslept(), "it will look earlier than that");
    desk.touch(Lane(32), at(5));
    assert!(desk.is_overslept());
}

#[test]
fn endpoints_are_served_by_their_owner_alone() {
    let fleet = |nodes: &[i64]| {
        let member = |node: &i64| Member { node: *node, takes: true, holds: Holds::default() };
        Fleet::new(nodes.iter().map(member).collect())
    };
    let mut lanes = (1..).map(|id| Lane::of_endpoint(EndpointId::from_u128(id)));
    let theirs = lanes.find(|lane| !fleet(&[1, 2]).serves(1, *lane)).unwrap();
    let ours = lanes.find(|lane| fleet(&[1, 2]).serves(1, *lane)).unwrap();
    let host = Lane::of_host(Tenant(1), true, "a.example", 443);

    let mut desk = Desk::new(64, 8);
    assert!(desk.begin_reading_lanes(at(1)));
    for lane in [theirs, ours, host] {
        assert!(desk.reserve(lane, Terms::default(), at(1)), "before anybody else is there");
        desk.unreserve(lane);
    }
    [theirs, ours, host].into_iter().for_each(|lane| desk.touch(lane, at(1)));
    assert!(desk.follow(fleet(&[1, 2]), 1).is_empty() && desk.begin_reading_lanes(at(1)));
    assert!(desk.follow(fleet(&[2, 1]), 1).is_empty() && !desk.begin_reading_lanes(at(1)), "the same");
    desk.touch(theirs, at(1));
    let asked: HashSet<Lane> = desk.pick(at(1), 64).into_iter().map(|ask| ask.lane).collect();
    assert_eq!(asked, HashSet::from([ours, host]));
    assert!(!desk.reserve(theirs, Terms::default(), at(2)));
    // The other is gone: what it left is looked for, and what is told of it is heard again.
    assert!(desk.follow(fleet(&[1]), 1).is_empty() && desk.begin_reading_lanes(at(2)));
    desk.touch(theirs, at(2));
    assert_eq!(desk.pick(at(2), 64).into_iter().map(|ask| ask.lane).collect::<Vec<_>>(), [theirs]);
}

#[test]
fn what_is_claimed_of_a_lane_that_went_to_another_goes_back() {
    let fleet = Fleet::new(vec![Member { node: 2, takes: true, holds: Holds::default() }]);
    let (mut desk, lane) = (desk(), Lane::of_endpoint(EndpointId::from_u128(1)));
    desk.touch(lane, at(0));
    let ask = desk.pick(at(1), 9).remove(0);
    assert!(desk.follow(fleet, 1).is_empty(), "nothing is in hand yet");
    desk.claimed(&ask, 0, Some(at(1)));
    assert!(desk.pick(at(2), 9).is_empty());
    assert_eq!(desk.lanes.in_hand(), 0);
}

#[test]
fn a_failing_storage_is_left_alone_for_a_while() {
    let (mut desk, lane) = (desk(), Lane(16));
    desk.touch(lane, at(0));
    let asks = desk.pick(at(1), 9);
    assert!(desk.claiming && desk.next().is_none());
    desk.lanes.claimed(&asks[0], 0, Some(at(1)));
    (desk.claiming, desk.claim_after) = (false, Some(at(3)));
    assert_eq!((desk.pick(at(2), 9).len(), desk.next()), (0, Some(at(3))));
    assert_eq!(desk.pick(at(3), 9).len(), 1);
}
