//! Logs: lines for people on a terminal, JSON anywhere else. `RINGBACK_LOG` filters them, as `info` or
//! `ringback_dispatcher=debug`.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt};

/// Begins to log to standard error; standard output is for data.
pub fn start(default: &str) {
    let filter = EnvFilter::builder()
        .with_default_directive(default.parse().unwrap_or_else(|_| tracing::Level::INFO.into()))
        .with_env_var("RINGBACK_LOG")
        .from_env_lossy();
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if std::io::stderr().is_terminal() {
        builder.init();
    } else {
        builder.json().flatten_event(true).init();
    }
}
