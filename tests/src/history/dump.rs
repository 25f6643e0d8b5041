//! What the API says of every job and delivery, as far as the checker looks at it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Api;

/// All jobs and deliveries once everything is quiet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Dump {
    /// Every job.
    pub jobs: Vec<DumpJob>,
    /// Every delivery.
    pub deliveries: Vec<DumpDelivery>,
}

/// A job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DumpJob {
    /// Its id.
    pub id: String,
    /// Its status.
    pub status: String,
    /// How often it was started.
    pub attempt: u32,
    /// Its result.
    pub result: Value,
    /// When it ended.
    pub finished_at: Option<String>,
    /// The input's text; empty where nobody asked for it.
    pub input: String,
}

/// A delivery.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DumpDelivery {
    /// Its id.
    pub id: String,
    /// Its job.
    pub job: String,
    /// Its event.
    pub event: String,
    /// The event's type.
    pub event_type: String,
    /// Its status.
    pub status: String,
    /// Why it failed.
    pub reason: Option<String>,
    /// Its attempts.
    pub attempts: Vec<DumpAttempt>,
    /// The exact body.
    pub body: String,
}

/// An attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DumpAttempt {
    /// Counted from 1.
    pub number: u32,
    /// How it ended; `None` while in flight.
    pub outcome: Option<String>,
    /// The answer's status.
    pub status: Option<u16>,
    /// Microseconds since the epoch.
    pub started_at: i64,
    /// Microseconds since the epoch.
    pub ended_at: Option<i64>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn micros(value: &Value) -> Option<i64> {
    Some(value.as_str()?.parse::<domain::time::Timestamp>().ok()?.micros())
}

impl DumpJob {
    /// From the job as the API shows it, without its input.
    pub fn of(job: &Value) -> Self {
        Self {
            id: text(&job["id"]),
            status: text(&job["status"]),
            attempt: job["attempt"].as_u64().and_then(|n| n.try_into().ok()).unwrap_or_default(),
            result: job["result"].clone(),
            finished_at: job["finished_at"].as_str().map(str::to_owned),
            input: String::new(),
        }
    }
}

impl DumpDelivery {
    /// From the delivery as the API shows it.
    pub fn of(delivery: &Value) -> Self {
        let attempt = |attempt: &Value| DumpAttempt {
            number: attempt["number"].as_u64().and_then(|n| n.try_into().ok()).unwrap_or_default(),
            outcome: attempt["outcome"].as_str().map(str::to_owned),
            status: attempt["status"].as_u64().and_then(|n| n.try_into().ok()),
            started_at: micros(&attempt["started_at"]).unwrap_or_default(),
            ended_at: micros(&attempt["ended_at"]),
        };
        Self {
            id: text(&delivery["id"]),
            job: text(&delivery["job"]),
            event: text(&delivery["event"]),
            event_type: text(&delivery["event_type"]),
            status: text(&delivery["status"]),
            reason: delivery["reason"].as_str().map(str::to_owned),
            attempts: delivery["attempts"].as_array().into_iter().flatten().map(attempt).collect(),
            body: text(&delivery["body"]),
        }
    }
}

impl Dump {
    /// Reads everything through the API: every page of both lists, then each job's input and each delivery.
    pub async fn read(api: &Api) -> Self {
        let mut dump = Self::default();
        for job in walk(api, "/v1/jobs?limit=100").await {
            let mut job = DumpJob::of(&job);
            job.input = api.get(&format!("/v1/jobs/{}/input", job.id)).await.expect(200).text().to_owned();
            dump.jobs.push(job);
        }
        for delivery in walk(api, "/v1/deliveries?limit=100").await {
            dump.deliveries.push(DumpDelivery::of(&api.delivery(&text(&delivery["id"])).await));
        }
        dump
    }
}

async fn walk(api: &Api, path: &str) -> Vec<Value> {
    let (mut items, mut next) = (Vec::new(), path.to_owned());
    loop {
        let mut page = api.get(&next).await.expect(200).json();
        if let Some(Value::Array(found)) = page.get_mut("items").map(Value::take) {
            items.extend(found);
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => next = format!("{path}&cursor={cursor}"),
            None => return items,
        }
    }
}
