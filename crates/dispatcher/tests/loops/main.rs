//! The dispatcher's loop against the real SQLite engine, with receivers that follow a script, on a clock moved by hand:
//! every retry comes when the clock says so, and no test waits for one.

mod fairness;
mod harness;
mod lifecycle;
mod outages;
mod recovery;
mod signing;
mod terms;
