//! A storage of rows beside the lanes, a seeded history over both, and what must hold after every step of it.

use std::collections::BTreeMap;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    /// A commit with rows of this lane due so long from now: born claimed if it may be.
    Submit { lane: usize, rows: u32, delay: i64 },
    /// Time passes.
    Advance(i64),
    /// A pick, a commit that touches a lane before the claim is made, one after it, and the claim's answer.
    Step { most: u32, before: Option<usize>, after: Option<usize>, fails: bool },
    /// The `n`-th row in hand is sent and answered, or ends without an answer, to be retried after a while or not.
    Done { nth: usize, answer: Option<(Answer, Sign)>, retry: Option<i64> },
    /// A receiver asks to be left alone for so long.
    Rest { lane: usize, micros: i64 },
    /// Something beside a lane is taken.
    Beside(usize),
    /// A group gets other slots.
    Slots(u32, u32),
}

fn op() -> impl Strategy<Value = Op> {
    let lane = 0..LANES;
    let answer = prop::option::weighted(
        0.8,
        (
            prop::sample::select(vec![Answer::Quick, Answer::Good, Answer::Neutral, Answer::Bad]),
            prop_oneof![
                4 => Just(Sign::Fails),
                1 => prop::sample::select(vec![Sign::Taken, Sign::There, Sign::None]),
            ],
        ),
    );
    let touch = || prop::option::weighted(0.2, 0..LANES);
    prop_oneof![
        4 => (lane, 1..6_u32, prop_oneof![3 => Just(0), 1 => 1..50_i64])
            .prop_map(|(lane, rows, delay)| Op::Submit { lane, rows, delay }),
        2 => prop_oneof![2 => 1..20_i64, 1 => 1_000_000..400_000_000_i64].prop_map(Op::Advance),
        4 => (1..20_u32, touch(), touch(), prop::bool::weighted(0.1))
            .prop_map(|(most, before, after, fails)| Op::Step { most, before, after, fails }),
        8 => (0..100_usize, answer, prop::option::weighted(0.3, 0..40_i64))
            .prop_map(|(nth, answer, retry)| Op::Done { nth, answer, retry }),
        1 => (0..LANES, 1..30_i64).prop_map(|(lane, micros)| Op::Rest { lane, micros }),
        1 => (0..LANES).prop_map(Op::Beside),
        1 => (0..GROUPS, 0..20_u32).prop_map(|(group, slots)| Op::Slots(group, slots)),
    ]
}

const LANES: usize = 12;
const GROUPS: u32 = 2;

/// Lanes of two groups and three priorities.
fn nth_lane(n: usize) -> (Group, Lane) {
    let n = n as u32;
    (Group(n % GROUPS), lane(i64::from(n), (n % 3) as u8))
}

struct World {
    lanes: Lanes,
    now: i64,
    slots: BTreeMap<Group, u32>,
    /// Due times of rows that nobody has.
    rows: BTreeMap<(Group, Lane), Vec<i64>>,
    /// Rows in hand, and whether each is a probe.
    flying: Vec<((Group, Lane), bool)>,
    /// Nothing of a lane may go before then.
    rests: BTreeMap<(Group, Lane), i64>,
    submitted: u32,
    ended: u32,
}

impl World {
    fn new(caps: Caps) -> Self {
        let mut lanes = Lanes::new(caps);
        let slots: BTreeMap<_, _> = (0..GROUPS).map(|group| (Group(group), 10)).collect();
        slots.iter().for_each(|(&group, &slots)| lanes.set_group(group, slots));
        let rows = (0..LANES).map(|n| (nth_lane(n), Vec::new())).collect();
        let (flying, rests) = (Vec::new(), BTreeMap::new());
        Self { lanes, now: 0, slots, rows, flying, rests, submitted: 0, ended: 0 }
    }

    fn due(&self, at: (Group, Lane)) -> bool {
        self.rows[&at].iter().any(|&due| due <= self.now)
    }

