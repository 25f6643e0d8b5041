//! Behind the load balancer of `deploy/compose`, with its very configuration: nodes come and go, and no client sees it.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use ringback_tests::{Api, Peer, Ringback, binary, config::KEY, wait};
use serde_json::json;

use super::{config, two};

struct Balancer(Child);

impl Balancer {
    /// Before these two nodes; and a client of it.
    async fn start(nodes: &[Ringback; 2]) -> (Self, Api) {
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let child = Command::new("/usr/sbin/haproxy")
            .arg("-db")
            .arg("-f")
            .arg(binary::workspace().join("deploy/compose/haproxy.cfg"))
            .env("LISTEN", format!("127.0.0.1:{port}"))
            .env("NODE_1", nodes[0].address().to_string())
            .env("NODE_2", nodes[1].address().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("haproxy is installed (tests/run does)");
        let (balancer, api) = (Self(child), Api::new(&format!("http://127.0.0.1:{port}"), Some(KEY)));
        wait::until("it balances", || async {
            let answer = api.attempt(http::Method::GET, "/v1/nodes", &[], "").await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
        (balancer, api)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_node_that_stops_takes_no_request_with_it() {
    let receiver = Peer::start().await;
    let [first, mut second] = two(&config()).await;
    let nodes = [first, second];
    let (_balancer, api) = Balancer::start(&nodes).await;
    let [first, restarted] = nodes;
    second = restarted;
    let job = json!({ "task": "echo", "callback": receiver.url("/hook") });
    let mut jobs = Vec::new();
    for n in 0..60 {
        if n == 20 {
            second.terminate();
        }
        jobs.push(api.accepted(&job).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    second.ends_within(Duration::from_secs(20)).await;
    receiver.wait_for("/hook", jobs.len()).await;
    for id in &jobs {
        assert_eq!(first.api().job(id).await["status"], "succeeded");
    }
}
