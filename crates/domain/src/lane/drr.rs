//! Whose turn it is: deficit round robin (Shreedhar and Varghese, 1995), every row costing the same.

use std::collections::BTreeMap;

use super::Lane;

/// Rows in a turn. More makes fewer, larger claims (one index seek yields a turn); fewer makes a light lane wait less
/// behind busy ones, each of which is at most this far ahead of it.
pub const QUANTUM: u32 = 4;

/// The lanes that can go now, in order of turns within order of priority.
#[derive(Debug, Default)]
pub(super) struct Ring {
    seats: BTreeMap<(u8, u64), Lane>,
    drawn: u64,
}

impl Ring {
    /// Sits a lane down: on the seat it kept, or behind all others of its priority.
    pub(super) fn sit(&mut self, lane: Lane, kept: Option<u64>) -> u64 {
        let seat = kept.unwrap_or(self.drawn);
        self.drawn = self.drawn.max(seat + 1);
        self.seats.insert((lane.priority(), seat), lane);
        seat
    }

    pub(super) fn leave(&mut self, lane: Lane, seat: u64) {
        self.seats.remove(&(lane.priority(), seat));
    }

    /// Whose turn it is.
    pub(super) fn front(&self) -> Option<Lane> {
        self.seats.first_key_value().map(|(_, &lane)| lane)
    }
}

/// Where a lane stands in the round.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    /// The seat it comes back to from a claim: one that got all it asked for must not lose its place by that.
    pub(super) seat: Option<u64>,
    /// Rows left of its turn: one that was cut short, by the slots or by the size of the pick, goes on next time.
    deficit: u32,
}

impl Turn {
    /// Takes up to `most` rows of the turn, a new one if the last is over.
    pub(super) fn take(&mut self, most: u32) -> u32 {
        if self.deficit == 0 {
            self.deficit = QUANTUM;
        }
        let rows = self.deficit.min(most);
        self.deficit -= rows;
        rows
    }

    pub(super) fn is_over(self) -> bool {
        self.deficit == 0
    }
}
