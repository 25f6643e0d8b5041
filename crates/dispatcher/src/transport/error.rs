//! Why a connection did not come about.

use std::{io, net::IpAddr, sync::Arc};

use domain::delivery::{Outcome, Timings};

/// Why no [`super::HttpTransport`] can be made of these settings.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// `delivery.ca_file` holds no certificates that can be used.
    #[error("delivery.ca_file: {0}")]
    CaFile(String),
    /// The TLS library refuses its own parameters.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// Without knowing our own addresses we cannot refuse to dial them.
    #[error("the addresses of this machine cannot be read: {0}")]
    Interfaces(io::Error),
    /// The resolver's configuration is unusable.
    #[error("name resolution cannot be set up: {0}")]
    Resolver(String),
}

/// Where a connection failed, and how far it had come.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{failure}")]
pub(crate) struct ConnectError {
    pub(crate) failure: Failure,
    /// Who was dialled last.
    pub(crate) address: Option<IpAddr>,
    pub(crate) timings: Timings,
}

/// The phases in which a connection can fail.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{name} did not resolve: {detail}")]
    Dns { name: Arc<str>, detail: String },
    #[error("{0}")]
    Blocked(String),
    #[error("{0}")]
    Connect(String),
    #[error("{0}")]
    Tls(String),
    #[error("our own sockets ran out: {0}")]
    Local(String),
    #[error("this server is stopping")]
    Stopped,
}

impl Failure {
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Failure::Dns { .. } => Outcome::Dns,
            Failure::Blocked(_) => Outcome::AddressBlocked,
            Failure::Connect(_) => Outcome::Connect,
            Failure::Tls(_) => Outcome::Tls,
            Failure::Local(_) => Outcome::LocalResource,
            Failure::Stopped => Outcome::Interrupted,
        }
    }
}

/// Does this error say something about this machine and nothing about the receiver?
pub(crate) fn is_ours(error: &io::Error, address: Option<IpAddr>) -> bool {
    // Linux: ENOMEM, ENFILE, EMFILE, EADDRNOTAVAIL, ENOBUFS.
    match error.raw_os_error() {
        // Out of ports; but for IPv6 it is what a machine without IPv6 says, and will say for ever.
        Some(99) => !matches!(address, Some(IpAddr::V6(_))),
        Some(12 | 23 | 24 | 105) => true,
        _ => error.kind() == io::ErrorKind::OutOfMemory,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_what_the_receiver_has_no_part_in() {
        let (v4, v6) = (IpAddr::from([1, 2, 3, 4]), "2001:db8::1".parse().unwrap());
        for (code, address, ours) in [
            (24, Some(v4), true),
            (23, None, true),
            (105, Some(v6), true),
            (12, None, true),
            (99, Some(v4), true),
            (99, Some(v6), false),
            (111, Some(v4), false),
            (110, None, false),
            (104, None, false),
            (101, Some(v6), false),
        ] {
            assert_eq!(is_ours(&io::Error::from_raw_os_error(code), address), ours, "{code} {address:?}");
        }
    }
}
