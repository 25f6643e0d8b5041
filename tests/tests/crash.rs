//! `kill -9` at random moments under load, on each engine; then the checker over what everybody saw.
//!
//! `RINGBACK_CRASH_SEED` replays a run, `RINGBACK_CRASH_ROUNDS` sets the number of kills (40). The log of each run stays
//! in `target/ringback-crash/`.

use std::time::Duration;

use ringback_tests::{
    Config, Engine, Ringback, ask, binary, clock,
    history::{self, Dump, Event, Log, Rules, check},
    load::{ATTEMPTS, Load, quiet, receiver, upstream},
    verify,
};
use testkit::SeededDice;

const LEASE: &str = "3s";

#[tokio::test]
async fn sqlite() {
    run(Engine::Sqlite).await;
}

#[tokio::test]
async fn postgres() {
    run(Engine::Postgres).await;
}

async fn run(engine: Engine) {
    let seed = ask::number("RINGBACK_CRASH_SEED")
        .unwrap_or_else(|| u64::try_from(clock::wall().as_micros()).unwrap_or(1));
    let rounds = ask::number("RINGBACK_CRASH_ROUNDS").unwrap_or(40);
    eprintln!("{engine:?}: {rounds} kills, RINGBACK_CRASH_SEED={seed}");
    let log = Log::default();
    let (upstream, receiver) = (upstream(seed, &log).await, receiver(seed, &log).await);
    let config = Config::on(engine)
        .with("node.lease", &format!("\"{LEASE}\""))
        .with("delivery.timeout", r#""1s""#)
        .task(
            "work",
            &format!(
                r#"run = "http", url = "{}", timeout = "1s", concurrency = 32, retry = {{ initial = "20ms", max_interval = "200ms", max_attempts = 8 }}"#,
                upstream.url("/work")
            ),
        );
    let mut server = Ringback::start(config).await;
    let secret = server.api().signing_secret().await;

    let load = Load::start(seed, &[server.api().clone()], &receiver, &log);
    let dice = SeededDice::new(seed);
    let mut longest = Duration::ZERO;
    for _ in 0..rounds {
        tokio::time::sleep(Duration::from_millis(20 + dice.below(480))).await;
        // The line comes first: what is seen after it may be the crash's doing.
        log.add(Event::Killed);
        server.kill();
        let took = server.launch().await;
        longest = longest.max(took);
        log.add(Event::Ready);
        load.serve(&[server.api().clone()]);
    }
    let submitted = load.stop().await;

    let api = server.api().clone();
    quiet(&api).await;
    let dump = Dump::read(&api).await;
    server.stop().await;
    let lines = log.lines();
    let path = binary::target().join(format!("ringback-crash/{engine:?}-{seed}.jsonl").to_lowercase());
    history::write(&path, &lines, &dump).expect("the target directory can be written");

    let found = check(&lines, &dump, &Rules { secret: secret.clone(), attempts: ATTEMPTS });
    let webhooks: Vec<_> = receiver.all();
    eprintln!(
        "{engine:?}: {submitted} submissions, {} jobs, {} webhooks, longest until ready {longest:?}, log {}",
        dump.jobs.len(),
        webhooks.len(),
        path.display()
    );
    assert!(
        found.is_empty(),
        "RINGBACK_CRASH_SEED={seed}: {} violations, the first:\n{}",
        found.len(),
        found.iter().take(20).map(ToString::to_string).collect::<Vec<_>>().join("\n")
    );
    assert!(dump.jobs.len() > 100 && webhooks.len() > 50, "too little happened to show anything");
    verify::assert_python_accepts(&[&verify::note(&secret, &webhooks)]);
}
