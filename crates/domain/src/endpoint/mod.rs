//! An endpoint: a registered callback that receives events of many jobs.
//!
//! `enabled ⇄ disabled`: by its owner, by its own 410, or after failing for days and for enough events. While it is
//! disabled, deliveries are made and numbered, born failed; enabling it recovers them.

mod decide;
mod health;
mod recovery;
mod view;

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

pub use decide::{After, Failing, after_attempt};
pub use health::{Health, LastError, Sample};
pub use recovery::{After as AfterStep, Plan, Recovery, RecoveryState, RecoveryView, Step};
pub use view::View;

use crate::{
    callback::{Callback, Sealed},
    delivery::{Reason, words},
    event::EventKind,
    id::{EndpointId, Tenant},
    lane::Terms,
    rate::Rate,
    secret::Scheme,
    task::TaskName,
    time::Timestamp,
};

words! {
    /// Why an endpoint is out of service.
    DisabledReason, NotADisabledReason:
    /// Its owner said so.
    Requested = 1, "requested";
    /// It answered 410.
    Gone = 2, "gone";
    /// It failed for days and for enough events.
    Failing = 3, "failing";
}

words! {
    /// Whether an endpoint is sent to. The code is what rows hold.
    State, NotAState:
    /// It is.
    Enabled = 0, "enabled";
    /// Not for now.
    Disabled = 1, "disabled";
    /// Never again: only its numbers are left.
    Deleted = 2, "deleted";
}

impl State {
    /// Why a delivery to an endpoint in this state fails unsent; `None`: it is sent.
    pub const fn refuses(self) -> Option<Reason> {
        match self {
            State::Enabled => None,
            State::Disabled => Some(Reason::EndpointDisabled),
            State::Deleted => Some(Reason::EndpointDeleted),
        }
    }
}

/// What its owner set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to and how. Its own secret is not in here, since it is replaced without anything else changing.
    pub target: Arc<Callback>,
    /// For people.
    pub description: String,
    /// Only of these tasks; `None`: of all.
    pub tasks: Option<Vec<TaskName>>,
    /// At most so many requests to it at once; `None`: as many as it takes.
    pub max_in_flight: Option<u32>,
    /// At most so many in such a time; `None`: as many as it takes.
    pub rate_limit: Option<Rate>,
    /// One at a time, by their numbers.
    pub ordered: bool,
    /// How it is signed; set once, since its secret is of that kind.
    pub signature: Scheme,
}

/// The same, as the row keeps it.
#[derive(Serialize, Deserialize)]
struct Stored {
    target: Callback,
    description: String,
    tasks: Option<Vec<TaskName>>,
    max_in_flight: Option<u32>,
    #[serde(default)]
    rate_limit: Option<Rate>,
    #[serde(default)]
    ordered: bool,
    signature: Scheme,
}

impl Settings {
    /// What its lane is served under.
    pub fn terms(&self) -> Terms {
        Terms { most: self.max_in_flight, rate: self.rate_limit, ordered: self.ordered }
    }

    /// What the row holds.
    pub fn to_text(&self) -> String {
        let Self { target, description, tasks, max_in_flight, rate_limit, ordered, signature } = self.clone();
        let target = Arc::unwrap_or_clone(target);
        let stored = Stored { target, description, tasks, max_in_flight, rate_limit, ordered, signature };
        // Plain data with string keys always makes JSON.
        serde_json::to_string(&stored).unwrap_or_default()
    }

    /// From the row.
    pub fn stored(text: &str) -> Result<Self, serde_json::Error> {
        let stored: Stored = serde_json::from_str(text)?;
        let Stored { target, description, tasks, max_in_flight, rate_limit, ordered, signature } = stored;
        Ok(Self {
            target: Arc::new(target),
            description,
            tasks,
            max_in_flight,
            rate_limit,
            ordered,
            signature,
        })
    }
}

/// One endpoint.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Whose it is.
    pub tenant: Tenant,
    /// When it was registered.
    pub created_at: Timestamp,
    /// Counts changes by its owner, so that two at once do not overwrite each other.
    pub version: i64,
    /// What its owner set.
    pub settings: Settings,
    /// Signs everything.
    pub secret: Sealed,
    /// Signs beside it while it overlaps.
    pub previous: Option<(Sealed, Timestamp)>,
    /// Why it is out of service, if it is.
    pub disabled: Option<DisabledReason>,
}

impl Endpoint {
    /// Whether it is sent to.
    pub fn state(&self) -> State {
        if self.disabled.is_some() { State::Disabled } else { State::Enabled }
    }

    /// True if it asked to hear of events of this kind, of this task where they are about a job.
    pub fn wants(&self, kind: EventKind, task: Option<&TaskName>) -> bool {
        let of_task = match (&self.settings.tasks, task) {
            (Some(tasks), Some(task)) => tasks.contains(task),
            _ => true,
        };
        of_task && self.settings.target.events.has(kind)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{callback_url::CallbackUrl, event::EventSet};

    pub(crate) fn endpoint(events: EventSet, tasks: Option<&[&str]>) -> Endpoint {
        let target = Callback {
            url: CallbackUrl::stored("https://a.example/hook").unwrap(),
            events,
            headers: None,
            secret: None,
            retry: None,
            timeout: None,
        };
        Endpoint {
            id: EndpointId::from_u128(7),
            tenant: Tenant::DEFAULT,
            created_at: Timestamp::from_micros(0),
            version: 1,
            settings: Settings {
                target: Arc::new(target),
                description: "Orders".into(),
                tasks: tasks.map(|tasks| tasks.iter().map(|task| task.parse().unwrap()).collect()),
                max_in_flight: None,
                rate_limit: None,
                ordered: false,
                signature: Scheme::Hmac,
            },
            secret: Sealed(vec![1]),
            previous: None,
            disabled: None,
        }
    }

    #[test]
    fn hears_what_it_asked_for() {
        let (report, other) = ("report".parse().unwrap(), "other".parse().unwrap());
        for (events, tasks, kind, task, expected) in [
            (EventSet::TERMINAL, None, EventKind::JobFailed, Some(&report), true),
            (EventSet::TERMINAL, None, EventKind::JobStarted, Some(&report), false),
            (EventSet::EVERY, None, EventKind::JobStarted, Some(&report), true),
            (EventSet::NONE, None, EventKind::JobFailed, Some(&report), false),
            (EventSet::TERMINAL, Some(&["report"][..]), EventKind::JobFailed, Some(&report), true),
            (EventSet::TERMINAL, Some(&["report"]), EventKind::JobFailed, Some(&other), false),
            (EventSet::EVERY, Some(&["report"]), EventKind::EndpointDisabled, None, true),
        ] {
            assert_eq!(endpoint(events, tasks).wants(kind, task), expected, "{events:?} {tasks:?} {kind}");
        }
    }

    #[test]
    fn settings_read_back() {
        let settings = endpoint(EventSet::EVERY, Some(&["report"])).settings;
        let read = Settings::stored(&settings.to_text()).unwrap();
        assert_eq!(format!("{settings:?}"), format!("{read:?}"));
    }
}
