//! The island's name server: it lies, keeps silent, changes its mind, and remembers what it was asked.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{net::UdpSocket, task::JoinHandle};

/// Where the island's `/etc/resolv.conf` says that it is.
pub(super) const ADDRESS: &str = "127.0.0.53";

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

/// One answer to a question.
#[derive(Clone, Debug)]
pub enum Answer {
    /// These addresses; a question gets those of the family that it asks for. Good for no time at all.
    Addresses(Vec<IpAddr>),
    /// The same, good for this many seconds.
    Cached(Vec<IpAddr>, u32),
    /// The name is another's alias; nothing more is said.
    Alias(String),
    /// There is no such name.
    NoSuchName,
    /// The server has failed.
    Failure,
    /// Bytes that are no DNS message.
    Garbage,
    /// Nothing, for ever.
    Silence,
}

impl Answer {
    /// These addresses, as text.
    pub fn to(addresses: &[&str]) -> Self {
        Self::Addresses(addresses.iter().map(|text| text.parse().expect("an address")).collect())
    }
}

type Zone = Box<dyn FnMut(&str, usize) -> Answer + Send>;

struct State {
    zone: Zone,
    asked: HashMap<(String, u16), usize>,
}

/// A name server on the island, stopped when dropped.
pub struct Names {
    state: Arc<Mutex<State>>,
    answering: JoinHandle<()>,
}

impl Names {
    /// Answers by a function of the name (in lower case, without the last dot) and of how often it was asked for before.
    pub async fn start(zone: impl FnMut(&str, usize) -> Answer + Send + 'static) -> Self {
        let socket = UdpSocket::bind((ADDRESS, 53)).await.expect("port 53 is free on an island");
        let state = Arc::new(Mutex::new(State { zone: Box::new(zone), asked: HashMap::new() }));
        let answering = tokio::spawn(serve(socket, state.clone()));
        Self { state, answering }
    }

    /// How often the addresses of this name were asked for: both families together are once.
    pub fn asked(&self, name: &str) -> usize {
        let state = lock(&self.state);
        [A, AAAA]
            .map(|kind| state.asked.get(&(name.to_owned(), kind)).copied().unwrap_or(0))
            .into_iter()
            .max()
            .unwrap_or(0)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(socket: UdpSocket, state: Arc<Mutex<State>>) {
    let mut query = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut query).await {
        let Some(question) = Question::read(&query[..length]) else { continue };
        let answer = {
            let mut state = lock(&state);
            let before = state.asked.entry((question.name.clone(), question.kind)).or_default();
            let times = *before;
            *before += 1;
            (state.zone)(&question.name, times)
        };
        if let Some(reply) = reply(&query[..question.end], question.kind, &answer) {
            // Whoever asked may have given up.
            let _ = socket.send_to(&reply, from).await;
        }
    }
}

struct Question {
    name: String,
    kind: u16,
    /// Where it ends in the message.
    end: usize,
}

impl Question {
    fn read(message: &[u8]) -> Option<Self> {
        let (mut at, mut labels) = (12, Vec::new());
        loop {
            let length = usize::from(*message.get(at)?);
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(message.get(at + 1..=at + length)?).to_lowercase());
            at += length + 1;
        }
        let kind = u16::from_be_bytes([*message.get(at + 1)?, *message.get(at + 2)?]);
        (message.len() >= at + 5).then(|| Self { name: labels.join("."), kind, end: at + 5 })
    }
}

/// The message that says so; `None` for silence.
fn reply(question: &[u8], kind: u16, answer: &Answer) -> Option<Vec<u8>> {
    let mut records: Vec<(u16, u32, Vec<u8>)> = Vec::new();
    let code = match answer {
        Answer::Silence => return None,
        Answer::Garbage => return Some([&question[..2], b"\xff\xffthis is no DNS message"].concat()),
        Answer::NoSuchName => 3,
        Answer::Failure => 2,
        Answer::Alias(name) => {
            records.push((CNAME, 0, encoded(name)));
            0
        }
        Answer::Addresses(all) => {
            records.extend(of_kind(all, kind).map(|bytes| (kind, 0, bytes)));
            0
        }
        Answer::Cached(all, seconds) => {
            records.extend(of_kind(all, kind).map(|bytes| (kind, *seconds, bytes)));
            0
        }
    };
    let mut message = question.to_vec();
    // A response; recursion desired and available; one question, the answers, nothing else.
    message[2..12].copy_from_slice(&[0x81, 0x80 | code, 0, 1, 0, 0, 0, 0, 0, 0]);
    message[6..8].copy_from_slice(&u16::try_from(records.len()).expect("few records").to_be_bytes());
    for (kind, seconds, data) in records {
        // A pointer to the question's name.
        message.extend([0xc0, 12]);
        message.extend(kind.to_be_bytes());
        message.extend(1u16.to_be_bytes());
        message.extend(seconds.to_be_bytes());
        message.extend(u16::try_from(data.len()).expect("short data").to_be_bytes());
        message.extend(data);
    }
    Some(message)
}

fn of_kind(addresses: &[IpAddr], kind: u16) -> impl Iterator<Item = Vec<u8>> {
    addresses.iter().filter_map(move |address| match address {
        IpAddr::V4(v4) if kind == A => Some(v4.octets().to_vec()),
        IpAddr::V6(v6) if kind == AAAA => Some(v6.octets().to_vec()),
        _ => None,
    })
}

fn encoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("a short label"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}
