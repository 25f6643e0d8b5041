//! Who holds a row: a node in one of its lives.

use std::{fmt, time::Duration};

use crate::{chance::Moment, time::Timestamp};

/// A claim's mark. The node renews one lease for all that it holds; each start takes a new epoch, so that a restarted
/// node takes its own work back at once and whatever the dead process still writes changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fence {
    /// The node: always 1 on SQLite, drawn at start on PostgreSQL.
    pub node: i64,
    /// Which of its lives.
    pub epoch: i64,
}

/// A node that has not renewed for two thirds of its lease (by its own monotonic clock) stops sending and finishing:
/// somebody else may be about to take its work over.
pub fn must_hold_back(renewed_at: Timestamp, now: Timestamp, lease: Duration) -> bool {
    now.since(renewed_at) >= lease * 2 / 3
}

/// How far a wall clock may be off the database's: what is signed bears it, and what is due is compared between nodes.
const FAR: Duration = Duration::from_secs(5);

/// How far this machine's wall clock is ahead of the database's, or behind it; and how little is known of that, since a
/// question takes its time.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Drift {
    /// Ahead, in microseconds; behind, if negative.
    ahead: i64,
    /// Either way.
    doubt: Duration,
}

impl Drift {
    /// After a question that was `asked` and `answered` at these moments, to which the answer was `database`.
    pub fn between(asked: Moment, answered: Moment, database: Timestamp) -> Self {
        let doubt = answered.now.since(asked.now) / 2;
        // Half way between the two, by the wall clock as it is now.
        let wall = answered.wall.micros() - i64::try_from(doubt.as_micros()).unwrap_or(i64::MAX / 4);
        Self { ahead: wall - database.micros(), doubt }
    }

    /// So far that the node is not ready, beyond doubt.
    pub fn is_too_far(&self) -> bool {
        Duration::from_micros(self.ahead.unsigned_abs()) > FAR + self.doubt
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = Duration::from_micros(self.ahead.unsigned_abs()).as_secs_f64();
        let way = if self.ahead < 0 { "behind" } else { "ahead of" };
        write!(f, "this machine's clock is {seconds:.3} s {way} the database's")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_answer_says_less_of_the_clocks() {
        let moment = |now: i64, wall: i64| Moment {
            now: Timestamp::from_micros(now * 1_000_000),
            wall: Timestamp::from_micros(wall * 1_000_000),
        };
        for (took, wall, database, far, words) in [
            (0, 100, 100, false, "0.000 s ahead of"),
            (0, 105, 100, false, "5.000 s ahead of"),
            (0, 106, 100, true, "6.000 s ahead of"),
            (0, 94, 100, true, "6.000 s behind"),
            (2, 107, 100, false, "6.000 s ahead of"),
            (2, 108, 100, true, "7.000 s ahead of"),
        ] {
            let database = Timestamp::from_micros(database * 1_000_000);
            let drift = Drift::between(moment(10, 0), moment(10 + took, wall), database);
            assert_eq!(drift.is_too_far(), far, "{drift}");
            assert_eq!(drift.to_string(), format!("this machine's clock is {words} the database's"));
        }
    }

    #[test]
    fn holds_back_after_two_thirds() {
        let at = |s: i64| Timestamp::from_micros(s * 1_000_000);
        for (seconds, expected) in [(0, false), (19, false), (20, true), (40, true)] {
            assert_eq!(must_hold_back(at(100), at(100 + seconds), Duration::from_secs(30)), expected);
        }
        assert!(!must_hold_back(at(100), at(50), Duration::from_secs(30)));
    }
}
