//! For how long a plan is kept. To make one each time a statement runs takes a fifth of the database's time, and a third
//! where two nodes share the load. To keep it for good is worse: made when a queue was empty, it walks that queue from end
//! to end for each row of a batch once it is full (10 s a batch with 60,000 deliveries, seen). So it is made anew before
//! the tables can have grown much.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Plans are for any parameters, and are kept.
pub(super) const KEEP: &str = "SET plan_cache_mode = force_generic_plan";

/// Drops what was planned; statements stay prepared.
pub(super) const DISCARD: &str = "DISCARD PLANS";

/// Transactions that one plan serves at most. After a silence the first serves one, the next two, and so on.
const MOST: u32 = 32;

/// A plan older than this is of other times.
const OLD: Duration = Duration::from_secs(1);

/// The plans of one session.
#[derive(Debug)]
pub(super) struct Plans(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    made: Instant,
    serve: u32,
    left: u32,
}

impl Plans {
    /// Of a session that has run nothing.
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Kept { made: now, serve: 1, left: 1 }))
    }

    /// Another transaction begins: true if it is to make its own.
    pub(super) fn are_over(&self, now: Instant) -> bool {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old = now.duration_since(kept.made) >= OLD;
        if !old && kept.left > 0 {
            kept.left -= 1;
            return false;
        }
        let serve = if old { 1 } else { (kept.serve * 2).min(MOST) };
        *kept = Kept { made: now, serve, left: serve - 1 };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_serve_longer_while_there_is_no_silence() {
        let now = Instant::now();
        let plans = Plans::new(now);
        let made = |count: u32, at| (0..count).filter(|_| plans.are_over(at)).count();
        assert_eq!(made(1, now), 0, "nothing was planned yet");
        assert_eq!(made(2 + 4 + 8 + 16 + 32, now), 5);
        assert_eq!(made(64, now), 2);
        assert_eq!(made(2, now), 1);
        assert_eq!(made(1 + 2 + 4, now + OLD), 3, "after a silence as after the beginning");
    }

    #[test]
    fn plans_are_of_no_other_times() {
        let now = Instant::now();
        let plans = Plans::new(now);
        assert!(!plans.are_over(now));
        assert!((1..4).all(|n| plans.are_over(now + OLD * n)));
    }
}
