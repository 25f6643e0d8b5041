//! What an engine's writes cost: counted where they run, read by whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Statements that ran inside the transactions of hot verbs, and the transactions that were committed, since the engine
/// was opened. `BEGIN` and `COMMIT` are no statements here.
#[derive(Default, Debug)]
pub struct Costs {
    statements: AtomicU64,
    commits: AtomicU64,
}

impl Costs {
    /// So many more ran.
    pub fn ran(&self, statements: u64) {
        self.statements.fetch_add(statements, Relaxed);
    }

    /// One more transaction stands.
    pub fn committed(&self) {
        self.commits.fetch_add(1, Relaxed);
    }

    /// Statements so far.
    pub fn statements(&self) -> u64 {
        self.statements.load(Relaxed)
    }

    /// Commits so far.
    pub fn commits(&self) -> u64 {
        self.commits.load(Relaxed)
    }
}
