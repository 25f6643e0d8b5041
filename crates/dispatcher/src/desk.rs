//! What the dispatcher has in hand, in memory: whose turn it is, what was handed over or claimed ahead and waits for its
//! lane's next free slot, what is held until it is settled, and what could not be settled yet. Everything here takes well
//! under a microsecond, since the engine's writer locks it too.

use std::collections::{BTreeMap, HashSet, VecDeque};

use domain::{
    delivery::Trigger,
    fleet::Fleet,
    id::DeliveryId,
    lane::{Answer, Ask, Caps, Group, Heard, Lane, Lanes, Sign, Terms},
    time::Timestamp,
};
use storage::{ClaimedDelivery, DeliveryHold, LaneStart, Settle};

use crate::forward::Forward;

/// All deliveries share one number of slots.
pub(crate) const DELIVERIES: Group = Group(0);
/// What a lane may have in flight before it has shown what it can take.
const LANE_START: u32 = 8;
/// How many deliveries of a quick lane may wait here, claimed, for its next free slot: what a busy one answers during a
/// commit or two. What a crash leaves of them is closed as `interrupted` without having been sent.
const AHEAD: u32 = 512;

pub(crate) struct Desk {
    pub(crate) lanes: Lanes,
    /// The fleet and this node's id in it; `None` where there is no other.
    fleet: Option<(Fleet, i64)>,
    /// In hand and not sent, a lane each, oldest first; none is empty. Theirs is an open attempt on stable storage.
    waiting: BTreeMap<Lane, VecDeque<ClaimedDelivery>>,
    /// Lanes in which something arrived: the next step sends what may go.
    arrived: Vec<Lane>,
    /// How many are being put back.
    returning: usize,
    /// Claimed by this process, from hand-over to settlement.
    pub(crate) held: HashSet<DeliveryId>,
    /// Slots promised to the engine for rows that it is writing.
    pub(crate) reserved: u32,
    /// A claim is out. One at a time: what becomes due meanwhile makes the next one larger, not more of them.
    pub(crate) claiming: bool,
    /// Storage refused the last claim: none before this.
    pub(crate) claim_after: Option<Timestamp>,
    pub(crate) doubt: Doubt,
    pub(crate) draining: bool,
    /// The loop sleeps until then at the latest, so that a wake-up for something later may be spared.
    pub(crate) asleep_until: Option<Timestamp>,
    /// How often everything was abandoned: what was claimed before is not begun after.
    pub(crate) lives: u64,
    /// Lanes whose receivers are back.
    pub(crate) forward: Forward,
    unsettled: BTreeMap<(Timestamp, u64), Unsettled>,
    unsettled_so_far: u64,
    /// When to read which lanes have something queued: once, after a start.
    read_lanes: Option<Timestamp>,
}

/// What an attempt says of its lane.
#[derive(Clone, Copy)]
pub(crate) struct Said {
    pub(crate) lane: Lane,
    /// The endpoint's own lane, where this was sent beside it.
    pub(crate) beside: Option<Lane>,
    pub(crate) heard: Heard,
    /// How long its endpoint wants to be left alone.
    pub(crate) rest: Option<std::time::Duration>,
}

impl Said {
    /// The attempt came to nothing that its lane could learn from.
    pub(crate) fn nothing(lane: Lane, probe: bool) -> Self {
        let heard = Heard { answer: Answer::Neutral, sign: Sign::None, probe };
        Self { lane, beside: None, heard, rest: None }
    }
}

fn is_probe(delivery: &ClaimedDelivery) -> bool {
    delivery.trigger == Trigger::Probe
}

/// A settlement that storage did not take.
pub(crate) struct Unsettled {
    pub(crate) settle: Settle,
    /// How often it was refused.
    pub(crate) refusals: u32,
}

/// Whether rows may say that this node holds what it does not: after a commit whose outcome was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Doubt {
    /// They do not.
    None,
    /// They may: once no claim, no reservation and no return is out, storage is told what is held. Not before the time.
    Since(Timestamp),
    /// It is being told.
    Telling,
    /// And in the meantime another outcome was lost.
    TellingAndAgain,
}

