//! For how long a plan is kept. To make one each time a statement runs takes a fifth of the database's time under load, and
//! a third where two nodes share it. To keep it for good is worse: made when a queue was empty, it walks that queue from
//! end to end for each row of a batch once it is full (10 s a batch with 60,000 deliveries, seen). So it is made anew before
//! the tables can have grown much. And one that is kept is for every range of history there is: with ten of them it takes as
//! long to make as ten of its runs do, where one for this batch alone looks at one range. At a light load none is kept.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How a transaction begins that makes plans to keep: statements stay prepared.
const ANEW: &str = "; DISCARD PLANS; SET LOCAL plan_cache_mode = force_generic_plan";

/// How one begins that uses them, and makes those that it misses.
const KEPT: &str = "; SET LOCAL plan_cache_mode = force_generic_plan";

/// Transactions that one plan serves at most.
const MOST: u32 = 256;

/// A plan older than this is of other times.
const OLD: Duration = Duration::from_secs(1);

/// Transactions in that time from which on plans are kept.
const MANY: u32 = 16;

/// The plans of one session.
#[derive(Debug)]
pub(super) struct Plans(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    /// Transactions are counted since then.
    since: Instant,
    begun: u32,
    /// There are or were many of them.
    many: bool,
    /// So many more are served by what was planned.
    left: u32,
}

impl Plans {
    /// Of a session that has run nothing.
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Kept { since: now, begun: 0, many: false, left: 0 }))
    }

    /// Another transaction begins: what it says of plans behind `BEGIN`. Nothing: each of its statements makes its own.
    pub(super) fn begin(&self, now: Instant) -> &'static str {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let past = now.duration_since(kept.since);
        if past >= OLD {
            let many = kept.begun > MANY && past < OLD * 2;
            *kept = Kept { since: now, begun: 0, many, left: 0 };
        }
        kept.begun += 1;
        kept.many |= kept.begun > MANY;
        match (kept.many, kept.left) {
            (false, _) => "",
            (true, 0) => {
                kept.left = MOST - 1;
                ANEW
            }
            (true, _) => {
                kept.left -= 1;
                KEPT
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How so many transactions begin.
    fn begun(plans: &Plans, count: u32, at: Instant) -> [usize; 3] {
        let begun: Vec<_> = (0..count).map(|_| plans.begin(at)).collect();
        ["", ANEW, KEPT].map(|how| begun.iter().filter(|begin| **begin == how).count())
    }

    #[test]
    fn plans_are_kept_while_there_are_many_transactions() {
        let now = Instant::now();
        let plans = Plans::new(now);
        assert_eq!(begun(&plans, 16, now), [16, 0, 0]);
        assert_eq!(begun(&plans, 2 * MOST, now), [0, 2, 2 * MOST as usize - 2]);
        assert_eq!(begun(&plans, 1, now), [0, 1, 0]);
        assert_eq!(
            begun(&plans, MOST, now + OLD),
            [0, 1, MOST as usize - 1],
            "no plan is of the second before"
        );
        assert_eq!(begun(&plans, 17, now + OLD * 3), [16, 1, 0], "after a silence as after the beginning");
    }

    #[test]
    fn at_a_light_load_none_is_kept() {
        let now = Instant::now();
        let plans = Plans::new(now);
        assert!((0..9).all(|n| begun(&plans, 16, now + OLD * n) == [16, 0, 0]));
    }
}
