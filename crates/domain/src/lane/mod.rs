//! Who is next: the lanes of jobs and of deliveries, and how they share slots.
//!
//! A *lane* is a queue in storage: one destination's deliveries, or the jobs of one task, fairness key and priority.
//! A *group* of lanes shares slots: a task's concurrency, or all deliveries in hand. Here a lane is one small entry,
//! however many rows it has: when its next row is due, how many of its rows are in hand, how many may be. What
//! commits touch keeps it true; storage is asked for rows (an [`Ask`] a lane) and never "what is due?".
//!
//! * `id`: what a lane is called in rows.
//! * `terms`: what the owner of a lane allows.
//! * `cap`: how many of one lane may be out, and how many more claimed ahead.
//! * `bucket`: how many may go now where its owner set a rate.
//! * `gate`: whether one may send at all: its breaker, and the rest its receiver asked for.
//! * `drr`: whose turn it is, deficit round robin.
//! * `group`: the lanes of one group, and what takes a slot and gives one back. Under it `state` (one lane), `shares` (how
//!   much of the slots is for lanes that are quick) and `places` (the one that says where a lane waits).
//!
//! Knows no storage, no clock and no receiver. Nothing here costs time by the number of lanes: those that are due
//! wait in a ring, those that will be in a timer set, and those that may not go now (cap, no row) nowhere at all.

use std::collections::BTreeMap;

use crate::time::Timestamp;

mod bucket;
mod cap;
mod drr;
mod gate;
mod group;
mod id;
mod terms;

pub use cap::{Answer, Caps};
pub use drr::QUANTUM;
pub use gate::{Breaker, Record, Recorded, Sign};
pub use id::Lane;
pub use terms::Terms;

/// Lanes that share a number of slots: a task (its concurrency), or all deliveries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Group(pub u32);

/// A claim to be made: up to `k` due rows of one lane. Their slots are taken until [`Lanes::claimed`] says what came.
#[must_use = "its slots are taken until `claimed` gives them back"]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ask {
    /// The lane to claim from.
    pub lane: Lane,
    /// Whose slots these are.
    pub group: Group,
    /// At most this many rows.
    pub k: u32,
    /// The breaker is open: this is one row, the oldest, whether its time has come or not.
    pub probe: bool,
    /// What the lane's owner allows, as far as is known: a claim under other terms than the row's brings nothing but those.
    pub terms: Terms,
    /// The ask's number, so that one is answered once.
    seen: u64,
}

/// What came of an attempt, as far as its lane learns from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    /// How much the destination can take.
    pub answer: Answer,
    /// Whether it is there.
    pub sign: Sign,
    /// It was the probe.
    pub probe: bool,
}

/// What keeps a lane from sending.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Its breaker.
    pub breaker: Breaker,
    /// When its owner's rate lets the next one go; `None`: now, as far as that goes.
    pub rate: Option<Timestamp>,
}

impl Default for Standing {
    fn default() -> Self {
        Self { breaker: Breaker::Closed, rate: None }
    }
}

/// Every lane that has something due, waiting or in hand.
#[derive(Debug)]
pub struct Lanes {
    caps: Caps,
    groups: BTreeMap<Group, group::Lanes>,
    /// The group that the last pick began with: the next one begins after it.
    began: Option<Group>,
}

impl Lanes {
    /// No lanes yet; each will be capped by `caps`.
    pub fn new(caps: Caps) -> Self {
        Self { caps: caps.in_order(), groups: BTreeMap::new(), began: None }
    }

    /// Says how many slots a group has; 0 pauses it. What is in hand beyond a lowered number runs on.
    pub fn set_group(&mut self, group: Group, slots: u32) {
        self.group(group).set_slots(slots);
    }

    /// A commit made something due in this lane at `due` (now, or in the future). Too early a time costs one claim
    /// that finds nothing; too late a one holds a row up.
    pub fn touch(&mut self, lane: Lane, group: Group, due: Timestamp) {
        self.group(group).touch(lane, due);
    }

    /// Others serve these lanes: what is due there is none of ours, and what was learned of them is out of date by the time
    /// that they come back. What is in hand of them ends as it would have.
    pub fn leave(&mut self, group: Group, theirs: impl Fn(Lane) -> bool) {
        self.group(group).leave(theirs);
    }

    /// May a row be born claimed? True takes a slot of group and lane, to be freed by [`Lanes::heard`] or
    /// [`Lanes::done`]. False if they have none free, if its breaker is not closed or its receiver rests, or if something
    /// due waits in this lane, or could go now in a lane of the group that is as good: those were first.
    pub fn reserve(&mut self, lane: Lane, group: Group, now: Timestamp) -> bool {
        self.group(group).reserve(lane, now)
    }

    /// What to claim now: at most `most` rows in all, in turns of [`QUANTUM`] rows among the due lanes of a group,
    /// lower priority numbers first. Takes the slots. A lane is not asked again before [`Lanes::claimed`].
    pub fn pick(&mut self, now: Timestamp, most: u32) -> Vec<Ask> {
        let after = |began| self.groups.range((std::ops::Bound::Excluded(began), std::ops::Bound::Unbounded));
        let order: Vec<Group> = match self.began {
            Some(began) => after(began).chain(self.groups.range(..=began)).map(|(&group, _)| group).collect(),
            None => self.groups.keys().copied().collect(),
        };
        let mut asks = Vec::new();
        let mut left = most;
        for group in order {
            let Some(lanes) = self.groups.get_mut(&group).filter(|_| left > 0) else { break };
            let rows = lanes.pick(group, now, left, &mut asks);
            if rows > 0 && left == most {
                self.began = Some(group);
            }
            left -= rows;
        }
        asks
    }

