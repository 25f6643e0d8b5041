//! `ringback verify`

use std::time::Duration;

use clap::Args;
use domain::{chance::Clock, duration::Span};

use super::{
    TOLERANCE,
    diagnose::{Fault, Received, Step, judge},
    secrets,
};
use crate::{
    ambient::SystemClock,
    commands::{
        argument,
        client::Connection,
        failure::{Exit, Failure},
        output::{self, Format, Output, Table},
    },
};

/// Verify a webhook as a receiver does, and name the step that fails: 0 if it is genuine, 7 if not.
#[derive(Args)]
pub(crate) struct Verify {
    /// The body as it arrived: a text, @FILE, or - for standard input.
    #[arg(default_value = "-", value_name = "TEXT|@FILE|-")]
    body: String,
    /// What must have signed it, any of several; without it the server is asked for the tenant's own.
    #[arg(long, env = "RINGBACK_WEBHOOK_SECRET", hide_env_values = true, value_name = "whsec_…|whpk_…")]
    secret: Vec<String>,
    /// webhook-id
    #[arg(long)]
    id: Option<String>,
    /// webhook-timestamp
    #[arg(long, allow_hyphen_values = true)]
    timestamp: Option<String>,
    /// webhook-signature
    #[arg(long)]
    signature: Option<String>,
    /// A header as it arrived, in place of the three options above; may be given again.
    #[arg(long, short = 'H', value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// How old or new the timestamp may be.
    #[arg(long, value_name = "DURATION", default_value_t = Span(TOLERANCE))]
    tolerance: Span,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

impl Verify {
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        let id = self.part("webhook-id", "--id", self.id.as_deref())?;
        let timestamp = self.part("webhook-timestamp", "--timestamp", self.timestamp.as_deref())?;
        let signatures = self.part("webhook-signature", "--signature", self.signature.as_deref())?;
        let body = argument::bytes("the body", &self.body)?;
        let known = if self.secret.is_empty() {
            if !self.connection.has_key() {
                return Err(Failure::usage(
                    "no secret. Give --secret, or RINGBACK_WEBHOOK_SECRET; or a key of the server (RINGBACK_API_KEY), \
                     and it is asked for the tenant's own.",
                ));
            }
            Ok(secrets::fetch(&self.connection.client()?).await?)
        } else {
            secrets::read(&self.secret)
        };
        let received = Received { id, timestamp, signatures, body: &body };
        let now = SystemClock::start().wall().seconds();
        let Span(tolerance) = self.tolerance;
        let verdict = match known {
            Ok(secrets) => judge(received, &secrets, now, tolerance),
            // Id and timestamp come before the secret, which no signature is needed to judge.
            Err(fault) => Err(before(received, now, tolerance).unwrap_or(fault)),
        };
        self.print(verdict.as_ref().err())?;
        verdict.map_err(|_| Failure::said(Exit::BadSignature))
    }

    fn part<'a>(&'a self, name: &str, option: &str, given: Option<&'a str>) -> Result<&'a str, Failure> {
        let mut headers = self.header.iter().filter_map(|header| {
            let (found, value) = header.split_once(':')?;
            found.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        });
        match (given.or_else(|| headers.next()), headers.next()) {
            (Some(_), Some(_)) => {
                Err(Failure::usage(format!("{name} is given twice; a webhook has it once")))
            }
            (Some(value), None) => Ok(value),
            (None, _) => Err(Failure::usage(format!("no {name}. Give {option}, or -H '{name}: …'"))),
        }
    }

    fn print(&self, fault: Option<&Fault>) -> Result<(), Failure> {
        if self.output.format != Format::Table {
            let json = serde_json::json!({
                "verified": fault.is_none(),
                "failed": fault.map(|fault| fault.step.name()),
                "detail": fault.map(|fault| &fault.detail),
            });
            return self.output.object(&json.to_string(), |_| String::new());
        }
        let mut table = Table::default();
        for step in Step::ALL {
            match fault {
                Some(fault) if fault.step == step => {
                    table.row(["fail".into(), step.name().into(), fault.detail.clone()]);
                    break;
                }
                _ => table.row(["ok".into(), step.name().into()]),
            }
        }
        output::bytes(table.to_string().as_bytes())
    }
}

/// What is wrong before a secret is needed.
fn before(received: Received<'_>, now: i64, tolerance: Duration) -> Option<Fault> {
    judge(received, &[], now, tolerance).err().filter(|fault| fault.step < Step::SecretPrefix)
}
