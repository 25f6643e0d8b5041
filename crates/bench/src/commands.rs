//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    Outcome, bare,
    database::Database,
    measure::{
        fairness::{self, Trouble},
        held, idle, latency, restart, saturation,
    },
    plot,
    receive::Receiver,
    report::{Report, complain},
    service::{Engine, Kind, Stock},
};

/// Measures Ringback beside a floor of the same run: the bare pipeline, which does the same work and has no features.
#[derive(Parser)]
#[command(name = "ringback-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct Common {
    /// The `ringback` binary; without it the one beside this.
    #[arg(long, global = true, value_name = "FILE")]
    ringback: Option<PathBuf>,
    /// A PostgreSQL whose user may make databases; without it one is started for this run.
    #[arg(long, global = true, value_name = "URL")]
    postgres: Option<String>,
    /// Where SQLite's files go: a directory on the disk to be measured.
    #[arg(long, global = true, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    /// Only on this engine; without it on both.
    #[arg(long, global = true, value_enum)]
    engine: Option<Engine>,
    /// Only these; without it all. May be repeated.
    #[arg(long, global = true, value_enum)]
    only: Vec<Kind>,
    /// How often each is measured, in turns.
    #[arg(long, global = true, default_value_t = 3)]
    runs: usize,
    /// Print one JSON document.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Jobs accepted and delivered a second, as many as go through.
    Saturation(Saturation),
    /// From submission to webhook at a light and steady load.
    Latency(Latency),
    /// Ready after `kill -9` with jobs pending.
    Restart(Restart),
    /// What receivers that are well pay for those that are not.
    Fairness(Fairness),
    /// What becomes of storage and of latency while a session of somebody else's keeps a transaction open.
    Held(Held),
    /// A node that has nothing to do.
    Idle,
    /// Statements, commits and bytes written per job: under load, and one job at a time.
    Cost(Saturation),
    /// All of these, as they are by default.
    All,
    /// Run the bare pipeline alone, until standard input ends.
    #[command(hide = true, subcommand)]
    Bare(bare::Record),
}

#[derive(Args, Clone, Copy)]
struct Saturation {
    /// Connections that submit, each one job at a time.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Seconds that are counted.
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// Seconds before them.
    #[arg(long, default_value_t = 2)]
    warm_up: u64,
}

impl Saturation {
    const DEFAULT: Self = Self { connections: 64, seconds: 6, warm_up: 2 };

    fn plan(self) -> saturation::Plan {
        let seconds = Duration::from_secs;
        saturation::Plan {
            connections: self.connections,
            warm_up: seconds(self.warm_up),
            lasts: seconds(self.seconds),
        }
    }
}

#[derive(Args, Clone, Copy)]
struct Latency {
    /// Jobs a second.
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    /// Seconds that are counted, after one that is not.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

impl Latency {
    const DEFAULT: Self = Self { rate: 50.0, seconds: 10 };
}

#[derive(Args, Clone, Copy)]
struct Restart {
    /// Jobs pending.
    #[arg(long, default_value_t = 100_000)]
    jobs: usize,
}

impl Restart {
    const DEFAULT: Self = Self { jobs: 100_000 };
}

#[derive(Args, Clone)]
struct Fairness {
    /// What goes wrong; without it all, in turns. May be repeated.
    #[arg(long, value_enum)]
    trouble: Vec<Trouble>,
    /// Jobs a second to the nine that are well.
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// Seconds that are counted, without the trouble and with it, after six that are not.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Rows in the lane that is full.
    #[arg(long, default_value_t = 1_000_000)]
    waiting: usize,
    /// Draw it, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

#[derive(Args, Clone, Copy)]
struct Held {
    /// How long the transaction stays open under load.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Jobs a second.
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
}

/// How long a node is watched doing nothing.
const IDLE: Duration = Duration::from_secs(10);

/// Does what the command line says.
pub(crate) fn run() -> Outcome<()> {
    let cli = Cli::parse();
    if let Command::Bare(record) = cli.command {
        return bare::run(record);
    }
    let common = cli.common;
    let mut bench = Bench::prepare(&common)?;
    match cli.command {
        Command::Saturation(options) => bench.saturation(options)?,
        Command::Latency(options) => bench.latency(options)?,
        Command::Restart(options) => bench.restart(options)?,
        Command::Fairness(options) => bench.fairness(&options)?,
        Command::Held(options) => bench.held(options)?,
        Command::Idle => bench.idle()?,
        Command::Cost(options) => bench.cost(options)?,
        Command::All => {
            bench.saturation(Saturation::DEFAULT)?;
            bench.cost(Saturation { connections: 1, ..Saturation::DEFAULT })?;
            bench.latency(Latency::DEFAULT)?;
            bench.restart(Restart::DEFAULT)?;
            bench.idle()?;
        }
        Command::Bare(_) => {}
    }
    Ok(bench.report.print(common.json)?)
}

/// One command at work.
struct Bench {
    stock: Stock,
    receiver: Receiver,
    engines: Vec<Engine>,
    kinds: Vec<Kind>,
    runs: usize,
    report: Report,
}

impl Bench {
    fn prepare(common: &Common) -> Outcome<Self> {
        let report = Report::default();
        let engines = common.engine.map_or(vec![Engine::Sqlite, Engine::Postgres], |engine| vec![engine]);
        let kinds = match common.only.as_slice() {
            [] => vec![Kind::Nothing, Kind::Bare, Kind::Ringback, Kind::Pair],
            only => only.to_vec(),
        };
        let beside = std::env::current_exe()?.with_file_name("ringback");
        let ringback = common.ringback.clone().unwrap_or(beside);
        if kinds.iter().any(|kind| matches!(kind, Kind::Ringback | Kind::Pair)) && !ringback.is_file() {
            let path = ringback.display();
            return Err(format!(
                "{path} is not there: build it (cargo build --profile dist), or name it by --ringback"
            )
            .into());
        }
        let database = match engines.contains(&Engine::Postgres) {
            true => Some(Database::open(common.postgres.as_deref())?),
            false => None,
        };
        let directory = common.directory.clone().unwrap_or_else(std::env::temp_dir);
        let stock = Stock { ringback, directory, database };
        let receiver = Receiver::start(Duration::ZERO)?;
        Ok(Self { stock, receiver, engines, kinds, runs: common.runs, report })
    }

