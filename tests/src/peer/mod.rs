//! Whoever Ringback calls: a receiver of webhooks, or the upstream of an `http` task.
//!
//! A peer answers by script, per path: a list of [`Reply`]s whose last one repeats, or a function of the request. It
//! reads and writes HTTP/1.1 by hand over TCP, because it must be able to misbehave in ways a library forbids, and
//! because a record must hold the bytes as they came.

mod head;
mod record;
mod reply;
mod serve;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub use record::Request;
pub use reply::Reply;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::wait;

type Answers = Box<dyn FnMut(&Request) -> Reply + Send>;

#[derive(Default)]
struct State {
    answers: HashMap<String, Answers>,
    requests: Vec<Request>,
    /// The address that was dialled, for each connection.
    dialled: Vec<IpAddr>,
}

struct Shared {
    state: Mutex<State>,
    /// How many requests were read; bumped after each.
    seen: watch::Sender<usize>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a request and says how to answer it. A path nobody scripted answers 200.
    fn received(&self, request: Request) -> Reply {
        let mut state = self.state();
        let reply = match state.answers.get_mut(&request.path).map(|answer| answer(&request)) {
            Some(reply) => reply,
            None => match state.answers.get_mut("*") {
                Some(answer) => answer(&request),
                None => Reply::ok(),
            },
        };
        state.requests.push(request);
        let count = state.requests.len();
        drop(state);
        self.seen.send_replace(count);
        reply
    }
}

/// A server on a loopback port of its own, stopped when dropped.
pub struct Peer {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Peer {
    /// Listens on a free port.
    pub async fn start() -> Self {
        Self::at(([127, 0, 0, 1], 0).into()).await
    }

    /// Listens at this address. At `[::]` it hears whoever dials any address of its network, IPv4 too.
    pub async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared { state: Mutex::default(), seen: watch::Sender::new(0) });
        let accepting = tokio::spawn(serve::accept(listener, shared.clone()));
        Self { address, shared, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path (`/…`) here.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers `path` with these replies in turn, and with the last one from then on.
    pub fn script(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        let mut replies = replies.into_iter().peekable().collect::<std::collections::VecDeque<_>>();
        assert!(!replies.is_empty(), "a script has at least one reply");
        self.answer(path, move |_| match replies.len() {
            1 => replies[0].clone(),
            _ => replies.pop_front().unwrap_or_else(Reply::ok),
        });
    }

    /// Answers `path` (without query; `*` for any other) by a function of the request.
    pub fn answer(&self, path: &str, answer: impl FnMut(&Request) -> Reply + Send + 'static) {
        self.shared.state().answers.insert(path.to_owned(), Box::new(answer));
    }

    /// Every request so far, in order of arrival.
    pub fn all(&self) -> Vec<Request> {
        self.shared.state().requests.clone()
    }

    /// The requests for this path so far.
    pub fn requests(&self, path: &str) -> Vec<Request> {
        self.shared.state().requests.iter().filter(|request| request.path == path).cloned().collect()
    }

    /// How many there are of them.
    pub fn count(&self, path: &str) -> usize {
        self.shared.state().requests.iter().filter(|request| request.path == path).count()
    }

    /// How many connections were ever accepted.
    pub fn connections(&self) -> usize {
        self.shared.state().dialled.len()
    }

    /// Which of our addresses was dialled, for each connection in turn.
    pub fn dialled(&self) -> Vec<IpAddr> {
        self.shared.state().dialled.clone()
    }

    /// Waits until at least `count` requests for `path` have arrived; gives them all.
    pub async fn wait_for(&self, path: &str, count: usize) -> Vec<Request> {
        let mut seen = self.shared.seen.subscribe();
        let deadline = tokio::time::Instant::now() + wait::PATIENCE;
        loop {
            seen.borrow_and_update();
            // Copied once all are there: a count is cheap, ten thousand requests are not.
            let come = self.shared.state().requests.iter().filter(|request| request.path == path).count();
            if come >= count {
                return self.requests(path);
            }
            let changed = tokio::time::timeout_at(deadline, seen.changed()).await;
            assert!(
                changed.is_ok(),
                "{come} of {count} requests for {path} came within {:?}",
                wait::PATIENCE
            );
        }
    }

    /// The first request for `path`.
    pub async fn first(&self, path: &str) -> Request {
        self.wait_for(path, 1).await.swap_remove(0)
    }

    /// Holds for `quiet`, then asserts that exactly `count` requests for `path` have come: that something did *not*
    /// happen can only be shown by waiting.
    pub async fn stays_at(&self, path: &str, count: usize, quiet: Duration) {
        tokio::time::sleep(quiet).await;
        assert_eq!(self.requests(path).len(), count, "requests for {path}");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
