//! The lanes of one group: their slots, and where each of them waits.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Ask, Breaker, Caps, Group, Heard, Lane, Sign, Standing, Terms,
    bucket::Bucket,
    cap::Cap,
    drr::{Ring, Turn},
    gate::{Allowance, Gate},
};
use crate::time::Timestamp;

/// Lanes that have nothing to do are remembered for what their caps have learned, this many of them, the latest: some
/// 2 MiB. A lane that is forgotten starts again.
const REMEMBERED: usize = 10_000;

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

#[derive(Debug)]
struct State {
    /// When its next row is due that nobody has, as far as is known: never later than the truth, unless a claim is
    /// out, which will bring it.
    due: Option<Timestamp>,
    /// Claimed or asked for, and not answered.
    in_hand: u32,
    /// Of these, sent.
    out: u32,
    /// What of them its group counts.
    counts: Counts,
    cap: Cap,
    gate: Gate,
    /// What its owner allows.
    terms: Terms,
    /// What is left of its rate.
    bucket: Bucket,
    turn: Turn,
    /// The number of the ask that is out.
    asked: Option<u64>,
    /// The last claim brought as many as were asked for and left more that are due, or could bring none of them: there are
    /// older ones than what comes now.
    behind: bool,
    place: Place,
}

/// Slots that are taken for other things than rows of quick lanes below their caps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    /// Claimed ahead of their lanes' caps: at most half of the slots, so that other lanes find some free.
    pub(super) ahead: u32,
    /// Taken by lanes that are not quick: new ones, slow ones and failing ones. At most half of the slots too, so that
    /// however many destinations hang, those that answer have the other half.
    pub(super) slow: u32,
}

/// How many more slots may be taken so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Shares {
    ahead: u32,
    slow: u32,
    /// Three quarters of what is for lanes that are not quick are taken: one each from now on.
    crowded: bool,
}

impl Shares {
    const ALL: Self = Self { ahead: u32::MAX, slow: u32::MAX, crowded: false };
}

/// Where a lane waits. Only [`Lanes::put`] moves it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
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
type Wait = (bool, u8, u64);

/// Where a lane belongs.
enum Rule {
    Out,
    Timer(Timestamp),
    Ring,
    Remembered,
    Forgotten,
}

impl State {
    fn new(caps: Caps) -> Self {
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
    fn cap(&self) -> u32 {
        let most = if self.terms.ordered { Some(1) } else { self.terms.most };
        most.map_or(self.cap.limit(), |most| self.cap.limit().min(most.max(1)))
    }

    /// How many more may be claimed: what has a rate or an order is claimed when it may go.
    fn may_be_ahead(&self) -> u32 {
        if self.terms.ordered || self.terms.rate.is_some() { 0 } else { self.cap.ahead() }
    }

    /// How many its rate lets go now.
    fn tokens(&self, now: Timestamp) -> u32 {
        self.terms.rate.map_or(u32::MAX, |rate| self.bucket.tokens(rate, now))
    }

    /// When its rate lets one go; `None`: now.
    fn next_token(&self, now: Timestamp) -> Option<Timestamp> {
        self.terms.rate.and_then(|rate| self.bucket.next(rate, now))
    }

    fn take_tokens(&mut self, count: u32, now: Timestamp) {
        if let Some(rate) = self.terms.rate {
            self.bucket.take(rate, count, now);
        }
    }

    /// So many will not go after all.
    fn return_tokens(&mut self, count: u32) {
        if let Some(rate) = self.terms.rate {
            self.bucket.give_back(rate, count);
        }
    }

    /// How many more may be claimed, as far as its rate, its gate, its cap and its group's shares say.
    fn room(&self, shares: Shares, now: Timestamp) -> u32 {
        self.slots(shares, now).min(self.tokens(now))
    }

    /// How many more it may have in hand.
    fn slots(&self, shares: Shares, now: Timestamp) -> u32 {
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
    fn is_quick(&self) -> bool {
        self.cap.ahead() > 0
    }

    /// After its cap or what it has in hand changed.
    fn count(&mut self, of_group: &mut Counts) {
        let counts = Counts {
            ahead: self.in_hand.saturating_sub(self.cap()),
            slow: if self.is_quick() { 0 } else { self.in_hand },
        };
        of_group.ahead = of_group.ahead - self.counts.ahead + counts.ahead;
        of_group.slow = of_group.slow - self.counts.slow + counts.slow;
        self.counts = counts;
    }

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

    /// Is it worth remembering while it is idle?
    fn is_marked(&self, now: Timestamp, caps: Caps) -> bool {
        self.cap.is_learned(caps) || self.gate.is_marked(now) || self.terms != Terms::default()
    }

    fn touch(&mut self, due: Option<Timestamp>) {
        self.due = self.due.into_iter().chain(due).min();
    }
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

    /// How many more slots may be taken by what does not give them back at once.
    fn shares(&self) -> Shares {
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

    /// As many of those that are held as may go go to the ring. After whatever frees a slot, or takes a lane that was to use
    /// one from the ring.
    fn release(&mut self) {
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
    fn wake(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        while let Some(&(due, lane)) = self.timers.first()
            && due <= self.now
        {
            self.put(lane);
        }
    }

    /// Moves a lane from where it waits to where it belongs, after anything about it changed.
    fn put(&mut self, lane: Lane) {
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
