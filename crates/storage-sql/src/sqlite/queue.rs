//! What waits for the writer: two classes, so that accepting never starves delivering. A batch is what queued up while
//! the last one was being written; nothing waits for a timer.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use storage::{Result, StorageError};
use tokio::sync::oneshot;

use super::{fault::Fault, writer::Writer};

/// Enough that a sync costs each command next to nothing, few enough that the first of them is answered soon.
const MOST: usize = 1024;

/// A command on its way through the writer.
pub(crate) trait Verb: Send {
    /// Writes it in the open transaction. Run again, alone, when a batch failed.
    fn run(&mut self, writer: &mut Writer<'_>) -> std::result::Result<(), Fault>;

    /// The transaction stands, or does not.
    fn answer(self: Box<Self>, outcome: Result<()>);
}

/// A command, the function that writes it, and who waits for the answer.
struct Asked<C, T> {
    command: C,
    run: fn(&mut Writer<'_>, &C) -> std::result::Result<T, Fault>,
    value: Option<T>,
    reply: oneshot::Sender<Result<T>>,
}

impl<C: Send, T: Send> Verb for Asked<C, T> {
    fn run(&mut self, writer: &mut Writer<'_>) -> std::result::Result<(), Fault> {
        self.value = Some((self.run)(writer, &self.command)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<()>) {
        let Self { value, reply, .. } = *self;
        // Whoever asked may have hung up; what was written stands.
        let _ = reply.send(outcome.and_then(|()| value.ok_or(StorageError::Closed)));
    }
}

/// Where commands wait.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    /// Claims, finishes, settlements and all that ends or frees something.
    first: VecDeque<Box<dyn Verb>>,
    /// Submissions.
    second: VecDeque<Box<dyn Verb>>,
    closed: bool,
    /// The writer sleeps: only then is it worth a system call to wake it.
    sleeping: bool,
}

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    First,
    Second,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a command; the receiver hears its answer once it is on stable storage.
    pub(crate) fn ask<C: Send + 'static, T: Send + 'static>(
        &self,
        class: Class,
        command: C,
        run: fn(&mut Writer<'_>, &C) -> std::result::Result<T, Fault>,
    ) -> Result<oneshot::Receiver<Result<T>>> {
        let (reply, answer) = oneshot::channel();
        let verb = Box::new(Asked { command, run, value: None, reply });
        let mut state = self.lock();
        if state.closed {
            return Err(StorageError::Closed);
        }
        match class {
            Class::First => state.first.push_back(verb),
            Class::Second => state.second.push_back(verb),
        }
        if std::mem::take(&mut state.sleeping) {
            drop(state);
            self.arrived.notify_one();
        }
        Ok(answer)
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        let state = self.lock();
        state.first.len() + state.second.len()
    }

    /// Waits for something and takes what is there, at most a batch. `false`: closed, and nothing is left.
    pub(crate) fn take(&self, batch: &mut Vec<Box<dyn Verb>>) -> bool {
        let mut state = self.lock();
        while state.first.is_empty() && state.second.is_empty() {
            if state.closed {
                return false;
            }
            state.sleeping = true;
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let first = state.first.len().min(MOST);
        batch.extend(state.first.drain(..first));
        let second = state.second.len().min(MOST - first);
        batch.extend(state.second.drain(..second));
        true
    }

    /// Takes no more. What is queued is still written, unless `forget`: then nobody will, as after a crash.
    pub(crate) fn close(&self, forget: bool) {
        let mut state = self.lock();
        state.closed = true;
        state.sleeping = false;
        let left = if forget {
            (std::mem::take(&mut state.first), std::mem::take(&mut state.second))
        } else {
            Default::default()
        };
        drop(state);
        self.arrived.notify_one();
        for verb in left.0.into_iter().chain(left.1) {
            verb.answer(Err(StorageError::Closed));
        }
    }
}
