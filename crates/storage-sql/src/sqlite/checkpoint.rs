//! Moving pages from the log into the database, off the writer, so that it does not sit in the commit's p99.
//!
//! PASSIVE alone never restarts a log that is always written to: it grew by 1.4 GiB in 20 s. So past [`LONG`] the
//! thread leaves the rest to the writer, which runs RESTART between two commits, when next to nothing is left to copy.

use std::{
    path::Path,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use rusqlite::Connection;

use super::fault::die_of_failed_sync;

/// Frames after which the log is restarted: 64 MiB of 4 KiB pages.
const LONG: i64 = 16 * 1024;

/// How often at most pages are moved while commits go on: a checkpoint syncs the database file, and the disk is the
/// writer's first.
const PACE: Duration = Duration::from_millis(50);

/// After a RESTART that a reader stood in the way of, so many commits pass before the next.
const PATIENCE: u32 = 64;

/// Between the writer and the thread.
#[derive(Default)]
pub(crate) struct Checkpoints {
    state: Mutex<State>,
    changed: Condvar,
    /// Something was committed since the thread last looked; read without the lock by the writer.
    dirty: AtomicBool,
    /// The log is long: the writer restarts it.
    restart: AtomicBool,
    waited: AtomicU32,
}

#[derive(Default)]
struct State {
    dirty: bool,
    closed: bool,
}

impl Checkpoints {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called by the writer after each commit.
    pub(crate) fn committed(&self, writer: &Connection) {
        if self.restart.load(Ordering::Acquire) {
            self.restart(writer);
        } else if !self.dirty.swap(true, Ordering::AcqRel) {
            self.lock().dirty = true;
            self.changed.notify_one();
        }
    }

    fn restart(&self, writer: &Connection) {
        if !self.waited.fetch_add(1, Ordering::Relaxed).is_multiple_of(PATIENCE) {
            return;
        }
        match checkpoint(writer, "RESTART") {
            Ok(Done { busy: false, .. }) => {
                self.waited.store(0, Ordering::Relaxed);
                self.restart.store(false, Ordering::Release);
                self.changed.notify_one();
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the log could not be restarted; it is tried again"),
        }
    }

    /// The thread's end.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// The thread: sleeps until something was committed, moves it, and rests for a moment.
    pub(crate) fn run(&self, connection: &Connection) {
        let mut state = self.lock();
        while !state.closed {
            if !std::mem::take(&mut state.dirty) {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waiting = self.changed.wait_timeout_while(state, PACE, |state| !state.closed);
            drop(waiting);
            self.dirty.store(false, Ordering::Release);
            match checkpoint(connection, "PASSIVE") {
                Ok(done) if done.frames > LONG => self.restart.store(true, Ordering::Release),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "pages could not be moved out of the log; it is tried again")
                }
            }
            state = self.lock();
        }
    }
}

struct Done {
    busy: bool,
    frames: i64,
}

fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<Done> {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    connection
        .query_row(&sql, [], |row| Ok(Done { busy: row.get::<_, i64>(0)? != 0, frames: row.get(1)? }))
        .inspect_err(die_of_failed_sync)
}

/// Moves everything and empties the log: at the end, so that the next start has nothing to read back.
pub(crate) fn finish(connection: &Connection, path: &Path) {
    if let Err(error) = checkpoint(connection, "TRUNCATE") {
        tracing::warn!(%error, path = %path.display(), "the log could not be emptied; the next start reads it back");
    }
}
