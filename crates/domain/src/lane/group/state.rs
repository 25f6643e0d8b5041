//! One lane as its group keeps it: how many more it may have in hand by its cap, its gate, its rate and its group's shares.

use super::super::{
    Caps, Terms,
    bucket::Bucket,
    cap::Cap,
    drr::Turn,
    gate::{Allowance, Gate},
};
use super::{
    places::Place,
    shares::{Counts, Shares},
};
use crate::time::Timestamp;

#[derive(Debug)]
pub(super) struct State {
    /// When its next row is due that nobody has, as far as is known: never later than the truth, unless a claim is
    /// out, which will bring it.
    pub(super) due: Option<Timestamp>,
    /// Claimed or asked for, and not answered.
    pub(super) in_hand: u32,
    /// Of these, sent.
    pub(super) out: u32,
    /// What of them its group counts.
    pub(super) counts: Counts,
    pub(super) cap: Cap,
    pub(super) gate: Gate,
    /// What its owner allows.
    pub(super) terms: Terms,
    /// What is left of its rate.
    pub(super) bucket: Bucket,
    pub(super) turn: Turn,
    /// The number of the ask that is out.
    pub(super) asked: Option<u64>,
    /// The last claim brought as many as were asked for and left more that are due, or could bring none of them: there are
    /// older ones than what comes now.
    pub(super) behind: bool,
    pub(super) place: Place,
}

impl State {
    pub(super) fn new(caps: Caps) -> Self {
        let (cap, gate, turn) = (Cap::new(caps), Gate::default(), Turn::default());
        Self {
            due: None,
            in_hand: 0,
            out: 0,
            counts: Counts::default(),
            cap,
            gate,
            terms: Terms::default(),
            bucket: Bucket::default(),
            turn,
            asked: None,
            behind: false,
            place: Place::Out,
        }
    }

    /// How many may be out: as many as it has shown that it can take, and no more than its owner allows.
    pub(super) fn cap(&self) -> u32 {
        let most = if self.terms.ordered { Some(1) } else { self.terms.most };
        most.map_or(self.cap.limit(), |most| self.cap.limit().min(most.max(1)))
    }

    /// How many more may be claimed: what has a rate or an order is claimed when it may go.
    pub(super) fn may_be_ahead(&self) -> u32 {
        if self.terms.ordered || self.terms.rate.is_some() { 0 } else { self.cap.ahead() }
    }

    /// How many its rate lets go now.
    pub(super) fn tokens(&self, now: Timestamp) -> u32 {
        self.terms.rate.map_or(u32::MAX, |rate| self.bucket.tokens(rate, now))
    }

    /// When its rate lets one go; `None`: now.
    pub(super) fn next_token(&self, now: Timestamp) -> Option<Timestamp> {
        self.terms.rate.and_then(|rate| self.bucket.next(rate, now))
    }

    pub(super) fn take_tokens(&mut self, count: u32, now: Timestamp) {
        if let Some(rate) = self.terms.rate {
            self.bucket.take(rate, count, now);
        }
    }

    /// So many will not go after all.
    pub(super) fn return_tokens(&mut self, count: u32) {
        if let Some(rate) = self.terms.rate {
            self.bucket.give_back(rate, count);
        }
    }

    /// How many more may be claimed, as far as its rate, its gate, its cap and its group's shares say.
    pub(super) fn room(&self, shares: Shares, now: Timestamp) -> u32 {
        self.slots(shares, now).min(self.tokens(now))
    }

    /// How many more it may have in hand.
    pub(super) fn slots(&self, shares: Shares, now: Timestamp) -> u32 {
        let room = match self.gate.allowance(now) {
            // Beside what was on its way when the breaker opened.
            Allowance::Probe => 1,
            Allowance::From(_) | Allowance::Nothing => 0,
            Allowance::Free => {
                let below_cap = self.cap().saturating_sub(self.in_hand);
                let most = self.cap().saturating_add(self.may_be_ahead());
                most.saturating_sub(self.in_hand).min(below_cap.saturating_add(shares.ahead))
            }
        };
        match self.is_quick() {
            true => room,
            false if shares.crowded => room.min(1_u32.saturating_sub(self.in_hand)).min(shares.slow),
            false => room.min(shares.slow),
        }
    }

    /// Its answers are quick: it gives its slots back at once, and may use every one.
    pub(super) fn is_quick(&self) -> bool {
        self.cap.ahead() > 0
    }

    /// After its cap or what it has in hand changed.
    pub(super) fn count(&mut self, of_group: &mut Counts) {
        let counts = Counts {
            ahead: self.in_hand.saturating_sub(self.cap()),
            slow: if self.is_quick() { 0 } else { self.in_hand },
        };
        of_group.ahead = of_group.ahead - self.counts.ahead + counts.ahead;
        of_group.slow = of_group.slow - self.counts.slow + counts.slow;
        self.counts = counts;
    }

    /// Is it worth remembering while it is idle?
    pub(super) fn is_marked(&self, now: Timestamp, caps: Caps) -> bool {
        self.cap.is_learned(caps) || self.gate.is_marked(now) || self.terms != Terms::default()
    }

    pub(super) fn touch(&mut self, due: Option<Timestamp>) {
        self.due = self.due.into_iter().chain(due).min();
    }
}