    fn flying(&self, at: (Group, Lane)) -> u32 {
        self.flying.iter().filter(|(row, _)| *row == at).count() as u32
    }

    fn has_room(&self, (group, lane): (Group, Lane)) -> bool {
        self.is_open((group, lane))
            && self.lanes.lane_in_hand(lane, group) < self.lanes.cap(lane, group)
            && self.has_share((group, lane))
    }

    fn is_shared(&self, at: (Group, Lane)) -> bool {
        self.lanes.caps.ahead > 0 && !self.lanes.is_quick(at.1, at.0)
    }

    /// Those that are not quick share half of the slots, one each once three quarters of that are taken.
    fn has_share(&self, at: (Group, Lane)) -> bool {
        if !self.is_shared(at) {
            return true;
        }
        let slow = |row: &&((Group, Lane), bool)| row.0.0 == at.0 && !self.lanes.is_quick(row.0.1, row.0.0);
        let (taken, half) = (self.flying.iter().filter(slow).count() as u32, (self.slots[&at.0] / 2).max(1));
        taken < half && (taken < half - half / 4 || self.flying(at) == 0)
    }

    fn rest(&self, at: (Group, Lane)) -> i64 {
        self.rests.get(&at).copied().unwrap_or(0)
    }

    /// True if more than a probe may go.
    fn is_open(&self, at: (Group, Lane)) -> bool {
        self.lanes.breaker(at.1, at.0) == Breaker::Closed && self.rest(at) <= self.now
    }

    /// Or may run ahead.
    fn may_take(&self, at: (Group, Lane)) -> bool {
        self.has_room(at)
            || self.is_open(at) && self.has_share(at) && self.lanes.ahead(at.0) < self.slots[&at.0] / 2
    }

    fn insert(&mut self, at: (Group, Lane), due: i64) {
        self.rows.get_mut(&at).unwrap().push(due);
        self.lanes.touch(at.1, at.0, t(due));
    }

    fn submit(&mut self, at: (Group, Lane), delay: i64) {
        self.submitted += 1;
        if delay > 0 {
            return self.insert(at, self.now + delay);
        }
        let (group, lane) = at;
        let first = |other: &(Group, Lane)| {
            self.due(*other)
                && (*other == at
                    || other.0 == group
                        && other.1.priority() <= lane.priority()
                        && self.has_room(*other)
                        && (self.is_shared(at) || !self.is_shared(*other)))
        };
        let may = self.lanes.free(group) > 0 && self.may_take(at) && !self.rows.keys().any(first);
        let reserved = self.lanes.reserve(lane, group, t(self.now));
        // A touch may say "due" of a row that a claim took meanwhile: then it refuses where it might have taken.
        assert!(may || !reserved, "took a slot out of turn");
        match reserved {
            true => self.flying.push((at, false)),
            false => self.insert(at, self.now),
        }
    }

