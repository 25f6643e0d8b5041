//! `ringback job …`

mod list;
mod result;
mod show;
mod submit;
mod wait;

use clap::{Args, Subcommand};

use super::{
    client::{Call, Connection, segment},
    failure::Failure,
    output::Output,
};

/// Submit jobs and see what becomes of them.
#[derive(Subcommand)]
pub(crate) enum JobCommand {
    /// Submit a job.
    Submit(submit::Submit),
    /// Show a job.
    Get(One),
    /// Wait until a job has ended: 0 if it succeeded, 1 if it failed or was canceled.
    Wait(wait::Wait),
    /// Cancel a job: at once if it waits, else its work is asked to stop.
    Cancel(One),
    /// List jobs, newest first.
    List(list::List),
    /// Write a job's result to standard output, byte for byte.
    Result(result::Get),
    /// Submit a job again as a new one.
    Rerun(One),
}

/// One job.
#[derive(Args)]
pub(crate) struct One {
    /// The job's id.
    #[arg(value_name = "JOB")]
    id: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

impl One {
    async fn run(&self, call: impl FnOnce(String) -> Call<'static>) -> Result<(), Failure> {
        let call = call(format!("/v1/jobs/{}", segment(&self.id)?));
        let answer = self.connection.client()?.call(&call).await?;
        self.output.object(answer.text()?, show::table)
    }
}

pub(crate) async fn run(command: JobCommand) -> Result<(), Failure> {
    match command {
        JobCommand::Submit(submit) => submit.run().await,
        JobCommand::Get(one) => one.run(Call::get).await,
        JobCommand::Wait(wait) => wait.run().await,
        JobCommand::Cancel(one) => one.run(|path| Call::post(path + "/cancel")).await,
        JobCommand::List(list) => list.run().await,
        JobCommand::Result(get) => get.run().await,
        JobCommand::Rerun(one) => one.run(|path| Call::post(path + "/rerun")).await,
    }
}
