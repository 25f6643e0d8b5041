//! How many rows of one lane may be out at once: more while the answers are good, half as many when one is bad. And how
//! many more may be claimed ahead of their slots: as many as were answered quickly in a row, since a claim takes a commit
//! and a quick destination would wait for it.

/// The bounds of a lane's cap, both at least 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caps {
    /// What a new lane may have out at once.
    pub start: u32,
    /// What it may have after any number of good answers.
    pub most: u32,
    /// How many more a lane may have claimed that wait in memory for the next free slot.
    pub ahead: u32,
}

impl Caps {
    /// Job lanes: only the group's slots bound them.
    pub const UNBOUNDED: Caps = Caps { start: u32::MAX, most: u32::MAX, ahead: 0 };

    /// The same, with a start that lies between 1 and the most: a cap of 0 would never learn better.
    pub(super) fn in_order(self) -> Self {
        let most = self.most.max(1);
        Self { start: self.start.clamp(1, most), most, ..self }
    }
}

/// What an attempt said about how much its destination can take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It took it, so quickly that it waits for us more than we for it.
    Quick,
    /// It took it.
    Good,
    /// It said nothing of the kind: a refusal of this one row, or the attempt never got there.
    Neutral,
    /// Too much: 429, 503, or no answer at all.
    Bad,
}

/// One lane's cap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cap {
    limit: u32,
    /// Good answers since the limit last moved.
    good: u32,
    /// How many may be claimed beyond the limit.
    ahead: u32,
}

impl Cap {
    pub(super) fn new(caps: Caps) -> Self {
        Self { limit: caps.start, good: 0, ahead: 0 }
    }

    /// After an outage: one at first, however much it took before.
    pub(super) fn anew() -> Self {
        Self { limit: 1, good: 0, ahead: 0 }
    }

    /// How many may be out.
    pub(super) fn limit(self) -> u32 {
        self.limit
    }

    /// How many more may be claimed.
    pub(super) fn ahead(self) -> u32 {
        self.ahead
    }

    /// Has it moved from where it started, or is it known as quick, so that it is worth remembering?
    pub(super) fn is_learned(self, caps: Caps) -> bool {
        self.limit != caps.start || self.ahead > 0
    }

    /// One more for about as many good answers as may be out: one a round trip, however many those are.
    pub(super) fn learn(&mut self, answer: Answer, caps: Caps) {
        match answer {
            Answer::Quick => self.ahead = (self.ahead + 1).min(caps.ahead),
            Answer::Good => self.ahead /= 2,
            Answer::Neutral => return,
            Answer::Bad => {
                *self = Self { limit: (self.limit / 2).max(1), good: 0, ahead: 0 };
                return;
            }
        }
        if self.limit < caps.most {
            self.good += 1;
            if self.good >= self.limit {
                (self.limit, self.good) = (self.limit + 1, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_by_one_a_round_and_halves_at_once() {
        let caps = Caps { start: 8, most: 10, ahead: 0 };
        let mut cap = Cap::new(caps);
        let mut learn = |answer, times| {
            (0..times).for_each(|_| cap.learn(answer, caps));
            cap.limit()
        };
        for (answer, times, limit) in [
            (Answer::Good, 7, 8),
            (Answer::Good, 1, 9),
            (Answer::Neutral, 100, 9),
            (Answer::Good, 9, 10),
            (Answer::Good, 1000, 10),
            (Answer::Bad, 1, 5),
            (Answer::Good, 4, 5),
            (Answer::Bad, 1, 2),
            (Answer::Good, 1, 2),
            (Answer::Good, 1, 3),
            (Answer::Bad, 9, 1),
            (Answer::Good, 1, 2),
        ] {
            assert_eq!(learn(answer, times), limit, "{answer:?} × {times}");
        }
    }

    #[test]
    fn only_quick_answers_let_claims_run_ahead() {
        let caps = Caps { start: 8, most: 8, ahead: 6 };
        let mut cap = Cap::new(caps);
        for (answer, times, ahead) in [
            (Answer::Good, 9, 0),
            (Answer::Quick, 3, 3),
            (Answer::Neutral, 9, 3),
            (Answer::Quick, 9, 6),
            (Answer::Good, 1, 3),
            (Answer::Bad, 1, 0),
            (Answer::Quick, 1, 1),
        ] {
            (0..times).for_each(|_| cap.learn(answer, caps));
            assert_eq!(cap.ahead(), ahead, "{answer:?} × {times}");
        }
    }

    #[test]
    fn bounds_are_at_least_one_and_in_order() {
        for ((start, most), expected) in [((0, 0), (1, 1)), ((8, 4), (4, 4)), ((2, 4), (2, 4))] {
            let caps = Caps { start, most, ahead: 3 }.in_order();
            assert_eq!((caps.start, caps.most, caps.ahead), (expected.0, expected.1, 3));
        }
    }
}
