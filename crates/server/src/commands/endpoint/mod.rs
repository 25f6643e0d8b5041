//! `ringback endpoint …`

mod feed;
mod recovery;
mod settings;

use clap::{Args, Subcommand};
use domain::duration::Span;
use serde_json::{Value, json};

use super::{
    client::{Answer, Call, Connection, segment},
    delivery,
    failure::Failure,
    output::{self, Columns, Document, Output},
    pages::{Pages, fetch},
};

/// Register receivers of many jobs' events, and look after them.
#[derive(Subcommand)]
pub(crate) enum EndpointCommand {
    /// Register an endpoint.
    Create(settings::Create),
    /// List endpoints, newest first, with how they do.
    List(List),
    /// Show an endpoint and its numbers.
    Get(One),
    /// Change an endpoint; what is not given stays as it is.
    Update(settings::Update),
    /// Delete an endpoint; what waits for it fails.
    Delete(Delete),
    /// Send to it again, and what it missed first.
    Enable(Enable),
    /// Send it nothing for now; what happens meanwhile is kept.
    Disable(One),
    /// Send it a sample at once, whatever waits.
    Ping(Ping),
    /// Send again what has failed, by number.
    Recover(recovery::Recover),
    #[command(subcommand)]
    Recovery(recovery::RecoveryCommand),
    /// List what it was sent, by number.
    Feed(feed::Feed),
    /// Show the secret that signs for it.
    Secret(Secret),
    /// Make a new secret for it; the one before signs, too, for a while.
    Rotate(Rotate),
}

/// One endpoint.
#[derive(Args)]
pub(crate) struct One {
    /// The endpoint's id.
    #[arg(value_name = "ENDPOINT")]
    id: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// How many.
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    pages: Pages,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// Which endpoint.
#[derive(Args)]
pub(crate) struct Delete {
    /// The endpoint's id.
    #[arg(value_name = "ENDPOINT")]
    id: String,
    #[command(flatten)]
    connection: Connection,
}

/// Which endpoint.
#[derive(Args)]
pub(crate) struct Enable {
    #[command(flatten)]
    one: One,
    /// Leave what it missed where it is; `endpoint recover` sends it later.
    #[arg(long)]
    no_recover: bool,
}

/// What to send.
#[derive(Args)]
pub(crate) struct Ping {
    #[command(flatten)]
    one: One,
    /// A sample of this event type; endpoint.ping if not given.
    #[arg(long, value_name = "TYPE")]
    r#type: Option<String>,
}

/// Whose secret.
#[derive(Args)]
pub(crate) struct Secret {
    #[command(flatten)]
    one: One,
    /// Print the secret and nothing else.
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
}

/// Whose secret.
#[derive(Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    one: One,
    /// How long both sign; 24h if not given.
    #[arg(long, value_name = "DURATION")]
    overlap: Option<Span>,
}

const COLUMNS: Columns = &[
    ("id", |endpoint| endpoint.cell("id")),
    ("state", |endpoint| endpoint.cell("state")),
    ("breaker", |endpoint| endpoint.cell("breaker")),
    ("waiting", |endpoint| endpoint.cell("waiting")),
    ("success_rate", |endpoint| endpoint.cell("success_rate")),
    ("p95_ms", |endpoint| endpoint.cell("p95_ms")),
    ("url", |endpoint| endpoint.cell("url")),
    ("description", |endpoint| endpoint.cell("description")),
];

pub(crate) async fn run(command: EndpointCommand) -> Result<(), Failure> {
    match command {
        EndpointCommand::Create(create) => create.run().await,
        EndpointCommand::List(list) => list.run().await,
        EndpointCommand::Get(one) => one.show(Call::get).await,
        EndpointCommand::Update(update) => update.run().await,
        EndpointCommand::Delete(delete) => delete.run().await,
        EndpointCommand::Enable(Enable { one, no_recover }) => {
            one.change(&json!({ "state": "enabled", "recover": !no_recover })).await
        }
        EndpointCommand::Disable(one) => one.change(&json!({ "state": "disabled" })).await,
        EndpointCommand::Ping(Ping { one, r#type }) => {
            let answer = one.call(|path| posted(path + "/ping", &json!({ "type": r#type }))).await?;
            one.output.object(answer.text()?, delivery::table)
        }
        EndpointCommand::Recover(recover) => recover.run().await,
        EndpointCommand::Recovery(command) => recovery::run(command).await,
        EndpointCommand::Feed(feed) => feed.run().await,
        EndpointCommand::Secret(Secret { one, quiet }) => {
            let answer = one.call(|path| Call::get(path + "/secret")).await?;
            if quiet {
                return output::line(&Document::read(answer.text()?)?.cell("secret"));
            }
            one.output.object(answer.text()?, table)
        }
        EndpointCommand::Rotate(Rotate { one, overlap }) => {
            let overlap = overlap.map(|span| span.to_string());
            one.show(|path| posted(path + "/rotate-secret", &json!({ "overlap": overlap }))).await
        }
    }
}

fn posted(path: String, body: &Value) -> Call<'static> {
    Call::post(path).json(body.to_string())
}

/// A line for each member that says something.
fn table(object: &Document) -> String {
    object.lines(&[]).to_string()
}

impl One {
    async fn call(&self, call: impl FnOnce(String) -> Call<'static>) -> Result<Answer, Failure> {
        let call = call(format!("/v1/endpoints/{}", segment(&self.id)?));
        self.connection.client()?.call(&call).await
    }

    async fn show(&self, call: impl FnOnce(String) -> Call<'static>) -> Result<(), Failure> {
        self.output.object(self.call(call).await?.text()?, table)
    }

    async fn change(&self, change: &Value) -> Result<(), Failure> {
        self.show(|path| Call::patch(path).json(change.to_string())).await
    }
}

impl List {
    async fn run(&self) -> Result<(), Failure> {
        let call = || Call::get("/v1/endpoints");
        let (items, next) = fetch(&self.connection.client()?, &self.pages, call).await?;
        self.output.list(&items, next.as_deref(), COLUMNS)
    }
}

impl Delete {
    async fn run(&self) -> Result<(), Failure> {
        let call = Call::delete(format!("/v1/endpoints/{}", segment(&self.id)?));
        self.connection.client()?.call(&call).await?;
        output::progress("Deleted.");
        Ok(())
    }
}
