//! Where each lane waits, and the one place that moves it.

use super::super::{Breaker, Caps, Lane, drr::Turn, gate::Allowance};
use super::{Lanes, shares::Shares, state::State};
use crate::time::Timestamp;

/// Lanes that have nothing to do are remembered for what their caps have learned, this many of them, the latest: some
/// 2 MiB. A lane that is forgotten starts again.
const REMEMBERED: usize = 10_000;

/// Where a lane waits. Only [`Lanes::put`] moves it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Nowhere: it has no row due, or may take none now. What changes that puts it back.
    Out,
    /// In the timers.
    Timer(Timestamp),
    /// In the ring, on this seat.
    Ring(u64),
    /// Among those that are held.
    Held(Wait),
    /// Idle, kept for its cap.
    Remembered(u64),
}

/// Who waits for the share of those that are not quick goes first that has nothing of it, then by priority, then in the
/// order in which they came.
pub(super) type Wait = (bool, u8, u64);

/// Where a lane belongs.
enum Rule {
    Out,
    Timer(Timestamp),
    Ring,
    Remembered,
    Forgotten,
}

impl State {
    fn rule(&self, now: Timestamp, caps: Caps) -> Rule {
        match self.due {
            _ if self.asked.is_some() => Rule::Out,
            Some(due) => match self.gate.allowance(now) {
                Allowance::Nothing => Rule::Out,
                Allowance::Probe => self.next_token(now).map_or(Rule::Ring, Rule::Timer),
                // A probe waits for no row's time, a rest only adds to it.
                Allowance::From(from) if self.gate.breaker() == Breaker::Closed => Rule::Timer(from.max(due)),
                Allowance::From(from) => Rule::Timer(from),
                Allowance::Free if self.slots(Shares::ALL, now) == 0 => Rule::Out,
                Allowance::Free => {
                    let from = self.next_token(now).map_or(due, |token| token.max(due));
                    if from <= now { Rule::Ring } else { Rule::Timer(from) }
                }
            },
            None if self.in_hand > 0 => Rule::Out,
            None if self.is_marked(now, caps) => Rule::Remembered,
            None => Rule::Forgotten,
        }
    }
}

impl Lanes {
    /// As many of those that are held as may go go to the ring. After whatever frees a slot, or takes a lane that was to use
    /// one from the ring.
    pub(super) fn release(&mut self) {
        let Shares { slow, crowded, .. } = self.shares();
        for _ in 0..slow {
            let Some(first) = self.held.first_entry() else { return };
            if crowded && first.key().0 {
                return;
            }
            let lane = first.remove();
            if let Some(state) = self.lanes.get_mut(&lane) {
                state.place = Place::Out;
            }
            self.put(lane);
        }
    }

    /// Moves the lanes whose time has come from the timers to the ring.
    pub(super) fn wake(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        while let Some(&(due, lane)) = self.timers.first()
            && due <= self.now
        {
            self.put(lane);
        }
    }

    /// Moves a lane from where it waits to where it belongs, after anything about it changed.
    pub(super) fn put(&mut self, lane: Lane) {
        let Some(state) = self.lanes.get_mut(&lane) else { return };
        state.count(&mut self.counts);
        let rule = state.rule(self.now, self.caps);
        match (state.place, &rule) {
            (Place::Ring(_), Rule::Ring) => return,
            (Place::Held(key), Rule::Ring) if !state.is_quick() => {
                let now = (state.in_hand > 0, key.1, key.2);
                self.held.remove(&key);
                self.held.insert(now, lane);
                state.place = Place::Held(now);
                return;
            }
            (Place::Ring(seat), _) => {
                self.ring.leave(lane, seat);
                state.turn.seat = Some(seat);
            }
            (Place::Timer(due), _) => _ = self.timers.remove(&(due, lane)),
            (Place::Remembered(number), _) => _ = self.remembered.remove(&number),
            (Place::Held(key), _) => _ = self.held.remove(&key),
            (Place::Out, _) => {}
        }
        if !matches!(rule, Rule::Ring) && state.asked.is_none() {
            state.turn = Turn::default();
        }
        state.place = match rule {
            Rule::Out => Place::Out,
            Rule::Timer(due) => {
                self.timers.insert((due, lane));
                Place::Timer(due)
            }
            Rule::Ring => Place::Ring(self.ring.sit(lane, state.turn.seat.take())),
            Rule::Remembered => {
                self.drawn += 1;
                self.remembered.insert(self.drawn, lane);
                Place::Remembered(self.drawn)
            }
            Rule::Forgotten => {
                self.lanes.remove(&lane);
                return;
            }
        };
        if self.remembered.len() > REMEMBERED
            && let Some((_, oldest)) = self.remembered.pop_first()
        {
            self.lanes.remove(&oldest);
        }
    }
}
