//! `ringback secrets …`

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;

use super::{
    client::{Call, Connection},
    failure::{Exit, Failure},
    output::{self, Output},
};

/// Look after what is sealed at rest.
#[derive(Subcommand)]
pub(crate) enum SecretsCommand {
    /// Seal everything under the server's current master key.
    ///
    /// First make a new key (openssl rand -base64 32), give it to the server as secrets.master_key and the old one as
    /// secrets.previous_master_key, and restart it: both open. (Several nodes: first restart each with the new key as the
    /// previous one.) Then run this; it may be stopped and run again at any moment. When it has nothing left to do, take
    /// the old key away, not sooner than links to results made under it have run out (7 days). Needs an operator's key.
    Rotate(Rotate),
}

/// How to show it.
#[derive(Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Deserialize)]
struct Step {
    examined: u64,
    resealed: u64,
    unopened: u64,
    next_cursor: Option<String>,
}

pub(crate) async fn run(command: SecretsCommand) -> Result<(), Failure> {
    match command {
        SecretsCommand::Rotate(rotate) => rotate.run().await,
    }
}

impl Rotate {
    async fn run(&self) -> Result<(), Failure> {
        let client = self.connection.client()?;
        let (mut examined, mut resealed, mut unopened) = (0, 0, 0);
        let mut cursor: Option<String> = None;
        loop {
            let call = Call::post("/v1/secrets/reseal").query("cursor", cursor.as_ref());
            let answer = client.call(&call).await?;
            let step: Step = serde_json::from_str(answer.text()?).map_err(|error| {
                Failure::failed(format!("the answer is not what a Ringback server sends ({error})"))
            })?;
            examined += step.examined;
            resealed += step.resealed;
            unopened += step.unopened;
            output::progress(&format!("{examined} rows looked at, {resealed} sealed anew"));
            cursor = step.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        let done = json!({ "examined": examined, "resealed": resealed, "unopened": unopened });
        self.output.object(&done.to_string(), |done| done.lines(&[]).to_string())?;
        if unopened > 0 {
            return Err(Failure::new(
                Exit::Failed,
                format!(
                    "{unopened} rows are sealed under a key that the server does not have. Give it to the server as \
                     secrets.previous_master_key, restart it, and run this again; its log names the key."
                ),
            ));
        }
        Ok(())
    }
}
