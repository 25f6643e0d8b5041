//! The binary's insides: commands, configuration, wiring, signals, logs.
//!
//! The only crate that names concrete types: it opens an engine, gives it to `executor`, `dispatcher` and `api`, and
//! stops them in order. It decides nothing about jobs or deliveries.

pub mod ambient;
pub mod commands;
pub mod config;
mod dev;
mod fresh;
mod lease;
mod listener;
mod member;
mod node;
mod play;
mod retention;
mod signals;
mod storage_metrics;
mod supervisor;
pub mod telemetry;
