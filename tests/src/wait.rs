//! Waiting for what must come true, with a deadline: the only way in which a story waits.

use std::{future::Future, time::Duration};

/// How long a story waits for something that should take well under a second on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks `probe` every few milliseconds until it gives a value. Panics, naming `what`, after `deadline`.
pub async fn within<T, F, Fut>(deadline: Duration, what: &str, mut probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let start = crate::clock::now();
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// [`within`] with the usual patience.
pub async fn until<T, F, Fut>(what: &str, probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    within(PATIENCE, what, probe).await
}
