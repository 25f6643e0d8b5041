//! What ends the process: the first SIGTERM or SIGINT stops it in order, the second at once. And SIGHUP, which does not.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Turns true at the first signal. A second one ends the process with status 130.
pub(crate) fn watch_for_stop() -> std::io::Result<watch::Receiver<bool>> {
    let (tell, stop) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        loop {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            if tell.send_replace(true) {
                tracing::warn!("second signal: stopping at once");
                std::process::exit(130);
            }
        }
    });
    Ok(stop)
}

/// SIGHUPs: each asks for the tasks to be read again. Watched for from the first moment, since one that nobody watches
/// for ends the process.
pub(crate) struct Hangups(tokio::signal::unix::Signal);

impl Hangups {
    pub(crate) fn watch() -> std::io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Waits for the next. `false`: there will be none.
    pub(crate) async fn next(&mut self) -> bool {
        self.0.recv().await.is_some()
    }
}
