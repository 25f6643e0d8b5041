//! Three nodes under load and under faults, one after another as a seed says; then the checker over what everybody saw.

use std::time::Duration;

use ringback_tests::{
    Api, Ringback, ask, binary, clock,
    history::{self, Dump, Event, Log, Rules, check},
    load::{ATTEMPTS, Load, quiet, receiver, upstream},
    verify, wait,
};
use testkit::{
    SeededDice,
    postgres::{Cluster, Mode},
};

use super::{LEASE, TAKEN_OVER, config, faults};

const NODES: usize = 3;

#[tokio::test]
async fn invariants_hold_whatever_happens_to_nodes_and_database() {
    let seed = ask::number("RINGBACK_FLEET_SEED")
        .unwrap_or_else(|| u64::try_from(clock::wall().as_micros()).unwrap_or(1));
    let count = ask::number("RINGBACK_FLEET_FAULTS").unwrap_or(6);
    eprintln!("{count} faults, RINGBACK_FLEET_SEED={seed}");
    let log = Log::default();
    let (upstream, receiver) = (upstream(seed, &log).await, receiver(seed, &log).await);
    let config = config().with("delivery.timeout", r#""1s""#).task(
        "work",
        &format!(
            r#"run = "http", url = "{}", timeout = "1s", concurrency = 24, retry = {{ initial = "20ms", max_interval = "200ms", max_attempts = 20 }}"#,
            upstream.url("/work")
        ),
    );
    let cluster = Cluster::start().expect("PostgreSQL");
    let url = cluster.fresh_database();
    let mut nodes: Vec<Ringback> = (0..NODES).map(|_| Ringback::over(config.clone(), &url)).collect();
    nodes[0].run(&["migrate"]).expect("ringback migrate");
    for node in &mut nodes {
        node.launch().await;
    }
    let secret = nodes[0].api().signing_secret().await;
    let load = Load::start(seed, &apis(&nodes, None), &receiver, &log);
    let dice = SeededDice::new(seed);
    for n in 0..count {
        tokio::time::sleep(Duration::from_millis(200 + dice.below(800))).await;
        // Each kind comes in turn, on a node of the seed's choice.
        let which = usize::try_from(dice.below(NODES as u64)).unwrap_or_default();
        // The line comes first: what is seen after it may be the fault's doing.
        log.add(Event::Killed);
        match (n + seed) % 6 {
            0 => {
                nodes[which].kill();
                load.serve(&apis(&nodes, Some(which)));
                tokio::time::sleep(LEASE + TAKEN_OVER).await;
                nodes[which].launch().await;
            }
            1 => {
                load.serve(&apis(&nodes, Some(which)));
                nodes[which].signal("STOP");
                tokio::time::sleep(LEASE * 2).await;
                nodes[which].signal("CONT");
            }
            2 => faults::restart(&cluster, Duration::from_millis(dice.below(3_000))).await,
            3 => faults::end_sessions(&cluster, &url),
            4 => {
                nodes[which].crash().await;
            }
            _ => {
                let query = "SELECT 1 FROM job_queue ORDER BY id LIMIT 20";
                let lock = faults::lock(&url, query).await;
                cluster.stop(Mode::Fast);
                cluster.resume();
                drop(lock);
            }
        }
        load.serve(&apis(&nodes, None));
        for node in &nodes {
            wait::until("every node is ready", || async {
                let answer = node.api().attempt(http::Method::GET, "/readyz", &[], "").await.ok()?;
                (answer.status == 200).then_some(())
            })
            .await;
        }
        log.add(Event::Ready);
    }
    let submitted = load.stop().await;
    quiet(nodes[0].api()).await;
    let dump = Dump::read(nodes[0].api()).await;
    for node in &mut nodes {
        node.stop().await;
    }
    let lines = log.lines();
    let path = binary::target().join(format!("ringback-crash/fleet-{seed}.jsonl"));
    history::write(&path, &lines, &dump).expect("the target directory can be written");
    let found = check(&lines, &dump, &Rules { secret: secret.clone(), attempts: ATTEMPTS });
    let webhooks: Vec<_> = receiver.all();
    eprintln!(
        "{submitted} submissions, {} jobs, {} webhooks, log {}",
        dump.jobs.len(),
        webhooks.len(),
        path.display()
    );
    assert!(
        found.is_empty(),
        "RINGBACK_FLEET_SEED={seed}: {} violations, the first:\n{}",
        found.len(),
        found.iter().take(20).map(ToString::to_string).collect::<Vec<_>>().join("\n")
    );
    assert!(dump.jobs.len() > 100 && webhooks.len() > 50, "too little happened to show anything");
    verify::assert_python_accepts(&[&verify::note(&secret, &webhooks)]);
}

fn apis(nodes: &[Ringback], but: Option<usize>) -> Vec<Api> {
    let others = nodes.iter().enumerate().filter(|(place, _)| Some(*place) != but);
    others.map(|(_, node)| node.api().clone()).collect()
}