    /// In turns, so that whatever else the machine does meets all of them alike.
    fn in_turns(&mut self, mut one: impl FnMut(&mut Self, Kind, Engine) -> Outcome<()>) -> Outcome<()> {
        for engine in self.engines.clone() {
            for run in 1..=self.runs {
                for kind in self.kinds.clone().into_iter().filter(|kind| kind.runs_on(engine)) {
                    complain(&format!("{engine:?}, run {run} of {}: {}", self.runs, kind.name()));
                    one(self, kind, engine)?;
                }
            }
        }
        Ok(())
    }

    fn saturation(&mut self, options: Saturation) -> Outcome<()> {
        self.in_turns(|bench, kind, engine| {
            let run = saturation::run(&bench.stock, &bench.receiver, kind, engine, options.plan())?;
            bench.report.saturation.push(run);
            Ok(())
        })?;
        for engine in self.engines.clone() {
            self.report.compare(engine);
        }
        Ok(())
    }

    /// As many as are asked for at once, and one alone, whose commits nobody shares.
    fn cost(&mut self, options: Saturation) -> Outcome<()> {
        let mut counts = vec![options.connections, 1];
        counts.dedup();
        for engine in self.engines.clone() {
            for &connections in &counts {
                for kind in
                    self.kinds.clone().into_iter().filter(|kind| matches!(kind, Kind::Bare | Kind::Ringback))
                {
                    complain(&format!("{engine:?}, {connections} connections: {}", kind.name()));
                    let plan = Saturation { connections, ..options }.plan();
                    let run = saturation::run(&self.stock, &self.receiver, kind, engine, plan)?;
                    self.report.saturation.push(run);
                }
            }
        }
        Ok(())
    }

    fn latency(&mut self, options: Latency) -> Outcome<()> {
        let plan = latency::Plan { rate: options.rate, lasts: Duration::from_secs(options.seconds) };
        self.in_turns(|bench, kind, engine| {
            let run = latency::run(&bench.stock, &bench.receiver, kind, engine, plan)?;
            bench.report.latency.push(run);
            Ok(())
        })
    }

    fn restart(&mut self, options: Restart) -> Outcome<()> {
        for engine in self.engines.clone() {
            complain(&format!("{engine:?}: restarts with {} jobs pending", options.jobs));
            let runs = restart::run(&self.stock, &self.receiver, engine, options.jobs, self.runs)?;
            self.report.restart.extend(runs);
        }
        Ok(())
    }

    fn fairness(&mut self, options: &Fairness) -> Outcome<()> {
        let troubles = match &*options.trouble {
            [] => Trouble::value_variants(),
            some => some,
        };
        let lasts = Duration::from_secs(options.seconds);
        let plan = fairness::Plan { rate: options.rate, lasts, waiting: options.waiting };
        for engine in self.engines.clone() {
            for &trouble in troubles {
                complain(&format!("{engine:?}: {}", trouble.name()));
                self.report.fairness.push(fairness::run(&self.stock, engine, trouble, plan)?);
            }
        }
        if let Some(file) = &options.plot {
            std::fs::write(file, plot::fairness(&self.report.fairness))?;
        }
        Ok(())
    }

    fn held(&mut self, options: Held) -> Outcome<()> {
        let plan = held::Plan { rate: options.rate, lasts: Duration::from_secs(options.minutes * 60) };
        complain(&format!("PostgreSQL: {} minutes beside an open transaction", options.minutes));
        self.report.held = held::run(&self.stock, &self.receiver, plan)?;
        Ok(())
    }

    fn idle(&mut self) -> Outcome<()> {
        for engine in self.engines.clone() {
            complain(&format!("{engine:?}: idle"));
            self.report.idle.push(idle::run(&self.stock, engine, IDLE)?);
        }
        Ok(())
    }
}
