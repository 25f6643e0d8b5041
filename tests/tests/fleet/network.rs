//! The network between a node and everything else is cut, and mended. As root, in a network namespace of its own.

use std::process::Command;

use ringback_tests::{Ringback, clock, wait};
use serde_json::json;
use testkit::postgres::Cluster;

use super::{LEASE, TAKEN_OVER, config, faults::name, nodes};

/// A namespace with one cable to the host.
struct Namespace {
    name: String,
    cable: String,
    host: String,
    inside: String,
}

fn ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split(' ')).output().is_ok_and(|output| output.status.success())
}

impl Namespace {
    /// `None`: this may not be done here.
    fn new() -> Option<Self> {
        let number = std::process::id() % 16_000;
        let (name, cable) = (format!("rb-fleet-{number}"), format!("rbf{number}"));
        // A /30 of 198.18.0.0/15, which RFC 2544 keeps for tests of networks.
        let base = number * 4;
        let address = |last: u32| format!("198.18.{}.{}", (base + last) >> 8, (base + last) & 255);
        let space = Self { host: address(1), inside: address(2), name, cable };
        let Self { name, cable, host, inside } = &space;
        let made = ip(&format!("netns add {name}"))
            && ip(&format!("link add {cable} type veth peer name in netns {name}"))
            && ip(&format!("addr add {host}/30 dev {cable}"))
            && ip(&format!("link set {cable} up"))
            && ip(&format!("-n {name} addr add {inside}/30 dev in"))
            && ip(&format!("-n {name} link set in up"));
        made.then_some(space)
    }

    fn cut(&self) {
        assert!(ip(&format!("link set {} down", self.cable)));
    }

    fn mend(&self) {
        assert!(ip(&format!("link set {} up", self.cable)));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&format!("link del {}", self.cable));
        ip(&format!("netns del {}", self.name));
    }
}

#[tokio::test]
async fn a_node_that_is_cut_off_gives_up_and_comes_back() {
    let Some(space) = Namespace::new() else {
        // Not by `eprintln!`, whose output a passing test keeps to itself.
        let skipped = b"SKIPPED fleet::network: no network namespace can be made here (it needs root)\n";
        let _ = std::io::Write::write_all(&mut std::io::stderr(), skipped);
        return;
    };
    let cluster = Cluster::listening(&space.host).expect("PostgreSQL");
    let near = cluster.fresh_database();
    let far = near.replace("127.0.0.1", &space.host);
    let mut other = Ringback::over(config(), &near);
    other.run(&["migrate"]).expect("ringback migrate");
    let listen = format!("\"{}:0\"", space.inside);
    let mut cut_off = Ringback::over(config().with("server.listen", &listen), &far);
    cut_off.wrap(&["ip", "netns", "exec", &space.name]);
    cut_off.launch().await;
    let job = cut_off.api().accepted(&json!({ "task": "sleep", "input": { "for": "6s" } })).await;
    cut_off.api().job_is(&job, "running").await;
    other.launch().await;
    let id = nodes(&other).await[0]["id"].clone();
    space.cut();
    let cut = clock::now();
    wait::until("it was taken over", || async {
        (other.api().job(&job).await["attempt"] == 2).then_some(())
    })
    .await;
    assert!(cut.elapsed() <= LEASE + TAKEN_OVER, "{:?}", cut.elapsed());
    wait::until("it gives up by its own clock", || async {
        cut_off.log().contains("the lease is lost").then_some(())
    })
    .await;
    space.mend();
    let mended = clock::now();
    wait::until("it joined again", || async {
        let row = nodes(&other).await.into_iter().find(|row| row["id"] == id)?;
        (row["epoch"] == 2 && row["status"] == "ready").then_some(())
    })
    .await;
    eprintln!("joined again {:?} after the network was mended", mended.elapsed());
    let ended = other.api().ended(&job).await;
    assert_eq!((&ended["status"], &ended["attempt"]), (&json!("succeeded"), &json!(2)));
    let again = cut_off.api().accepted(&json!({ "task": "echo", "input": 7 })).await;
    assert_eq!(cut_off.api().ended(&again).await["result"], 7);
    let events = "SELECT count(*) FROM events WHERE job = (SELECT id FROM jobs WHERE task = 'sleep')";
    assert_eq!(cluster.sql(name(&near), events), "1", "it ended once");
}
