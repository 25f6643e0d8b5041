//! `ringback listen`: a receiver on this machine, which verifies what arrives and says so, a line each.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, Uri},
};
use clap::Args;
use domain::{chance::Clock, signature::Verifier, time::Timestamp};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};

use super::{
    TOLERANCE,
    diagnose::{Fault, Received, Step, judge},
    secrets,
};
use crate::{
    ambient::SystemClock,
    commands::{
        client::{Client, Connection},
        failure::{Exit, Failure},
        json_text::{compact, pretty},
        output::{self, Format, Output},
    },
};

/// A result may be inlined in an event: this is far more than any has.
const MOST_BODY: usize = 64 << 20;

/// Until connections that senders keep are closed at the end.
const GOODBYE: Duration = Duration::from_secs(1);

/// Receive webhooks on this machine, verify them, and print a line for each.
///
/// The secret is --secret, or else the tenant's own, asked from the server. What is genuine gets 204, all else 401.
#[derive(Args)]
pub(crate) struct Listen {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8203", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// What must have signed, any of several.
    #[arg(long, env = "RINGBACK_WEBHOOK_SECRET", hide_env_values = true, value_name = "whsec_…|whpk_…")]
    secret: Vec<String>,
    /// Answer what is genuine with this status instead, to see what the sender does.
    #[arg(long, default_value_t = 204, value_parser = clap::value_parser!(u16).range(200..600))]
    status: u16,
    /// End after this many; 7 if one of them was not genuine.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

struct Receiver {
    /// Empty if the secrets were given: then they stay what they are.
    server: Option<Client>,
    secrets: Mutex<Arc<Vec<Verifier>>>,
    clock: SystemClock,
    status: StatusCode,
    arrived: mpsc::UnboundedSender<Arrival>,
}

/// What is said of one webhook.
struct Arrival {
    at: Timestamp,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    fault: Option<Fault>,
}

impl Listen {
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        let (server, known) = if self.secret.is_empty() {
            let client = self.connection.client()?;
            let known = secrets::fetch(&client).await?;
            (Some(client), known)
        } else {
            let read = secrets::read(&self.secret);
            (None, read.map_err(|fault| Failure::usage(format!("--secret: {}", fault.detail)))?)
        };
        let taken = |error| {
            let text = format!(
                "cannot listen on {}: {error}. Choose another with --listen; port 0 takes a free one.",
                self.listen
            );
            Failure::failed(text)
        };
        let listener = TcpListener::bind(self.listen).await.map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        let (arrived, mut arrivals) = mpsc::unbounded_channel();
        let receiver = Receiver {
            server,
            secrets: Mutex::new(Arc::new(known)),
            clock: SystemClock::start(),
            status: StatusCode::from_u16(self.status).unwrap_or(StatusCode::NO_CONTENT),
            arrived,
        };
        let router = Router::new()
            .fallback(receive)
            .layer(DefaultBodyLimit::max(MOST_BODY))
            .with_state(Arc::new(receiver));
        let (stop, stopped) = oneshot::channel::<()>();
        let stopping = async { stopped.await.unwrap_or_default() };
        let serving =
            tokio::spawn(axum::serve(listener, router).with_graceful_shutdown(stopping).into_future());
        output::say(&format!("Listening on http://{address}/"));
        output::progress(&format!(
            "Submit with --callback http://localhost:{}/hooks; Ctrl-C ends this.",
            address.port()
        ));

        let (mut left, mut bad) = (self.count, false);
        while left != Some(0) {
            let Some(arrival) = arrivals.recv().await else { break };
            self.print(&arrival)?;
            bad |= arrival.fault.is_some();
            left = left.map(|left| left - 1);
        }
        drop(stop);
        let _ = tokio::time::timeout(GOODBYE, serving).await;
        if bad { Err(Failure::said(Exit::BadSignature)) } else { Ok(()) }
    }

    fn print(&self, arrival: &Arrival) -> Result<(), Failure> {
        match self.output.format {
            Format::Table => output::line(&arrival.line()),
            Format::Json => output::line(&pretty(&arrival.json())),
            Format::Jsonl => output::line(&compact(&arrival.json())),
        }
    }
}

