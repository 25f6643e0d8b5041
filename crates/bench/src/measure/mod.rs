//! What is measured, one file each. Each starts services of its own and leaves nothing running.

pub(crate) mod fairness;
pub(crate) mod held;
pub(crate) mod idle;
pub(crate) mod latency;
pub(crate) mod restart;
pub(crate) mod saturation;

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{Outcome, ledger::Ledger};

/// How long the last webhooks may take after the last submission.
const DRAIN: Duration = Duration::from_secs(30);

/// Waits until every accepted job's webhook has arrived. Returns how many never did.
fn drain(ledger: &Ledger) -> u64 {
    let begin = Instant::now();
    loop {
        let missing = ledger.accepted_count().saturating_sub(ledger.received_count());
        if missing == 0 || begin.elapsed() > DRAIN {
            return missing;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Runs `load` beside `watch`, which gets to work while it lasts.
fn beside<T>(load: impl FnOnce() -> Outcome<()> + Send, watch: impl FnOnce() -> T) -> Outcome<T> {
    thread::scope(|scope| {
        let load = scope.spawn(load);
        let seen = watch();
        load.join().map_err(|_| "the loader panicked")??;
        Ok(seen)
    })
}

/// The middle one; of an even number the lower.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_one_of_them() {
        for (values, expected) in [(vec![3.0, 1.0, 2.0], 2.0), (vec![2.0, 1.0], 1.0), (vec![], 0.0)] {
            assert!((median(values) - expected).abs() < 1e-9);
        }
    }
}
