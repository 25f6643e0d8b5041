//! The loader: raw hyper client connections on a thread of its own, kept alive, one request at a time on each.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

use crate::{Outcome, ledger::Ledger, service::KEY};

/// What stands before a job's number in its input.
pub(crate) const MARK: &str = r#""bench":"n"#;

/// The size of a submission, in bytes.
const BODY: usize = 460;

/// No answer takes longer without the run being worthless.
const PATIENCE: Duration = Duration::from_secs(30);

/// How submissions follow each other.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// Each connection sends the next one when the last is answered.
    Closed,
    /// So many a second, whatever the answers do, at intervals that vary by half so that no timer keeps step.
    Rate(f64),
}

/// Where, what and how much to submit.
#[derive(Clone)]
pub(crate) struct Load {
    /// Of the nodes of one service: connections go to them in turns.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) key: String,
    pub(crate) task: &'static str,
    /// As JSON, in turns; none: nobody is called back.
    pub(crate) callbacks: Vec<String>,
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
    pub(crate) lasts: Duration,
}

impl Load {
    /// Submits until its time is over or the ledger is full, and returns when the last is answered.
    pub(crate) fn run(&self, ledger: &Arc<Ledger>) -> Outcome<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let most = self.lasts + PATIENCE;
        runtime.block_on(async {
            match timeout(most, self.submit_all(ledger)).await {
                Ok(done) => done,
                Err(_) => Err(format!("submissions were not answered within {PATIENCE:?}").into()),
            }
        })
    }

    async fn submit_all(&self, ledger: &Arc<Ledger>) -> Outcome<()> {
        let form = Arc::new(Form::new(self)?);
        let until = Instant::now() + self.lasts;
        let mut clients = JoinSet::new();
        for (place, address) in (0..self.connections).zip(self.addresses.iter().cycle()) {
            let client = Client::connect(*address).await?;
            let (form, ledger) = (Arc::clone(&form), Arc::clone(ledger));
            let gap = match self.pace {
                Pace::Closed => None,
                Pace::Rate(rate) => Some(Duration::from_secs_f64(self.connections as f64 / rate)),
            };
            clients.spawn(submit_until(client, form, ledger, until, gap, place as u64));
        }
        while let Some(client) = clients.join_next().await {
            client??;
        }
        Ok(())
    }
}

async fn submit_until(
    mut client: Client,
    form: Arc<Form>,
    ledger: Arc<Ledger>,
    until: Instant,
    gap: Option<Duration>,
    place: u64,
) -> Outcome<()> {
    let mut due = Instant::now();
    let mut roll = place;
    while Instant::now() < until {
        if let Some(gap) = gap {
            roll = scramble(roll);
            due += gap.mul_f64(0.5 + roll as f64 / u64::MAX as f64);
            tokio::time::sleep_until(due.into()).await;
        }
        let Some(n) = ledger.next() else { break };
        let request = form.fill(n)?;
        ledger.sent(n);
        let answer = client.send(request).await?;
        if answer.0 == 202 {
            ledger.accepted(n);
        } else if ledger.refused.fetch_add(1, Relaxed) == 0 && answer.0 != 503 {
            return Err(
                format!("a submission got {}: {}", answer.0, String::from_utf8_lossy(&answer.1)).into()
            );
        } else {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    Ok(())
}

/// One connection, kept alive.
pub(crate) struct Client {
    sender: http1::SendRequest<Full<Bytes>>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// POSTs as the operator, and expects 201.
    async fn make(&mut self, address: SocketAddr, path: &str, body: &str) -> Outcome<serde_json::Value> {
        let request = Request::post(path)
            .header("host", address.to_string())
            .header("authorization", format!("Bearer {KEY}"))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_owned())))?;
        match self.send(request).await? {
            (201, made) => Ok(serde_json::from_slice(&made)?),
            (status, why) => {
                Err(format!("{path} answered {status}: {}", String::from_utf8_lossy(&why)).into())
            }
        }
    }

    /// The status and body of the answer.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Outcome<(u16, Bytes)> {
        self.sender.ready().await?;
        let answer: Response<Incoming> = self.sender.send_request(request).await?;
        Ok((answer.status().as_u16(), answer.into_body().collect().await?.to_bytes()))
    }
}