async fn receive(
    State(receiver): State<Arc<Receiver>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let mut fault = receiver.judge(&headers, &body);
    // The secret may have been rotated since it was asked for.
    if fault.as_ref().is_some_and(|fault| fault.step == Step::Signature) && receiver.renew().await {
        fault = receiver.judge(&headers, &body);
    }
    let status = if fault.is_none() { receiver.status } else { StatusCode::UNAUTHORIZED };
    let at = receiver.clock.wall();
    // Nobody listens any more only when all is over.
    let _ = receiver.arrived.send(Arrival { at, uri, headers, body, fault });
    status
}

impl Receiver {
    fn judge(&self, headers: &HeaderMap, body: &[u8]) -> Option<Fault> {
        let secrets = Arc::clone(&self.secrets.lock().unwrap_or_else(PoisonError::into_inner));
        let received = Received {
            id: text(headers, "webhook-id"),
            timestamp: text(headers, "webhook-timestamp"),
            signatures: text(headers, "webhook-signature"),
            body,
        };
        let now = self.clock.wall().seconds();
        judge(received, &secrets, now, TOLERANCE).err()
    }

    async fn renew(&self) -> bool {
        let Some(server) = &self.server else { return false };
        let Ok(fresh) = secrets::fetch(server).await else { return false };
        *self.secrets.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        true
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

impl Arrival {
    /// Time, verdict, id, type, job.
    fn line(&self) -> String {
        let event: Option<serde_json::Value> = serde_json::from_slice(&self.body).ok();
        let find = |pointer: &str| {
            let found = event.as_ref().and_then(|event| event.pointer(pointer)?.as_str());
            found.unwrap_or("-").chars().filter(|c| !c.is_control()).collect::<String>()
        };
        let verdict = if self.fault.is_none() { "verified" } else { "NOT VERIFIED" };
        let id = Some(text(&self.headers, "webhook-id")).filter(|id| !id.is_empty()).unwrap_or("-");
        let mut line = format!(
            "{}  {verdict}  {id}  {}  {}  {}",
            self.at,
            find("/type"),
            find("/data/job/id"),
            self.uri.path()
        );
        if let Some(fault) = &self.fault {
            line.push_str(&format!("  {}: {}", fault.step.name(), fault.detail));
        }
        line
    }

    fn json(&self) -> String {
        let mut headers = serde_json::Map::new();
        for (name, value) in &self.headers {
            headers.insert(name.to_string(), String::from_utf8_lossy(value.as_bytes()).into());
        }
        serde_json::json!({
            "received_at": self.at,
            "verified": self.fault.is_none(),
            "failed": self.fault.as_ref().map(|fault| fault.step.name()),
            "detail": self.fault.as_ref().map(|fault| &fault.detail),
            "path": self.uri.to_string(),
            "headers": headers,
            "body": String::from_utf8_lossy(&self.body),
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(body: &'static str, fault: Option<Fault>) -> Arrival {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", "evt_1".parse().unwrap());
        let at = Timestamp::from_micros(0);
        Arrival { at, uri: Uri::from_static("/hooks?a=1"), headers, body: body.into(), fault }
    }

    #[test]
    fn a_line_for_each() {
        let fault = Fault { step: Step::Timestamp, detail: "old".into() };
        for (body, fault, expected) in [
            (
                r#"{"type":"job.succeeded","data":{"job":{"id":"job_1"}}}"#,
                None,
                "1970-01-01T00:00:00.000000Z  verified  evt_1  job.succeeded  job_1  /hooks",
            ),
            (
                "{\"type\":\"a\\u001b[2Jb\"}",
                Some(fault),
                "1970-01-01T00:00:00.000000Z  NOT VERIFIED  evt_1  a[2Jb  -  /hooks  timestamp: old",
            ),
            ("no json", None, "1970-01-01T00:00:00.000000Z  verified  evt_1  -  -  /hooks"),
        ] {
            assert_eq!(arrival(body, fault).line(), expected);
        }
    }

    #[test]
    fn json_has_the_exact_body() {
        let json: serde_json::Value = serde_json::from_str(&arrival("{ \"a\": 1.10 }", None).json()).unwrap();
        assert_eq!(json["body"], "{ \"a\": 1.10 }");
        assert_eq!(json["verified"], true);
        assert_eq!(json["headers"]["webhook-id"], "evt_1");
        assert_eq!(json["path"], "/hooks?a=1");
    }
}
