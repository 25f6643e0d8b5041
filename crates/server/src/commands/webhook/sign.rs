//! `ringback sign`

use clap::Args;
use domain::{
    chance::{Clock, Dice},
    id::EventId,
    signature,
};

use super::diagnose::read_secret;
use crate::{
    ambient::{SystemClock, SystemDice},
    commands::{
        argument,
        failure::Failure,
        output::{self, Format, Output},
    },
};

/// Sign a body as a webhook of Standard Webhooks, and print its three headers.
///
/// To try a receiver: `ringback sign @body.json | curl -H @- --data-binary @body.json URL`
#[derive(Args)]
pub(crate) struct Sign {
    /// The body: a text, @FILE, or - for standard input. Signed byte for byte.
    #[arg(default_value = "-", value_name = "TEXT|@FILE|-")]
    body: String,
    /// What signs; may be given again during a rotation, the current one first.
    #[arg(
        long,
        env = "RINGBACK_WEBHOOK_SECRET",
        hide_env_values = true,
        required = true,
        value_name = "whsec_…|whsk_…"
    )]
    secret: Vec<String>,
    /// The webhook-id; one is made without it.
    #[arg(long)]
    id: Option<String>,
    /// The webhook-timestamp, in seconds since 1970; now without it.
    #[arg(long, value_name = "SECONDS")]
    timestamp: Option<i64>,
    #[command(flatten)]
    output: Output,
}

impl Sign {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let read = |text: &String| {
            read_secret(text).map_err(|fault| Failure::usage(format!("--secret: {}", fault.detail)))
        };
        let secrets = self.secret.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let now = SystemClock::start().wall();
        let id = self.id.clone().unwrap_or_else(|| EventId::new(now, SystemDice.bits()).to_string());
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_graphic() && b != b'.') {
            return Err(Failure::usage(
                "--id: give visible ASCII characters and no dot; receivers refuse a dot",
            ));
        }
        let timestamp = self.timestamp.unwrap_or(now.seconds());
        let body = argument::bytes("the body", &self.body)?;
        let value = signature::sign(&id, timestamp, &body, &secrets.iter().collect::<Vec<_>>());
        let headers =
            [("webhook-id", id), ("webhook-timestamp", timestamp.to_string()), ("webhook-signature", value)];
        match self.output.format {
            Format::Table => {
                headers.iter().try_for_each(|(name, value)| output::line(&format!("{name}: {value}")))
            }
            _ => {
                let json: serde_json::Map<_, _> =
                    headers.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
                self.output.object(&serde_json::Value::Object(json).to_string(), |_| String::new())
            }
        }
    }
}
