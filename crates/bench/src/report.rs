//! What a run found, as tables for people or as one JSON document.

use std::{fmt::Write, fs};

use serde::Serialize;

use crate::{
    measure::{
        fairness::Fairness, held::Held, idle::Idle, latency::Latency, median, restart::Restart,
        saturation::Saturation,
    },
    service::{Engine, Kind},
};

/// The least share of the nothing-recorded twin's rate that makes the bare pipeline a floor. Below it the machine, not
/// the pipeline, was measured.
const SOUND_FLOOR: f64 = 0.7;

/// For people: on standard error, so that standard output stays data.
#[allow(clippy::print_stderr)]
pub(crate) fn complain(text: &str) {
    eprintln!("{text}");
}

/// Everything that one command measured.
#[derive(Default, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    pub(crate) saturation: Vec<Saturation>,
    pub(crate) ratios: Vec<Ratio>,
    pub(crate) latency: Vec<Latency>,
    pub(crate) restart: Vec<Restart>,
    pub(crate) fairness: Vec<Fairness>,
    pub(crate) held: Vec<Held>,
    pub(crate) idle: Vec<Idle>,
}

/// Under what the figures were taken.
#[derive(Serialize)]
struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    /// Of the last minute, when the command began: what else the machine was doing.
    load: String,
}

