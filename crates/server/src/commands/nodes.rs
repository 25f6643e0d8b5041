//! `ringback node …`

use clap::{Args, Subcommand};

use super::{
    client::{Call, Connection, segment},
    failure::Failure,
    output::{Columns, Document, Output},
};

/// See who is there, and let one of them take no new work.
#[derive(Subcommand)]
pub(crate) enum NodeCommand {
    /// List the nodes of this installation.
    List(List),
    /// Let a node take no new work and end what it has; it stays until it is stopped.
    Drain(Drain),
}

/// All of them.
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// One node.
#[derive(Args)]
pub(crate) struct Drain {
    /// The node's id, as `ringback node list` shows it.
    #[arg(value_name = "NODE")]
    id: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: Columns = &[
    ("id", |node| node.cell("id")),
    ("name", |node| node.cell("name")),
    ("version", |node| node.cell("version")),
    ("status", |node| node.cell("status")),
    ("epoch", |node| node.cell("epoch")),
    ("started_at", |node| node.cell("started_at")),
    ("lease_expires_at", |node| node.cell("lease_expires_at")),
];

pub(crate) async fn run(command: NodeCommand) -> Result<(), Failure> {
    match command {
        NodeCommand::List(List { output, connection }) => {
            let answer = connection.client()?.call(&Call::get("/v1/nodes")).await?;
            let items = super::pages::items(answer.text()?)?;
            output.list(&items, None, COLUMNS)
        }
        NodeCommand::Drain(Drain { id, output, connection }) => {
            let call = Call::post(format!("/v1/nodes/{}/drain", segment(&id)?));
            let answer = connection.client()?.call(&call).await?;
            output.object(answer.text()?, |node: &Document| node.lines(&[]).to_string())
        }
    }
}
