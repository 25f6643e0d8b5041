//! A receiver that was away comes back: what waited for it arrives whole and in order, whatever is killed meanwhile.
//!
//! `RINGBACK_HEALS_JOBS` (60) and `RINGBACK_HEALS_KILLS` (3) make it longer.

use std::{collections::BTreeSet, time::Duration};

use ringback_tests::{Api, Config, Engine, Peer, Reply, Request, Ringback, ask, both_engines, clock, wait};
use serde_json::{Value, json};

both_engines!(what_waited_arrives_whole_and_in_order);

async fn registered(api: &Api, endpoint: Value) -> String {
    let made = api.post("/v1/endpoints", endpoint.to_string()).await.expect(201).json();
    made["id"].as_str().expect("it has an id").to_owned()
}

/// A ping bears none.
fn number(request: &Request) -> Option<u64> {
    request.header_all("webhook-sequence").first().map(|number| number.parse().expect("it is a number"))
}

async fn what_waited_arrives_whole_and_in_order(engine: Engine) {
    let jobs = ask::number("RINGBACK_HEALS_JOBS").unwrap_or(60);
    let kills = ask::number("RINGBACK_HEALS_KILLS").unwrap_or(3);
    let receiver = Peer::start().await;
    for path in ["/plain", "/ordered"] {
        receiver.script(path, [Reply::status(500)]);
    }
    // What has failed once would wait for hours if nobody brought it forward.
    let config = Config::on(engine)
        .with("delivery.retry", r#"{ schedule = ["3h", "3h"], jitter = 0.0 }"#)
        .with("node.lease", r#""2s""#);
    let mut server = Ringback::start(config).await;
    let plain = registered(server.api(), json!({ "url": receiver.url("/plain") })).await;
    // The head of an order is nobody's probe: it goes by its policy.
    let retry = json!({ "schedule": vec!["1s"; 29] });
    let ordered = json!({ "url": receiver.url("/ordered"), "ordered": true, "retry": retry });
    let ordered = registered(server.api(), ordered).await;
    for n in 0..jobs {
        server.api().accepted(&json!({ "task": "echo", "input": n })).await;
    }
    let feed = format!("/v1/endpoints/{plain}/feed?limit=1");
    wait::until("all have happened", || async {
        (server.api().get(&feed).await.expect(200).json()["last"] == jobs).then_some(())
    })
    .await;

    let before = ["/plain", "/ordered"].map(|path| receiver.requests(path).len());
    let healed = clock::now();
    receiver.script("/plain", [Reply::ok()]);
    receiver.script("/ordered", [Reply::ok()]);
    // Or a probe finds it out, up to five minutes later where it was away for long.
    for endpoint in [&plain, &ordered] {
        server.api().call(&format!("/v1/endpoints/{endpoint}/ping")).await.expect(202);
    }
    for kill in 0..kills {
        let share = usize::try_from(jobs * (kill + 1) / (kills + 1)).expect("it is small");
        receiver.wait_for("/ordered", before[1] + share.max(1)).await;
        server.crash().await;
    }
    let all: BTreeSet<u64> = (1..=jobs).collect();
    wait::until("all are through", || async {
        let come = |path: &str, before: usize| {
            receiver.requests(path)[before..].iter().filter_map(number).collect::<BTreeSet<_>>() == all
        };
        (come("/plain", before[0]) && come("/ordered", before[1])).then_some(())
    })
    .await;
    said(jobs, kills, healed.elapsed());
    let mut order: Vec<u64> = receiver.requests("/ordered")[before[1]..].iter().filter_map(number).collect();
    order.dedup();
    assert_eq!(
        order,
        all.into_iter().collect::<Vec<_>>(),
        "one after the other, and none twice but around a kill"
    );
}

/// For whoever makes it longer: how long it took.
#[allow(clippy::print_stdout)]
fn said(jobs: u64, kills: u64, took: Duration) {
    println!("{jobs} jobs to two endpoints and {kills} kills: through {took:?} after it healed");
}
