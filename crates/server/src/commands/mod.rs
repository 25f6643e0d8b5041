//! The command line.
//!
//! `serve`, `dev`, `migrate` and `storage` open the storage; `init` and `config` look at the configuration alone; all else speaks
//! HTTP to a server, like any other client. Standard output is data, standard error is for people, and the exit status
//! is the contract's.

mod argument;
mod client;
mod completion;
mod config;
mod delivery;
mod doctor;
mod endpoint;
mod failure;
mod init;
mod job;
mod json_text;
mod key;
mod migrate;
mod nodes;
mod openapi;
mod output;
mod pages;
mod problem;
mod secrets;
mod storage;
mod webhook;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use storage_sql::OpenError;

use self::{
    failure::{Exit, Failure, reasons},
    webhook::{listen::Listen, sign::Sign, verify::Verify},
};
use crate::{
    config::Sources,
    dev,
    node::{self, NodeError},
    telemetry,
};

/// Says 202 for your API, runs the work, and calls back: signed, retried, never lost.
#[derive(Parser)]
#[command(name = "ringback", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The configuration file; without it ./ringback.toml is read if it exists.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node.
    Serve(Address),
    /// Run everything on this machine, with a key, a receiver and a first job: to try it out.
    Dev(Address),
    /// Write a commented configuration with fresh keys.
    Init,
    /// Bring a PostgreSQL database's schema to this version (a SQLite file is brought there by `serve`), or print how.
    Migrate(migrate::Migrate),
    #[command(subcommand)]
    Storage(storage::StorageCommand),
    #[command(subcommand)]
    Config(config::ConfigCommand),
    #[command(subcommand)]
    Job(job::JobCommand),
    #[command(subcommand)]
    Delivery(delivery::DeliveryCommand),
    #[command(subcommand)]
    Endpoint(endpoint::EndpointCommand),
    #[command(subcommand)]
    Key(key::KeyCommand),
    #[command(subcommand)]
    Node(nodes::NodeCommand),
    #[command(subcommand)]
    Secrets(secrets::SecretsCommand),
    Listen(Listen),
    Sign(Sign),
    Verify(Verify),
    Doctor(doctor::Doctor),
    /// Print the API's description (OpenAPI 3.1), as a server answers it at /openapi.json.
    Openapi,
    Completion(completion::Completion),
}

/// Where a node listens, and where it keeps everything.
#[derive(Args)]
struct Address {
    /// Address and port; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// `sqlite:PATH` or `postgres://user@host/db`.
    #[arg(long, value_name = "URL")]
    storage: Option<String>,
}

impl Cli {
    fn sources(&self) -> Sources {
        let mut flags = Vec::new();
        if let Command::Serve(address) | Command::Dev(address) = &self.command {
            flags.extend(address.listen.map(|address| ("server.listen", address.to_string())));
            flags.extend(address.storage.clone().map(|url| ("storage.url", url)));
        }
        Sources { file: self.config.clone(), flags, ..Sources::default() }
    }
}

/// Runs what the command line says.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let sources = cli.sources();
    let done = match cli.command {
        Command::Serve(_) => {
            telemetry::start("info");
            node::serve(sources).map_err(stopped)
        }
        Command::Dev(_) => {
            telemetry::start("warn");
            dev::run(sources).map_err(stopped)
        }
        Command::Migrate(migrate) => calling(async move { migrate.run(&sources).await }),
        Command::Storage(command) => calling(storage::run(command, &sources)),
        Command::Init => init::run(cli.config.as_deref()),
        Command::Config(command) => config::run(&command, &sources),
        Command::Job(command) => calling(job::run(command)),
        Command::Delivery(command) => calling(delivery::run(command)),
        Command::Endpoint(command) => calling(endpoint::run(command)),
        Command::Key(command) => calling(key::run(command)),
        Command::Node(command) => calling(nodes::run(command)),
        Command::Secrets(command) => calling(secrets::run(command)),
        Command::Listen(listen) => calling(async move { listen.run().await }),
        Command::Sign(sign) => sign.run(),
        Command::Verify(verify) => calling(async move { verify.run().await }),
        Command::Doctor(doctor) => calling(async move { doctor.run(&sources).await }),
        Command::Openapi => openapi::run(&sources),
        Command::Completion(completion) => completion.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.text.is_empty() {
                output::say(&format!("ringback: {}", failure.text));
            }
            failure.exit.into()
        }
    }
}

/// Why a node did not start or stay.
fn stopped(error: NodeError) -> Failure {
    match &error {
        NodeError::Config(_) | NodeError::Configs(_) => Failure::usage(reasons(&error)),
        NodeError::Open(open) => unopened(open),
        _ => Failure::failed(reasons(&error)),
    }
}

/// Why storage was not opened, and what to do about it.
fn unopened(error: &OpenError) -> Failure {
    let (exit, next) = match error {
        OpenError::UnknownUrl => (Exit::Usage, "Set storage.url, or --storage, to one."),
        OpenError::File { .. } | OpenError::Sqlite(_) => (
            Exit::Failed,
            "Is storage.url right? Its folder must be there, with room on the disk, and this user must own the file.",
        ),
        OpenError::Postgres(_) => (
            Exit::Failed,
            "Is it running, are host, user and password in storage.url right, and may this machine connect?",
        ),
        OpenError::Schema(_) => (Exit::Failed, "Or name another database in storage.url."),
        // These say it themselves.
        _ => (Exit::Failed, ""),
    };
    Failure::new(exit, format!("{}. {next}", reasons(error)).trim_end_matches(". ").to_owned())
}

/// Runs a command that waits for others, until it ends or Ctrl-C does.
fn calling(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let refused = |error| Failure::failed(format!("the operating system refused: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
    runtime.block_on(async {
        tokio::select! {
            done = command => done,
            pressed = tokio::signal::ctrl_c() => match pressed {
                Ok(()) => Err(Failure::said(Exit::Interrupted)),
                Err(error) => Err(refused(error)),
            },
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::config::ConfigError;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn keys_and_secrets_of_the_environment_are_not_shown_in_help() {
        fn walk(command: &clap::Command) {
            for argument in
                command.get_arguments().filter(|a| a.get_long().is_some_and(|l| l == "key" || l == "secret"))
            {
                assert!(argument.is_hide_env_values_set(), "{} {argument}", command.get_name());
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }

    #[test]
    fn wrong_configuration_is_wrong_usage() {
        for (error, expected) in [
            (NodeError::Config(ConfigError::Shape("x".into())), Exit::Usage),
            (NodeError::Configs(vec![]), Exit::Usage),
            (NodeError::Open(OpenError::UnknownUrl), Exit::Usage),
            (NodeError::Outbound("x".into()), Exit::Failed),
        ] {
            assert_eq!(stopped(error).exit, expected);
        }
    }
}
