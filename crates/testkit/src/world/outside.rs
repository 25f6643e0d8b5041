//! Everybody out there: receivers and upstreams that answer when the world says so, and remember what they got.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use dispatcher::{Request as Webhook, Sent, Transport};
use domain::{
    chance::Clock,
    delivery::{Outcome, Response},
    time::Timestamp,
};
use executor::{Answer, Request as Work, Unreachable, Upstream};
use tokio::sync::oneshot;

use crate::{HandClock, SeededDice};

/// A webhook as it came in.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) url: String,
    pub(super) id: String,
    pub(super) headers: http::HeaderMap,
    pub(super) body: Vec<u8>,
    /// When it left, on both clocks.
    pub(super) now: Timestamp,
    pub(super) wall: Timestamp,
    /// How many faults there had been by then.
    pub(super) faults: usize,
    pub(super) answered: Option<Answered>,
}

/// What became of a webhook.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) now: Timestamp,
    pub(super) outcome: Outcome,
    pub(super) status: Option<u16>,
    pub(super) retry_after: Duration,
    /// How many faults there had been by then.
    pub(super) faults: usize,
}

/// A call of work as it came in.
#[derive(Clone, Debug)]
pub(super) struct Called {
    pub(super) key: String,
    pub(super) attempt: String,
    pub(super) faults: usize,
}

enum Waiting {
    Webhook { received: usize, deadline: Timestamp, reply: oneshot::Sender<Sent> },
    Work { reply: oneshot::Sender<Result<Answer, Unreachable>> },
}

#[derive(Default)]
struct Inner {
    waiting: Vec<Waiting>,
    received: Vec<Received>,
    called: Vec<Called>,
    log: Vec<String>,
    faults: usize,
}

pub(super) struct Outside {
    clock: Arc<HandClock>,
    inner: Mutex<Inner>,
}

impl Outside {
    pub(super) fn new(clock: Arc<HandClock>) -> Arc<Self> {
        Arc::new(Self { clock, inner: Mutex::default() })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count_fault(&self) {
        self.inner().faults += 1;
    }

    /// What came in since it was last asked.
    pub(super) fn news(&self) -> Vec<String> {
        std::mem::take(&mut self.inner().log)
    }

    pub(super) fn received(&self) -> Vec<Received> {
        self.inner().received.clone()
    }

    pub(super) fn called(&self) -> Vec<Called> {
        self.inner().called.clone()
    }

    /// How many wait for an answer.
    pub(super) fn waiting(&self) -> usize {
        let mut inner = self.inner();
        // Who hung up waits no more.
        inner.waiting.retain(|waiting| match waiting {
            Waiting::Webhook { reply, .. } => !reply.is_closed(),
            Waiting::Work { reply } => !reply.is_closed(),
        });
        inner.waiting.len()
    }

    /// Answers one of them, in a friendly way or as the dice fall.
    pub(super) fn answer(&self, which: usize, dice: &SeededDice, friendly: bool) -> String {
        let mut inner = self.inner();
        match inner.waiting.remove(which) {
            Waiting::Webhook { received, reply, .. } => {
                let (sent, retry_after) = if friendly { (took(), 0) } else { webhook_answer(dice) };
                let what = format!("receiver answers {} with {:?} {:?}", received, sent.outcome, sent.status);
                self.note(&mut inner, received, &sent, retry_after);
                let _ = reply.send(sent);
                what
            }
            Waiting::Work { reply } => {
                let answer = if friendly { Ok(worked("null".into())) } else { work_answer(dice) };
                let what = match &answer {
                    Ok(answer) => format!("upstream answers {}", answer.status),
                    Err(error) => format!("upstream: {error}"),
                };
                let _ = reply.send(answer);
                what
            }
        }
    }

    /// Ends what is out for longer than it may be, as the real transport would.
    pub(super) fn time_out(&self) {
        let now = self.clock.now();
        let mut inner = self.inner();
        let (over, waiting) = std::mem::take(&mut inner.waiting)
            .into_iter()
            .partition(|waiting| matches!(waiting, Waiting::Webhook { deadline, .. } if *deadline <= now));
        inner.waiting = waiting;
        for waiting in over {
            if let Waiting::Webhook { received, reply, .. } = waiting {
                let sent = Sent::failed(Outcome::Timeout, "It took too long.");
                self.note(&mut inner, received, &sent, 0);
                let _ = reply.send(sent);
            }
        }
    }

    fn note(&self, inner: &mut Inner, received: usize, sent: &Sent, retry_after: u64) {
        let faults = inner.faults;
        inner.received[received].answered = Some(Answered {
            now: self.clock.now(),
            outcome: sent.outcome,
            status: sent.status,
            retry_after: Duration::from_secs(retry_after),
            faults,
        });
    }
}

fn took() -> Sent {
    let mut sent = Sent::answered(204, Response::new(Vec::new(), b"", false));
    sent.remote_address = Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)));
    // Quick, so that claims run ahead.
    sent.timings.total = Some(1.0);
    sent
}

