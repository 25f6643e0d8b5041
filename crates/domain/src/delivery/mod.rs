//! A delivery: one event on its way to one URL, and what may become of it.
//!
//! `pending → succeeded | failed`. `failed` is the dead letter: it keeps its bytes, its attempts and its reason; only a
//! resend makes it pending again.

mod attempt;
mod decide;
mod view;

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

pub use attempt::{Attempt, Encoding, Outcome, Response, Timings, Trigger};
pub use decide::{Next, Progress, after_attempt, rules_for};
pub use view::View;

use crate::{
    callback_url::CallbackUrl,
    event::EventKind,
    id::{DeliveryId, EndpointId, EventId, JobId, Tenant},
    lane::Lane,
    retry::RetryPolicy,
    time::Timestamp,
};

macro_rules! words {
    ($(#[$outer:meta])* $name:ident, $error:ident: $($(#[$doc:meta])* $variant:ident = $code:literal, $text:literal;)*) => {
        $(#[$outer])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name { $($(#[$doc])* $variant = $code),* }

        impl $name {
            /// All of them.
            pub const ALL: &[$name] = &[$($name::$variant),*];

            /// The name in JSON.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text),* }
            }

            /// The code that rows hold.
            pub const fn code(self) -> i64 {
                self as i64
            }

            /// The one with this code.
            pub const fn from_code(code: i64) -> Option<Self> {
                match code { $($code => Some($name::$variant),)* _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.name())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                std::borrow::Cow::<'de, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }

        /// The text is none of the words.
        #[derive(Debug, PartialEq, Eq)]
        pub struct $error;

        impl fmt::Display for $error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "must be one of {}", [$($text),*].join(", "))
            }
        }

        impl std::error::Error for $error {}

        impl FromStr for $name {
            type Err = $error;
            fn from_str(text: &str) -> Result<Self, $error> {
                $name::ALL.iter().copied().find(|word| word.name() == text).ok_or($error)
            }
        }
    };
}
pub(crate) use words;

words! {
    /// Where a delivery stands.
    Status, NotAStatus:
    /// An attempt is under way or will be.
    Pending = 0, "pending";
    /// The receiver answered 2xx.
    Succeeded = 1, "succeeded";
    /// The dead letter.
    Failed = 2, "failed";
}

words! {
    /// Why a delivery failed for good.
    Reason, NotAReason:
    /// The policy ran out.
    Exhausted = 1, "exhausted";
    /// The receiver answered 410.
    Gone = 2, "gone";
    /// Its endpoint was deleted before it was sent.
    EndpointDeleted = 3, "endpoint_deleted";
    /// Its endpoint was out of service.
    EndpointDisabled = 4, "endpoint_disabled";
    /// Somebody canceled it.
    Canceled = 5, "canceled";
}

/// A delivery without its attempts and its body.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// Whose it is.
    pub tenant: Tenant,
    /// What it brings.
    pub event: EventId,
    /// Of what kind.
    pub kind: EventKind,
    /// The job that the event is about, if it is about one.
    pub job: Option<JobId>,
    /// The endpoint that it is for; `None`: a job's callback.
    pub endpoint: Option<EndpointId>,
    /// Its number among what its endpoint is sent.
    pub sequence: Option<i64>,
    /// Where it queues.
    pub lane: Lane,
    /// Where to: for an endpoint, where it was when the event happened.
    pub url: CallbackUrl,
    /// When the event happened.
    pub created_at: Timestamp,
    /// Attempts made so far, an open one included.
    pub attempt: u32,
    /// Where it stands.
    pub state: State,
}

/// Where a delivery stands. Each variant holds what is true only there.
#[derive(Clone, Debug)]
pub enum State {
    /// Waits for its next attempt.
    Waiting {
        /// When that is due.
        due: Timestamp,
        /// Others of its endpoint go before it, which has an order.
        behind: bool,
    },
    /// A request is out.
    InFlight {
        /// Since when, on the wall clock.
        started_at: Timestamp,
        /// What started it.
        trigger: Trigger,
        /// True when the delivery had succeeded before and this attempt was asked for by hand.
        succeeded_at: Option<Timestamp>,
    },
    /// The receiver has it.
    Succeeded {
        /// Since when.
        finished_at: Timestamp,
    },
    /// The dead letter.
    Failed {
        /// Since when.
        finished_at: Timestamp,
        /// Why.
        reason: Reason,
    },
}

impl Delivery {
    /// The word for its state.
    pub fn status(&self) -> Status {
        match self.state {
            State::InFlight { succeeded_at: Some(_), .. } | State::Succeeded { .. } => Status::Succeeded,
            State::Waiting { .. } | State::InFlight { .. } => Status::Pending,
            State::Failed { .. } => Status::Failed,
        }
    }
}

/// How a delivery is retried: by its callback, else by the server.
#[derive(Clone, Debug)]
pub struct Rules {
    /// When to try again.
    pub retry: RetryPolicy,
    /// The total deadline of one attempt.
    pub timeout: Duration,
}
