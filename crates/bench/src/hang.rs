//! Receivers that take a webhook and never answer. They know how long each was waited for.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{io::AsyncReadExt, net::TcpListener, sync::oneshot};

use crate::Outcome;

/// How long a sender waits for them in these runs.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// So many of them, each at a loopback address of its own. They listen until they are dropped.
pub(crate) struct Hanging {
    callbacks: Vec<String>,
    longest: Arc<AtomicU64>,
    count: Arc<AtomicU64>,
    _stop: oneshot::Sender<()>,
}

impl Hanging {
    pub(crate) fn start(count: u16) -> Outcome<Self> {
        let mut listeners = Vec::new();
        for [high, low] in (1..=count).map(u16::to_be_bytes) {
            let listener = std::net::TcpListener::bind((Ipv4Addr::new(127, 1, high, low), 0))
                .map_err(|e| format!("{count} receivers that hang need as many sockets (ulimit -n): {e}"))?;
            listener.set_nonblocking(true)?;
            listeners.push(listener);
        }
        let addresses = listeners.iter().map(std::net::TcpListener::local_addr);
        let callback =
            |address| format!(r#"{{"url":"http://{address}/hooks","timeout":"{}s"}}"#, TIMEOUT.as_secs());
        let callbacks = addresses.map(|address| address.map(callback)).collect::<Result<_, _>>()?;
        let (longest, taken) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let notes = (longest.clone(), taken.clone());
        thread::Builder::new().name("hanging".into()).spawn(move || {
            runtime.block_on(async {
                for listener in listeners {
                    let Ok(listener) = TcpListener::from_std(listener) else { continue };
                    tokio::spawn(accept(listener, notes.clone()));
                }
                let _ = stopped.await;
            });
        })?;
        Ok(Self { callbacks, longest, count: taken, _stop: stop })
    }

    /// One of each, as jobs' callbacks.
    pub(crate) fn callbacks(&self) -> Vec<String> {
        self.callbacks.clone()
    }

    /// How many connections were held, and the longest of those that ended.
    pub(crate) fn held(&self) -> (u64, Duration) {
        (self.count.load(Relaxed), Duration::from_nanos(self.longest.load(Relaxed)))
    }
}

async fn accept(listener: TcpListener, (longest, count): (Arc<AtomicU64>, Arc<AtomicU64>)) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let (began, longest) = (Instant::now(), longest.clone());
        count.fetch_add(1, Relaxed);
        tokio::spawn(async move {
            let mut sink = [0; 4096];
            while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
            let held = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            longest.fetch_max(held, Relaxed);
        });
    }
}
