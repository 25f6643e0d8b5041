//! A receiver that was away comes back while nodes are killed in turn: what waited for it arrives whole and in order.
//!
//! `RINGBACK_HEALS_JOBS` (100) and `RINGBACK_HEALS_KILLS` (2) make it longer.

use std::{collections::BTreeSet, time::Duration};

use ringback_tests::{Peer, Reply, Request, ask, clock, wait};
use serde_json::json;

use super::{config, endpoints::registered, two};

/// The numbers of those behind the first `before`, in the order in which they came. A ping bears none.
fn numbers(requests: &[Request], before: usize) -> Vec<u64> {
    let number = |request: &Request| {
        request.header_all("webhook-sequence").first().map(|number| number.parse().expect("it is a number"))
    };
    requests[before..].iter().filter_map(number).collect()
}

#[tokio::test]
async fn what_waited_arrives_whole_and_in_order_whichever_node_is_killed() {
    let jobs = ask::number("RINGBACK_HEALS_JOBS").unwrap_or(100);
    let kills = ask::number("RINGBACK_HEALS_KILLS").unwrap_or(2);
    let receiver = Peer::start().await;
    let paths = ["/plain", "/ordered"];
    paths.iter().for_each(|path| receiver.script(path, [Reply::status(500)]));
    // What has failed once would wait for hours if nobody brought it forward.
    let mut nodes =
        two(&config().with("delivery.retry", r#"{ schedule = ["3h", "3h"], jitter = 0.0 }"#)).await;
    let plain = registered(nodes[0].api(), json!({ "url": receiver.url("/plain") })).await;
    // The head of an order may be lost with its node, which brings nothing forward then: it goes by its policy. The
    // longer they take to happen, the longer it must not be given up.
    let retry = json!({ "schedule": vec![format!("{}s", 1 + jobs / 1_000); 29] });
    let ordered = json!({ "url": receiver.url("/ordered"), "ordered": true, "retry": retry });
    let ordered = registered(nodes[0].api(), ordered).await;
    for n in 0..jobs {
        nodes[(n % 2) as usize].api().accepted(&json!({ "task": "echo", "input": n })).await;
    }
    let feed = format!("{plain}/feed?limit=1");
    let patience = wait::PATIENCE + Duration::from_millis(50) * u32::try_from(jobs).expect("it is small");
    wait::within(patience, "all have happened", async || {
        (nodes[0].api().get(&feed).await.expect(200).json()["last"] == jobs).then_some(())
    })
    .await;

    let before = paths.map(|path| receiver.requests(path).len());
    let healed = clock::now();
    paths.iter().for_each(|path| receiver.script(path, [Reply::ok()]));
    // Or a probe finds it out, up to five minutes later where it was away for long.
    for endpoint in [&plain, &ordered] {
        nodes[1].api().call(&format!("{endpoint}/ping")).await.expect(202);
    }
    for kill in 0..kills {
        let share = usize::try_from(jobs * (kill + 1) / (kills + 1)).expect("it is small");
        wait::within(patience, "a share has come", async || {
            (receiver.count("/ordered") >= before[1] + share.max(1)).then_some(())
        })
        .await;
        nodes[(kill % 2) as usize].crash().await;
    }
    let all: Vec<u64> = (1..=jobs).collect();
    for (path, before) in paths.iter().zip(before) {
        wait::within(patience, &format!("all are through at {path}"), async || {
            if receiver.count(path) < before + all.len() {
                return None;
            }
            let come: BTreeSet<u64> = numbers(&receiver.requests(path), before).into_iter().collect();
            come.iter().eq(&all).then_some(())
        })
        .await;
    }
    said(jobs, kills, healed.elapsed());
    let mut order = numbers(&receiver.requests("/ordered"), before[1]);
    order.dedup();
    assert_eq!(order, all, "one after the other, and none twice but around a kill");
}

/// For whoever makes it longer: how long it took.
#[allow(clippy::print_stdout)]
fn said(jobs: u64, kills: u64, took: Duration) {
    println!("{jobs} jobs to two endpoints and {kills} kills: through {took:?} after it healed");
}
