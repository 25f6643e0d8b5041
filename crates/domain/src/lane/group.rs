//! The lanes of one group: what takes a slot, and what gives one back.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Ask, Breaker, Caps, Group, Heard, Lane, Sign, Standing, Terms,
    cap::Cap,
    drr::{Ring, Turn},
    gate::{Allowance, Gate},
};
use crate::time::Timestamp;

mod places;
mod shares;
mod state;

use places::{Place, Wait};
use shares::Counts;
use state::State;

#[derive(Debug)]
pub(super) struct Lanes {
    caps: Caps,
    pub(super) slots: u32,
    /// Slots taken: rows in hand, out or not, and rows asked for.
    pub(super) in_hand: u32,
    /// How they are used.
    pub(super) counts: Counts,
    /// The latest time that a call brought.
    now: Timestamp,
    lanes: BTreeMap<Lane, State>,
    ring: Ring,
    timers: BTreeSet<(Timestamp, Lane)>,
    /// Lanes that could go but for the share of those that are not quick.
    held: BTreeMap<Wait, Lane>,
    /// By when they fell idle.
    remembered: BTreeMap<u64, Lane>,
    /// The last number given to an ask, or to a lane that fell idle or is held.
    drawn: u64,
}

impl Lanes {
    /// Paused until it is given slots.
    pub(super) fn new(caps: Caps) -> Self {
        Self {
            caps,
            slots: 0,
            in_hand: 0,
            counts: Counts::default(),
            now: Timestamp::from_micros(i64::MIN),
            lanes: BTreeMap::new(),
            ring: Ring::default(),
            timers: BTreeSet::new(),
            held: BTreeMap::new(),
            remembered: BTreeMap::new(),
            drawn: 0,
        }
    }

    pub(super) fn set_slots(&mut self, slots: u32) {
        self.slots = slots;
        self.release();
    }

    pub(super) fn touch(&mut self, lane: Lane, due: Timestamp) {
        self.lanes.entry(lane).or_insert_with(|| State::new(self.caps)).touch(Some(due));
        self.put(lane);
    }

    pub(super) fn leave(&mut self, theirs: impl Fn(Lane) -> bool) {
        let left: Vec<Lane> = self.lanes.keys().copied().filter(|lane| theirs(*lane)).collect();
        for lane in left {
            if let Some(state) = self.lanes.get_mut(&lane) {
                state.due = None;
                (state.cap, state.gate) = (Cap::new(self.caps), Gate::default());
            }
            self.put(lane);
        }
        self.release();
    }

    pub(super) fn reserve(&mut self, lane: Lane, now: Timestamp) -> bool {
        self.wake(now);
        if self.free() == 0 || self.ring.front().is_some_and(|first| first.priority() <= lane.priority()) {
            return false;
        }
        let shares = self.shares();
        let shut =
            |state: &State| state.gate.allowance(now) != Allowance::Free || state.room(shares, now) == 0;
        // Others wait for the share of those that are not quick.
        let taken = shares.slow == 0 || !self.held.is_empty();
        let refused = match self.lanes.get(&lane) {
            Some(state) => state.behind || shut(state) || taken && !state.is_quick(),
            None => taken,
        };
        // Only storage knows what is before it in an order.
        let ordered = self.lanes.get(&lane).is_some_and(|state| state.terms.ordered);
        if refused || ordered {
            return false;
        }
        let state = self.lanes.entry(lane).or_insert_with(|| State::new(self.caps));
        state.in_hand += 1;
        state.take_tokens(1, self.now);
        self.in_hand += 1;
        self.put(lane);
        true
    }