fn webhook_answer(dice: &SeededDice) -> (Sent, u64) {
    let status = |status, body: &[u8]| (Sent::answered(status, Response::new(Vec::new(), body, false)), 0);
    match dice.below(20) {
        0..=8 => (took(), 0),
        9 => status(200, &[b'x'; 4_000]),
        10 | 11 => status(500, b"no"),
        12 => status(302, b""),
        13 | 14 => {
            let seconds = 1 + dice.below(90);
            let headers = vec![("retry-after".to_owned(), seconds.to_string())];
            (Sent::answered(503, Response::new(headers, b"", false)), seconds)
        }
        15 => status(410, b""),
        16 => (Sent::failed(Outcome::Connect, "Nobody is there."), 0),
        17 => (Sent::failed(Outcome::Dns, "There is no such name."), 0),
        18 => (Sent::failed(Outcome::LocalResource, "There are no sockets left."), 0),
        _ => (Sent::failed(Outcome::Reset, "It broke."), 0),
    }
}

fn worked(body: String) -> Answer {
    Answer {
        status: 200,
        content_type: Some("application/json".into()),
        body: Some(body.into()),
        ..Answer::default()
    }
}

fn work_answer(dice: &SeededDice) -> Result<Answer, Unreachable> {
    let status = |status: u16| Answer { status, body: Some("{}".into()), ..Answer::default() };
    Ok(match dice.below(12) {
        0..=4 => worked(r#"{"price": 1.10}"#.into()),
        5 => worked(format!("\"{}\"", "x".repeat(2_000 + dice.below(2_000) as usize))),
        6 => Answer { content_type: Some("text/plain".into()), ..worked("plain".into()) },
        7 => status(500),
        8 => Answer { retry_after: Some(dice.below(50).to_string().into()), ..status(503) },
        9 => status(422),
        10 => Answer { location: Some("/status/1".into()), ..status(202) },
        _ => return Err(Unreachable("nobody is there".into())),
    })
}

fn header(headers: &http::HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

#[async_trait]
impl Transport for Outside {
    async fn send(&self, request: Webhook) -> Sent {
        let (reply, answer) = oneshot::channel();
        {
            let mut inner = self.inner();
            let (id, received) = (header(&request.headers, "webhook-id"), inner.received.len());
            let news = format!(
                "receiver {received} gets {id} at {} with {}",
                request.uri,
                header(&request.headers, "webhook-signature")
            );
            inner.log.push(news);
            let faults = inner.faults;
            inner.received.push(Received {
                url: request.uri.to_string(),
                id,
                headers: request.headers,
                body: request.body.to_vec(),
                now: self.clock.now(),
                wall: self.clock.wall(),
                faults,
                answered: None,
            });
            let deadline = self.clock.now() + request.timeout;
            inner.waiting.push(Waiting::Webhook { received, deadline, reply });
        }
        answer.await.unwrap_or_else(|_| Sent::failed(Outcome::Reset, "The world is over."))
    }
}

#[async_trait]
impl Upstream for Outside {
    async fn call(&self, request: Work) -> Result<Answer, Unreachable> {
        let (reply, answer) = oneshot::channel();
        {
            let mut inner = self.inner();
            let of = |name: &str| {
                let found = request.headers.iter().find(|(given, _)| *given == name);
                found.map(|(_, value)| value.clone()).unwrap_or_default()
            };
            let (key, attempt, faults) = (of("idempotency-key"), of("ringback-attempt"), inner.faults);
            inner.log.push(format!("upstream gets {:?} {key} #{attempt} {}", request.method, request.url));
            if request.method == executor::Method::Post {
                inner.called.push(Called { key, attempt, faults });
            }
            inner.waiting.push(Waiting::Work { reply });
        }
        answer.await.unwrap_or_else(|_| Err(Unreachable("the world is over".into())))
    }
}
