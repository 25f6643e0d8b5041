//! `ringback endpoint recover` and `recovery …`

use clap::{Args, Subcommand};
use serde_json::json;

use super::{One, posted, table};
use crate::commands::{
    client::{Call, Connection, segment},
    failure::Failure,
    output::{self, Output},
};

/// What to send again.
#[derive(Args)]
pub(crate) struct Recover {
    #[command(flatten)]
    one: One,
    /// Only events from this RFC 3339 time on.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only events before this RFC 3339 time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// No faster than this, such as 100/1s.
    #[arg(long)]
    rate: Option<String>,
}

/// See how far a recovery is, and stop it.
#[derive(Subcommand)]
pub(crate) enum RecoveryCommand {
    /// Show how far it is.
    Get(Get),
    /// Stop it; what is due again stays so.
    Stop(Stop),
}

/// One recovery.
#[derive(Args)]
pub(crate) struct Get {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// One recovery.
#[derive(Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
struct Which {
    /// The endpoint's id.
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    /// The recovery's id, as `endpoint recover` printed it.
    #[arg(value_name = "RECOVERY")]
    recovery: String,
}

impl Which {
    fn path(&self) -> Result<String, Failure> {
        Ok(format!("/v1/endpoints/{}/recoveries/{}", segment(&self.endpoint)?, segment(&self.recovery)?))
    }
}

impl Recover {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let Self { one, since, until, rate } = self;
        let body = json!({ "since": since, "until": until, "rate": rate });
        one.show(|path| posted(path + "/recover", &body)).await
    }
}

pub(super) async fn run(command: RecoveryCommand) -> Result<(), Failure> {
    match command {
        RecoveryCommand::Get(Get { which, output, connection }) => {
            let answer = connection.client()?.call(&Call::get(which.path()?)).await?;
            output.object(answer.text()?, table)
        }
        RecoveryCommand::Stop(Stop { which, connection }) => {
            connection.client()?.call(&Call::delete(which.path()?)).await?;
            output::progress("Stopped.");
            Ok(())
        }
    }
}
