//! Rows of one lane in the order in which they came: what is born claimed may overtake what waits only until a claim has
//! come back that could have brought it.

use std::collections::VecDeque;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    /// So many rows, one after another.
    Submit(u32),
    Pick(u32),
    /// The claim that is out sees what is queued by now.
    Claim,
    /// Its answer comes; it was refused if it has not claimed.
    Answer,
    /// So many of those in hand end.
    Done(u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1..4_u32).prop_map(Op::Submit),
        3 => (1..12_u32).prop_map(Op::Pick),
        3 => Just(Op::Claim),
        3 => Just(Op::Answer),
        4 => (1..3_u32).prop_map(Op::Done),
    ]
}

/// A row that waits, and whether a claim came back without it that was made after it came.
type Waits = (u32, bool);

/// How many were claimed, and when the next is due.
type Answered = (u32, Option<i64>);

struct Order {
    lanes: Lanes,
    waiting: VecDeque<Waits>,
    in_hand: u32,
    came: u32,
    now: i64,
    asks: Vec<Ask>,
    /// What the claim that is out has claimed, and how many rows had come by then.
    claimed: Option<(Vec<Answered>, u32)>,
    slots: u32,
}

impl Order {
    fn submit(&mut self) {
        self.came += 1;
        if self.lanes.reserve(lane(1, 5), ALL, t(self.now)) {
            assert!(
                !self.waiting.iter().any(|(_, passed)| *passed),
                "it overtook what a claim had passed over"
            );
            self.in_hand += 1;
        } else {
            self.waiting.push_back((self.came, false));
            self.lanes.touch(lane(1, 5), ALL, t(self.now));
        }
    }

    fn claim(&mut self) {
        let mut answers = Vec::new();
        for ask in &self.asks {
            let got = self.waiting.len().min(ask.k as usize);
            self.waiting.drain(..got);
            self.in_hand += got as u32;
            answers.push((got as u32, self.waiting.front().map(|_| 0)));
        }
        self.claimed = Some((answers, self.came));
    }

    fn apply(&mut self, op: &Op) {
        self.now += 1;
        match *op {
            Op::Submit(rows) => (0..rows).for_each(|_| self.submit()),
            Op::Pick(most) if self.asks.is_empty() => self.asks = self.lanes.pick(t(self.now), most),
            Op::Claim if !self.asks.is_empty() && self.claimed.is_none() => self.claim(),
            Op::Answer => self.answer(),
            Op::Done(rows) => {
                for _ in 0..rows.min(self.in_hand - self.unanswered()) {
                    self.in_hand -= 1;
                    self.lanes.done(lane(1, 5), ALL);
                }
            }
            Op::Pick(_) | Op::Claim => {}
        }
        let asked: u32 = self.asks.iter().map(|ask| ask.k).sum();
        let taken = self.in_hand - self.unanswered() + asked;
        assert_eq!(self.lanes.free(ALL) + taken, self.slots);
    }

    /// What was claimed, and nobody has yet.
    fn unanswered(&self) -> u32 {
        self.claimed.iter().flat_map(|(answers, _)| answers).map(|(got, _)| got).sum()
    }

    fn answer(&mut self) {
        if self.asks.is_empty() {
            return;
        }
        let (answers, seen) = match self.claimed.take() {
            Some((answers, seen)) => (answers.into_iter().map(Some).collect(), seen),
            None => (vec![None; self.asks.len()], self.came),
        };
        for (_, passed) in self.waiting.iter_mut().filter(|(row, _)| *row <= seen) {
            *passed = true;
        }
        for (ask, answer) in self.asks.drain(..).zip(answers) {
            match answer {
                Some((got, next)) => self.lanes.claimed(&ask, got, next.map(t)),
                None => self.lanes.refused(&ask, Some(t(self.now))),
            }
        }
    }
}

proptest! {
    #[test]
    fn what_waits_is_overtaken_for_one_claim_at_most(
        ops in prop::collection::vec(op(), 1..200),
        slots in 1..9_u32,
        ahead in prop::sample::select(vec![0, 512_u32]),
    ) {
        let mut lanes = Lanes::new(Caps { start: 8, most: 64, ahead });
        lanes.set_group(ALL, slots);
        let (waiting, asks) = (VecDeque::new(), Vec::new());
        let mut order = Order { lanes, waiting, in_hand: 0, came: 0, now: 0, asks, claimed: None, slots };
        for op in &ops {
            order.apply(op);
        }
        // And all of it is claimed in the end.
        for _ in 0..ops.len() * 4 {
            for op in [Op::Done(64), Op::Pick(64), Op::Claim, Op::Answer] {
                order.apply(&op);
            }
        }
        prop_assert!(order.waiting.is_empty());
    }
}
