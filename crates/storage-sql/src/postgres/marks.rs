//! From which due time on a lane's rows are looked for.
//!
//! While any session in the database holds a transaction open, what was claimed since stays in the index as a dead entry,
//! and a walk from the lane's beginning passes all of them. So a claim begins at the first row that the last one left, or
//! at the last that it took. What a commit puts before the mark moves the mark back; what nobody told of (a hint that was
//! lost, a hand in the database) is found when the lane is walked from its beginning again: every few seconds, and no more
//! often than that a fiftieth of the time goes into it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::time::Timestamp;

/// How long a lane is not walked from its beginning, and how long at most, whatever a walk takes.
const LASTS: Duration = Duration::from_secs(2);
const LASTS_MOST: Duration = Duration::from_secs(60);

/// A mark serves so many times as long as the walk took.
const COST: u32 = 50;

/// Marks that are kept. Of more lanes than that each has little to be walked over.
const MOST: usize = 10_000;

/// The beginning of every lane.
pub(crate) const BEGINNING: i64 = i64::MIN;

#[derive(Clone, Copy)]
struct Mark {
    from: i64,
    /// Then from the beginning; no time while nothing was claimed from there yet.
    until: Option<Timestamp>,
    /// The earliest that was told of since the claim that is out began: it may have seen it or not.
    told: i64,
}

/// Of one kind of lanes. One claim is out at a time.
#[derive(Default)]
pub(crate) struct Marks(Mutex<HashMap<i64, Mark>>);

impl Marks {
    fn marks(&self) -> MutexGuard<'_, HashMap<i64, Mark>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A claim begins: from where in each lane.
    pub(crate) fn begin(&self, lanes: &[i64], now: Timestamp) -> Vec<i64> {
        let mut marks = self.marks();
        if marks.len() + lanes.len() > MOST {
            marks.clear();
        }
        let begin = |lane: &i64| {
            let mark = marks.entry(*lane).or_insert(Mark { from: BEGINNING, until: None, told: i64::MAX });
            if mark.until.is_some_and(|until| until <= now) {
                (mark.from, mark.until) = (BEGINNING, None);
            }
            mark.told = i64::MAX;
            mark.from
        };
        lanes.iter().map(begin).collect()
    }

    /// It stands, and left nothing before `from`. It took so long.
    pub(crate) fn reached(&self, lane: i64, from: i64, now: Timestamp, took: Duration) {
        let mut marks = self.marks();
        // Without a mark all of them were cleared meanwhile.
        if let Some(mark) = marks.get_mut(&lane) {
            mark.from = from.min(mark.told);
            mark.until.get_or_insert_with(|| now + (took * COST).clamp(LASTS, LASTS_MOST));
        }
    }

    /// Something of the lane is due then.
    pub(crate) fn look_back(&self, lane: i64, due: i64) {
        if let Some(mark) = self.marks().get_mut(&lane) {
            (mark.from, mark.told) = (mark.from.min(due), mark.told.min(due));
        }
    }

    pub(crate) fn clear(&self) {
        self.marks().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_millis(2);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_mark_moves_on_and_ends() {
        let marks = Marks::default();
        assert_eq!(marks.begin(&[1], at(0)), [BEGINNING]);
        marks.reached(1, 7, at(0), QUICK);
        assert_eq!(marks.begin(&[1, 2], at(1)), [7, BEGINNING]);
        marks.reached(1, 8, at(1), QUICK);
        assert_eq!(marks.begin(&[1], at(1)), [8]);
        assert_eq!(marks.begin(&[1], at(2)), [BEGINNING], "two seconds after the first");
        marks.reached(1, 9, at(2), QUICK);
        assert_eq!(marks.begin(&[1], at(3)), [9]);
    }

    #[test]
    fn what_is_told_of_moves_it_back() {
        let marks = Marks::default();
        marks.begin(&[1], at(0));
        marks.reached(1, 9, at(0), QUICK);
        marks.look_back(1, 12);
        assert_eq!(marks.begin(&[1], at(1)), [9]);
        marks.look_back(1, 5);
        marks.reached(1, 11, at(1), QUICK);
        assert_eq!(marks.begin(&[1], at(1)), [5], "it came while the claim was out");
        marks.reached(1, 11, at(1), QUICK);
        marks.look_back(1, 6);
        assert_eq!(marks.begin(&[1], at(1)), [6]);
        marks.clear();
        marks.reached(1, 11, at(1), QUICK);
        assert_eq!(marks.begin(&[1], at(1)), [BEGINNING], "cleared while it was out");
    }

    #[test]
    fn long_walks_are_seldom() {
        let marks = Marks::default();
        marks.begin(&[1], at(0));
        marks.reached(1, 7, at(0), Duration::from_millis(200));
        for (seconds, from) in [(2, 7), (9, 7), (10, BEGINNING)] {
            assert_eq!(marks.begin(&[1], at(seconds)), [from], "{seconds}");
        }
    }
}
