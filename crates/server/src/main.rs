//! The `ringback` binary.

use mimalloc::MiMalloc;

/// A job is some hundred small allocations, made on one thread and freed on another.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> std::process::ExitCode {
    // Started by a server to stand over the command of one attempt: none of our commands then.
    executor::supervise().unwrap_or_else(ringback::commands::run)
}
