//! `ringback key …`

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    client::{Call, Connection, segment},
    failure::Failure,
    output::{self, Columns, Document, Output},
    pages::{Pages, fetch},
};

/// Make, list and revoke API keys; needs an admin's or an operator's.
#[derive(Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key. It is shown this once.
    Create(Create),
    /// List keys, newest first, without their secrets.
    List(List),
    /// Make a key worthless: at once on the node that answers, within a second on others.
    Revoke(Revoke),
}

/// What the key is for.
#[derive(Args)]
pub(crate) struct Create {
    /// viewer (reads), submitter (and submits), worker (leases jobs), receiver (what one endpoint is sent), admin
    /// (everything of its tenant) or operator (tenants, pausing tasks, nodes).
    #[arg(long)]
    role: String,
    /// The endpoint that a receiver's key is bound to.
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Option<String>,
    /// What people call it.
    #[arg(long)]
    name: Option<String>,
    /// The tenant it is for; only an operator may name another than its own.
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Print the key and nothing else.
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// Whose keys.
#[derive(Args)]
pub(crate) struct List {
    /// Those of this tenant; only an operator may name another than its own.
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    #[command(flatten)]
    pages: Pages,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// Which key.
#[derive(Args)]
pub(crate) struct Revoke {
    /// Its id: the 16 characters behind rbk_.
    #[arg(value_name = "KEY")]
    id: String,
    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: Columns = &[
    ("id", |key| key.cell("id")),
    ("role", |key| key.cell("role")),
    ("name", |key| key.cell("name")),
    ("tenant", |key| key.cell("tenant")),
    ("endpoint", |key| key.cell("endpoint")),
    ("created_at", |key| key.cell("created_at")),
];

pub(crate) async fn run(command: KeyCommand) -> Result<(), Failure> {
    match command {
        KeyCommand::Create(create) => create.run().await,
        KeyCommand::List(list) => list.run().await,
        KeyCommand::Revoke(revoke) => revoke.run().await,
    }
}

impl Create {
    async fn run(&self) -> Result<(), Failure> {
        let body = json!({
            "role": self.role, "name": self.name, "tenant": self.tenant, "endpoint": self.endpoint,
        });
        let call = Call::post("/v1/keys").json(body.to_string());
        let answer = self.connection.client()?.call(&call).await?;
        if self.quiet {
            return output::line(&Document::read(answer.text()?)?.cell("key"));
        }
        self.output.object(answer.text()?, |key| key.lines(&[]).to_string())?;
        output::progress("Keep the key: it is not shown again.");
        Ok(())
    }
}

impl List {
    async fn run(&self) -> Result<(), Failure> {
        let call = || Call::get("/v1/keys").query("tenant", self.tenant.as_ref());
        let (items, next) = fetch(&self.connection.client()?, &self.pages, call).await?;
        self.output.list(&items, next.as_deref(), COLUMNS)
    }
}

impl Revoke {
    async fn run(&self) -> Result<(), Failure> {
        let call = Call::delete(format!("/v1/keys/{}", segment(&self.id)?));
        self.connection.client()?.call(&call).await?;
        output::progress("Revoked.");
        Ok(())
    }
}
