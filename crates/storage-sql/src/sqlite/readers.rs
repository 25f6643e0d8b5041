//! Reads, on threads and connections of their own, beside the writer. A read holds its statement only while it builds
//! its answer in memory, never over a response.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
};

use rusqlite::Connection;
use storage::{Result, StorageError};
use tokio::sync::oneshot;

use super::{fault::Fault, open};

/// Two, so that a long list does not hold up a status read.
const THREADS: usize = 2;

type Read = Box<dyn FnOnce(&Connection) + Send>;

/// The pool.
pub(crate) struct Readers {
    work: Mutex<Option<mpsc::Sender<Read>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Readers {
    pub(crate) fn open(path: &Path) -> std::result::Result<Self, crate::OpenError> {
        let (work, waiting) = mpsc::channel::<Read>();
        let waiting = Arc::new(Mutex::new(waiting));
        let mut threads = Vec::new();
        for n in 0..THREADS {
            let (connection, waiting) = (open::reader(path)?, waiting.clone());
            let serve = move || serve(&connection, &waiting);
            threads.push(thread::Builder::new().name(format!("sqlite-read-{n}")).spawn(serve)?);
        }
        Ok(Self { work: Mutex::new(Some(work)), threads: Mutex::new(threads) })
    }

    /// Runs `read` in one snapshot.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> std::result::Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let work: Read = Box::new(move |connection| {
            // Nobody waits any more: no reason to read.
            if !reply.is_closed() {
                let _ = reply.send(snapshot(connection, read));
            }
        });
        let sent = match &*self.work.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(sender) => sender.send(work).is_ok(),
            None => false,
        };
        if !sent {
            return Err(StorageError::Closed);
        }
        answer.await.unwrap_or(Err(StorageError::Closed))
    }

    /// Ends the threads, once they have answered what they were asked.
    pub(crate) fn close(&self) {
        self.work.lock().unwrap_or_else(PoisonError::into_inner).take();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        threads.into_iter().for_each(super::join);
    }
}

fn serve(connection: &Connection, waiting: &Mutex<mpsc::Receiver<Read>>) {
    loop {
        let read = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match read {
            Ok(read) => read(connection),
            Err(mpsc::RecvError) => return,
        }
    }
}

fn snapshot<T>(
    connection: &Connection,
    read: impl FnOnce(&Connection) -> std::result::Result<T, Fault>,
) -> Result<T> {
    // Several statements see one state of the file; dropped, it only ends.
    let transaction = connection.unchecked_transaction().map_err(StorageError::refused)?;
    read(&transaction).map_err(Fault::into_answer)
}
