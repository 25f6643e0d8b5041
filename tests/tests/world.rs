//! The seeded world, on both engines: the same seeds, the same histories.
//!
//! `RINGBACK_SEEDS=200000` plays more of them; `RINGBACK_SEED=17` plays one, and prints what happened.

use std::{
    io::Write,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use ringback_tests::ask;
use storage::Engine;
use storage_sql::Options;
use testkit::{
    postgres::Cluster,
    world::{Ground, History, Relay, play},
};
use tokio::runtime::Runtime;

/// SQLite in a new file each time.
struct Files {
    dir: tempfile::TempDir,
    count: u64,
}

impl Files {
    fn new() -> Self {
        // Nothing here is about disks: where there is a file system in memory, the seeds need not wait for one.
        let memory = std::path::Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self { dir: dir.unwrap(), count: 0 }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(format!("{}.db", self.count))
    }

    fn open(&self, runtime: &Runtime) -> (Arc<dyn Engine>, Arc<Relay>) {
        let url = format!("sqlite:{}", self.path().display());
        let engine = runtime
            .block_on(storage_sql::open(&url, Options { watches: false, ..Options::default() }))
            .unwrap();
        let relay = Relay::attached(&engine);
        (engine, relay)
    }
}

impl Ground for Files {
    fn fresh(&mut self, runtime: &Runtime) -> (Arc<dyn Engine>, Arc<Relay>) {
        for suffix in ["", "-wal", "-shm", ".lock"] {
            let _ = std::fs::remove_file(self.dir.path().join(format!("{}.db{suffix}", self.count)));
        }
        self.count += 1;
        self.open(runtime)
    }

    fn reopen(&mut self, engine: Arc<dyn Engine>, runtime: &Runtime) -> (Arc<dyn Engine>, Arc<Relay>) {
        drop(engine);
        self.open(runtime)
    }
}

/// PostgreSQL, one database for all seeds. A node's death is what it looks like from there: its connections say no more,
/// and its lease passes.
struct Database {
    url: String,
    engine: Arc<dyn Engine>,
    relay: Arc<Relay>,
    client: tokio_postgres::Client,
    runtime: Runtime,
}

impl Database {
    fn new() -> Self {
        Self::filled_from(None)
    }

    /// A new one, with all that a SQLite file holds.
    fn filled_from(file: Option<PathBuf>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let url = Cluster::shared().fresh_database();
        let (engine, client) = runtime.block_on(async {
            storage_sql::migrate(&url).await.unwrap();
            if let Some(file) = file {
                storage_sql::copy::copy(&file, &url, 100, |_| ()).await.unwrap();
            }
            let engine =
                storage_sql::open(&url, Options { watches: false, ..Options::default() }).await.unwrap();
            let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            (engine, client)
        });
        let relay = Relay::attached(&engine);
        Self { url, engine, relay, client, runtime }
    }

    fn run(&self, sql: &str) {
        self.runtime
            .block_on(self.client.batch_execute(sql))
            .unwrap_or_else(|error| panic!("{}: {error}", self.url));
    }
}

impl Ground for Database {
    fn fresh(&mut self, _: &Runtime) -> (Arc<dyn Engine>, Arc<Relay>) {
        self.run(
            "DELETE FROM job_queue; DELETE FROM delivery_queue; DELETE FROM jobs; DELETE FROM deliveries; \
             DELETE FROM events; DELETE FROM attempts; DELETE FROM idempotency; DELETE FROM payload; \
             DELETE FROM nodes; DELETE FROM tenants",
        );
        (self.engine.clone(), self.relay.clone())
    }

    fn reopen(&mut self, _: Arc<dyn Engine>, _: &Runtime) -> (Arc<dyn Engine>, Arc<Relay>) {
        self.run("UPDATE nodes SET lease_until = 0");
        (self.engine.clone(), self.relay.clone())
    }
}

/// A SQLite file until its node dies for the first time; from then on the PostgreSQL database that it was copied into.
struct Moving {
    files: Files,
    moved: Option<Database>,
}

impl Ground for Moving {
    fn fresh(&mut self, runtime: &Runtime) -> (Arc<dyn Engine>, Arc<Relay>) {
        self.moved = None;
        self.files.fresh(runtime)
    }

    fn reopen(&mut self, engine: Arc<dyn Engine>, runtime: &Runtime) -> (Arc<dyn Engine>, Arc<Relay>) {
        if let Some(moved) = &mut self.moved {
            return moved.reopen(engine, runtime);
        }
        drop(engine);
        let moved = self.moved.insert(Database::filled_from(Some(self.files.path())));
        (moved.engine.clone(), moved.relay.clone())
    }
}

fn seeds() -> (u64, u64) {
    match ask::number("RINGBACK_SEED") {
        Some(seed) => (seed, seed + 1),
        None => (0, ask::number("RINGBACK_SEEDS").unwrap_or(500)),
    }
}

/// The first line in which two histories part, with what led there.
fn parting(left: &History, right: &History) -> String {
    let same = left.events.iter().zip(&right.events).take_while(|(l, r)| l == r).count();
    let from = same.saturating_sub(25);
    let tail = |history: &History| history.events.get(same).cloned().unwrap_or_else(|| "(the end)".into());
    let lines = left.events[from..same].join("\n");
    if same == left.events.len() && same == right.events.len() {
        let line = left.dump.lines().zip(right.dump.lines()).position(|(l, r)| l != r).unwrap_or(0);
        let near =
            |dump: &str| dump.lines().skip(line.saturating_sub(15)).take(20).collect::<Vec<_>>().join("\n");
        return format!(
            "{lines}\nthe same events, other rows:\n{}\n---\n{}",
            near(&left.dump),
            near(&right.dump)
        );
    }
    format!("{lines}\nSQLite:     {}\nPostgreSQL: {}", tail(left), tail(right))
}

#[test]
fn the_same_seeds_give_the_same_history_on_both_engines() {
    let (from, to) = seeds();
    let next = AtomicU64::new(from);
    let events = AtomicU64::new(0);
    let workers = thread::available_parallelism().map_or(2, |cores| cores.get().min(4));
    // Started before the threads, so that no two start one.
    let _ = Cluster::shared();
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let (mut files, mut database) = (Files::new(), Database::new());
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= to {
                        return;
                    }
                    let sqlite = play(seed, &mut files);
                    if to - from == 1 {
                        eprintln!("{}", sqlite.events.join("\n"));
                    }
                    assert!(
                        sqlite.broken.is_empty(),
                        "seed {seed} on SQLite: {:#?}\n{}",
                        sqlite.broken,
                        sqlite.events.join("\n")
                    );
                    let postgres = play(seed, &mut database);
                    assert!(postgres.broken.is_empty(), "seed {seed} on PostgreSQL: {:#?}", postgres.broken);
                    assert!(sqlite == postgres, "seed {seed} parts:\n{}", parting(&sqlite, &postgres));
                    events.fetch_add(sqlite.events.len() as u64, Ordering::SeqCst);
                }
            });
        }
    });
    let events = events.into_inner();
    // Past the capture of output: what was played is part of what the run says.
    let _ = writeln!(
        std::io::stderr(),
        "seeded world: {} seeds × 2 engines, {events} events each, one history",
        to - from
    );
}

#[test]
fn a_seed_plays_the_same_twice() {
    let mut files = Files::new();
    let [first, second] = [0, 0].map(|_| play(4_711, &mut files));
    assert!(first == second, "{}", parting(&first, &second));
}

#[test]
fn a_world_that_is_copied_in_the_middle_has_the_same_history() {
    let (mut files, mut moving) = (Files::new(), Moving { files: Files::new(), moved: None });
    let mut copies = 0;
    for seed in 0..10 {
        let (stayed, moved) = (play(seed, &mut files), play(seed, &mut moving));
        assert!(moved.broken.is_empty(), "seed {seed}: {:#?}", moved.broken);
        assert!(stayed == moved, "seed {seed} parts:\n{}", parting(&stayed, &moved));
        copies += u32::from(moving.moved.is_some());
    }
    assert!(copies > 5, "{copies} copies");
}
