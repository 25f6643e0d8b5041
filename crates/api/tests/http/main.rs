//! The API over the real SQLite engine, request by request.

mod deliveries;
mod fuzz;
mod harness;
mod jobs;
mod refusals;
mod results;
mod socket;
mod submit;
