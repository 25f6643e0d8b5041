//! Tasks that somebody paused, for every node and over restarts.

use async_trait::async_trait;
use domain::{task::TaskName, time::Timestamp};

use crate::Result;

/// The stage of what the operator says of tasks while they run.
#[async_trait]
pub trait Tasks {
    /// From now on nothing of this task is started; what waits and what is submitted waits. Repeated, nothing changes.
    async fn pause_task(&self, task: TaskName, at: Timestamp) -> Result<()>;

    /// What waits is started again.
    async fn resume_task(&self, task: TaskName) -> Result<()>;

    /// Those that are paused, by name.
    async fn paused_tasks(&self) -> Result<Vec<TaskName>>;

    /// Since when the job has been due that has been so for longest and is not running, of each task that has one; or
    /// when the first will be.
    async fn oldest_waiting(&self) -> Result<Vec<(TaskName, Timestamp)>>;
}
