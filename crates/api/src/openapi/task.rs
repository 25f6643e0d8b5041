//! Tasks, for the API's description. `tasks` writes what is shown.

#![expect(dead_code, reason = "shapes of the document: nobody makes one")]

use utoipa::ToSchema;

use super::shape::{Cursor, Span, TaskName, Time};

/// What can be submitted, and how busy it is.
#[derive(ToSchema)]
pub(crate) struct Task {
    #[schema(value_type = TaskName)]
    name: String,
    /// Nothing of it is started, on any node.
    paused: bool,
    /// The JSON Schema that inputs must fit.
    #[schema(value_type = Value, required = true)]
    input_schema: Option<()>,
    /// Of one attempt.
    #[schema(value_type = Span)]
    timeout: String,
    /// Starts, the first included.
    #[schema(minimum = 1)]
    max_attempts: u32,
    /// How many run at once, on all nodes together.
    #[schema(minimum = 0)]
    concurrency: u32,
    #[schema(minimum = 0)]
    waiting: u64,
    /// On the node that answers.
    #[schema(minimum = 0)]
    running: u64,
    /// Jobs that ended per second, over the last minute.
    #[schema(minimum = 0.0)]
    pace: f64,
    /// Since when the job has been due that has waited longest.
    #[schema(value_type = Option<Time>)]
    oldest_waiting: Option<String>,
}

/// All tasks, by name.
#[derive(ToSchema)]
pub(crate) struct TaskList {
    items: Vec<Task>,
    #[schema(value_type = Option<Cursor>)]
    next_cursor: Option<String>,
}
