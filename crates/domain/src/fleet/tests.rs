use std::collections::HashMap;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    id::{EndpointId, Tenant},
    lane::Lane,
};

fn task(name: &str) -> TaskName {
    name.parse().unwrap()
}

fn fleet(nodes: &[i64]) -> Fleet {
    Fleet::new(nodes.iter().map(|&node| Member { node, takes: true, holds: Holds::default() }).collect())
}

#[test]
fn shares_add_up_to_the_whole_and_differ_by_one_at_most() {
    for concurrency in [1, 2, 7, 64, 1_024] {
        for nodes in [&[3][..], &[1, 9], &[1, 2, 3, 4, 5], &[10, 20, 30, 40, 50, 60, 70, 80, 90]] {
            for name in ["a", "report", "x.y"] {
                let fleet = fleet(nodes);
                let shares: Vec<u32> =
                    nodes.iter().map(|node| fleet.share(*node, &task(name), concurrency)).collect();
                assert_eq!(shares.iter().sum::<u32>(), concurrency, "{shares:?}");
                assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{shares:?}");
            }
        }
    }
}

#[test]
fn tasks_of_one_slot_are_spread() {
    let fleet = fleet(&[1, 2, 3, 4]);
    let first = |name: &str| (1..=4).find(|node| fleet.share(*node, &task(name), 1) == 1).unwrap();
    let met: std::collections::BTreeSet<i64> = (0..40).map(|n| first(&format!("task-{n}"))).collect();
    assert_eq!(met.len(), 4);
}

#[test]
fn what_others_have_not_let_go_of_is_not_to_be_had() {
    let holds = |slots| [(task("t"), slots)].into_iter().collect();
    let of = |old, new: bool| {
        Fleet::new(vec![
            Member { node: 1, takes: true, holds: holds(old) },
            Member { node: 2, takes: new, holds: Holds::default() },
        ])
    };
    for (old, takes, expected) in [(8, true, 0), (6, true, 2), (4, true, 4), (0, true, 4), (0, false, 0)] {
        assert_eq!(of(old, takes).may_hold(2, &task("t"), 8), expected, "{old} {takes}");
    }
    assert_eq!(of(0, false).may_hold(1, &task("t"), 8), 8);
    assert_eq!(of(8, true).may_hold(3, &task("t"), 8), 0, "one that is not known");
}

#[test]
fn owners_are_what_they_were() {
    // Nodes of different versions agree on them.
    let fleet = fleet(&[1, 2, 3]);
    let owners: Vec<_> = (0..12_u64).map(|n| fleet.owner(n << 6).unwrap()).collect();
    assert_eq!(owners, OWNERS);
    assert_eq!(Fleet::default().owner(16), None);
}

const OWNERS: [i64; 12] = [3, 1, 1, 1, 3, 2, 2, 3, 1, 3, 1, 3];

#[test]
fn an_endpoint_is_served_by_one_and_a_host_by_all() {
    let (fleet, id) = (fleet(&[1, 2, 3]), EndpointId::from_u128(7));
    let serve = |lane| (1..=3).filter(|node| fleet.serves(*node, lane)).collect::<Vec<i64>>();
    assert_eq!(serve(Lane::of_endpoint(id)).len(), 1);
    assert_eq!(serve(Lane::of_endpoint(id)), serve(Lane::beside_endpoint(id)));
    assert_eq!(serve(Lane::of_host(Tenant(1), true, "a.example", 443)), [1, 2, 3]);
    assert!(!Fleet::default().serves(1, Lane::of_endpoint(id)), "nobody, before the fleet is known");
}

#[test]
fn who_drains_owns_nothing() {
    let member = |node, takes| Member { node, takes, holds: Holds::default() };
    let fleet = Fleet::new(vec![member(1, false), member(2, true)]);
    assert!((0..100).all(|n| fleet.owner(n << 6) == Some(2)));
}

