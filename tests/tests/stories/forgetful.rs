//! A receiver that drops, forgets, takes twice and goes away at random, written from the documentation alone, ends with
//! exactly the events that the tenant's feed has.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use ringback_tests::{Config, Engine, Ringback, binary, both_engines, config::KEY, verify};
use serde_json::{Value, json};

both_engines!(who_fails_in_every_way_misses_nothing);

/// The script of `tests/python`, and what it prints.
struct Forgetful {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Forgetful {
    fn start(server: &Ringback, seed: u64) -> Self {
        let mut child = Command::new(verify::python())
            .arg(binary::workspace().join("tests/python/forgetful_receiver.py"))
            .env("RINGBACK_URL", server.api().base())
            .env("RINGBACK_API_KEY", KEY)
            .env("SEED", seed.to_string())
            .env("STORE", server.directory().join("events.jsonl"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python runs");
        let lines = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, lines }
    }

    fn says(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("it can be read");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }
}

impl Drop for Forgetful {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The next line of it, read on a thread of its own.
async fn spoken(mut receiver: Forgetful) -> (Forgetful, Value) {
    let said = tokio::task::spawn_blocking(move || {
        let said = receiver.says();
        (receiver, said)
    });
    said.await.expect("it says something")
}

async fn who_fails_in_every_way_misses_nothing(engine: Engine) {
    let retry = r#"{ schedule = ["50ms", "100ms", "200ms"], jitter = 0.0 }"#;
    let server = Ringback::start(Config::on(engine).with("delivery.retry", retry)).await;
    let mut receiver = Forgetful::start(&server, 8_202);
    let endpoint = receiver.says()["endpoint"].as_str().expect("it is registered").to_owned();
    let api = server.api();
    let mut jobs = Vec::new();
    for n in 0..60 {
        let task = if n % 5 == 0 { "fail" } else { "echo" };
        jobs.push(api.accepted(&json!({ "task": task, "input": { "permanent": true, "n": n } })).await);
    }
    for job in &jobs {
        api.ended(job).await;
    }
    let (mut receiver, away) = spoken(receiver).await;
    assert_eq!(away, json!({ "away": 1 }));
    // Its standard input ends: it is well again.
    drop(receiver.child.stdin.take());
    let (mut receiver, said) = spoken(receiver).await;
    assert!(receiver.child.wait().expect("it ends").success(), "{said:#}");
    for what in ["dropped", "forgotten", "duplicates", "from_feed", "away"] {
        assert!(said[what].as_u64().is_some_and(|count| count > 0), "not once {what}: {said:#}");
    }
    assert_eq!(said["refused"], 0);
    // Each job began and ended.
    assert_eq!((&said["last"], said["events"].as_array().unwrap().len()), (&json!(120), 120), "{said:#}");
    let feed = api.get(&format!("/v1/endpoints/{endpoint}/feed?limit=100")).await.expect(200).json();
    assert_eq!(feed["last"], said["last"]);
}
