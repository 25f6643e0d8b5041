//! The transport against receivers on loopback that misbehave byte by byte.

mod addresses;
mod answers;
mod connections;
mod names;
mod server;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use domain::{chance::Clock, egress::EgressPolicy, time::Timestamp};
use http::{HeaderMap, HeaderValue};

use super::{HttpTransport, Request, Sent, Transport, TransportSettings};

/// The runtime's clock, which runs.
struct Running(tokio::time::Instant);

impl Clock for Running {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_767_225_600_000_000) + self.0.elapsed()
    }

    fn wall(&self) -> Timestamp {
        self.now()
    }
}

fn settings() -> TransportSettings {
    TransportSettings {
        egress: EgressPolicy { allow: vec!["127.0.0.1/32".parse().unwrap()], own: vec![] },
        allow_hosts: vec!["localhost".parse().unwrap()],
        connect_timeout: Duration::from_secs(5),
        ca_file: None,
        max_lookups: 16,
        idle_per_host: 8,
        clock: Arc::new(Running(tokio::time::Instant::now())),
    }
}

fn transport() -> Arc<HttpTransport> {
    HttpTransport::new(settings()).unwrap()
}

fn to(uri: &str) -> Request {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("webhook-id", HeaderValue::from_static("evt_1"));
    Request {
        uri: uri.parse().unwrap(),
        headers,
        body: Bytes::from_static(b"{\"n\":1.10}"),
        timeout: Duration::from_secs(10),
    }
}

async fn send(uri: &str) -> Sent {
    transport().send(to(uri)).await
}
