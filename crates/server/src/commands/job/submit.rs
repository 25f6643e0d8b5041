//! `ringback job submit`

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use clap::Args;
use domain::{chance::Dice, duration::Span};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{show, wait};
use crate::{
    ambient::SystemDice,
    commands::{
        argument,
        client::{Answer, Call, Client, Connection},
        failure::{Exit, Failure},
        output::{self, Document, Output},
        problem,
    },
};

/// A lost answer is asked for again, under the same key: this often.
const REPEATS: u32 = 2;
const BEFORE_REPEAT: Duration = Duration::from_millis(300);
/// The longest that a `Retry-After` is sat out.
const MOST_PATIENCE: Duration = Duration::from_secs(5);

/// The options bear the names of the fields of `POST /v1/jobs`.
#[derive(Args)]
pub(crate) struct Submit {
    /// The task's name.
    #[arg(long)]
    task: String,
    /// The input: JSON, @FILE, or - for standard input.
    #[arg(long, value_name = "JSON|@FILE|-")]
    input: Option<String>,
    /// Where the webhook goes: a URL, or the callback object as JSON or @FILE.
    #[arg(long, value_name = "URL|JSON|@FILE")]
    callback: Option<String>,
    /// Comes back everywhere; may be given again.
    #[arg(long, value_name = "KEY=VALUE", value_parser = argument::pair)]
    metadata: Vec<(String, String)>,
    /// Start no sooner than this after now.
    #[arg(long, value_name = "DURATION", conflicts_with = "run_at")]
    delay: Option<Span>,
    /// Start no sooner than this RFC 3339 time.
    #[arg(long, value_name = "TIME")]
    run_at: Option<String>,
    /// Fail it if it has not started by this RFC 3339 time.
    #[arg(long, value_name = "TIME", conflicts_with = "ttl")]
    expires_at: Option<String>,
    /// Fail it if it has not started within this.
    #[arg(long, value_name = "DURATION")]
    ttl: Option<Span>,
    /// How long one attempt may take; at most the task's own.
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
    /// How often it may start; at most the task's own.
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// 0 (first) to 9 (last); 5 if not given.
    #[arg(long, value_name = "N")]
    priority: Option<u8>,
    /// Repeating a submission under the same key makes no second job. Without it one is made, for this call alone.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Wait until it has ended, or for this long; exits as `job wait` does.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true)]
    wait: Option<Option<Span>>,
    /// Print the job's id alone.
    #[arg(long, short, conflicts_with_all = ["wait", "format"])]
    quiet: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// The body; what was not given is not in it.
#[derive(Serialize)]
struct Body<'a> {
    task: &'a str,
    #[serde(flatten)]
    given: BTreeMap<&'static str, Box<RawValue>>,
}

impl Submit {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let client = self.connection.client()?;
        let answer = self.submit(&client, &self.body()?).await?;
        let job = answer.text()?;
        let id = Document::read(job)?.cell("id");
        match &self.wait {
            Some(limit) => {
                output::progress(&format!("{id} accepted; waiting for it"));
                wait::until_ended(&client, &id, *limit, self.output).await
            }
            None if self.quiet => output::line(&id),
            None => self.output.object(job, show::table),
        }
    }

    fn body(&self) -> Result<String, Failure> {
        let mut given = BTreeMap::new();
        let mut set = |name: &'static str, value: Option<serde_json::Value>| {
            let raw = value.map(|value| serde_json::value::to_raw_value(&value)).transpose();
            given.extend(
                raw.map_err(|error| Failure::usage(format!("{name}: {error}")))?.map(|raw| (name, raw)),
            );
            Ok(())
        };
        let metadata = self.metadata.iter().map(|(key, value)| (key.clone(), value.as_str().into()));
        set("metadata", (!self.metadata.is_empty()).then(|| serde_json::Value::Object(metadata.collect())))?;
        for (name, span) in [("delay", self.delay), ("ttl", self.ttl), ("timeout", self.timeout)] {
            set(name, span.map(|span| span.to_string().into()))?;
        }
        for (name, time) in [("run_at", &self.run_at), ("expires_at", &self.expires_at)] {
            set(name, time.as_deref().map(Into::into))?;
        }
        set("max_attempts", self.max_attempts.map(Into::into))?;
        set("priority", self.priority.map(Into::into))?;
        match self.callback.as_deref() {
            Some(json) if json.starts_with(['{', '@']) => {
                given.insert("callback", argument::json("--callback", json)?);
            }
            url => {
                let raw = url.map(serde_json::value::to_raw_value).transpose();
                given.extend(raw.ok().flatten().map(|raw| ("callback", raw)));
            }
        }
        if let Some(input) = &self.input {
            given.insert("input", argument::json("--input", input)?);
        }
        serde_json::to_string(&Body { task: &self.task, given })
            .map_err(|error| Failure::usage(error.to_string()))
    }

    /// Under a key, so that a lost answer can be asked for again without making a second job.
    async fn submit(&self, client: &Client, body: &str) -> Result<Answer, Failure> {
        let key = self.idempotency_key.clone().unwrap_or_else(fresh_key);
        let call = Call::post("/v1/jobs").json(body).header("idempotency-key", &key);
        let (mut repeats, mut unsure) = (0, false);
        loop {
            let (failure, pause) = match client.answer(&call).await {
                Ok(answer) if (200..300).contains(&answer.status) => return Ok(answer),
                Ok(answer) => (problem::failure(&answer), answer.retry_after().unwrap_or_default()),
                Err(failure) => (failure, Duration::ZERO),
            };
            unsure |= failure.unsure;
            if failure.exit != Exit::Unreachable || repeats == REPEATS {
                return Err(if unsure { repeatable(failure, &key) } else { failure });
            }
            repeats += 1;
            tokio::time::sleep(pause.clamp(BEFORE_REPEAT, MOST_PATIENCE)).await;
        }
    }
}