proptest! {
    #[test]
    fn only_the_lanes_of_who_goes_move(nodes in vec(1_i64..1_000, 2..8), lanes in vec(0_u64.., 50)) {
        let all = fleet(&nodes);
        let rest = fleet(&nodes.iter().copied().filter(|node| *node != nodes[0]).collect::<Vec<_>>());
        for lane in lanes {
            let (before, after) = (all.owner(lane), rest.owner(lane));
            if before == Some(nodes[0]) {
                prop_assert!(after != before);
            } else {
                prop_assert_eq!(before, after);
            }
        }
    }

    #[test]
    fn lanes_are_spread_evenly(first in 1_i64..1_000_000) {
        let nodes: Vec<i64> = (first..first + 4).collect();
        let fleet = fleet(&nodes);
        let mut counts: HashMap<i64, u32> = HashMap::new();
        for n in 0..4_000_u64 {
            *counts.entry(fleet.owner(n << 6).unwrap()).or_default() += 1;
        }
        prop_assert!(counts.len() == 4 && counts.values().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }

    /// A world of nodes that come, drain, die, read late and write late: what runs is never above the whole, and once
    /// all is quiet all of it can be used.
    #[test]
    fn what_runs_is_never_above_the_whole(concurrency in 1_u32..9, steps in vec((0_u8..10, 0_usize..5), 1..300)) {
        let mut world = World { concurrency, ..World::default() };
        for (what, which) in steps {
            world.step(what, which);
            let running: u32 = world.nodes.iter().map(|node| node.running).sum();
            prop_assert!(running <= concurrency, "{running} of {concurrency}: {world:?}");
        }
        world.nodes.iter_mut().for_each(|node| node.running = 0);
        for _ in 0..8 {
            for which in 0..world.nodes.len() {
                world.read(which);
                world.write(which);
            }
        }
        if world.nodes.iter().any(|node| node.takes) {
            prop_assert_eq!(world.nodes.iter().map(|node| node.limit).sum::<u32>(), concurrency);
        }
    }
}

#[derive(Debug, Default)]
struct World {
    concurrency: u32,
    version: u64,
    made: i64,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    id: i64,
    takes: bool,
    /// In its row.
    held: u32,
    running: u32,
    limit: u32,
    /// What it read and has not acted upon.
    read: Option<(u64, Fleet)>,
}

impl World {
    fn step(&mut self, what: u8, which: usize) {
        if what == 0 && self.nodes.len() < 5 {
            self.made += 1;
            let node = Node { id: self.made, takes: true, held: 0, running: 0, limit: 0, read: None };
            return self.nodes.push(node);
        }
        if self.nodes.is_empty() {
            return;
        }
        let which = which % self.nodes.len();
        let node = &mut self.nodes[which];
        match what {
            1 => drop(self.nodes.remove(which)),
            2 => node.takes = false,
            3..=4 => self.read(which),
            5..=6 => self.write(which),
            7 => node.running = node.running.saturating_sub(1),
            _ if node.running < node.limit => node.running += 1,
            _ => {}
        }
    }

    fn read(&mut self, which: usize) {
        let members = self.nodes.iter().map(|node| Member {
            node: node.id,
            takes: node.takes,
            holds: [(task("t"), node.held)].into_iter().collect(),
        });
        self.nodes[which].read = Some((self.version, Fleet::new(members.collect())));
    }

    /// As a node does it: lets go first, tells then, uses last.
    fn write(&mut self, which: usize) {
        let node = &mut self.nodes[which];
        let Some((version, fleet)) = node.read.take() else { return };
        let wanted = fleet.may_hold(node.id, &task("t"), self.concurrency);
        node.limit = node.limit.min(wanted);
        let held = wanted.max(node.running);
        if held == node.held {
            node.limit = wanted;
        } else if version == self.version {
            (node.held, node.limit) = (held, wanted);
            self.version += 1;
        }
    }
}
