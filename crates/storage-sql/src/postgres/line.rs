//! Lines: commands of one kind wait in one, and what queued up while the last batch was being written is the next.
//! Nothing waits for a timer.

use std::{future::Future, sync::Arc, time::Duration};

use storage::{Result, StorageError, Wake};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{
    fault::{Fault, answered},
    link::Link,
    transaction::Transaction,
};
use crate::effects::{Effects, Hub};

/// Enough that a commit costs each command next to nothing, few enough that the first of them is answered soon.
pub(crate) const MANY: usize = 512;

/// One kind of command and how a batch of them is written.
pub(crate) trait Verb: 'static {
    type Command: Send + 'static;
    type Answer: Send + 'static;

    /// How many share a transaction.
    const MOST: usize = 1;

    /// True of what begins something: where somebody else's lock holds it up, or the server says nothing, it is refused
    /// rather than kept waiting.
    const REFUSES: bool = false;

    /// What it runs, prepared when it connects.
    const STATEMENTS: &'static [&'static str];

    /// By what a batch is sorted, so that two nodes lock the same rows in the same order.
    fn key(_: &Self::Command) -> [u8; 16] {
        [0; 16]
    }

    /// Writes them and commits; an answer for each, in their order.
    async fn write(
        tx: &Transaction<'_>,
        effects: &mut Effects,
        commands: &[Self::Command],
    ) -> std::result::Result<Vec<Self::Answer>, Fault>;
}

/// A command and who waits for its answer.
struct Asked<V: Verb> {
    command: V::Command,
    reply: oneshot::Sender<Result<V::Answer>>,
}

/// The end of a line where commands go in.
pub(crate) struct Line<V: Verb>(std::sync::Mutex<Option<mpsc::UnboundedSender<Asked<V>>>>);

/// The other end.
pub(crate) struct Serving<V: Verb> {
    arrivals: mpsc::UnboundedReceiver<Asked<V>>,
    link: Arc<Mutex<Link>>,
    hub: Arc<Hub>,
    /// Somebody else's lock held up the last that was written: the next one waits for none.
    held_up: bool,
    /// The server said nothing to the last that was written: nobody waits for it to say nothing once more.
    silent: bool,
    /// Whether the last commit stands is not known.
    uncertain: bool,
}

/// One that a lock holds up may be the only one; where two are, all the others are not tried any more.
const HELD_UP: usize = 2;

impl<V: Verb> Line<V> {
    pub(crate) fn new(link: &Arc<Mutex<Link>>, hub: &Arc<Hub>) -> (Self, Serving<V>) {
        let (sender, arrivals) = mpsc::unbounded_channel();
        let serving = Serving {
            arrivals,
            link: link.clone(),
            hub: hub.clone(),
            held_up: false,
            silent: false,
            uncertain: false,
        };
        (Self(std::sync::Mutex::new(Some(sender))), serving)
    }

    fn sender(&self) -> std::sync::MutexGuard<'_, Option<mpsc::UnboundedSender<Asked<V>>>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Hears the answer once it is on stable storage.
    pub(crate) async fn ask(&self, command: V::Command) -> Result<V::Answer> {
        let (reply, answer) = oneshot::channel();
        let asked = Asked { command, reply };
        self.sender().as_ref().and_then(|line| line.send(asked).ok()).ok_or(StorageError::Closed)?;
        answer.await.unwrap_or(Err(StorageError::Closed))
    }

    /// Takes no more; what waits is still written.
    pub(crate) fn close(&self) {
        self.sender().take();
    }
}

impl<V: Verb> Serving<V> {
    /// Serves until the line is closed and empty.
    pub(crate) async fn run(mut self) {
        let mut batch = Vec::new();
        while self.arrivals.recv_many(&mut batch, V::MOST).await > 0 {
            batch.sort_by_key(|asked| V::key(&asked.command));
            self.write(std::mem::take(&mut batch)).await;
            if std::mem::take(&mut self.silent) {
                self.refuse_waiting(&Fault::Silent.into_answer());
            }
            if std::mem::take(&mut self.uncertain) {
                self.find_out().await;
            }
        }
    }

