//! How fast Ringback is, beside a floor measured in the same run on the same machine.
//!
//! A loader and a receiver of its own drive two services in turn, each a process of its own: `ringback serve`, and the
//! *bare pipeline* ([`bare`]), which does the same work (submit, record, run nothing, sign, POST, settle) and has no
//! other feature. Figures are read from outside alone: answers, receipts, and what the kernel and the database count.
//! It knows nothing of Ringback's insides.

// Measuring is reading the clock, and a configuration is what a benchmark makes up.
#![allow(clippy::disallowed_methods)]

mod bare;
mod commands;
mod database;
mod hang;
mod ledger;
mod load;
mod measure;
mod metrics;
mod plot;
mod process;
mod receive;
mod report;
mod service;

use std::process::ExitCode;

/// What went wrong, for people to read.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    match commands::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}
