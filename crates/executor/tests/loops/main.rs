//! The executor's loop against the real SQLite engine, on a clock moved by hand: every retry, timeout and poll comes
//! when the clock says so, and no test waits for one.

mod command;
mod harness;
mod http;
mod lifecycle;
mod recovery;
mod stops;