    async fn write(&mut self, batch: Vec<Asked<V>>) {
        let (commands, replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|a| (a.command, a.reply)).unzip();
        let error = match self.attempt(&commands).await {
            Ok(answers) => {
                self.held_up = false;
                return answer(replies, answers.into_iter().map(Ok));
            }
            Err(Stopped { fault, .. }) if commands.len() > 1 && !fault.is_of_the_server() => {
                tracing::warn!(
                    commands = commands.len(),
                    ?fault,
                    "a batch failed; its commands are written one by one"
                );
                self.held_up = fault.is_lock_timeout();
                return self.write_each(commands, replies).await;
            }
            Err(Stopped { fault, unknown }) => {
                tracing::warn!(
                    commands = commands.len(),
                    ?fault,
                    unknown,
                    "a batch was not answered by a commit"
                );
                self.held_up = fault.is_lock_timeout();
                self.silent = matches!(fault, Fault::Silent);
                self.uncertain = unknown;
                let error = fault.into_answer();
                if unknown { StorageError::Unavailable { detail: error.to_string(), unknown } } else { error }
            }
        };
        answer(replies, std::iter::repeat_with(|| Err(error.clone())));
    }

    /// So that a poisoned command fails by itself.
    async fn write_each(
        &mut self,
        commands: Vec<V::Command>,
        replies: Vec<oneshot::Sender<Result<V::Answer>>>,
    ) {
        let mut held_up = 0;
        for (command, reply) in commands.into_iter().zip(replies) {
            if V::REFUSES && held_up >= HELD_UP {
                let _ = reply.send(Err(StorageError::Overloaded));
                continue;
            }
            if self.silent || self.uncertain {
                let _ = reply.send(Err(StorageError::refused("the server was lost over what came before")));
                continue;
            }
            Box::pin(self.write(vec![Asked { command, reply }])).await;
            held_up += usize::from(self.held_up);
        }
    }

    async fn attempt(&self, commands: &[V::Command]) -> std::result::Result<Vec<V::Answer>, Stopped> {
        let mut link = self.link.lock().await;
        let session = in_time::<V, _>(link.session()).await;
        let session = session.map_err(|fault| Stopped { fault, unknown: false })?;
        let tx = Transaction::new(session, &self.hub);
        let tx = tx.hurried(V::REFUSES && self.held_up);
        let mut effects = self.hub.begin();
        match in_time::<V, _>(V::write(&tx, &mut effects, commands)).await {
            Ok(answers) => {
                self.hub.publish(effects);
                Ok(answers)
            }
            Err(fault) => {
                effects.undo();
                let unknown = tx.is_committing() && fault.is_disconnect();
                if unknown || fault.is_disconnect() || tx.roll_back().await.is_err() {
                    link.lose(unknown);
                }
                Err(Stopped { fault, unknown })
            }
        }
    }

    /// Who waits is told now.
    fn refuse_waiting(&mut self, error: &StorageError) {
        while let Ok(asked) = self.arrivals.try_recv() {
            let _ = asked.reply.send(Err(error.clone()));
        }
    }

    /// Whether the last commit stands is not known. Once its server process is surely over, whoever runs or sends is
    /// told to compare what it holds with what the rows say.
    async fn find_out(&mut self) {
        let mut pause = Duration::from_millis(50);
        loop {
            let mut link = self.link.lock().await;
            let found = match in_time::<V, _>(async { link.session().await.map(drop) }).await {
                Ok(()) => link.outlive_lost().await,
                Err(fault) => Err(fault.into_answer()),
            };
            drop(link);
            match found {
                Ok(()) => break,
                Err(error) => {
                    // The outage may be long.
                    self.refuse_waiting(&error);
                    if self.arrivals.is_closed() {
                        return;
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
        let mut effects = Effects::default();
        effects.wake(Wake::Uncertain);
        self.hub.publish(effects);
    }
}

/// What is rather refused than kept waiting waits for no silent server, either.
async fn in_time<V: Verb, T>(
    work: impl Future<Output = std::result::Result<T, Fault>>,
) -> std::result::Result<T, Fault> {
    if V::REFUSES { answered(work).await } else { work.await }
}

/// Why a batch has no answers; `unknown` if it may stand all the same.
struct Stopped {
    fault: Fault,
    unknown: bool,
}

fn answer<T>(replies: Vec<oneshot::Sender<Result<T>>>, answers: impl Iterator<Item = Result<T>>) {
    for (reply, answer) in replies.into_iter().zip(answers) {
        // Whoever asked may have hung up; what was written stands.
        let _ = reply.send(answer);
    }
}
