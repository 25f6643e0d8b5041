//! `ringback delivery …`

use clap::{Args, Subcommand};

use super::{
    client::{Call, Connection, segment},
    failure::Failure,
    output::{Columns, Document, Output, Table},
    pages::{Pages, fetch},
};

/// See where webhooks went, attempt by attempt, and send them again.
#[derive(Subcommand)]
pub(crate) enum DeliveryCommand {
    /// List deliveries, newest first.
    List(List),
    /// Show a delivery with its attempts.
    Get(One),
    /// Send it again at once; the receiver sees the same webhook-id.
    Resend(One),
}

/// Which deliveries.
#[derive(Args)]
pub(crate) struct List {
    /// Only those of this job.
    #[arg(long)]
    job: Option<String>,
    /// Only those of this event.
    #[arg(long)]
    event: Option<String>,
    /// Only those in this state: pending, succeeded or failed.
    #[arg(long)]
    status: Option<String>,
    /// Only those whose last attempt ended like this: delivered, http_status, timeout, …
    #[arg(long)]
    outcome: Option<String>,
    /// Only those made after this RFC 3339 time.
    #[arg(long, value_name = "TIME")]
    created_after: Option<String>,
    /// Only those made before this RFC 3339 time.
    #[arg(long, value_name = "TIME")]
    created_before: Option<String>,
    #[command(flatten)]
    pages: Pages,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// One delivery.
#[derive(Args)]
pub(crate) struct One {
    /// The delivery's id.
    #[arg(value_name = "DELIVERY")]
    id: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: Columns = &[
    ("id", |delivery| delivery.cell("id")),
    ("event_type", |delivery| delivery.cell("event_type")),
    ("job", |delivery| delivery.cell("job")),
    ("status", |delivery| delivery.cell("status")),
    ("reason", |delivery| delivery.cell("reason")),
    ("attempt", |delivery| delivery.cell("attempt")),
    ("next_attempt_at", |delivery| delivery.cell("next_attempt_at")),
    ("url", |delivery| delivery.cell("url")),
];

pub(crate) async fn run(command: DeliveryCommand) -> Result<(), Failure> {
    match command {
        DeliveryCommand::List(list) => list.run().await,
        DeliveryCommand::Get(one) => one.run(Call::get).await,
        DeliveryCommand::Resend(one) => one.run(|path| Call::post(path + "/resend")).await,
    }
}

impl List {
    async fn run(&self) -> Result<(), Failure> {
        let call = || {
            Call::get("/v1/deliveries")
                .query("job", self.job.as_ref())
                .query("event", self.event.as_ref())
                .query("status", self.status.as_ref())
                .query("outcome", self.outcome.as_ref())
                .query("created_after", self.created_after.as_ref())
                .query("created_before", self.created_before.as_ref())
        };
        let (items, next) = fetch(&self.connection.client()?, &self.pages, call).await?;
        self.output.list(&items, next.as_deref(), COLUMNS)
    }
}

impl One {
    async fn run(&self, call: impl FnOnce(String) -> Call<'static>) -> Result<(), Failure> {
        let call = call(format!("/v1/deliveries/{}", segment(&self.id)?));
        let answer = self.connection.client()?.call(&call).await?;
        self.output.object(answer.text()?, table)
    }
}

/// The delivery, then a line for each attempt.
pub(super) fn table(delivery: &Document) -> String {
    let mut attempts =
        Table::headed(["attempt", "trigger", "started_at", "ms", "outcome", "status", "address", "error"]);
    let all = delivery.objects("attempts");
    for attempt in &all {
        let total = attempt.object("timings_ms").map(|timings| timings.cell("total")).unwrap_or_default();
        let cell = |name| attempt.cell(name);
        let outcome = Some(cell("outcome")).filter(|outcome| !outcome.is_empty());
        attempts.row([
            cell("number"),
            cell("trigger"),
            cell("started_at"),
            total,
            outcome.unwrap_or_else(|| "in flight".into()),
            cell("status"),
            cell("remote_address"),
            cell("error"),
        ]);
    }
    let mut text = delivery.lines(&["attempts"]).to_string();
    if !all.is_empty() {
        text.push_str(&format!("\n{attempts}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_every_attempt() {
        let json = r#"{"id":"dlv_1","status":"pending","reason":null,"attempts":[
            {"number":1,"trigger":"policy","started_at":"T1","outcome":"http_status","status":500,"error":null,
             "remote_address":"127.0.0.1:9000","timings_ms":{"queue":0.1,"total":12.5}},
            {"number":2,"trigger":"policy","started_at":"T2","outcome":null,"status":null}],"body":"{\"a\":1}"}"#;
        assert_eq!(
            table(&Document::read(json).unwrap()),
            "id      dlv_1\nstatus  pending\nbody    {\"a\":1}\n\n\
             ATTEMPT  TRIGGER  STARTED_AT  MS    OUTCOME      STATUS  ADDRESS         ERROR\n\
             1        policy   T1          12.5  http_status  500     127.0.0.1:9000  -\n\
             2        policy   T2          -     in flight    -       -               -\n"
        );
    }
}
