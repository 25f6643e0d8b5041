//! What a service manager is told (systemd's `Type=notify`): nothing, where none asked.

use sd_notify::NotifyState;

/// It listens, and takes what it is given.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It was asked to stop, and finishes what is in flight.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager (NOTIFY_SOCKET) cannot be told; it may take this start for a failed one");
    }
}
