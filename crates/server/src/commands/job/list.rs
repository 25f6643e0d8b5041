//! `ringback job list`

use clap::{Args, ValueEnum};

use crate::commands::{
    client::{Call, Connection},
    failure::Failure,
    output::{Columns, Output},
    pages::{Pages, fetch},
};

/// Which jobs.
#[derive(Args)]
pub(crate) struct List {
    /// Only jobs in this state.
    #[arg(long)]
    status: Option<Status>,
    /// Only jobs of this task.
    #[arg(long)]
    task: Option<String>,
    /// Only jobs accepted after this RFC 3339 time.
    #[arg(long, value_name = "TIME")]
    created_after: Option<String>,
    /// Only jobs accepted before this RFC 3339 time.
    #[arg(long, value_name = "TIME")]
    created_before: Option<String>,
    #[command(flatten)]
    pages: Pages,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, ValueEnum)]
enum Status {
    Queued,
    Running,
    Succeeded,
    Failed,
    Canceled,
}

const COLUMNS: Columns = &[
    ("id", |job| job.cell("id")),
    ("task", |job| job.cell("task")),
    ("status", |job| job.cell("status")),
    ("attempt", |job| format!("{}/{}", job.cell("attempt"), job.cell("max_attempts"))),
    ("created_at", |job| job.cell("created_at")),
    ("finished_at", |job| job.cell("finished_at")),
];

impl List {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let status = self.status.and_then(|status| status.to_possible_value());
        let call = || {
            Call::get("/v1/jobs")
                .query("status", status.as_ref().map(|status| status.get_name()))
                .query("task", self.task.as_ref())
                .query("created_after", self.created_after.as_ref())
                .query("created_before", self.created_before.as_ref())
        };
        let (items, next) = fetch(&self.connection.client()?, &self.pages, call).await?;
        self.output.list(&items, next.as_deref(), COLUMNS)
    }
}
