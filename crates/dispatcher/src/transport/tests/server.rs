//! A receiver that does to each connection what its script says, and counts.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Counts connections, and keeps every request that came.
pub(super) struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

/// One accepted connection.
pub(super) struct Connection {
    pub(super) tcp: TcpStream,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Listens; each connection is a task that runs `script`.
    pub(super) async fn start<F>(script: impl Fn(Connection) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(vec![])));
        let server = Self { port, connections: connections.clone(), requests: requests.clone() };
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(script(Connection { tcp, requests: requests.clone() }));
            }
        });
        server
    }

    /// Reads one request of each connection and answers it with these bytes, then closes.
    pub(super) async fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes: Arc<[u8]> = bytes.into().into();
        Self::start(move |mut connection| {
            let bytes = bytes.clone();
            async move {
                connection.request().await;
                connection.write(&bytes).await;
            }
        })
        .await
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hooks?a=b", self.port)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Connection {
    /// Reads one request, its body included. False at the end of the connection.
    pub(super) async fn request(&mut self) -> bool {
        let mut bytes = vec![];
        while !bytes.ends_with(b"{\"n\":1.10}") {
            let mut piece = [0; 4096];
            match self.tcp.read(&mut piece).await {
                Ok(0) | Err(_) => return false,
                Ok(n) => bytes.extend_from_slice(&piece[..n]),
            }
        }
        self.requests.lock().unwrap().push(String::from_utf8(bytes).unwrap());
        true
    }

    /// What the other side does not take is its own affair.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> bool {
        self.tcp.write_all(bytes).await.is_ok()
    }

    /// Closes with a RST in place of a FIN.
    pub(super) fn reset(self) {
        self.tcp.set_zero_linger().unwrap();
    }
}
