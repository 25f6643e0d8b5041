//! What a job, an event, a delivery, an attempt, a retry, a lease, a signature and a callback URL *is*,
//! and what may follow what.
//!
//! Pure: every decision takes the time and the dice roll it needs as values and returns a value, so that it can be
//! tested as a table. Every other crate feeds from this one; it feeds from none. It knows no runtime, no database,
//! no HTTP server or client, no clock and no source of randomness (only their small traits, in [`chance`]).

pub mod access;
pub mod callback;
pub mod callback_url;
pub mod chance;
pub mod delivery;
pub mod duration;
pub mod egress;
pub mod endpoint;
pub mod event;
pub mod fleet;
pub mod header_rule;
pub mod id;
pub mod idempotency;
pub mod job;
pub mod json;
pub mod lane;
pub mod lease;
pub mod problem;
pub mod rate;
pub mod reseal;
pub mod result_link;
pub mod retention;
pub mod retry;
pub mod retry_after;
pub mod seal;
pub mod secret;
pub mod signature;
pub mod task;
pub mod time;
pub mod trace;
pub mod vault;
