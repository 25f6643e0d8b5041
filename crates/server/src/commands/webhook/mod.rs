//! What a receiver does, on this machine: `sign`, `verify` and `listen`.

pub(crate) mod diagnose;
pub(crate) mod listen;
mod rewritten;
mod secrets;
pub(crate) mod sign;
pub(crate) mod verify;

use std::time::Duration;

/// How far a timestamp may be off, before or after: what the reference libraries of Standard Webhooks take.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);
