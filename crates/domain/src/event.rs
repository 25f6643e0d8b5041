//! An event: something that happened, as immutable bytes. They are built once, when it happens, and are what is
//! signed and sent on every attempt to every receiver.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    delivery::Delivery,
    endpoint::Endpoint,
    id::EventId,
    job::{Ended, Job, Links},
    time::Timestamp,
};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// What happened. The code is what rows hold.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum EventKind { $($(#[$doc])* $name = $code),* }

        impl EventKind {
            /// Every kind there is.
            pub const ALL: &[EventKind] = &[$(EventKind::$name),*];

            /// The name in JSON.
            pub const fn name(self) -> &'static str {
                match self { $(EventKind::$name => $text),* }
            }

            /// The kind with this code.
            pub const fn from_code(code: i64) -> Option<Self> {
                match code { $($code => Some(EventKind::$name),)* _ => None }
            }
        }
    };
}

kinds! {
    /// The first attempt began; made only if somebody asked for it.
    JobStarted = 1, "job.started";
    /// The work ended well.
    JobSucceeded = 2, "job.succeeded";
    /// The work ended for good without a result.
    JobFailed = 3, "job.failed";
    /// Somebody canceled it.
    JobCanceled = 4, "job.canceled";
    /// The work said how far it is: the latest of a second, tried once.
    JobProgress = 5, "job.progress";
    /// Somebody asked an endpoint to answer.
    EndpointPing = 10, "endpoint.ping";
    /// An endpoint was taken out of service.
    EndpointDisabled = 11, "endpoint.disabled";
    /// A delivery failed for good.
    DeliveryFailed = 12, "delivery.failed";
}

impl EventKind {
    /// The code that rows hold.
    pub const fn code(self) -> i64 {
        self as i64
    }

    /// True of the three that end a job.
    pub const fn is_terminal(self) -> bool {
        matches!(self, EventKind::JobSucceeded | EventKind::JobFailed | EventKind::JobCanceled)
    }

    /// True of what a job's own callback may ask for: the others are about no job.
    pub const fn is_of_job(self) -> bool {
        matches!(self, EventKind::JobStarted | EventKind::JobProgress) || self.is_terminal()
    }

    /// True of what is counted in an endpoint's sequence. The others carry no number and wait for no order.
    pub const fn is_sequenced(self) -> bool {
        !matches!(self, EventKind::EndpointPing | EventKind::EndpointDisabled | EventKind::JobProgress)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no event that a callback can ask for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an event type; one of {}", EventKind::names())]
pub struct NotAnEventKind;

impl EventKind {
    /// All names, for messages.
    fn names() -> String {
        EventKind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
    }
}

impl FromStr for EventKind {
    type Err = NotAnEventKind;
    fn from_str(text: &str) -> Result<Self, NotAnEventKind> {
        EventKind::ALL.iter().copied().find(|kind| kind.name() == text).ok_or(NotAnEventKind)
    }
}

/// How `events` names every kind.
pub const EVERY: &str = "*";

/// A set of event kinds, as `events` lists it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventSet(u32);

impl EventSet {
    /// The default of a callback: the three that end a job.
    pub const TERMINAL: EventSet = EventSet(
        1 << EventKind::JobSucceeded as u32
            | 1 << EventKind::JobFailed as u32
            | 1 << EventKind::JobCanceled as u32,
    );

    /// None at all.
    pub const NONE: EventSet = EventSet(0);

    /// Every kind, those of later versions too: `["*"]`. No kind has the code 0, so its bit says it.
    pub const EVERY: EventSet = EventSet(1);

    /// The default of an endpoint.
    pub const OF_ENDPOINTS: EventSet = EventSet::TERMINAL;

    /// True if `kind` is in it.
    pub const fn has(self, kind: EventKind) -> bool {
        self.0 & (1 | 1 << kind as u32) != 0
    }

    /// As a number, for rows: `bits & mask(kind) != 0` says the same as [`EventSet::has`].
    pub const fn bits(self) -> i64 {
        self.0 as i64
    }

    /// What a row's number is tested with.
    pub const fn mask(kind: EventKind) -> i64 {
        (1 | 1 << kind as u32) as i64
    }

    const fn is_every(self) -> bool {
        self.0 & 1 != 0
    }

    /// The members, in the order of their codes.
    pub fn iter(self) -> impl Iterator<Item = EventKind> {
        EventKind::ALL.iter().copied().filter(move |&kind| self.has(kind))
    }
}

impl FromIterator<EventKind> for EventSet {
    fn from_iter<I: IntoIterator<Item = EventKind>>(kinds: I) -> Self {
        EventSet(kinds.into_iter().fold(0, |set, kind| set | 1 << kind as u32))
    }
}

impl Serialize for EventSet {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.is_every() {
            return s.collect_seq([EVERY]);
        }
        s.collect_seq(self.iter().map(EventKind::name))
    }
}

impl<'de> Deserialize<'de> for EventSet {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let names = Vec::<std::borrow::Cow<'de, str>>::deserialize(d)?;
        if names.iter().any(|name| name == EVERY) {
            return Ok(Self::EVERY);
        }
        names.iter().map(|name| name.parse::<EventKind>().map_err(serde::de::Error::custom)).collect()
    }
}

