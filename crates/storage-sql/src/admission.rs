//! How many submissions may wait for the writer, and how long.

use std::{sync::Arc, time::Duration};

use storage::{Result, StorageError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Enough to fill several batches, few enough that the last of them is answered well within [`PATIENCE`].
const WAITING: usize = 4096;

/// How long a submission waits for its turn to wait, and for somebody else's lock.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// A bounded number of submissions between their arrival and their commit.
pub(crate) struct Admission(Arc<Semaphore>);

impl Default for Admission {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(WAITING)))
    }
}

impl Admission {
    /// How many more may come in at once.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.0.available_permits()
    }

    /// A place, held until the submission was answered.
    pub(crate) async fn enter(&self) -> Result<OwnedSemaphorePermit> {
        if let Ok(permit) = self.0.clone().try_acquire_owned() {
            return Ok(permit);
        }
        match tokio::time::timeout(PATIENCE, self.0.clone().acquire_owned()).await {
            Ok(permit) => permit.map_err(|_| StorageError::Closed),
            Err(_) => Err(StorageError::Overloaded),
        }
    }
}
