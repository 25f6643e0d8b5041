//! HTTP in: submissions, jobs, deliveries and signing secrets of the contract, and every refusal as a problem.
//!
//! Clients feed it; it feeds `storage` with submissions, cancels and resends, and reads back what became of them. Who may
//! call what is one table ([`access`]), whose keys were read a moment ago ([`KeyRing`]). What is acceptable is decided in `domain`; this crate reads requests, says what is wrong with them, and writes answers.
//! Commits wake those who wait for a job ([`Waits`]).
//!
//! It knows no engine by name, runs no work, sends no webhook, opens no socket and reads no clock of its own.

mod access;
mod auth;
mod body;
mod cors;
mod cursor;
mod deliveries;
mod endpoints;
mod etag;
mod feeds;
mod gone;
mod health;
mod jobs;
mod keyring;
mod keys;
mod metrics;
mod nodes;
mod object;
mod openapi;
mod prefer;
mod problem;
mod query;
mod queue;
mod quota;
mod request;
mod reseal;
mod results;
mod router;
mod secrets;
mod submit;
mod tasks;
mod tenants;
mod waits;

pub use health::Standing;
pub use keyring::KeyRing;
pub use metrics::Metrics;
pub use request::HeadFault;
pub use router::{Limits, Parts, Routers, openapi, router, routers};
pub use submit::{BadSchema, check_schema};
pub use tasks::Tasks;
pub use waits::Waits;

#[cfg(test)]
mod tests;
