//! Up to where a lane's rows have been claimed, as far as this node knows.
//!
//! While any session in the database holds a transaction open, what was claimed since stays in the index as a dead entry, and
//! a walk from the lane's beginning passes all of them: a drain of n rows would be n² of work. So a claim begins where
//! the last one ended. What a commit puts behind the mark takes the mark away; what nobody told of (a hint that was lost) is
//! found when the mark is over, which is soon, or when nothing is found beyond it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use domain::time::Timestamp;

/// How long a lane is not walked from its beginning, at most.
const LASTS: Duration = Duration::from_secs(2);

/// The beginning of every lane.
pub(crate) const BEGINNING: i64 = i64::MIN;

#[derive(Clone, Copy)]
struct Mark {
    due: i64,
    until: Timestamp,
}

/// Of one kind of lanes: those of which a claim left something.
#[derive(Default)]
pub(crate) struct Marks(Mutex<HashMap<i64, Mark>>);

impl Marks {
    fn marks(&self) -> std::sync::MutexGuard<'_, HashMap<i64, Mark>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From which due time on the lane's rows are looked for.
    pub(crate) fn of(&self, lane: i64, now: Timestamp) -> i64 {
        self.marks().get(&lane).filter(|mark| now < mark.until).map_or(BEGINNING, |mark| mark.due)
    }

    /// All up to `due` were claimed, and there may be more. `None`: there are none that are due.
    pub(crate) fn set(&self, lane: i64, due: Option<i64>, now: Timestamp) {
        let mut marks = self.marks();
        let Some(due) = due else {
            marks.remove(&lane);
            return;
        };
        // A mark that is moved on ends when it would have: then the walk is from the beginning.
        let until = marks.get(&lane).map(|mark| mark.until).filter(|until| now < *until);
        marks.insert(lane, Mark { due, until: until.unwrap_or(now + LASTS) });
    }

    /// Something of the lane is due then.
    pub(crate) fn look_back(&self, lane: i64, due: i64) {
        let mut marks = self.marks();
        if marks.get(&lane).is_some_and(|mark| due < mark.due) {
            marks.remove(&lane);
        }
    }

    pub(crate) fn clear(&self) {
        self.marks().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_moves_on_and_ends() {
        let (marks, at) = (Marks::default(), |seconds: i64| Timestamp::from_micros(seconds * 1_000_000));
        assert_eq!(marks.of(1, at(0)), BEGINNING);
        marks.set(1, Some(7), at(0));
        assert_eq!((marks.of(1, at(1)), marks.of(2, at(1))), (7, BEGINNING));
        marks.set(1, Some(8), at(1));
        assert_eq!(marks.of(1, at(1)), 8);
        assert_eq!(marks.of(1, at(2)), BEGINNING, "two seconds after the first");
        marks.set(1, Some(9), at(2));
        assert_eq!(marks.of(1, at(3)), 9);
        marks.look_back(1, 9);
        assert_eq!(marks.of(1, at(3)), 9);
        marks.look_back(1, 8);
        assert_eq!(marks.of(1, at(3)), BEGINNING);
        marks.set(1, Some(9), at(3));
        marks.set(1, None, at(3));
        assert_eq!(marks.of(1, at(3)), BEGINNING);
        assert!(marks.marks().is_empty());
    }
}
