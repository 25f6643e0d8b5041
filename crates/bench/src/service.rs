//! The services under measurement, each a child process on a place of its own.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use serde::Serialize;
use tempfile::TempDir;

use crate::{Outcome, database::Database, metrics};

/// The key that every submission bears.
pub(crate) const KEY: &str = "bench-bootstrap-key-of-no-secrecy";

/// How long a service may take to be ready or to do a command.
const PATIENCE: Duration = Duration::from_secs(30);

/// What records jobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The bare pipeline without a record.
    Nothing,
    /// The bare pipeline.
    Bare,
    /// `ringback serve`.
    Ringback,
    /// Two of it over one PostgreSQL.
    Pair,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Nothing => "nothing recorded",
            Kind::Bare => "bare pipeline",
            Kind::Ringback => "ringback",
            Kind::Pair => "ringback, two nodes",
        }
    }

    /// How many processes it is.
    pub(crate) const fn nodes(self) -> usize {
        match self {
            Kind::Pair => 2,
            Kind::Nothing | Kind::Bare | Kind::Ringback => 1,
        }
    }

    /// SQLite is one node's.
    pub(crate) fn runs_on(self, engine: Engine) -> bool {
        self != Kind::Pair || engine == Engine::Postgres
    }
}

/// What services are made of.
pub(crate) struct Stock {
    /// The `ringback` binary.
    pub(crate) ringback: PathBuf,
    /// Where files go.
    pub(crate) directory: PathBuf,
    pub(crate) database: Option<Database>,
}

/// Where one service keeps what it has, through all its restarts. Gone when dropped.
pub(crate) struct Place<'a> {
    stock: &'a Stock,
    directory: TempDir,
    kind: Kind,
    engine: Engine,
    storage: String,
    started: AtomicU32,
}

impl<'a> Place<'a> {
    /// Where it is recorded.
    pub(crate) fn storage(&self) -> &str {
        &self.storage
    }

    /// An empty one; `hold` is the URL that tasks named `hold` call.
    pub(crate) fn new(stock: &'a Stock, kind: Kind, engine: Engine, hold: &str) -> Outcome<Self> {
        let directory = tempfile::Builder::new().prefix("ringback-bench-").tempdir_in(&stock.directory)?;
        let storage = match engine {
            Engine::Sqlite => directory.path().join("jobs.db").display().to_string(),
            Engine::Postgres => stock.database.as_ref().ok_or("no database was opened")?.fresh()?,
        };
        fs::write(directory.path().join("ringback.toml"), config(hold))?;
        let place = Self { stock, directory, kind, engine, storage, started: AtomicU32::new(0) };
        if matches!(kind, Kind::Ringback | Kind::Pair) && engine == Engine::Postgres {
            place.migrate()?;
        }
        Ok(place)
    }

    /// What was written before is not on its way to the disk any more, where that could meet a measurement.
    pub(crate) fn rest(&self) -> Outcome<()> {
        match (self.engine, &self.stock.database) {
            (Engine::Postgres, Some(database)) => database.checkpoint(),
            _ => Ok(()),
        }
    }

    fn migrate(&self) -> Outcome<()> {
        let output = self.ringback(&["migrate"]).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("ringback migrate: {}", String::from_utf8_lossy(&output.stderr).trim_end()).into())
    }

    fn ringback(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.stock.ringback);
        let storage = match self.engine {
            Engine::Sqlite => format!("sqlite:{}", self.storage),
            Engine::Postgres => self.storage.clone(),
        };
        command
            .args(arguments)
            .arg("--config")
            .arg(self.directory.path().join("ringback.toml"))
            .env("RINGBACK_STORAGE__URL", storage)
            .env("RINGBACK_SECRETS__MASTER_KEY", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=")
            .env("RINGBACK_AUTH__BOOTSTRAP_KEY", KEY);
        command
    }

    fn command(&self) -> Outcome<Command> {
        let mut bare = Command::new(std::env::current_exe()?);
        bare.arg("bare");
        match (self.kind, self.engine) {
            (Kind::Nothing, _) => bare.arg("nothing"),
            (Kind::Bare, Engine::Sqlite) => bare.args(["sqlite", &self.storage]),
            (Kind::Bare, Engine::Postgres) => bare.args(["postgres", &self.storage]),
            (Kind::Ringback | Kind::Pair, _) => {
                return Ok(self.ringback(&["serve", "--listen", "127.0.0.1:0"]));
            }
        };
        Ok(bare)
    }

    /// All of its processes.
    pub(crate) fn start_all(&self) -> Outcome<Vec<Service>> {
        (0..self.kind.nodes()).map(|_| self.start()).collect()
    }

    /// Starts a process and waits until it is ready.
    pub(crate) fn start(&self) -> Outcome<Service> {
        let n = self.started.fetch_add(1, Relaxed);
        let log = self.directory.path().join(format!("log-{n}"));
        let begin = Instant::now();
        let mut command = self.command()?;
        // A file, as a service manager would have it: a pipe would have this process read while it measures.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let child = command.spawn().map_err(|e| format!("{}: {e}", command.get_program().display()))?;
        let mut service =
            Service { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), ready_in: PATIENCE };
        while begin.elapsed() < PATIENCE {
            if let Some(status) = service.child.try_wait()? {
                return Err(format!("{} ended with {status}: {}", self.kind.name(), last_of(&log)).into());
            }
            if let Some(address) = listening(&log) {
                service.address = address;
                if metrics::get(address, "/readyz").is_ok_and(|(status, _)| status == 200) {
                    service.ready_in = begin.elapsed();
                    return Ok(service);
                }
            }
            thread::sleep(Duration::from_millis(1));
        }
        Err(format!("{} was not ready in {PATIENCE:?}: {}", self.kind.name(), last_of(&log)).into())
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let (Engine::Postgres, Some(database)) = (self.engine, &self.stock.database) {
            // What stays behind is an empty-handed database of a name of its own.
            let _ = database.drop(&self.storage);
        }
    }
}

/// A running process. Killed, as by `kill -9`, when dropped.
pub(crate) struct Service {
    child: Child,
    pub(crate) address: SocketAddr,
    /// From its start to the first 200 of `/readyz`.
    pub(crate) ready_in: Duration,
}

impl Service {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config(hold: &str) -> String {
    format!(
        "[delivery]\nallow_http = true\nallow_cidrs = [\"127.0.0.0/8\"]\n\n\
         [tasks.echo]\nrun = \"echo\"\n\n\
         [tasks.hold]\nrun = \"http\"\nurl = \"{hold}\"\n"
    )
}

/// The address in the line that says `listening`, whether its fields stand at the top or under `fields`.
fn listening(log: &Path) -> Option<SocketAddr> {
    let text = fs::read_to_string(log).ok()?;
    text.lines().find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let fields = line.get("fields").unwrap_or(&line);
        (fields["message"] == "listening").then_some(())?;
        fields["addr"].as_str()?.parse().ok()
    })
}

fn last_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
