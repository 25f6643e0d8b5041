//! One writer over SQLite: WAL, `synchronous=FULL`, a commit for whatever queued up during the last one.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use rusqlite::{Connection, params};
use tokio::sync::mpsc;

use super::{COUNTS, Job, Write, answer};
use crate::Outcome;

const SCHEMA: &str = "
CREATE TABLE jobs (
  id BLOB NOT NULL PRIMARY KEY, callback TEXT NOT NULL, input TEXT NOT NULL,
  created_at INTEGER NOT NULL, finished_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE queue (id BLOB NOT NULL PRIMARY KEY, due_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;";

/// Frames of 4 KiB and a header each: 64 MiB, past which only a restart keeps the log from growing for ever.
const MOST_FRAMES: u64 = 64 * 1024 * 1024 / 4120;

pub(super) struct Engine {
    connection: Connection,
    log: Arc<Log>,
}

/// What the checkpointer tells the writer.
struct Log {
    file: PathBuf,
    frames: AtomicU64,
    /// Set by the writer, so that an idle file is left alone.
    written: AtomicBool,
}

impl Engine {
    pub(super) fn open(file: &Path) -> Outcome<Self> {
        let connection = connect(file)?;
        connection.execute_batch(SCHEMA)?;
        let log =
            Arc::new(Log { file: file.into(), frames: AtomicU64::new(0), written: AtomicBool::new(false) });
        let seen = Arc::clone(&log);
        super::spawn("checkpointer", move || checkpoint(&seen))?;
        Ok(Self { connection, log })
    }

    /// Writes until nobody is left to ask for it.
    pub(super) fn write(
        mut self,
        mut writes: mpsc::UnboundedReceiver<Write>,
        hand: &mpsc::UnboundedSender<Job>,
    ) -> Outcome<()> {
        let mut batch = Vec::new();
        while writes.blocking_recv_many(&mut batch, usize::MAX) > 0 {
            self.commit(&batch)?;
            answer(&mut batch, hand);
            self.log.written.store(true, Relaxed);
            if self.log.frames.load(Relaxed) > MOST_FRAMES
                && pragma(&self.connection, "wal_checkpoint(RESTART)")?.0 == 0
            {
                self.log.frames.store(0, Relaxed);
            }
        }
        Ok(())
    }

    fn commit(&mut self, batch: &[Write]) -> Outcome<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO jobs VALUES (?1, ?2, ?3, ?4, NULL)")?;
            let mut enqueue = transaction.prepare_cached("INSERT INTO queue VALUES (?1, ?2)")?;
            let mut finish = transaction.prepare_cached("UPDATE jobs SET finished_at = ?2 WHERE id = ?1")?;
            let mut dequeue = transaction.prepare_cached("DELETE FROM queue WHERE id = ?1")?;
            for write in batch {
                match write {
                    Write::Submit(s) => {
                        let id = s.job.id.to_bytes();
                        insert.execute(params![id, s.job.callback, s.job.input, s.job.created_at])?;
                        enqueue.execute(params![id, s.job.created_at])?;
                    }
                    Write::Settle { id, at } => {
                        finish.execute(params![id.to_bytes(), at])?;
                        dequeue.execute(params![id.to_bytes()])?;
                    }
                }
            }
        }
        transaction.commit()?;
        COUNTS.add(batch.len() as u64 * 2, 1);
        Ok(())
    }
}

fn connect(file: &Path) -> Outcome<Connection> {
    let connection = Connection::open(file)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.busy_timeout(Duration::ZERO)?;
    Ok(connection)
}

/// Moves the log into the file beside the writer, so that no commit waits for it.
fn checkpoint(log: &Log) -> Outcome<()> {
    let connection = connect(&log.file)?;
    loop {
        std::thread::sleep(Duration::from_millis(5));
        if log.written.swap(false, Relaxed) {
            log.frames.store(pragma(&connection, "wal_checkpoint(PASSIVE)")?.1, Relaxed);
        }
    }
}

/// Whether a checkpoint met another (1), and the frames in the log.
fn pragma(connection: &Connection, checkpoint: &str) -> Outcome<(i64, u64)> {
    let mut statement = connection.prepare_cached(&format!("PRAGMA {checkpoint}"))?;
    let (busy, frames): (i64, i64) = statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((busy, u64::try_from(frames).unwrap_or(0)))
}
