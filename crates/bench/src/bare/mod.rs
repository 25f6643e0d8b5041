//! The bare pipeline: submit → record → run nothing → sign → POST → settle, and nothing else.
//!
//! It is the floor that Ringback is measured against: the same libraries and the same shape (one current-thread runtime
//! for submissions, one for webhooks, one writer that shares each commit among all who wait, hand-over in memory after
//! it), without keys, tenants, checks, retries, leases or reads. Started as a process of its own, like Ringback, and
//! gone when the pipe at its standard input closes.

mod api;
mod dispatch;
mod postgres;
mod sqlite;

use std::{
    io::Read,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::SystemTime,
};

use clap::Subcommand;
use domain::id::JobId;
use tokio::sync::{mpsc, oneshot};

use crate::{Outcome, report};

/// Where the bare pipeline keeps its jobs.
#[derive(Clone, Subcommand)]
pub(crate) enum Record {
    /// Nowhere: what the rest costs.
    Nothing,
    /// In a new SQLite file.
    Sqlite {
        /// The file.
        file: PathBuf,
    },
    /// In an empty PostgreSQL database.
    Postgres {
        /// Its URL.
        url: String,
    },
}

/// What is written, in the order it comes.
enum Write {
    Submit(Submission),
    /// The webhook was taken: the job is over.
    Settle {
        id: JobId,
        at: i64,
    },
}

/// A job on its way to be recorded.
struct Submission {
    job: Job,
    /// Told when the job is on stable storage.
    recorded: oneshot::Sender<()>,
}

/// A job.
struct Job {
    id: JobId,
    input: Box<str>,
    callback: Box<str>,
    /// Microseconds since the epoch.
    created_at: i64,
}

/// How many statements ran and how many transactions committed; shown at `/metrics`.
struct Counts {
    statements: AtomicU64,
    commits: AtomicU64,
}

static COUNTS: Counts = Counts { statements: AtomicU64::new(0), commits: AtomicU64::new(0) };

impl Counts {
    fn add(&self, statements: u64, commits: u64) {
        self.statements.fetch_add(statements, Relaxed);
        self.commits.fetch_add(commits, Relaxed);
    }
}

/// Where a job goes when it was read, and when its webhook was taken.
#[derive(Clone)]
enum Sink {
    /// Straight to the dispatcher: nothing is recorded.
    Dispatcher(mpsc::UnboundedSender<Job>),
    Writer(mpsc::UnboundedSender<Write>),
}

/// The process is about to end.
struct Closing;

impl Sink {
    async fn submit(&self, job: Job) -> Result<(), Closing> {
        match self {
            Sink::Dispatcher(hand) => hand.send(job).map_err(|_| Closing),
            Sink::Writer(write) => {
                let (recorded, committed) = oneshot::channel();
                write.send(Write::Submit(Submission { job, recorded })).map_err(|_| Closing)?;
                committed.await.map_err(|_| Closing)
            }
        }
    }

    fn settle(&self, id: JobId, at: i64) {
        if let Sink::Writer(write) = self {
            // Fails only when the process ends.
            let _ = write.send(Write::Settle { id, at });
        }
    }
}

/// Serves until standard input ends.
pub(crate) fn run(record: Record) -> Outcome<()> {
    let (write, writes) = mpsc::unbounded_channel();
    let (hand, jobs) = mpsc::unbounded_channel();
    let sink = match &record {
        Record::Nothing => Sink::Dispatcher(hand.clone()),
        Record::Sqlite { .. } | Record::Postgres { .. } => Sink::Writer(write),
    };
    dispatch::start(jobs, sink.clone())?;
    match record {
        Record::Nothing => {}
        Record::Sqlite { file } => {
            let engine = sqlite::Engine::open(&file)?;
            spawn("writer", move || engine.write(writes, &hand))?;
        }
        Record::Postgres { url } => spawn("writer", move || postgres::write(&url, writes, &hand))?,
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    report::complain(
        &serde_json::json!({ "message": "listening", "addr": listener.local_addr()? }).to_string(),
    );
    spawn("end", || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        process::exit(0);
    })?;
    api::serve(listener, sink)
}

/// Answers and hands over what a finished commit holds.
fn answer(batch: &mut Vec<Write>, hand: &mpsc::UnboundedSender<Job>) {
    for write in batch.drain(..) {
        if let Write::Submit(Submission { job, recorded }) = write {
            // Either fails only when the process ends.
            let _ = recorded.send(());
            let _ = hand.send(job);
        }
    }
}

/// A thread whose failure ends the process, as half a pipeline measures nothing.
fn spawn(name: &str, work: impl FnOnce() -> Outcome<()> + Send + 'static) -> Outcome<()> {
    thread::Builder::new().name(name.into()).spawn(move || {
        if let Err(error) = work() {
            report::complain(&error.to_string());
            process::exit(1);
        }
    })?;
    Ok(())
}

/// Microseconds since the epoch.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
