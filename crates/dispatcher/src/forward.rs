//! Lanes whose receivers are back: what waits there in back-off is to be brought forward, in steps, each a commit. Until
//! it is, no success of such an endpoint is settled. By its last recorded attempts alone a later node finds that there
//! was an outage: one success among them, and what this node had not brought forward when it died would sit out its
//! timers, for hours.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use domain::{delivery::Outcome, lane::Lane, time::Timestamp};

use crate::desk::Unsettled;

/// So many successes of a lane may wait here; then it sends no more. A crash has them sent again.
const MOST: usize = 64;

/// In memory, like the breakers.
#[derive(Default)]
pub(crate) struct Forward {
    lanes: BTreeMap<Lane, Back>,
    /// When to begin, or to try again. Those of them that are not in here are being brought forward.
    due: BTreeSet<(Timestamp, Lane)>,
}

#[derive(Default)]
struct Back {
    /// It was away and came back once more, since this was begun.
    again: bool,
    /// Its successes.
    unsettled: Vec<Unsettled>,
}

impl Forward {
    /// The first success after an outage was heard.
    pub(crate) fn owe(&mut self, lane: Lane, now: Timestamp) {
        if let Some(back) = self.lanes.get_mut(&lane) {
            back.again = true;
            return;
        }
        self.lanes.insert(lane, Back::default());
        self.due.insert((now, lane));
    }

    /// Those whose time has come: they are on the move until [`Forward::over`] or [`Forward::refused`].
    pub(crate) fn begin(&mut self, now: Timestamp) -> Vec<Lane> {
        let later = self.due.split_off(&(now + Duration::from_micros(1), Lane(i64::MIN)));
        let lanes: Vec<Lane> =
            std::mem::replace(&mut self.due, later).into_iter().map(|(_, lane)| lane).collect();
        for lane in &lanes {
            self.lanes.entry(*lane).or_default().again = false;
        }
        lanes
    }

    /// Nothing is in back-off any more. What may be settled from now on.
    pub(crate) fn over(&mut self, lane: Lane, now: Timestamp) -> Vec<Unsettled> {
        match self.lanes.get(&lane) {
            Some(back) if back.again => {
                self.due.insert((now, lane));
                Vec::new()
            }
            _ => self.lanes.remove(&lane).map_or_else(Vec::new, |back| back.unsettled),
        }
    }

    /// Storage refused: again then.
    pub(crate) fn refused(&mut self, lane: Lane, retry: Timestamp) {
        self.due.insert((retry, lane));
    }

    /// Takes what has to wait; gives back what has not. A success beside its endpoint's lane counts like one in it. That of
    /// a host need not wait: no later node finds its outage anyway.
    pub(crate) fn keep(&mut self, unsettled: Unsettled) -> Option<Unsettled> {
        let taken = unsettled.settle.attempt.outcome == Outcome::Delivered;
        let endpoint = unsettled.settle.endpoint.filter(|_| taken).map(Lane::of_endpoint);
        match endpoint.and_then(|lane| self.lanes.get_mut(&lane)) {
            Some(back) => back.unsettled.push(unsettled),
            None => return Some(unsettled),
        }
        None
    }

    /// True while nothing more of a lane is to be sent, since enough of it waits to be settled.
    pub(crate) fn is_full(&self, lane: Lane) -> bool {
        self.lanes.get(&lane).is_some_and(|back| back.unsettled.len() >= MOST)
    }

    /// What waits to be settled is somebody else's now.
    pub(crate) fn abandon(&mut self) {
        self.lanes.values_mut().for_each(|back| back.unsettled.clear());
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|&(at, _)| at)
    }

    /// How many lanes are being brought forward.
    pub(crate) fn under_way(&self) -> usize {
        self.lanes.len() - self.due.len()
    }
}