    /// Adds to `asks`; returns for how many rows.
    pub(super) fn pick(&mut self, group: Group, now: Timestamp, most: u32, asks: &mut Vec<Ask>) -> u32 {
        self.wake(now);
        let before = self.in_hand;
        let mut left = most.min(self.free());
        // By number: in the order of their first turns.
        let mut picked: BTreeMap<u64, Ask> = BTreeMap::new();
        while left > 0
            && let Some(lane) = self.ring.front()
            && let shares = self.shares()
            && let Some(state) = self.lanes.get_mut(&lane)
            && let Place::Ring(seat) = state.place
        {
            let probe = state.gate.allowance(self.now) == Allowance::Probe;
            let room = state.room(shares, self.now);
            let k = state.turn.take(left.min(room));
            if k > 0 {
                if probe {
                    state.gate.probes();
                }
                let seen = *state.asked.get_or_insert_with(|| {
                    self.drawn += 1;
                    self.drawn
                });
                picked.entry(seen).or_insert(Ask { lane, group, k: 0, probe, terms: state.terms, seen }).k +=
                    k;
                state.in_hand += k;
                state.take_tokens(k, self.now);
                state.count(&mut self.counts);
                self.in_hand += k;
                left -= k;
            }
            if k == room {
                // What frees one of its own puts it back.
                self.ring.leave(lane, seat);
                (state.place, state.turn) = (Place::Out, Turn::default());
                if room == 0 && !state.is_quick() && state.asked.is_none() {
                    self.drawn += 1;
                    let key = (state.in_hand > 0, lane.priority(), self.drawn);
                    self.held.insert(key, lane);
                    state.place = Place::Held(key);
                }
            } else if state.turn.is_over() {
                self.ring.leave(lane, seat);
                state.place = Place::Ring(self.ring.sit(lane, None));
            }
        }
        for ask in picked.values() {
            if let Some(state) = self.lanes.get_mut(&ask.lane) {
                // Their due times are the claim's to tell; what touches them until then is kept beside it.
                state.due = None;
            }
            self.put(ask.lane);
        }
        asks.extend(picked.into_values());
        self.in_hand - before
    }

    pub(super) fn set_terms(&mut self, lane: Lane, terms: Terms) {
        match self.lanes.get_mut(&lane) {
            Some(state) => state.terms = terms,
            None if terms == Terms::default() => return,
            None => self.lanes.entry(lane).or_insert_with(|| State::new(self.caps)).terms = terms,
        }
        self.put(lane);
        self.release();
    }

    pub(super) fn claimed(&mut self, ask: &Ask, got: u32, next_due: Option<Timestamp>) {
        let Some(state) = self.lanes.get_mut(&ask.lane).filter(|state| state.asked == Some(ask.seen)) else {
            return;
        };
        let unused = ask.k.saturating_sub(got);
        if ask.probe && got == 0 {
            state.gate.probe_again(self.now);
        }
        state.asked = None;
        // What brought none at all found them locked.
        state.behind = (unused == 0 || got == 0) && next_due.is_some_and(|due| due <= self.now);
        state.in_hand -= unused;
        state.return_tokens(unused);
        self.in_hand -= unused;
        state.touch(next_due);
        self.put(ask.lane);
        self.release();
    }

    pub(super) fn refused(&mut self, ask: &Ask, again: Option<Timestamp>) {
        self.claimed(ask, 0, again);
        if let Some(state) = self.lanes.get_mut(&ask.lane) {
            state.behind = true;
        }
    }

    pub(super) fn send(&mut self, lane: Lane, probe: bool) -> bool {
        let Some(state) = self.lanes.get_mut(&lane) else { return false };
        let most = match state.gate.allowance(self.now) {
            Allowance::Free => state.cap(),
            // Beside what was on its way when the breaker opened.
            Allowance::Nothing if probe => u32::MAX,
            _ => 0,
        };
        let may = state.out < state.in_hand.min(most);
        state.out += u32::from(may);
        may
    }

    pub(super) fn is_shut(&self, lane: Lane) -> bool {
        self.lanes.get(&lane).is_some_and(|state| state.gate.allowance(self.now) != Allowance::Free)
    }

    pub(super) fn recall(&mut self, lane: Lane) {
        if let Some(state) = self.lanes.get_mut(&lane) {
            state.out = state.out.saturating_sub(1);
        }
    }