impl Desk {
    pub(crate) fn new(max_in_flight: u32, per_lane_in_flight: u32) -> Self {
        let mut lanes = Lanes::new(Caps { start: LANE_START, most: per_lane_in_flight, ahead: AHEAD });
        lanes.set_group(DELIVERIES, max_in_flight);
        Self {
            lanes,
            fleet: None,
            waiting: BTreeMap::new(),
            arrived: Vec::new(),
            returning: 0,
            held: HashSet::new(),
            reserved: 0,
            claiming: false,
            claim_after: None,
            doubt: Doubt::None,
            draining: false,
            asleep_until: None,
            lives: 0,
            forward: Forward::default(),
            unsettled: BTreeMap::new(),
            unsettled_so_far: 0,
            read_lanes: Some(Timestamp::default()),
        }
    }

    /// Others came or went. What is in hand of lanes that they serve from now on goes back to the queue, and what is
    /// queued in those that are ours now is looked for.
    pub(crate) fn follow(&mut self, fleet: Fleet, node: i64) -> Vec<DeliveryHold> {
        if self.fleet.as_ref().is_some_and(|(known, me)| known.serves_as(&fleet) && *me == node) {
            return Vec::new();
        }
        self.lanes.leave(DELIVERIES, |lane| !fleet.serves(node, lane));
        self.fleet = Some((fleet, node));
        self.read_lanes = Some(Timestamp::default());
        let theirs: Vec<Lane> = self.waiting.keys().copied().filter(|lane| !self.serves(*lane)).collect();
        theirs.into_iter().flat_map(|lane| self.take_back(Some(lane))).collect()
    }

    /// False of an endpoint that another node serves.
    pub(crate) fn serves(&self, lane: Lane) -> bool {
        self.fleet.as_ref().is_none_or(|(fleet, node)| fleet.serves(*node, lane))
    }

    fn is_shut(&self, lane: Lane) -> bool {
        !self.serves(lane) || self.lanes.is_shut(lane, DELIVERIES)
    }

    /// May a row be born claimed? Then its slot is taken.
    pub(crate) fn reserve(&mut self, lane: Lane, terms: Terms, now: Timestamp) -> bool {
        self.lanes.set_terms(lane, DELIVERIES, terms);
        let granted = !self.draining
            && self.doubt == Doubt::None
            && self.serves(lane)
            && self.lanes.reserve(lane, DELIVERIES, now);
        self.reserved += u32::from(granted);
        granted
    }

    pub(crate) fn unreserve(&mut self, lane: Lane) {
        self.reserved = self.reserved.saturating_sub(1);
        self.lanes.done(lane, DELIVERIES);
    }

    /// It was born claimed. True if the loop has to be woken for it.
    pub(crate) fn take(&mut self, delivery: ClaimedDelivery) -> bool {
        self.reserved = self.reserved.saturating_sub(1);
        let first = self.arrived.is_empty();
        self.arrive(delivery);
        first && !self.arrived.is_empty()
    }

    /// It is in hand from now on.
    pub(crate) fn arrive(&mut self, delivery: ClaimedDelivery) {
        let lane = delivery.hold.lane;
        self.held.insert(delivery.hold.delivery);
        let waiting = self.waiting.entry(lane).or_default();
        // What waits behind others goes out when one of them is answered; a probe waits behind nothing.
        let first = waiting.is_empty() || is_probe(&delivery);
        if is_probe(&delivery) {
            waiting.push_front(delivery)
        } else {
            waiting.push_back(delivery)
        }
        if first {
            self.arrived.push(lane);
        }
    }

    /// It was not sent after all, and is the next of its lane to go.
    pub(crate) fn recall(&mut self, delivery: ClaimedDelivery) {
        let lane = delivery.hold.lane;
        self.lanes.recall(lane, DELIVERIES);
        self.waiting.entry(lane).or_default().push_front(delivery);
        self.arrived.push(lane);
    }

    /// What arrived and may go now; and what has to be put back, since its lane was shut while it was on its way here.
    pub(crate) fn send_arrived(&mut self) -> (Vec<ClaimedDelivery>, Vec<DeliveryHold>) {
        let (mut sent, mut back) = (Vec::new(), Vec::new());
        for lane in std::mem::take(&mut self.arrived) {
            while self.serves(lane)
                && let Some(delivery) = self.send_next(lane)
            {
                sent.push(delivery);
            }
            if self.is_shut(lane) {
                back.extend(self.take_back(Some(lane)));
            }
        }
        (sent, back)
    }

