//! SQLite: one writer thread, readers beside it, checkpoints on a thread of their own.

mod access;
mod alone;
mod checkpoint;
mod cold_writes;
mod columns;
mod endpoints;
mod fan_out;
mod fault;
mod hot_deliveries;
mod hot_jobs;
pub(crate) mod lock;
mod nodes;
pub(crate) mod open;
mod port;
mod queue;
mod readers;
mod reads;
mod report;
mod reseal;
mod retention;
mod seldom;
mod statements;
#[cfg(test)]
mod tests;
pub mod upkeep;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    thread::{self, JoinHandle},
};

use storage::{Result, StorageError};

use self::{
    alone::Alone,
    checkpoint::Checkpoints,
    fault::Fault,
    lock::Lock,
    queue::{Class, Queue},
    readers::Readers,
    writer::Writer,
};
use crate::{OpenError, Options, admission::Admission, effects::Hub};

/// A SQLite file as an engine. Dropped without `close`, it is as after a crash: what waited for the writer is not
/// written, and nobody who waited for it was told otherwise.
pub struct Sqlite {
    hub: Arc<Hub>,
    queue: Arc<Queue>,
    admission: Admission,
    readers: Readers,
    checkpoints: Arc<Checkpoints>,
    threads: Mutex<Option<Threads>>,
    /// Nobody else holds anything in this file from then on: the walk over what is queued is made once an epoch.
    taken_over: AtomicBool,
    /// What waits of each tenant is known.
    counted: AtomicBool,
    alone: Alone,
    path: PathBuf,
}

struct Threads {
    writer: JoinHandle<()>,
    checkpoints: JoinHandle<()>,
    /// Released when both have ended.
    _lock: Lock,
}

impl Sqlite {
    /// Opens the file, or makes it, and brings its schema up to this version.
    pub fn open(path: &Path) -> std::result::Result<Self, OpenError> {
        Self::open_as(path, &Options::default())
    }

    /// The same, for a node with a name.
    pub fn open_as(path: &Path, options: &Options) -> std::result::Result<Self, OpenError> {
        let lock = Lock::take(path)?;
        let (hub, queue) = (Arc::new(Hub::default()), Arc::new(Queue::default()));
        let checkpoints = Arc::new(Checkpoints::default());
        let writer = open::writer(path)?;
        let readers = Readers::open(path)?;
        hub.set_starts(endpoints::hearing_of_starts(&writer)?);
        for (task, waiting) in nodes::waiting(&writer)? {
            match task.parse() {
                Ok(task) => hub.backlogs.found(&task, waiting),
                Err(error) => tracing::error!(%task, %error, "a queued job has a task that cannot be"),
            }
        }
        let checkpointer = open::checkpointer(path)?;
        let checkpointing = {
            let checkpoints = checkpoints.clone();
            let run = move || checkpoints.run(&checkpointer);
            thread::Builder::new().name("sqlite-checkpoint".into()).spawn(run)?
        };
        let writing = {
            let (hub, queue, checkpoints) = (hub.clone(), queue.clone(), checkpoints.clone());
            let run = move || write(&writer, &queue, &hub, &checkpoints);
            thread::Builder::new().name("sqlite-write".into()).spawn(run)?
        };
        let threads = Threads { writer: writing, checkpoints: checkpointing, _lock: lock };
        Ok(Self {
            hub,
            queue,
            admission: Admission::default(),
            readers,
            checkpoints,
            threads: Mutex::new(Some(threads)),
            taken_over: AtomicBool::new(false),
            counted: AtomicBool::new(false),
            alone: Alone::new(options.name.clone(), options.version.clone()),
            path: path.to_owned(),
        })
    }

    /// Hands a command to the writer and waits for its answer.
    async fn ask<C: Send + 'static, T: Send + 'static>(
        &self,
        class: Class,
        command: C,
        run: fn(&mut Writer<'_>, &C) -> std::result::Result<T, Fault>,
    ) -> Result<T> {
        let answer = self.queue.ask(class, command, run)?;
        answer.await.unwrap_or(Err(StorageError::Closed))
    }

    /// Ends the threads. `forget`: what waits is not written.
    fn end(&self, forget: bool) {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Threads { writer, checkpoints, _lock }) = threads else { return };
        self.queue.close(forget);
        join(writer);
        self.checkpoints.close();
        join(checkpoints);
        self.readers.close();
        if !forget && let Ok(connection) = open::checkpointer(&self.path) {
            checkpoint::finish(&connection, &self.path);
        }
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.end(true);
    }
}

/// Whatever ends the writer, a panic in a listener too, nobody is left waiting for it.
struct NobodyWaits<'q>(&'q Queue);

impl Drop for NobodyWaits<'_> {
    fn drop(&mut self) {
        self.0.close(true);
    }
}

fn write(connection: &rusqlite::Connection, queue: &Queue, hub: &Arc<Hub>, checkpoints: &Checkpoints) {
    let _closing = NobodyWaits(queue);
    if let Err(error) = writer::write(connection, queue, hub, checkpoints) {
        tracing::error!(%error, "the writer could not start");
    }
}

/// Waits for a thread's end, unless it is this one: the last owner may have let go inside a hand-over.
fn join(thread: JoinHandle<()>) {
    if thread.thread().id() != thread::current().id() && thread.join().is_err() {
        tracing::error!("a storage thread panicked");
    }
}
