//! The nodes that share one database: how much of a task's concurrency each may use, and which of them owns a lane.
//!
//! A node first *holds* slots, in its row, where all the others see them, and uses them then; it lets go of them the
//! other way round. Rows of holds are written one at a time (compare-and-set over the whole fleet), so that what all
//! nodes hold together is never above what the operator set, whoever comes, goes or is slow to hear of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{lane::Lane, task::TaskName};

/// How many slots of each task a node may have taken. In its row as a JSON object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Holds(BTreeMap<TaskName, u32>);

impl Holds {
    /// Of one task; 0 if it is not named.
    pub fn of(&self, task: &TaskName) -> u32 {
        self.0.get(task).copied().unwrap_or(0)
    }

    /// Each task that any are held of.
    pub fn iter(&self) -> impl Iterator<Item = (&TaskName, u32)> {
        self.0.iter().map(|(task, slots)| (task, *slots))
    }
}

impl FromIterator<(TaskName, u32)> for Holds {
    fn from_iter<I: IntoIterator<Item = (TaskName, u32)>>(all: I) -> Self {
        Self(all.into_iter().filter(|(_, slots)| *slots > 0).collect())
    }
}

/// A node whose lease is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub node: i64,
    /// False of one that takes no new work: it is draining.
    pub takes: bool,
    /// What it holds.
    pub holds: Holds,
}

/// All of them, as one of them last read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet(Vec<Member>);

impl Fleet {
    /// In any order.
    pub fn new(mut members: Vec<Member>) -> Self {
        members.sort_unstable_by_key(|member| member.node);
        Self(members)
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if nobody is known, not even oneself.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What `node` should have of a task that may run `concurrency` at once in all: an equal part. What does not divide
    /// goes to different nodes for different tasks, so that tasks with a concurrency of one do not all meet on one node.
    pub fn share(&self, node: i64, task: &TaskName, concurrency: u32) -> u32 {
        let takers: Vec<i64> =
            self.0.iter().filter(|member| member.takes).map(|member| member.node).collect();
        let (Some(place), Ok(count)) =
            (takers.iter().position(|taker| *taker == node), u32::try_from(takers.len()))
        else {
            return 0;
        };
        let text = task.as_str().bytes().fold(0_u64, |hash, byte| mix(hash ^ u64::from(byte)));
        let first = (text % u64::from(count)) as u32;
        let turn = (place as u32 + count - first) % count;
        concurrency / count + u32::from(turn < concurrency % count)
    }

    /// What `node` may hold of it now: its share, less what others have not let go of yet.
    pub fn may_hold(&self, node: i64, task: &TaskName, concurrency: u32) -> u32 {
        let others = self.0.iter().filter(|member| member.node != node).map(|member| member.holds.of(task));
        let held = others.fold(0, u32::saturating_add);
        self.share(node, task, concurrency).min(concurrency.saturating_sub(held))
    }

    /// True if `node` is to serve this lane: any node a destination that is not registered, and one alone an endpoint, so
    /// that its order, its pace and what is in flight to it are in one hand.
    pub fn serves(&self, node: i64, lane: Lane) -> bool {
        lane.endpoint().is_none_or(|endpoint| self.owner(endpoint) == Some(node))
    }

    /// True if the same nodes serve the same lanes in `other`.
    pub fn serves_as(&self, other: &Self) -> bool {
        let takers = |fleet: &Self| -> Vec<i64> {
            fleet.0.iter().filter(|member| member.takes).map(|member| member.node).collect()
        };
        takers(self) == takers(other)
    }

    /// The same answer on every node that knows the same fleet, and when a node comes or goes only its own lanes move.
    /// Rendezvous hashing; the hash is part of what nodes of different versions agree on. `None` while nobody takes work.
    fn owner(&self, endpoint: u64) -> Option<i64> {
        let takers = self.0.iter().filter(|member| member.takes).map(|member| member.node);
        takers.max_by_key(|node| (mix(mix(*node as u64) ^ endpoint), *node))
    }
}

/// Spreads every bit of its argument over all of its answer: the finaliser of splitmix64.
const fn mix(of: u64) -> u64 {
    let a = of.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let b = (a ^ (a >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let c = (b ^ (b >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    c ^ (c >> 31)
}

#[cfg(test)]
mod tests;