    fn step(&mut self, most: u32, before: Option<usize>, after: Option<usize>, fails: bool) {
        let ready: Vec<_> =
            self.rows.keys().copied().filter(|&at| self.due(at) && self.has_room(at)).collect();
        let shut: BTreeMap<_, _> = self.rows.keys().map(|&at| (at, self.lanes.breaker(at.1, at.0))).collect();
        let asks = self.lanes.pick(t(self.now), most);
        assert!(asks.iter().map(|ask| ask.k).sum::<u32>() <= most);
        for ask in &asks {
            let (group, lane) = (ask.group, ask.lane);
            let cap = self.lanes.cap(lane, group).saturating_add(self.lanes.caps.ahead);
            assert!(ask.probe || self.lanes.lane_in_hand(lane, group) <= cap, "cap exceeded");
            assert!(self.rest((group, lane)) <= self.now, "a rest was disturbed");
            match shut[&(group, lane)] {
                Breaker::Closed => assert!(!ask.probe),
                Breaker::Open(until) => assert!(ask.probe && ask.k == 1 && until <= t(self.now)),
                Breaker::HalfOpen => panic!("a second probe"),
            }
            assert!(self.lanes.slots_taken(group) <= self.slots[&group], "slots exceeded");
            for &better in ready.iter().filter(|at| at.0 == group && at.1.priority() < lane.priority()) {
                // Among those that share half of the slots, whoever has none of it goes first.
                assert!(self.is_shared(better) || !self.has_room(better), "{lane:?} went before {better:?}");
            }
        }
        before.into_iter().for_each(|n| self.late(n));
        let answers: Vec<_> = asks.iter().map(|ask| self.claim(ask, fails)).collect();
        after.into_iter().for_each(|n| self.late(n));
        for (ask, (got, next_due)) in asks.iter().zip(answers) {
            self.lanes.claimed(ask, got, next_due.map(t));
        }
    }

    /// A commit between a pick and its answer.
    fn late(&mut self, n: usize) {
        self.submitted += 1;
        self.insert(nth_lane(n), self.now);
    }

    fn claim(&mut self, ask: &Ask, fails: bool) -> (u32, Option<i64>) {
        let at = (ask.group, ask.lane);
        if fails {
            return (0, Some(self.now));
        }
        let rows = self.rows.get_mut(&at).unwrap();
        rows.sort_unstable();
        let got = rows.iter().take(ask.k as usize).filter(|&&due| ask.probe || due <= self.now).count();
        rows.drain(..got);
        let next = rows.first().copied();
        self.flying.extend(std::iter::repeat_n((at, ask.probe), got));
        (got as u32, next)
    }

    fn done(&mut self, nth: usize, answer: Option<(Answer, Sign)>, retry: Option<i64>) {
        if self.flying.is_empty() {
            return;
        }
        let (at, probe) = self.flying.swap_remove(nth % self.flying.len());
        let (open, breaker) = (self.is_open(at), self.lanes.breaker(at.1, at.0));
        match answer {
            Some((answer, sign)) if self.lanes.send(at.1, at.0, probe) => {
                assert!(open || probe && breaker == Breaker::HalfOpen, "sent through a gate that is shut");
                self.lanes.heard(at.1, at.0, Heard { answer, sign, probe }, t(self.now));
            }
            _ if probe => self.lanes.probe_done(at.1, at.0),
            _ => self.lanes.done(at.1, at.0),
        }
        match retry {
            Some(delay) => self.insert(at, self.now + delay),
            None => self.ended += 1,
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Submit { lane, rows, delay } => (0..rows).for_each(|_| self.submit(nth_lane(lane), delay)),
            Op::Advance(by) => self.now += by,
            Op::Step { most, before, after, fails } => self.step(most, before, after, fails),
            Op::Done { nth, answer, retry } => self.done(nth, answer, retry),
            Op::Rest { lane, micros } => {
                let ((group, lane), until) = (nth_lane(lane), self.now + micros);
                self.lanes.rest(lane, group, t(until));
                let rest = self.rests.entry((group, lane)).or_default();
                *rest = until.max(*rest);
            }
            Op::Beside(lane) => {
                let (group, lane) = nth_lane(lane);
                self.lanes.taken_beside(lane, group, t(self.now));
                assert_eq!(self.lanes.breaker(lane, group), Breaker::Closed);
            }
            Op::Slots(group, slots) => {
                self.slots.insert(Group(group), slots);
                self.lanes.set_group(Group(group), slots);
            }
        }
        self.check();
    }

