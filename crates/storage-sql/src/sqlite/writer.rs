//! The one writer: a thread with a connection that turns batches of commands into transactions.

use std::sync::Arc;

use domain::lease::Fence;
use rusqlite::Connection;
use storage::StorageError;

use super::{
    checkpoint::Checkpoints,
    endpoints::Known,
    fault::{Fault, die_of_failed_sync},
    queue::{Queue, Verb},
    statements::Statements,
};
use crate::effects::{Effects, Hub};

/// What a verb writes with.
pub(crate) struct Writer<'c> {
    pub(crate) connection: &'c Connection,
    pub(crate) hot: Statements<'c>,
    /// What the open transaction will have brought about.
    pub(crate) effects: Effects,
    /// Every endpoint, so that a finish reads none.
    pub(crate) endpoints: Known,
}

impl Writer<'_> {
    /// Under what this node claims.
    pub(crate) fn fence(&self) -> Result<Fence, StorageError> {
        self.effects.fence().ok_or_else(|| StorageError::refused("this node has not joined yet"))
    }
}

/// Writes until the queue is closed and empty.
pub(crate) fn write(
    connection: &Connection,
    queue: &Queue,
    hub: &Arc<Hub>,
    checkpoints: &Checkpoints,
) -> rusqlite::Result<()> {
    let hot = Statements::prepare(connection)?;
    let mut writer = Writer { connection, hot, effects: Effects::default(), endpoints: Known::default() };
    let (mut batch, mut runs) = (Vec::new(), 0);
    while queue.take(&mut batch) {
        transact(&mut writer, hub, &mut batch);
        let so_far = writer.hot.runs();
        hub.costs.ran(so_far - std::mem::replace(&mut runs, so_far));
        checkpoints.committed(connection);
    }
    Ok(())
}

/// One transaction for all of them. If it fails for a reason that is not the disk's, each alone, so that a poisoned
/// command fails by itself.
fn transact(writer: &mut Writer<'_>, hub: &Hub, batch: &mut Vec<Box<dyn Verb>>) {
    let fault = match attempt(writer, hub, batch) {
        Ok(()) => {
            batch.drain(..).for_each(|verb| verb.answer(Ok(())));
            return;
        }
        Err(fault) => fault,
    };
    if batch.len() == 1 || fault.is_of_the_disk() {
        tracing::warn!(commands = batch.len(), ?fault, "nothing of a batch was written");
        let error = fault.into_answer();
        batch.drain(..).for_each(|verb| verb.answer(Err(error.clone())));
        return;
    }
    tracing::warn!(commands = batch.len(), ?fault, "a batch failed; its commands are written one by one");
    for verb in std::mem::take(batch) {
        transact(writer, hub, &mut vec![verb]);
    }
}

fn attempt(writer: &mut Writer<'_>, hub: &Hub, batch: &mut [Box<dyn Verb>]) -> Result<(), Fault> {
    writer.effects = hub.begin();
    let written = written(writer, batch);
    let effects = std::mem::take(&mut writer.effects);
    match written {
        Ok(()) => {
            hub.costs.committed();
            hub.publish(effects);
        }
        Err(_) => {
            if !writer.connection.is_autocommit()
                && let Err(error) = writer.connection.execute_batch("ROLLBACK")
            {
                tracing::error!(%error, "a failed transaction could not be rolled back");
            }
            effects.undo();
            writer.endpoints.forget();
        }
    }
    written
}

fn written(writer: &mut Writer<'_>, batch: &mut [Box<dyn Verb>]) -> Result<(), Fault> {
    writer.hot.begin.execute([])?;
    for verb in batch {
        verb.run(writer)?;
    }
    writer.hot.commit.execute([]).inspect_err(die_of_failed_sync)?;
    Ok(())
}
