//! `ringback job wait`, and what `job submit --wait` does once the job is accepted.

use std::time::Duration;

use clap::Args;
use domain::duration::Span;
use indicatif::{ProgressBar, ProgressStyle};

use super::show;
use crate::commands::{
    client::{Answer, Call, Client, Connection, segment},
    failure::{Exit, Failure},
    output::{Document, Output, is_watched},
};

/// How long the server holds one answer.
const HELD: Duration = Duration::from_secs(30);

/// Between two questions, so that a server which does not hold its answers is not flooded.
const PAUSE: Duration = Duration::from_millis(50);

/// A server that restarts is waited for: this often, this far apart.
const TRIES: u32 = 30;
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// Which job, and for how long.
#[derive(Args)]
pub(crate) struct Wait {
    /// The job's id.
    #[arg(value_name = "JOB")]
    id: String,
    /// Give up after this long, with exit status 124; the job goes on.
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

impl Wait {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let id = segment(&self.id)?;
        until_ended(&self.connection.client()?, id, self.timeout, self.output).await
    }
}

/// Waits, prints the job, and fails unless it succeeded.
pub(super) async fn until_ended(
    client: &Client,
    id: &str,
    limit: Option<Span>,
    output: Output,
) -> Result<(), Failure> {
    let ended = ended(client, id);
    let answer = match limit {
        None => ended.await?,
        Some(Span(limit)) => {
            tokio::time::timeout(limit, ended).await.unwrap_or_else(|_| Err(timed_out(id)))?
        }
    };
    let job = Document::read(answer.text()?)?;
    output.object(answer.text()?, show::table)?;
    match job.cell("status").as_str() {
        "succeeded" => Ok(()),
        _ => Err(Failure::failed(show::why(&job))),
    }
}

fn timed_out(id: &str) -> Failure {
    let text = format!("{id} has not ended in time; it goes on. Wait again: `ringback job wait {id}`.");
    Failure::new(Exit::TimedOut, text)
}

/// Asks again and again, each time until the job changes, so that whoever watches sees it change.
async fn ended(client: &Client, id: &str) -> Result<Answer, Failure> {
    let line = Line::new();
    let (mut seen, mut tries): (Option<String>, u32) = (None, 0);
    loop {
        let mut call = Call::get(format!("/v1/jobs/{id}")).query("wait", Some(HELD.as_secs())).held(HELD);
        if let Some(etag) = &seen {
            call = call.header("if-none-match", etag);
        }
        match client.answer(&call).await {
            Ok(answer) if answer.status == 304 => tries = 0,
            Ok(answer) if answer.status == 200 => {
                let job = Document::read(answer.text()?)?;
                if !matches!(job.cell("status").as_str(), "queued" | "running") {
                    return Ok(answer);
                }
                line.show(&job);
                (seen, tries) = (answer.header("etag").map(str::to_owned), 0);
            }
            Ok(answer) if answer.status < 500 => return Err(super::super::problem::failure(&answer)),
            refused => {
                tries += 1;
                if tries > TRIES || seen.is_none() {
                    return Err(
                        refused.map_or_else(|failure| failure, |a| super::super::problem::failure(&a))
                    );
                }
                line.say(&format!("{id}: no answer, trying again"));
                tokio::time::sleep(BETWEEN_TRIES).await;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// One line on the terminal that changes, if there is a terminal.
struct Line(Option<ProgressBar>);

impl Line {
    fn new() -> Self {
        Self(is_watched().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        }))
    }

    fn show(&self, job: &Document) {
        let Some(bar) = &self.0 else { return };
        let fraction =
            job.object("progress").and_then(|progress| progress.cell("fraction").parse::<f64>().ok());
        if let Some(fraction) = fraction {
            bar.set_length(1_000);
            bar.set_position((fraction.clamp(0.0, 1.0) * 1_000.0) as u64);
            let style = ProgressStyle::with_template("{spinner} [{bar:30}] {percent}% {wide_msg} {elapsed}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        } else {
            let style = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        }
        bar.set_message(show::state(job));
    }

    fn say(&self, text: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(text.to_owned());
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
