//! Sends what happened to whoever asked to hear of it: claims deliveries, decides whose turn it is, signs, sends and
//! settles.
//!
//! Fed by commits: storage hands over what was born claimed and says which lanes have something due
//! ([`storage::DeliveryTaker`], [`storage::Listener`]); what waits is claimed through the port. Feeds nobody: an attempt
//! ends in [`storage::Deliveries::settle`]. What follows an attempt is decided in `domain`; who may be dialled, too.
//! Knows no SQL, no job and no API; [`Transport`] is all it knows of the network, [`HttpTransport`] all that knows HTTP.

mod attempt;
mod desk;
mod dispatcher;
mod forward;
mod intake;
mod message;
mod metrics;
mod sign;
mod tending;
mod transport;

pub use dispatcher::{Dispatcher, Parts};
pub use tending::Tending;
pub use transport::{HttpTransport, Request, Sent, SetupError, Transport, TransportSettings};