    /// The next of what waits in a lane, if one more may be out.
    fn send_next(&mut self, lane: Lane) -> Option<ClaimedDelivery> {
        if self.forward.is_full(lane) {
            return None;
        }
        let waiting = self.waiting.get_mut(&lane)?;
        if !self.lanes.send(lane, DELIVERIES, waiting.front().is_some_and(is_probe)) {
            return None;
        }
        let next = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting.remove(&lane);
        }
        next
    }

    /// Everything in hand that is not to be sent by this node, or not now: of one lane, or all of it. It is not held any
    /// more, and counts as returning until [`Desk::returned`].
    pub(crate) fn take_back(&mut self, of: Option<Lane>) -> Vec<DeliveryHold> {
        let lanes = match of {
            Some(lane) => vec![lane],
            None => self.waiting.keys().copied().collect(),
        };
        let mut back = Vec::new();
        for delivery in lanes.iter().filter_map(|lane| self.waiting.remove(lane)).flatten() {
            self.held.remove(&delivery.hold.delivery);
            if is_probe(&delivery) {
                self.lanes.probe_done(delivery.hold.lane, DELIVERIES);
            } else {
                self.lanes.done(delivery.hold.lane, DELIVERIES);
            }
            back.push(delivery.hold);
        }
        self.returning += back.len();
        back
    }

    /// So many were put back, or could not be.
    pub(crate) fn returned(&mut self, count: usize) {
        self.returning -= count;
    }

    pub(crate) fn touch(&mut self, lane: Lane, due: Timestamp) {
        if self.serves(lane) {
            self.lanes.touch(lane, DELIVERIES, due);
        }
    }

    /// What became of an ask. A lane that others serve by now has nothing more for us.
    pub(crate) fn claimed(&mut self, ask: &Ask, got: u32, next_due: Option<Timestamp>) {
        let next_due = next_due.filter(|_| self.serves(ask.lane));
        self.lanes.claimed(ask, got, next_due);
    }

    /// The same after a claim that failed, picked then.
    pub(crate) fn refused(&mut self, ask: &Ask, picked_at: Timestamp) {
        let again = Some(picked_at).filter(|_| self.serves(ask.lane));
        self.lanes.refused(ask, again);
    }

    /// True if the lanes are to be read now.
    pub(crate) fn begin_reading_lanes(&mut self, now: Timestamp) -> bool {
        self.read_lanes.take_if(|at| *at <= now).is_some()
    }

    pub(crate) fn read_lanes_at(&mut self, at: Timestamp) {
        self.read_lanes = Some(at);
    }

    /// Job lanes are the executor's.
    pub(crate) fn lanes_read(&mut self, lanes: &[LaneStart], now: Timestamp) {
        for start in lanes.iter().filter(|start| start.task.is_none()) {
            if start.failing && self.serves(start.lane) {
                self.lanes.was_open(start.lane, DELIVERIES, now);
            }
            self.touch(start.lane, start.due);
        }
    }

    /// The receiver has answered, or not: its lane has a slot free again, while the settlement is still to be written.
    /// What waits in the lane goes next; in a lane that is in trouble it does not, but has to be put back. The first that
    /// is taken after an outage has what waits in storage brought forward.
    pub(crate) fn heard(
        &mut self,
        said: Said,
        now: Timestamp,
    ) -> (Option<ClaimedDelivery>, Vec<DeliveryHold>) {
        let Said { lane, beside, heard, rest } = said;
        let mut is_back = self.lanes.heard(lane, DELIVERIES, heard, now).then_some(lane);
        if let Some(beside) = beside.filter(|_| heard.sign == Sign::Taken)
            && self.lanes.taken_beside(beside, DELIVERIES, now)
        {
            is_back = Some(beside);
        }
        if let Some(rest) = rest {
            self.lanes.rest(lane, DELIVERIES, now + rest);
        }
        if let Some(lane) = is_back {
            self.forward.owe(lane, now);
        }
        // A destination in trouble is not for claiming ahead.
        if heard.answer == Answer::Bad || self.is_shut(lane) {
            return (None, self.take_back(Some(lane)));
        }
        (self.send_next(lane), Vec::new())
    }

    /// All that waited in a lane was brought forward: its successes are settled, and it sends on.
    pub(crate) fn forwarded(&mut self, lane: Lane, now: Timestamp) {
        for unsettled in self.forward.over(lane, now) {
            self.settle_later(now, unsettled);
        }
        if self.waiting.contains_key(&lane) {
            self.arrived.push(lane);
        }
    }

    /// What to claim now; [`Desk::claiming`] is set if that is anything.
    pub(crate) fn pick(&mut self, now: Timestamp, most: u32) -> Vec<Ask> {
        let held_up = self.claim_after.is_some_and(|after| now < after);
        if self.draining || held_up || self.doubt != Doubt::None {
            return Vec::new();
        }
        self.claim_after = None;
        let asks = self.lanes.pick(now, most);
        self.claiming = !asks.is_empty();
        asks
    }

    /// A commit's outcome was lost.
    pub(crate) fn doubt(&mut self, now: Timestamp) {
        self.doubt = match self.doubt {
            Doubt::None | Doubt::Since(_) => Doubt::Since(now),
            Doubt::Telling | Doubt::TellingAndAgain => Doubt::TellingAndAgain,
        };
    }

    /// Nothing is on its way from storage to here or back.
    fn may_tell(&self) -> bool {
        !self.claiming && self.reserved == 0 && self.returning == 0
    }

    /// Everything held, if storage is to be told now.
    pub(crate) fn begin_telling(&mut self, now: Timestamp) -> Option<Vec<DeliveryId>> {
        let due = matches!(self.doubt, Doubt::Since(since) if since <= now);
        (due && self.may_tell()).then(|| {
            self.doubt = Doubt::Telling;
            self.held.iter().copied().collect()
        })
    }

    /// Storage was told, or refused and is to be told again at `retry`.
    pub(crate) fn told(&mut self, retry: Option<Timestamp>, now: Timestamp) {
        self.doubt = match (retry, self.doubt) {
            (Some(retry), _) => Doubt::Since(retry),
            (None, Doubt::TellingAndAgain) => Doubt::Since(now),
            (None, _) => Doubt::None,
        };
    }

    pub(crate) fn settle_later(&mut self, due: Timestamp, unsettled: Unsettled) {
        self.unsettled_so_far += 1;
        self.unsettled.insert((due, self.unsettled_so_far), unsettled);
    }

    /// Those whose time has come.
    pub(crate) fn settle_now(&mut self, now: Timestamp) -> Vec<Unsettled> {
        let later = self.unsettled.split_off(&(now + std::time::Duration::from_micros(1), 0));
        std::mem::replace(&mut self.unsettled, later).into_values().collect()
    }

    /// The lease is gone: nothing of what waits here may be sent or written any more.
    pub(crate) fn abandon(&mut self) {
        self.lives += 1;
        let back = self.take_back(None).len();
        self.returned(back);
        self.unsettled.clear();
        self.forward.abandon();
        // What is under way ends by itself, and finds that its row is somebody else's.
        self.held.clear();
    }

    /// When something has to be done if nothing else happens.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        let claim = (!self.claiming && !self.draining && self.doubt == Doubt::None)
            .then(|| self.lanes.next_due().map(|due| self.claim_after.map_or(due, |after| due.max(after))))
            .flatten();
        let settle = self.unsettled.keys().next().map(|&(due, _)| due);
        let tell = match self.doubt {
            Doubt::Since(since) if self.may_tell() => Some(since),
            _ => None,
        };
        [claim, settle, tell, self.forward.next(), self.read_lanes].into_iter().flatten().min()
    }

    /// True once, when something has to be done earlier than the loop will wake by itself.
    pub(crate) fn is_overslept(&mut self) -> bool {
        let Some(next) = self.next() else { return false };
        let early = self.asleep_until.is_none_or(|until| next < until);
        if early {
            self.asleep_until = Some(next);
        }
        early
    }

    pub(crate) fn in_hand(&self) -> usize {
        self.held.len() - self.waiting.values().map(VecDeque::len).sum::<usize>()
            + self.returning
            + self.forward.under_way()
            + self.reserved as usize
            + usize::from(self.claiming)
            + usize::from(self.doubt != Doubt::None)
    }

    /// A doubt is no reason to stay: whoever takes over after us frees what we do not hold.
    pub(crate) fn is_idle(&self) -> bool {
        self.held.is_empty() && self.returning == 0 && self.reserved == 0 && !self.claiming
    }
}

#[cfg(test)]
mod tests;