/// An event, with its finished body.
#[derive(Clone, Debug)]
pub struct Event {
    /// `webhook-id`.
    pub id: EventId,
    /// What happened.
    pub kind: EventKind,
    /// When, on the wall clock.
    pub timestamp: Timestamp,
    /// The exact bytes that are signed and sent.
    pub body: std::sync::Arc<str>,
}

impl Event {
    /// The event that ends `job`. `job` is what was claimed; `ended` is how it ended.
    pub fn ended(id: EventId, job: &Job, ended: &Ended, links: &Links) -> Self {
        let job = job.as_ended(ended.clone());
        Self::about(id, ended.kind(), ended.finished_at, "job", &job.view(links).for_event())
    }

    /// The event that says that the first attempt began.
    pub fn started(job: &Job, timestamp: Timestamp, links: &Links) -> Self {
        let job_view = job.view(links).for_event();
        Self::about(EventId::started(job.id), EventKind::JobStarted, timestamp, "job", &job_view)
    }

    /// The event that says how far the work is: `job` bears its progress.
    pub fn progress(id: EventId, job: &Job, timestamp: Timestamp, links: &Links) -> Self {
        Self::about(id, EventKind::JobProgress, timestamp, "job", &job.view(links).for_progress())
    }

    /// The event that says that a delivery is a dead letter. `delivery` is how it ended.
    pub fn delivery_failed(delivery: &Delivery, timestamp: Timestamp) -> Self {
        let id = EventId::dead_letter(delivery.id, delivery.attempt);
        Self::about(id, EventKind::DeliveryFailed, timestamp, "delivery", &delivery.view(timestamp))
    }

    /// The event that says that an endpoint is out of service. `endpoint` is how it is by then.
    pub fn endpoint_disabled(endpoint: &Endpoint, timestamp: Timestamp) -> Self {
        let id = EventId::disabled(endpoint.id, timestamp);
        Self::about(id, EventKind::EndpointDisabled, timestamp, "endpoint", &endpoint.view())
    }

    /// A ping, which says how the endpoint is.
    pub fn ping(id: EventId, endpoint: &Endpoint, timestamp: Timestamp) -> Self {
        Self::about(id, EventKind::EndpointPing, timestamp, "endpoint", &endpoint.view())
    }

    /// `data` holds one object under its own name.
    fn about(
        id: EventId,
        kind: EventKind,
        timestamp: Timestamp,
        name: &'static str,
        object: &impl Serialize,
    ) -> Self {
        let body = Body { r#type: kind.name(), timestamp, data: Data { name, object } };
        // Names, numbers, times and JSON that was checked when it came in: this cannot fail.
        let body = serde_json::to_string(&body).unwrap_or_default().into();
        Self { id, kind, timestamp, body }
    }
}

#[derive(Serialize)]
struct Body<'a, T> {
    r#type: &'static str,
    timestamp: Timestamp,
    data: Data<'a, T>,
}

struct Data<'a, T> {
    name: &'static str,
    object: &'a T,
}

impl<T: Serialize> Serialize for Data<'_, T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map([(self.name, self.object)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_read_back() {
        for &kind in EventKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(EventKind::from_code(kind.code()), Some(kind));
        }
        assert_eq!("job.done".parse::<EventKind>(), Err(NotAnEventKind));
    }

    #[test]
    fn a_set_reads_back_and_defaults_to_the_terminal_three() {
        let names: Vec<_> = EventSet::TERMINAL.iter().map(EventKind::name).collect();
        assert_eq!(names, ["job.succeeded", "job.failed", "job.canceled"]);
        let text = r#"["job.started","job.failed"]"#;
        let set: EventSet = serde_json::from_str(text).unwrap();
        assert!(set.has(EventKind::JobStarted) && !set.has(EventKind::JobSucceeded));
        assert_eq!(serde_json::to_string(&set).unwrap(), text);
        assert!(serde_json::from_str::<EventSet>(r#"["nope"]"#).is_err());
    }

    #[test]
    fn every_kind_is_one_word_and_one_bit() {
        let every: EventSet = serde_json::from_str(r#"["job.failed", "*"]"#).unwrap();
        assert_eq!((every, serde_json::to_string(&every).unwrap()), (EventSet::EVERY, r#"["*"]"#.into()));
        for &kind in EventKind::ALL {
            for set in [EventSet::EVERY, EventSet::NONE, EventSet::TERMINAL] {
                assert_eq!(set.has(kind), set.bits() & EventSet::mask(kind) != 0, "{set:?} {kind}");
            }
            assert!(every.has(kind) && !EventSet::NONE.has(kind));
        }
    }
}
