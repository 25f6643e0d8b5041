//! What tests stand on: a clock moved by hand, seeded dice, a PostgreSQL of their own, and a judge of answers against
//! the API's description.
//!
//! Only tests feed from this crate; nothing of the product depends on it. It knows no engine by name, and it never
//! touches a PostgreSQL that it did not start itself.

mod clock;
#[cfg(feature = "described")]
pub mod described;
mod dice;
pub mod postgres;
#[cfg(feature = "world")]
pub mod world;

pub use clock::HandClock;
pub use dice::SeededDice;
