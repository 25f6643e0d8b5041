//! `ringback job result`

use clap::Args;

use crate::commands::{
    client::{Call, Connection, segment},
    failure::{Exit, Failure},
    output,
};

/// Whose result.
#[derive(Args)]
pub(crate) struct Get {
    /// The job's id.
    #[arg(value_name = "JOB")]
    id: String,
    #[command(flatten)]
    connection: Connection,
}

impl Get {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let id = segment(&self.id)?;
        let answer = self.connection.client()?.call(&Call::get(format!("/v1/jobs/{id}/result"))).await?;
        if answer.status == 202 {
            let text = format!("{id} has not ended yet. Wait for it: `ringback job wait {id}`.");
            return Err(Failure::new(Exit::Conflict, text));
        }
        output::bytes(&answer.body)
    }
}
