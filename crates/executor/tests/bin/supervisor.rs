//! Stands over a command, as the product's binary does.

use std::process::ExitCode;

fn main() -> ExitCode {
    ringback_executor::supervise().unwrap_or(ExitCode::FAILURE)
}