/// Without an answer nobody knows whether there is a job.
fn repeatable(mut failure: Failure, key: &str) -> Failure {
    failure.text.push_str(&format!(
        "\n  It may have been recorded all the same. Repeat it with --idempotency-key {key}, and there will be one job."
    ));
    failure
}

fn fresh_key() -> String {
    let mut bytes = [0; 18];
    SystemDice.fill(&mut bytes);
    format!("cli-{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        submit: Submit,
    }

    fn body(arguments: &[&str]) -> Result<String, Failure> {
        let line = Line::try_parse_from(std::iter::once("submit").chain(arguments.iter().copied()));
        line.map_err(|error| Failure::usage(error.to_string()))?.submit.body()
    }

    #[test]
    fn options_are_the_fields() {
        for (arguments, expected) in [
            (&["--task", "echo"][..], r#"{"task":"echo"}"#),
            (
                &["--task", "echo", "--input", r#"{"price": 1.10}"#, "--callback", "https://a.example/"],
                r#"{"task":"echo","callback":"https://a.example/","input":{"price": 1.10}}"#,
            ),
            (
                &["--task", "t", "--callback", r#"{"url":"https://a.example/","timeout":"2s"}"#],
                r#"{"task":"t","callback":{"url":"https://a.example/","timeout":"2s"}}"#,
            ),
            (
                &[
                    "--task",
                    "t",
                    "--metadata",
                    "a=1",
                    "--metadata",
                    "b=c=d",
                    "--delay",
                    "90s",
                    "--priority",
                    "0",
                ],
                r#"{"task":"t","delay":"90s","metadata":{"a":"1","b":"c=d"},"priority":0}"#,
            ),
            (
                &["--task", "t", "--ttl", "1h", "--timeout", "5s", "--max-attempts", "2", "--wait=3s"],
                r#"{"task":"t","max_attempts":2,"timeout":"5s","ttl":"1h"}"#,
            ),
        ] {
            assert_eq!(body(arguments).as_deref(), Ok(expected), "{arguments:?}");
        }
    }

    #[test]
    fn refuses_before_it_calls() {
        for arguments in [
            &[][..],
            &["--task", "t", "--input", "text"],
            &["--task", "t", "--callback", "{"],
            &["--task", "t", "--delay", "soon"],
            &["--task", "t", "--delay", "1s", "--run-at", "2026-01-01T00:00:00Z"],
            &["--task", "t", "--metadata", "a"],
            &["--task", "t", "--quiet", "--wait"],
        ] {
            assert_eq!(body(arguments).unwrap_err().exit, Exit::Usage, "{arguments:?}");
        }
    }

    #[test]
    fn what_may_have_happened_can_be_repeated() {
        let text = repeatable(Failure::new(Exit::Unreachable, "gone"), "k1").text;
        assert!(text.contains("--idempotency-key k1"), "{text}");
        assert_ne!(fresh_key(), fresh_key());
    }
}