/// A tenant of its own at a service, by its key.
pub(crate) fn tenant_key(address: SocketAddr) -> Outcome<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = Client::connect(address).await?;
        let tenant = client.make(address, "/v1/tenants", r#"{"name":"flood"}"#).await?;
        let tenant = tenant["id"].as_str().ok_or("a tenant without an id")?;
        let key = format!(r#"{{"role":"submitter","name":"flood","tenant":"{tenant}"}}"#);
        let key = client.make(address, "/v1/keys", &key).await?;
        Ok(key["key"].as_str().ok_or("a key that is not shown")?.to_owned())
    })
}

/// A submission with a gap for its number.
struct Form {
    head: String,
    /// One for each callback.
    tails: Vec<String>,
    host: String,
    bearer: String,
    /// Keys of one run never meet those of another.
    salt: u64,
}

impl Form {
    fn new(load: &Load) -> Outcome<Self> {
        let head = format!(r#"{{"task":"{}","input":{{{MARK}"#, load.task);
        let order = r#"","order":"A-1042","customer":{"name":"Ada Lovelace","email":"ada@example.com"},"lines":[{"sku":"tea-250","quantity":2,"price":8.50},{"sku":"pot-1","quantity":1,"price":31.90}],"note":""#;
        let ends = match &*load.callbacks {
            [] => vec![r#""}}"#.to_owned()],
            some => some.iter().map(|callback| format!(r#""}},"callback":{callback}}}"#)).collect(),
        };
        let tail = |end: &String| {
            let note = BODY.saturating_sub(head.len() + 8 + order.len() + end.len());
            format!("{order}{}{end}", "leave it at the door ".chars().cycle().take(note).collect::<String>())
        };
        let tails = ends.iter().map(tail).collect();
        let mut salt = [0; 8];
        getrandom::fill(&mut salt)?;
        let host = load.addresses.first().map(SocketAddr::to_string).unwrap_or_default();
        let bearer = format!("Bearer {}", load.key);
        Ok(Self { head, tails, host, bearer, salt: u64::from_ne_bytes(salt) })
    }

    fn fill(&self, n: usize) -> Outcome<Request<Full<Bytes>>> {
        let body = format!("{}{n:08}{}", self.head, self.tails[n % self.tails.len()]);
        let random = scramble(self.salt ^ n as u64);
        let key = format!("\"{random:016x}-{:016x}\"", scramble(random));
        let request = Request::post("/v1/jobs")
            .header("host", &self.host)
            .header("authorization", &self.bearer)
            .header("content-type", "application/json")
            .header("idempotency-key", key);
        Ok(request.body(Full::new(Bytes::from(body)))?)
    }
}

/// SplitMix64's finalizer: neighbours become strangers, as keys that clients draw at random are.
fn scramble(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(callback: Option<&str>) -> Load {
        Load {
            addresses: vec![SocketAddr::from(([127, 0, 0, 1], 8202))],
            key: "k".into(),
            task: "echo",
            callbacks: callback.iter().map(|url| format!("\"{url}\"")).collect(),
            connections: 1,
            pace: Pace::Closed,
            lasts: Duration::ZERO,
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_submission_is_460_bytes_of_json_under_a_key_of_its_own() {
        for callback in [Some("http://127.0.0.1:40000/hooks/orders"), None] {
            let form = Form::new(&load(callback)).unwrap();
            let [one, two] = [form.fill(42).unwrap(), form.fill(43).unwrap()];
            assert_ne!(one.headers()["idempotency-key"], two.headers()["idempotency-key"]);
            let body = one.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body.len(), BODY);
            let job: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(job["input"]["bench"], "n00000042");
            assert_eq!(job["callback"].as_str(), callback);
        }
    }
}
