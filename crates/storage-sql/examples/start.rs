//! How long a start takes on a file as a dead process left it: open, join, take over, find every lane.
//! `cargo run --release -p ringback-storage-sql --example start -- sqlite:/path/to.db`

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a measurement, not the product")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use domain::{chance::Moment, time::Timestamp};
use ringback_storage_sql::{OpenError, Options, open};

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Storage(#[from] storage::StorageError),
}

async fn start(url: &str) -> Result<(), Failed> {
    let begun = Instant::now();
    let step = |what: &str| println!("{:>10.1?} {what}", begun.elapsed());
    let engine = open(url, Options::default()).await?;
    step("opened");
    engine.join(Duration::from_secs(30)).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp::from_micros(now.as_micros() as i64);
    let recovered = engine.take_over(Moment { now, wall: now }).await?;
    step(&format!("took over {recovered:?}"));
    let lanes = engine.lanes().await?.len();
    step(&format!("found {lanes} lanes"));
    for (task, backlog) in engine.backlogs().all(now) {
        println!("           {task}: {} waiting", backlog.waiting);
    }
    engine.close().await;
    step("closed");
    Ok(())
}

fn main() {
    let url = std::env::args().nth(1).unwrap_or_else(|| "sqlite:throughput.db".into());
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    if let Err(error) = runtime.block_on(start(&url)) {
        println!("{error}");
    }
}