    pub(super) fn heard(&mut self, lane: Lane, heard: Heard, now: Timestamp) -> bool {
        self.wake(now);
        let Some(state) = self.lanes.get_mut(&lane).filter(|state| state.out > 0) else { return false };
        state.out -= 1;
        state.cap.learn(heard.answer, self.caps);
        if state.terms.ordered && heard.sign == Sign::Fails {
            // What waits behind its head need not wait for that to be due, once the receiver is back.
            state.gate.owe();
        }
        let back = state.gate.learn(heard.sign, heard.probe, now);
        if back {
            state.cap = Cap::anew();
        }
        self.free_one(lane, false);
        back
    }

    pub(super) fn taken_beside(&mut self, lane: Lane, now: Timestamp) -> bool {
        self.wake(now);
        let Some(state) = self.lanes.get_mut(&lane) else { return false };
        let back = state.gate.learn(Sign::Taken, false, now);
        if back {
            state.cap = Cap::anew();
        }
        self.put(lane);
        self.release();
        back
    }

    pub(super) fn was_open(&mut self, lane: Lane, now: Timestamp) {
        self.wake(now);
        let state = self.lanes.entry(lane).or_insert_with(|| State::new(self.caps));
        if !state.cap.is_learned(self.caps) && state.out == 0 {
            state.gate.was_open(now);
        }
        self.put(lane);
        self.release();
    }

    pub(super) fn rest(&mut self, lane: Lane, until: Timestamp) {
        self.lanes.entry(lane).or_insert_with(|| State::new(self.caps)).gate.rest(until);
        self.put(lane);
        self.release();
    }

    pub(super) fn breaker(&self, lane: Lane) -> Breaker {
        self.lanes.get(&lane).map_or(Breaker::Closed, |state| state.gate.breaker())
    }

    pub(super) fn done(&mut self, lane: Lane, probe: bool) {
        if let Some(state) = self.lanes.get_mut(&lane).filter(|state| state.in_hand > 0) {
            state.return_tokens(1);
        }
        self.free_one(lane, probe);
    }

    pub(super) fn settled(&mut self, lane: Lane, now: Timestamp) {
        if self.lanes.get(&lane).is_some_and(|state| state.terms.ordered) {
            self.touch(lane, now);
        }
    }

    pub(super) fn standing(&self, lane: Lane, now: Timestamp) -> Standing {
        let of = |state: &State| Standing { breaker: state.gate.breaker(), rate: state.next_token(now) };
        self.lanes.get(&lane).map_or_else(Standing::default, of)
    }

    fn free_one(&mut self, lane: Lane, probe: bool) {
        // A lane with nothing in hand has no slot to free: to free one all the same would be somebody else's.
        let Some(state) = self.lanes.get_mut(&lane).filter(|state| state.in_hand > 0) else { return };
        state.in_hand -= 1;
        self.in_hand -= 1;
        if probe {
            state.gate.probe_again(self.now);
        }
        self.put(lane);
        self.release();
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        if self.free() == 0 {
            return None;
        }
        // What is in the ring can go now, a probe before its row's time.
        let first =
            self.ring.front().and_then(|lane| self.lanes.get(&lane)?.due).map(|due| due.min(self.now));
        first.or(self.timers.first().map(|&(due, _)| due))
    }

    pub(super) fn free(&self) -> u32 {
        self.slots.saturating_sub(self.in_hand)
    }

    pub(super) fn lane_in_hand(&self, lane: Lane) -> u32 {
        self.lanes.get(&lane).map_or(0, |state| state.in_hand)
    }

    pub(super) fn lane_out(&self, lane: Lane) -> u32 {
        self.lanes.get(&lane).map_or(0, |state| state.out)
    }

    pub(super) fn cap(&self, lane: Lane) -> Option<u32> {
        self.lanes.get(&lane).map(State::cap)
    }

    #[cfg(test)]
    pub(super) fn is_quick(&self, lane: Lane) -> bool {
        self.lanes.get(&lane).is_some_and(State::is_quick)
    }

    pub(super) fn known(&self) -> usize {
        self.lanes.len()
    }
}
