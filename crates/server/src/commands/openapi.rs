//! `ringback openapi`

use super::{failure::Failure, output};
use crate::config::{self, Sources};

/// Prints what a server with this configuration answers at `/openapi.json`.
pub(super) fn run(sources: &Sources) -> Result<(), Failure> {
    let config = config::load(sources).map_err(|error| Failure::usage(error.to_string()))?;
    let mut document = api::openapi(&config.server.public_url);
    document.push('\n');
    output::bytes(document.as_bytes())
}
