//! An engine whose calls wait at a gate until the world lets them through, one at a time and in an order of its dice:
//! so the order in which an engine's threads happen to answer is no part of a history, and every order is tried.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use storage::{Engine, Result, StorageError};
use tokio::sync::oneshot;

mod port;

const SECRETS: &str = "read secrets";

type Run = Box<dyn FnOnce(Arc<dyn Engine>) -> Pin<Box<dyn Future<Output = Done>>>>;

/// A call at the gate.
pub(super) struct Call {
    /// What it is, in the words of a history.
    pub(super) what: String,
    /// It writes under a hold.
    pub(super) held: bool,
    run: Run,
    refuse: Box<dyn FnOnce(StorageError)>,
}

/// A call that was let through.
pub(super) struct Done {
    /// What it came to.
    pub(super) came_to: String,
    answer: Box<dyn FnOnce()>,
    refuse: Box<dyn FnOnce(StorageError)>,
}

impl Done {
    /// The caller hears of it.
    pub(super) fn answer(self) {
        (self.answer)();
    }

    /// It was done, and the caller does not know.
    pub(super) fn lose(self) {
        (self.refuse)(StorageError::Unavailable { detail: "the answer was lost".into(), unknown: true });
    }
}

impl Call {
    /// Lets it through.
    pub(super) async fn run(self, engine: Arc<dyn Engine>) -> Done {
        (self.run)(engine).await
    }

    /// Turns it away: nothing was done.
    pub(super) fn refuse(self) {
        (self.refuse)(StorageError::refused("turned away"));
    }
}

// The closures are made, run and dropped on the world's one thread; only the calls' futures must be `Send`, and those
// hold none of them.
pub(super) struct Gate {
    engine: Arc<dyn Engine>,
    calls: Mutex<VecDeque<SendCall>>,
}

/// A call is built of values that are `Send`; the boxes do not say so, since what they return is not.
struct SendCall {
    prompt: bool,
    make: Box<dyn FnOnce() -> Call + Send>,
}

impl Gate {
    pub(super) fn before(engine: Arc<dyn Engine>) -> Arc<Self> {
        Arc::new(Self { engine, calls: Mutex::default() })
    }

    fn calls(&self) -> MutexGuard<'_, VecDeque<SendCall>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.calls().len()
    }

    /// Takes one out.
    pub(super) fn take(&self, which: usize) -> Option<Call> {
        let call = self.calls().remove(which)?;
        Some((call.make)())
    }

    /// Takes out one that nobody makes wait.
    pub(super) fn take_prompt(&self) -> Option<Call> {
        let which = self.calls().iter().position(|call| call.prompt)?;
        self.take(which)
    }

    async fn ask<T, C, F, R>(
        &self,
        what: String,
        held: bool,
        command: C,
        run: R,
        show: fn(&T) -> String,
    ) -> Result<T>
    where
        T: Send + 'static,
        C: Send + 'static,
        F: Future<Output = Result<T>> + 'static,
        R: FnOnce(Arc<dyn Engine>, C) -> F + Send + 'static,
    {
        let (reply, answer) = oneshot::channel::<Result<T>>();
        let reply = Arc::new(Mutex::new(Some(reply)));
        let send = |reply: &Arc<Mutex<Option<oneshot::Sender<Result<T>>>>>, answer: Result<T>| {
            if let Some(reply) = reply.lock().unwrap_or_else(PoisonError::into_inner).take() {
                let _ = reply.send(answer);
            }
        };
        // An attempt bears the time at which it began; what it reads before it leaves must not make that a lie.
        let prompt = what == SECRETS;
        let call = move || {
            let (later, refused, turned_away) = (reply.clone(), reply.clone(), reply);
            let run: Run = Box::new(move |engine| {
                Box::pin(async move {
                    let answer = run(engine, command).await;
                    Done {
                        came_to: match &answer {
                            Ok(value) => show(value),
                            Err(error) => format!("error: {error}"),
                        },
                        answer: Box::new(move || send(&later, answer)),
                        refuse: Box::new(move |error| send(&refused, Err(error))),
                    }
                })
            });
            Call { what, held, run, refuse: Box::new(move |error| send(&turned_away, Err(error))) }
        };
        self.calls().push_back(SendCall { prompt, make: Box::new(call) });
        answer.await.unwrap_or(Err(StorageError::Closed))
    }
}
