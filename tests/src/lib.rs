//! Ringback from outside: the harness that starts the real binary and plays everybody around it.
//!
//! [`Ringback`] is one running server, on SQLite or PostgreSQL. [`Peer`] is whoever it talks to: a receiver of webhooks
//! or the upstream of an `http` task, well-behaved or not. [`Api`] is a client of the contract. [`history`] is the log of a
//! crash run and the checker over it. [`island`] is a network of a test's own. Nothing here knows the product's insides: what the stories in `tests/` assert is what
//! a caller, a receiver or an operator can see.

pub mod api;
pub mod ask;
pub mod binary;
pub mod clock;
pub mod config;
pub mod history;
pub mod island;
pub mod load;
pub mod peer;
pub mod raw;
pub mod server;
pub mod verify;
pub mod wait;

pub use api::{Answer, Api};
pub use config::{Config, Engine};
pub use peer::{Peer, Reply, Request};
pub use server::Ringback;

/// One story on both engines: `both_engines!(name)` makes the tests `name::sqlite` and `name::postgres` of the function
/// `async fn name(engine: Engine)`.
#[macro_export]
macro_rules! both_engines {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[tokio::test]
            async fn sqlite() {
                super::$name($crate::Engine::Sqlite).await;
            }
            #[tokio::test]
            async fn postgres() {
                super::$name($crate::Engine::Postgres).await;
            }
        }
    )*};
}