impl Default for Machine {
    fn default() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo");
        let processor = processor.lines().find(|line| line.starts_with("model name"));
        Self {
            processor: processor
                .and_then(|l| l.split_once(": "))
                .map_or("unknown", |(_, name)| name)
                .to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

/// How one engine's medians compare.
#[derive(Serialize)]
pub(crate) struct Ratio {
    engine: Engine,
    /// Bare pipeline to its twin that records nothing; none if either was not measured.
    floor: Option<f64>,
    /// Ringback to the bare pipeline; none if the floor is not sound, or Ringback was not measured.
    ringback: Option<f64>,
}

impl Report {
    /// Compares the medians of one engine's runs.
    pub(crate) fn compare(&mut self, engine: Engine) {
        let rate = |kind| {
            let runs = self.saturation.iter().filter(|run| run.kind == kind && run.engine == engine);
            median(runs.map(Saturation::rate).collect())
        };
        let [nothing, bare, ringback] = [Kind::Nothing, Kind::Bare, Kind::Ringback].map(rate);
        let share = |part: f64, whole: f64| (part > 0.0 && whole > 0.0).then(|| part / whole);
        let floor = share(bare, nothing);
        let ringback = share(ringback, bare).filter(|_| floor.is_some_and(|floor| floor >= SOUND_FLOOR));
        self.ratios.push(Ratio { engine, floor, ringback });
    }

    #[allow(clippy::print_stdout)]
    pub(crate) fn print(&self, json: bool) -> Result<(), serde_json::Error> {
        match json {
            true => println!("{}", serde_json::to_string_pretty(self)?),
            false => println!("{}", self.tables()),
        }
        Ok(())
    }

    fn tables(&self) -> String {
        let machine = &self.machine;
        let mut text = format!(
            "{} cores, {}, Linux {}, load {} when it began\n",
            machine.cores, machine.processor, machine.kernel, machine.load
        );
        table(&mut text, &SATURATION, self.saturation.iter().map(saturation_row));
        for ratio in &self.ratios {
            let Some(floor) = ratio.floor else { continue };
            let name = engine_name(ratio.engine);
            let _ = write!(text, "\n{name}: the bare pipeline is {floor:.2} of its nothing-recorded twin");
            let _ = match ratio.ringback {
                Some(share) => writeln!(text, "; ringback is {share:.2} of the bare pipeline"),
                None if floor < SOUND_FLOOR => writeln!(text, ", under {SOUND_FLOOR}: no ratio"),
                None => writeln!(text),
            };
        }
        table(&mut text, &LATENCY, self.latency.iter().map(latency_row));
        table(&mut text, &RESTART, self.restart.iter().map(restart_row));
        table(&mut text, &FAIRNESS, self.fairness.iter().map(fairness_row));
        table(&mut text, &HELD, self.held.iter().map(held_row));
        table(&mut text, &IDLE, self.idle.iter().map(idle_row));
        text
    }
}

fn engine_name(engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => "SQLite",
        Engine::Postgres => "PostgreSQL",
    }
}

const SATURATION: [&str; 16] = [
    "saturation",
    "engine",
    "conns",
    "accepted/s",
    "delivered/s",
    "backlog",
    "202 p50",
    "p99 ms",
    "webhook p50",
    "p99 ms",
    "CPU µs/job",
    "database",
    "stmts/job",
    "commits/job",
    "bytes/job",
    "RSS MiB",
];

fn saturation_row(run: &Saturation) -> Vec<String> {
    let some = |value: Option<f64>, digits: usize| value.map_or("–".into(), |v| format!("{v:.digits$}"));
    let mut name = run.kind.name().to_owned();
    for (what, count) in [("refused", run.refused), ("repeated", run.repeated), ("missing", run.missing)] {
        if count > 0 {
            let _ = write!(name, " ({count} {what})");
        }
    }
    vec![
        name,
        engine_name(run.engine).into(),
        run.connections.to_string(),
        format!("{:.0}", run.accepted_per_second),
        format!("{:.0}", run.delivered_per_second),
        run.backlog.to_string(),
        format!("{:.2}", run.answer_ms[0]),
        format!("{:.2}", run.answer_ms[1]),
        format!("{:.2}", run.receipt_ms[0]),
        format!("{:.2}", run.receipt_ms[1]),
        format!("{:.1}", run.cpu_us_per_job),
        some(run.database_cpu_us_per_job, 1),
        some(run.statements_per_job, 2),
        some(run.commits_per_job, 3),
        format!("{:.0}", run.written_per_job),
        format!("{:.1}", run.resident_mib),
    ]
}

const LATENCY: [&str; 8] =
    ["latency", "engine", "samples", "202 p50", "p99 ms", "webhook p50", "p99 ms", "CPU % of a core"];

fn latency_row(run: &Latency) -> Vec<String> {
    let mut name = run.kind.name().to_owned();
    if run.missing > 0 {
        let _ = write!(name, " ({} missing)", run.missing);
    }
    let times = [run.answer_ms, run.receipt_ms].concat().into_iter().map(|ms| format!("{ms:.2}"));
    let named = [name, engine_name(run.engine).into(), run.samples.to_string()];
    named.into_iter().chain(times).chain([format!("{:.1}", run.cpu_percent)]).collect()
}

const RESTART: [&str; 5] =
    ["restart after kill -9", "jobs pending", "ready ms", "first webhook ms", "RSS MiB"];

fn restart_row(run: &Restart) -> Vec<String> {
    vec![
        engine_name(run.engine).into(),
        run.pending.to_string(),
        format!("{:.0}", run.ready_ms),
        format!("{:.2}", run.first_webhook_ms),
        format!("{:.1}", run.resident_mib),
    ]
}

const FAIRNESS: [&str; 12] = [
    "beside",
    "engine",
    "amount",
    "quiet p50",
    "p99 ms",
    "beside p50",
    "p99 ms",
    "p99 ratio",
    "throughput",
    "quiet MiB",
    "beside MiB",
    "longest attempt ms",
];

fn fairness_row(run: &Fairness) -> Vec<String> {
    let mut name = run.trouble.name().to_owned();
    let missing = run.quiet.missing + run.troubled.missing;
    if missing > 0 {
        let _ = write!(name, " ({missing} missing)");
    }
    let (p99, throughput) = run.ratios();
    let waits = [run.quiet.wait_ms, run.troubled.wait_ms].concat().into_iter().map(|ms| format!("{ms:.2}"));
    let rest = [
        format!("{p99:.2}"),
        format!("{throughput:.3}"),
        format!("{:.1}", run.quiet.resident_mib),
        format!("{:.1}", run.troubled.resident_mib),
        run.longest_attempt_ms.map_or("–".into(), |ms| format!("{ms:.0}")),
    ];
    let named = [name, engine_name(run.engine).into(), run.amount.to_string()];
    named.into_iter().chain(waits).chain(rest).collect()
}

const HELD: [&str; 9] = [
    "held open for min",
    "jobs",
    "webhook p50",
    "p99 ms",
    "CPU µs/job",
    "database",
    "dead rows of queues",
    "queues MiB",
    "history MiB",
];

fn held_row(run: &Held) -> Vec<String> {
    vec![
        format!("{:.0}", run.minutes),
        run.jobs.to_string(),
        format!("{:.2}", run.receipt_ms[0]),
        format!("{:.2}", run.receipt_ms[1]),
        format!("{:.1}", run.cpu_us_per_job),
        run.database_cpu_us_per_job.map_or("–".into(), |us| format!("{us:.1}")),
        run.dead_rows.to_string(),
        format!("{:.1}", run.queues_mib),
        format!("{:.1}", run.history_mib),
    ]
}

const IDLE: [&str; 6] =
    ["idle", "start to ready ms", "RSS MiB", "wake-ups/s", "bytes written", "CPU % of a core"];

fn idle_row(run: &Idle) -> Vec<String> {
    vec![
        engine_name(run.engine).into(),
        format!("{:.0}", run.ready_ms),
        format!("{:.1}", run.resident_mib),
        format!("{:.1}", run.wakeups_per_second),
        run.written_bytes.to_string(),
        format!("{:.2}", run.cpu_percent),
    ]
}

/// Columns as wide as their widest cell: the first to the left, figures to the right. Nothing without rows.
fn table(text: &mut String, head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let head = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rows: Vec<Vec<String>> = [head].into_iter().chain(rows).collect();
    if rows.len() == 1 {
        return;
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..rows[0].len()).map(width).collect();
    text.push('\n');
    for row in &rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 => write!(text, "{cell:width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_figures_up() {
        let mut text = String::new();
        table(&mut text, &["a", "µs"], [vec!["long".into(), "1.50".into()]].into_iter());
        assert_eq!(text, "\na       µs\nlong  1.50\n");
        table(&mut text, &["b"], std::iter::empty());
        assert!(!text.contains('b'));
    }
}
