//! One request as a peer got it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::Value;

/// A request with everything that came over the wire.
#[derive(Clone, Debug)]
pub struct Request {
    /// When its last byte had been read, on the monotonic clock.
    pub at: Instant,
    /// The same moment since the Unix epoch.
    pub wall: Duration,
    /// Which connection of this peer it came on, counted from 1.
    pub connection: usize,
    /// `POST`, …
    pub method: String,
    /// The path without its query.
    pub path: String,
    /// The query without its `?`, if there was one.
    pub query: Option<String>,
    /// Names as sent, in order, repeated ones repeated.
    pub headers: Vec<(String, String)>,
    /// The body, dechunked.
    pub body: Bytes,
}

impl Request {
    /// The value of a header that must come exactly once, whatever the case of its name.
    pub fn header(&self, name: &str) -> &str {
        let all = self.header_all(name);
        assert_eq!(all.len(), 1, "header {name}: {all:?} in {:?}", self.headers);
        all[0]
    }

    /// Every value of a header.
    pub fn header_all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The headers by lower-case name; a repeated one is a panic.
    pub fn header_map(&self) -> HashMap<String, String> {
        let mut map = HashMap::new();
        for (name, value) in &self.headers {
            let twice = map.insert(name.to_ascii_lowercase(), value.clone());
            assert!(twice.is_none(), "header {name} came twice");
        }
        map
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }

    /// `webhook-id`.
    pub fn webhook_id(&self) -> &str {
        self.header("webhook-id")
    }
}
