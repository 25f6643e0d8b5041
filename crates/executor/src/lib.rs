//! Runs jobs: claims what is due, does the work, and writes how it ended.
//!
//! `api` feeds it, through rows that are born claimed or claimed by query; it feeds the dispatcher, through the events
//! and deliveries that [`storage::Jobs::finish`] writes in the transaction that ends a job. What follows a claim or an
//! attempt is decided in [`domain::job`]; who is next, in [`domain::lane`]. It does not know who submitted a job or who
//! will hear of it, holds no connection and no transaction while work runs, and reads no clock but the one it is given:
//! every timeout and pause is a [`timers`] entry that [`Executor::step`] fires.

mod attempt;
mod errand;
mod executor;
mod hold;
mod intake;
mod metrics;
mod reports;
mod runner;
mod state;
mod tasks;
mod timers;
mod upstream;

pub use executor::{Executor, Parts};
pub use runner::command::supervise;
pub use upstream::{Answer, HttpUpstream, Method, Request, Setup, Unreachable, Upstream};