    /// What became of an ask: `got` rows were claimed, and the lane's next row that nobody has is due at `next_due`.
    /// Gives back the slots that were not used. `next_due` is the truth unless the lane was touched since the pick;
    /// then the earlier of both is.
    pub fn claimed(&mut self, ask: &Ask, got: u32, next_due: Option<Timestamp>) {
        self.group(ask.group).claimed(ask, got, next_due);
    }

    /// The claim failed: the lane is due as before, at the time it was picked at or when it may be tried `again`. Until one has
    /// succeeded nothing of it is born claimed.
    pub fn refused(&mut self, ask: &Ask, again: Option<Timestamp>) {
        self.group(ask.group).refused(ask, again);
    }

    /// May one more of what is in hand of this lane go out? True takes one of its cap, until [`Lanes::heard`]. While its
    /// breaker is open, nothing but the probe may: `probe` says that this is what such an ask brought.
    pub fn send(&mut self, lane: Lane, group: Group, probe: bool) -> bool {
        self.group(group).send(lane, probe)
    }

    /// True while nothing of this lane may go out but a probe: what is in hand of it is to be put back.
    pub fn is_shut(&self, lane: Lane, group: Group) -> bool {
        self.groups.get(&group).is_some_and(|group| group.is_shut(lane))
    }

    /// A row of this lane was not sent after all, and is still in hand.
    pub fn recall(&mut self, lane: Lane, group: Group) {
        self.group(group).recall(lane);
    }

    /// A row of this lane is in hand no more, without having been sent: frees its slot. Jobs are not sent.
    pub fn done(&mut self, lane: Lane, group: Group) {
        self.group(group).done(lane, false);
    }

    /// The same of what was to be the probe: there will be another.
    pub fn probe_done(&mut self, lane: Lane, group: Group) {
        self.group(group).done(lane, true);
    }

    /// A row of this lane that was sent is answered, or never will be: frees its slot and lets cap and breaker learn.
    /// `true`: it is the first that was taken since the breaker opened. What waits in the lane may go, and its cap begins
    /// anew.
    pub fn heard(&mut self, lane: Lane, group: Group, heard: Heard, now: Timestamp) -> bool {
        self.group(group).heard(lane, heard, now)
    }

    /// What was sent beside this lane was taken: as if it had been sent in it.
    pub fn taken_beside(&mut self, lane: Lane, group: Group, now: Timestamp) -> bool {
        self.group(group).taken_beside(lane, now)
    }

    /// What the owner of this lane allows from now on, whatever its cap has learned.
    pub fn set_terms(&mut self, lane: Lane, group: Group, terms: Terms) {
        self.group(group).set_terms(lane, terms);
    }

    /// Whoever served this lane before had its breaker open. Says nothing to a lane that something was sent in.
    pub fn was_open(&mut self, lane: Lane, group: Group, now: Timestamp) {
        self.group(group).was_open(lane, now);
    }

    /// Nothing of this lane is sent before `until`.
    pub fn rest(&mut self, lane: Lane, group: Group, until: Timestamp) {
        self.group(group).rest(lane, until);
    }

    /// What keeps a lane from sending now, as far as is known here.
    pub fn standing(&self, lane: Lane, group: Group, now: Timestamp) -> Standing {
        self.groups.get(&group).map_or_else(Standing::default, |group| group.standing(lane, now))
    }

    /// A row of this lane was settled for good: what its order held back may go.
    pub fn settled(&mut self, lane: Lane, group: Group, now: Timestamp) {
        self.group(group).settled(lane, now);
    }

    /// How a lane's breaker stands. A lane that is not known has none to speak of.
    pub fn breaker(&self, lane: Lane, group: Group) -> Breaker {
        self.groups.get(&group).map_or(Breaker::Closed, |group| group.breaker(lane))
    }

    /// When something can go next if nothing else happens: the earliest due time of a lane that has room in a group
    /// that has a free slot. A time that is past: now.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.groups.values().filter_map(group::Lanes::next_due).min()
    }

    /// Slots taken in all: rows in hand and rows asked for.
    pub fn in_hand(&self) -> u32 {
        self.groups.values().map(|group| group.in_hand).sum()
    }

    /// Slots taken in one lane.
    pub fn lane_in_hand(&self, lane: Lane, group: Group) -> u32 {
        self.groups.get(&group).map_or(0, |group| group.lane_in_hand(lane))
    }

    /// Rows of one lane that were sent and not answered.
    pub fn lane_out(&self, lane: Lane, group: Group) -> u32 {
        self.groups.get(&group).map_or(0, |group| group.lane_out(lane))
    }

    /// How many of this lane may be out at once, as learned so far.
    pub fn cap(&self, lane: Lane, group: Group) -> u32 {
        self.groups.get(&group).and_then(|group| group.cap(lane)).unwrap_or(self.caps.start)
    }

    /// How many slots a group has.
    pub fn slots(&self, group: Group) -> u32 {
        self.groups.get(&group).map_or(0, |group| group.slots)
    }

    /// Slots taken in a group: rows in hand, asked for or promised. More than it has, if that was lowered.
    pub fn taken(&self, group: Group) -> u32 {
        self.groups.get(&group).map_or(0, |group| group.in_hand)
    }

    /// Free slots of a group; 0 if it is not known.
    pub fn free(&self, group: Group) -> u32 {
        self.groups.get(&group).map_or(0, group::Lanes::free)
    }

    /// How many lanes are held in memory.
    pub fn known(&self) -> usize {
        self.groups.values().map(group::Lanes::known).sum()
    }

    fn group(&mut self, group: Group) -> &mut group::Lanes {
        self.groups.entry(group).or_insert_with(|| group::Lanes::new(self.caps))
    }
}

#[cfg(test)]
mod tests;
