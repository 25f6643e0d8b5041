//! Foreign verifiers accept every webhook of a run: `standardwebhooks` in Python and in JavaScript.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ringback_tests::{Config, Peer, Reply, Ringback, clock, verify};
use serde_json::{Value, json};
use testkit::SeededDice;

#[tokio::test]
async fn both_accept_every_webhook() {
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::status(500), Reply::ok()]);
    let server = Ringback::sqlite().await;
    let api = server.api();
    let inputs = [
        json!(null),
        json!("gr\u{fc}\u{df}e \u{1f980} \u{2028} \u{0}"),
        json!({ "nested": [[1.5, -0.0, 1e300], { "": "" }] }),
        json!("x".repeat(60_000)),
    ];
    for input in &inputs {
        let callback = json!({ "url": receiver.url("/hook"), "events": ["job.started", "job.succeeded"] });
        api.accepted(&json!({ "task": "echo", "input": input, "callback": callback })).await;
    }
    let requests = receiver.wait_for("/hook", inputs.len() * 2 + 1).await;
    let file = verify::note(&api.signing_secret().await, &requests);
    verify::assert_python_accepts(&[&file]);
    verify::javascript_judges(&[&file]).unwrap_or_else(|said| panic!("{said}"));
}

/// The verifiers are none that accept everything.
#[tokio::test]
async fn both_refuse_another_secret() {
    let receiver = Peer::start().await;
    let server = Ringback::sqlite().await;
    server.api().accepted(&json!({ "task": "echo", "callback": receiver.url("/hook") })).await;
    let request = receiver.first("/hook").await;
    let file = verify::note("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &[request]);
    let forged = file.with_extension("forged");
    std::fs::rename(&file, &forged).expect("the target directory can be written");
    for judge in [verify::python_judges, verify::javascript_judges] {
        let said = judge(&[&forged]).expect_err("another secret");
        assert!(said.contains("refused 1"), "{said}");
    }
}

/// Each job announces its start and its end.
const JOBS: usize = 5_000;

/// Where JSON, UTF-8 and shells go wrong: escapes, surrogate pairs, separators that JavaScript once took for line ends,
/// right-to-left marks, combining marks, and the last code point.
const PIECES: [&str; 16] = [
    "a",
    "\"",
    "\\",
    "/",
    "</script>",
    "\u{0}",
    "\u{1f}",
    "\u{7f}",
    "\n\r\t",
    "\u{fc}\u{df}",
    "\u{2028}\u{2029}",
    "\u{202e}",
    "e\u{301}",
    "\u{feff}",
    "\u{1f980}\u{200d}\u{1f525}",
    "\u{10ffff}",
];

fn text(dice: &SeededDice, pieces: u64) -> String {
    (0..pieces).map(|_| *dice.pick(&PIECES)).collect()
}

/// Any JSON value, written as callers write it: mostly small, sometimes large enough to be stored apart.
fn input(dice: &SeededDice, depth: u64) -> Value {
    match dice.below(if depth == 0 { 6 } else { 8 }) {
        0 => dice.pick(&[json!(null), json!(true), json!(false)]).clone(),
        1 => json!(dice.next() as i64),
        2 => json!(f64::from_bits(dice.next())),
        3 => json!(text(dice, dice.below(8))),
        4 => json!(text(dice, dice.below(200))),
        5 if dice.below(50) == 0 => json!(text(dice, 20_000)),
        5 => json!(dice.below(1_000) as f64 / 100.0),
        6 => (0..dice.below(6)).map(|_| input(dice, depth - 1)).collect(),
        _ => Value::Object((0..dice.below(6)).map(|_| (text(dice, 3), input(dice, depth - 1))).collect()),
    }
}

/// Ten thousand webhooks of all kinds of payloads and sizes, and both libraries take each of them.
#[tokio::test]
async fn both_accept_ten_thousand() {
    let (receiver, began) = (Peer::start().await, clock::now());
    let server = Ringback::start(Config::sqlite().with("delivery.timeout", r#""30s""#)).await;
    let (next, dice) = (Arc::<AtomicUsize>::default(), Arc::new(SeededDice::new(10_000)));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (api, next, dice) = (server.api().clone(), next.clone(), dice.clone());
        let callback = json!({ "url": receiver.url("/hook"), "events": ["job.started", "job.succeeded"] });
        clients.spawn(async move {
            while next.fetch_add(1, Ordering::Relaxed) < JOBS {
                let metadata = json!({ "who": text(&dice, 4) });
                let job = json!({ "task": "echo", "input": input(&dice, 4), "metadata": metadata, "callback": callback });
                api.submit(&job).await.expect(202);
            }
        });
    }
    clients.join_all().await;
    let requests = receiver.wait_for("/hook", JOBS * 2).await;
    let file = verify::note(&server.api().signing_secret().await, &requests);
    let judges = [verify::python_judges, verify::javascript_judges].map(|judge| {
        let file = file.clone();
        std::thread::spawn(move || judge(&[&file]))
    });
    for judge in judges {
        let said = judge.join().expect("no panic").unwrap_or_else(|said| panic!("{said}"));
        assert!(said.contains(&format!("judged {} webhooks, refused 0", requests.len())), "{said}");
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}
