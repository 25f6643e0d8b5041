//! What of a group's slots may be taken by what does not give them back at once.

use super::Lanes;

/// Slots that are taken for other things than rows of quick lanes below their caps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::lane) struct Counts {
    /// Claimed ahead of their lanes' caps: at most half of the slots, so that other lanes find some free.
    pub(in crate::lane) ahead: u32,
    /// Taken by lanes that are not quick: new ones, slow ones and failing ones. At most half of the slots too, so that
    /// however many destinations hang, those that answer have the other half.
    pub(in crate::lane) slow: u32,
}

/// How many more slots may be taken so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shares {
    pub(super) ahead: u32,
    pub(super) slow: u32,
    /// Three quarters of what is for lanes that are not quick are taken: one each from now on.
    pub(super) crowded: bool,
}

impl Shares {
    pub(super) const ALL: Self = Self { ahead: u32::MAX, slow: u32::MAX, crowded: false };
}

impl Lanes {
    /// How many more slots may be taken by what does not give them back at once.
    pub(super) fn shares(&self) -> Shares {
        let half = self.slots / 2;
        let ahead = half.saturating_sub(self.counts.ahead);
        if self.caps.ahead == 0 {
            // Where no lane is ever known as quick, as among jobs, none is told apart as slow.
            return Shares { ahead, ..Shares::ALL };
        }
        let slow = half.max(1);
        let crowded = self.counts.slow >= slow - slow / 4;
        Shares { ahead, slow: slow.saturating_sub(self.counts.slow), crowded }
    }
}