    /// Slots are as many as rows in hand, and no row that could go is waited past.
    fn check(&self) {
        assert_eq!(self.lanes.in_hand() as usize, self.flying.len());
        for &(group, lane) in self.rows.keys() {
            assert_eq!(self.lanes.lane_in_hand(lane, group), self.flying((group, lane)));
        }
        for group in (0..GROUPS).map(Group) {
            let lanes = self.rows.keys().filter(|at| at.0 == group);
            let ahead =
                lanes.map(|at| self.flying(*at).saturating_sub(self.lanes.cap(at.1, group))).sum::<u32>();
            assert_eq!(self.lanes.ahead(group), ahead);
        }
        if let Some(first) = self.rows.iter().filter_map(|(at, rows)| self.goes_at(*at, rows)).min() {
            let next = self.lanes.next_due().expect("something waits");
            assert!(next <= t(first.max(self.now)), "{next:?} is too late for {first}");
        }
    }

    /// When the first of these rows goes if nothing else happens.
    fn goes_at(&self, at: (Group, Lane), rows: &[i64]) -> Option<i64> {
        let (group, lane) = at;
        let (first, rest) = (*rows.iter().min().filter(|_| self.lanes.free(group) > 0)?, self.rest(at));
        match self.lanes.breaker(lane, group) {
            // A probe may be waited for once the share is used up; whoever frees some of it lets it go.
            Breaker::Open(_) if !self.has_share(at) => None,
            Breaker::Open(until) => Some(until.micros().max(rest)),
            Breaker::HalfOpen => {
                assert!(self.flying.contains(&(at, true)), "it waits for a probe that nobody has");
                None
            }
            Breaker::Closed => {
                let room = self.lanes.lane_in_hand(lane, group) < self.lanes.cap(lane, group);
                (room && self.has_share(at)).then(|| first.max(rest))
            }
        }
    }

    /// The faults stop: everything ends, in a number of steps that is bounded by what there is.
    fn drain(&mut self) {
        (0..GROUPS).for_each(|group| self.apply(Op::Slots(group, 3)));
        for _ in 0..4 * self.submitted + 4 + 3 * LANES as u32 {
            while !self.flying.is_empty() {
                self.done(0, Some((Answer::Good, Sign::Taken)), None);
            }
            let Some(due) = self.lanes.next_due() else { break };
            self.now = self.now.max(due.micros());
            self.apply(Op::Step { most: 5, before: None, after: None, fails: false });
        }
        assert_eq!((self.ended, self.lanes.next_due()), (self.submitted, None));
        assert_eq!(self.lanes.in_hand(), 0);
        // What a lane is remembered for but its cap: failures that nothing made good, and a rest.
        self.now = self.rests.values().copied().fold(self.now, i64::max);
        (0..LANES).for_each(|lane| self.apply(Op::Beside(lane)));
        let learned = |at: &&(Group, Lane)| {
            self.lanes.cap(at.1, at.0) != self.lanes.caps.start || self.lanes.is_quick(at.1, at.0)
        };
        assert_eq!(self.lanes.known(), self.rows.keys().filter(learned).count(), "idle lanes are forgotten");
    }
}

impl Lanes {
    fn slots_taken(&self, group: Group) -> u32 {
        self.groups[&group].in_hand
    }

    fn ahead(&self, group: Group) -> u32 {
        self.groups[&group].counts.ahead
    }

    fn is_quick(&self, lane: Lane, group: Group) -> bool {
        self.groups.get(&group).is_some_and(|group| group.is_quick(lane))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_history_keeps_the_promises(
        start in 1..6_u32,
        most in 1..10_u32,
        ahead in 0..10_u32,
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let mut world = World::new(Caps { start, most, ahead });
        ops.into_iter().for_each(|op| world.apply(op));
        world.drain();
    }

    #[test]
    fn jobs_lanes_know_no_cap(ops in prop::collection::vec(op(), 1..120)) {
        let mut world = World::new(Caps::UNBOUNDED);
        for op in ops {
            world.apply(match op {
                Op::Done { nth, retry, .. } => Op::Done { nth, answer: None, retry },
                other => other,
            });
        }
        world.drain();
    }
}
