//! The world around a server under load: clients that submit and repeat, somebody who polls, an upstream and a receiver
//! that misbehave as a seed says, all writing to one [`Log`].

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use testkit::SeededDice;

use crate::{
    Api, Peer, Reply, Request, clock,
    history::{DumpDelivery, DumpJob, Event, Log},
    wait,
};

/// How many counted attempts the callbacks' policy allows.
pub const ATTEMPTS: usize = 6;

/// A seeded choice that does not depend on the order in which it is asked for.
pub fn roll(seed: u64, of: &str) -> u64 {
    let mut mixed = seed;
    for byte in of.bytes() {
        mixed = (mixed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 32
}

/// Works, fails, resets and dawdles as the seed says. Its results name the attempt they were made in.
pub async fn upstream(seed: u64, log: &Log) -> Peer {
    let (peer, log) = (Peer::start().await, log.clone());
    peer.answer("/work", move |request| {
        let (job, attempt) =
            (request.header("ringback-job-id").to_owned(), request.header("ringback-attempt").to_owned());
        let (reply, answer) = match roll(seed, &format!("work {job} {attempt}")) % 100 {
            0..70 => (
                Reply::json(&json!({ "input": request.json(), "attempt": number_of(&attempt) }).to_string()),
                Some(200),
            ),
            70..80 => (Reply::status(500), Some(500)),
            80..85 => (Reply::reset(), None),
            85..88 => (Reply::hang(), None),
            88..90 => (Reply::status(400), Some(400)),
            _ => {
                let body = json!({ "input": request.json(), "attempt": number_of(&attempt) }).to_string();
                (Reply::json(&body).after(Duration::from_millis(150)), Some(200))
            }
        };
        log.add(Event::Work { job, attempt: number_of(&attempt), answer });
        reply
    });
    peer
}

fn number_of(text: &str) -> u32 {
    text.parse().expect("an attempt is a number")
}

/// Takes, refuses, resets and dawdles as the seed and the count of requests for the event say.
pub async fn receiver(seed: u64, log: &Log) -> Peer {
    let (peer, log) = (Peer::start().await, log.clone());
    let counts: Mutex<HashMap<String, usize>> = Mutex::default();
    peer.answer("*", move |request: &Request| {
        let event = request.webhook_id().to_owned();
        let count = {
            let mut counts = counts.lock().expect("nobody panics with it");
            let count = counts.entry(event.clone()).or_default();
            *count += 1;
            *count
        };
        let (reply, answer) = match roll(seed, &format!("hook {event} {count}")) % 100 {
            0..60 => (Reply::ok(), Some(200)),
            60..75 => (Reply::status(503), Some(503)),
            75..82 => (Reply::reset(), None),
            82..84 => (Reply::hang(), None),
            84..86 => (Reply::status(410), Some(410)),
            _ => (Reply::status(204).after(Duration::from_millis(120)), Some(204)),
        };
        let wall = i64::try_from(request.wall.as_micros()).unwrap_or_default();
        let (headers, body) = (request.headers.clone(), request.text().to_owned());
        log.add(Event::Webhook { headers, body, wall, answer });
        reply
    });
    peer
}

/// Clients that submit, repeat what was not answered, and poll; over all lives of the server.
pub struct Load {
    servers: Arc<Mutex<Vec<Api>>>,
    stop: Arc<AtomicBool>,
    known: Arc<Mutex<Vec<String>>>,
    clients: tokio::task::JoinSet<()>,
    count: Arc<AtomicU64>,
}

impl Load {
    /// Begins to submit to these servers, which share their storage.
    pub fn start(seed: u64, servers: &[Api], receiver: &Peer, log: &Log) -> Self {
        let mut load = Self {
            servers: Arc::new(Mutex::new(servers.to_vec())),
            stop: Arc::default(),
            known: Arc::default(),
            clients: tokio::task::JoinSet::new(),
            count: Arc::default(),
        };
        for client in 0..6 {
            let client = Client {
                seed: roll(seed, &format!("client {client}")),
                name: format!("c{client}"),
                servers: load.servers.clone(),
                stop: load.stop.clone(),
                known: load.known.clone(),
                count: load.count.clone(),
                hook: receiver.url(""),
                log: log.clone(),
            };
            load.clients.spawn(client.submit());
        }
        let (servers, stop, known, log) =
            (load.servers.clone(), load.stop.clone(), load.known.clone(), log.clone());
        load.clients.spawn(async move {
            let dice = SeededDice::new(roll(seed, "observer"));
            while !stop.load(Ordering::Relaxed) {
                let api = one_of(&servers, dice.next());
                observe(&api, &known, &dice, &log).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        load
    }

    /// These are the servers now.
    pub fn serve(&self, servers: &[Api]) {
        *self.servers.lock().expect("nobody panics with it") = servers.to_vec();
    }

    /// Lets every client finish the submission it is at; how many submissions there were.
    pub async fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client.expect("a client does not panic");
        }
        self.count.load(Ordering::Relaxed)
    }
}

struct Client {
    seed: u64,
    name: String,
    servers: Arc<Mutex<Vec<Api>>>,
    stop: Arc<AtomicBool>,
    known: Arc<Mutex<Vec<String>>>,
    count: Arc<AtomicU64>,
    hook: String,
    log: Log,
}

impl Client {
    async fn submit(self) {
        let dice = SeededDice::new(self.seed);
        for n in 0_u64.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let key = format!("{}-{n}", self.name);
            let bits = dice.next();
            let input = json!({ "key": key, "pad": "x".repeat(pad(bits)) }).to_string();
            let task = if bits % 10 < 6 { "work" } else { "echo" };
            let callback = bits % 10 != 9;
            let told = if callback { format!(r#","callback":{}"#, self.callback()) } else { String::new() };
            let body = format!(r#"{{"task":"{task}","input":{input}{told}}}"#);
            self.until_answered(&key, &input, callback, &body, bits.is_multiple_of(7)).await;
            tokio::time::sleep(Duration::from_millis(bits % 23)).await;
        }
    }

    fn callback(&self) -> Value {
        // A delivery may be held up by many a dead node; none is to be given up for its age.
        let retry = json!({
            "max_elapsed": "10m", "initial": "20ms", "multiplier": 2, "max_interval": "200ms", "max_attempts": ATTEMPTS, "jitter": 0.1,
        });
        json!({ "url": format!("{}/{}", self.hook, self.name), "retry": retry })
    }

    /// Sends until an answer comes; some give up after the first try, as clients do.
    async fn until_answered(&self, key: &str, input: &str, callback: bool, body: &str, gives_up: bool) {
        let deadline = clock::now() + Duration::from_secs(60);
        for turn in roll(self.seed, key).. {
            let api = one_of(&self.servers, turn);
            let headers = [("content-type", "application/json"), ("idempotency-key", key)];
            self.count.fetch_add(1, Ordering::Relaxed);
            self.log.add(Event::Submitting { key: key.into(), input: input.into(), callback });
            let answer = api.attempt(http::Method::POST, "/v1/jobs", &headers, body.to_owned()).await;
            let Ok(answer) = answer else {
                self.log.add(Event::AnswerLost { key: key.into() });
                if gives_up {
                    return;
                }
                assert!(clock::now() < deadline, "{key} is not answered");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let job = serde_json::from_slice::<Value>(&answer.body)
                .ok()
                .and_then(|job| Some(job["id"].as_str()?.to_owned()));
            self.log.add(Event::Answered { key: key.into(), status: answer.status, job: job.clone() });
            match answer.status {
                200 | 202 => {
                    self.known.lock().expect("nobody panics with it").extend(job);
                    return;
                }
                503 => tokio::time::sleep(Duration::from_millis(50)).await,
                other => panic!("{key}: {other} {}", String::from_utf8_lossy(&answer.body)),
            }
        }
    }
}

/// One of them; the next turn is another's.
fn one_of(servers: &Mutex<Vec<Api>>, turn: u64) -> Api {
    let servers = servers.lock().expect("nobody panics with it");
    let place = usize::try_from(turn % servers.len() as u64).unwrap_or_default();
    servers[place].clone()
}

/// Mostly small, sometimes past what is stored inline.
fn pad(bits: u64) -> usize {
    usize::try_from(bits % 97 * (bits % 61)).unwrap_or_default()
}

/// Polls one of the jobs known so far, mostly a recent one, and its deliveries.
async fn observe(api: &Api, known: &Mutex<Vec<String>>, dice: &SeededDice, log: &Log) {
    let id = {
        let known = known.lock().expect("nobody panics with it");
        let recent = known.len().saturating_sub(64);
        (!known.is_empty()).then(|| dice.pick(&known[recent..]).clone())
    };
    let Some(id) = id else { return };
    let json = async |path: &str| {
        let answer = api.attempt(http::Method::GET, path, &[], "").await.ok()?;
        (answer.status == 200).then(|| answer.json())
    };
    if let Some(job) = json(&format!("/v1/jobs/{id}")).await {
        log.add(Event::SeenJob { job: DumpJob::of(&job) });
    }
    let Some(list) = json(&format!("/v1/deliveries?job={id}")).await else { return };
    for item in list["items"].as_array().into_iter().flatten() {
        if let Some(delivery) =
            json(&format!("/v1/deliveries/{}", item["id"].as_str().unwrap_or_default())).await
        {
            log.add(Event::SeenDelivery {
                delivery: DumpDelivery { body: String::new(), ..DumpDelivery::of(&delivery) },
            });
        }
    }
}

/// Waits until no job and no delivery has anything left to do.
pub async fn quiet(api: &Api) {
    wait::within(Duration::from_secs(120), "all is quiet", || async {
        for path in ["/v1/jobs?status=queued", "/v1/jobs?status=running", "/v1/deliveries?status=pending"] {
            let page = api.get(&format!("{path}&limit=1")).await.expect(200).json();
            if page["items"].as_array().is_none_or(|items| !items.is_empty()) {
                return None;
            }
        }
        Some(())
    })
    .await;
}
