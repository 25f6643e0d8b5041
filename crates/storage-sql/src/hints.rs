//! What one node tells the others of its commits, in the payload of a `NOTIFY`: hints, bounded, and lost without harm,
//! since everybody looks for himself from time to time (`postgres::watch`).

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use domain::{
    id::{EndpointId, JobId, Tenant},
    lane::Lane,
    task::TaskName,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use storage::Wake;
use tokio::sync::Notify;

/// A payload has less than 8,000 bytes. A lane of jobs takes up to 110 of them, one of deliveries 40, an id 33.
const JOB_LANES: usize = 64;
const DELIVERY_LANES: usize = 128;
const IDS: usize = 200;

/// One payload. Fields are only ever added, and a field that is not known is not read: nodes of different versions
/// listen to each other.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Hint {
    /// Lane, task, due.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    jobs: Vec<(i64, TaskName, i64)>,
    /// Lane, due.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deliveries: Vec<(i64, i64)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cancels: Vec<JobId>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ended: Vec<JobId>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changed: Vec<JobId>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    happened: Vec<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    endpoints: Vec<EndpointId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<i64>,
    /// A key is good no more.
    #[serde(skip_serializing_if = "is_false")]
    keys: bool,
    /// A node came, left or is to drain.
    #[serde(skip_serializing_if = "is_false")]
    fleet: bool,
    /// A task was paused or resumed.
    #[serde(skip_serializing_if = "is_false")]
    tasks: bool,
    /// There is more that did not fit: look for yourself.
    #[serde(skip_serializing_if = "is_false")]
    more: bool,
}

fn is_false(is: &bool) -> bool {
    !is
}

/// What is to be told and was not yet.
#[derive(Default)]
pub(crate) struct Hints {
    pending: Mutex<Pending>,
    /// Rung when there is something.
    pub(crate) bell: Notify,
}

#[derive(Default)]
struct Pending {
    any: bool,
    jobs: BTreeMap<Lane, (TaskName, Timestamp)>,
    deliveries: BTreeMap<Lane, Timestamp>,
    hint: Hint,
}

impl Hints {
    /// Adds what a commit changed. Called on every commit of a node that is not alone: it locks for a moment.
    pub(crate) fn note(&self, wakes: &[Wake]) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let before = pending.any;
        wakes.iter().for_each(|wake| pending.note(wake));
        if pending.any && !before {
            self.bell.notify_one();
        }
    }

    /// Takes out everything, as payloads.
    pub(crate) fn take(&self) -> Vec<String> {
        let pending = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        pending.payloads()
    }
}

impl Pending {
    fn note(&mut self, wake: &Wake) {
        self.any = true;
        let hint = &mut self.hint;
        match wake {
            Wake::JobDue { lane, task, due } => {
                if self.jobs.len() < JOB_LANES || self.jobs.contains_key(lane) {
                    let (_, first) = self.jobs.entry(*lane).or_insert_with(|| (task.clone(), *due));
                    *first = (*first).min(*due);
                } else {
                    hint.more = true;
                }
            }
            Wake::DeliveryDue { lane, due } => {
                if self.deliveries.len() < DELIVERY_LANES || self.deliveries.contains_key(lane) {
                    let first = self.deliveries.entry(*lane).or_insert(*due);
                    *first = (*first).min(*due);
                } else {
                    hint.more = true;
                }
            }
            Wake::JobExpires { at } => {
                hint.expires = Some(hint.expires.map_or(at.micros(), |first| first.min(at.micros())));
            }
            Wake::CancelRequested { job } if hint.cancels.len() < IDS => hint.cancels.push(*job),
            Wake::JobChanged { job, ended: true } if hint.ended.len() < IDS => hint.ended.push(*job),
            Wake::JobChanged { job, ended: false } if hint.changed.len() < IDS => hint.changed.push(*job),
            Wake::CancelRequested { .. } | Wake::JobChanged { .. } => hint.more = true,
            Wake::SecretsChanged { tenant } if hint.secrets.len() < IDS => hint.secrets.push(tenant.0),
            // Secrets are read anew every second.
            Wake::SecretsChanged { .. } => {}
            Wake::Happened { tenant } if hint.happened.contains(&tenant.0) => {}
            Wake::Happened { tenant } if hint.happened.len() < IDS => hint.happened.push(tenant.0),
            Wake::EndpointChanged { endpoint } if hint.endpoints.len() < IDS => {
                hint.endpoints.push(*endpoint)
            }
            Wake::Happened { .. } | Wake::EndpointChanged { .. } => hint.more = true,
            Wake::KeysRevoked => hint.keys = true,
            Wake::FleetChanged => hint.fleet = true,
            Wake::TaskPaused { .. } => hint.tasks = true,
            // This node's own.
            Wake::TasksChanged | Wake::Uncertain => {}
        }
    }

    fn payloads(self) -> Vec<String> {
        let Self { any, jobs, deliveries, hint } = self;
        if !any {
            return Vec::new();
        }
        let Hint {
            cancels,
            ended,
            changed,
            secrets,
            happened,
            endpoints,
            expires,
            keys,
            fleet,
            tasks,
            more,
            ..
        } = hint;
        let jobs = jobs.into_iter().map(|(lane, (task, due))| (lane.0, task, due.micros())).collect();
        let deliveries = deliveries.into_iter().map(|(lane, due)| (lane.0, due.micros())).collect();
        // A kind each, so that none of them is too long.
        let hints = [
            Hint { jobs, expires, keys, fleet, tasks, more, ..Hint::default() },
            Hint { deliveries, ..Hint::default() },
            Hint { cancels, ..Hint::default() },
            Hint { ended, ..Hint::default() },
            Hint { changed, ..Hint::default() },
            Hint { secrets, ..Hint::default() },
            Hint { happened, ..Hint::default() },
            Hint { endpoints, ..Hint::default() },
        ];
        let some = hints.into_iter().filter(|hint| *hint != Hint::default());
        some.filter_map(|hint| serde_json::to_string(&hint).ok()).collect()
    }
}

/// What a payload says, and whether it says that there is more. One that cannot be read is as if all had changed.
pub(crate) fn heard(payload: &str) -> (Vec<Wake>, bool) {
    let Ok(hint) = serde_json::from_str::<Hint>(payload) else { return (Vec::new(), true) };
    let at = Timestamp::from_micros;
    let mut wakes = Vec::new();
    wakes.extend(hint.jobs.into_iter().map(|(lane, task, due)| Wake::JobDue {
        lane: Lane(lane),
        task,
        due: at(due),
    }));
    wakes.extend(
        hint.deliveries.into_iter().map(|(lane, due)| Wake::DeliveryDue { lane: Lane(lane), due: at(due) }),
    );
    wakes.extend(hint.cancels.into_iter().map(|job| Wake::CancelRequested { job }));
    wakes.extend(hint.ended.into_iter().map(|job| Wake::JobChanged { job, ended: true }));
    wakes.extend(hint.changed.into_iter().map(|job| Wake::JobChanged { job, ended: false }));
    wakes.extend(hint.secrets.into_iter().map(|tenant| Wake::SecretsChanged { tenant: Tenant(tenant) }));
    wakes.extend(hint.happened.into_iter().map(|tenant| Wake::Happened { tenant: Tenant(tenant) }));
    wakes.extend(hint.endpoints.into_iter().map(|endpoint| Wake::EndpointChanged { endpoint }));
    wakes.extend(hint.expires.map(|micros| Wake::JobExpires { at: at(micros) }));
    wakes.extend(hint.keys.then_some(Wake::KeysRevoked));
    wakes.extend(hint.fleet.then_some(Wake::FleetChanged));
    wakes.extend(hint.tasks.then_some(Wake::TasksChanged));
    (wakes, hint.more)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn says_each_thing_once_and_reads_it_back() {
        let (hints, job) = (Hints::default(), JobId::from_u128(7));
        let (task, paused): (TaskName, TaskName) = ("t".parse().unwrap(), "p".parse().unwrap());
        let said = [
            Wake::JobDue { lane: Lane(16), task: task.clone(), due: due(9) },
            Wake::JobDue { lane: Lane(16), task, due: due(3) },
            Wake::DeliveryDue { lane: Lane(32), due: due(4) },
            Wake::CancelRequested { job },
            Wake::JobChanged { job, ended: true },
            Wake::JobChanged { job, ended: false },
            Wake::SecretsChanged { tenant: Tenant(5) },
            Wake::JobExpires { at: due(8) },
            Wake::Happened { tenant: Tenant(5) },
            Wake::EndpointChanged { endpoint: EndpointId::from_u128(3) },
            Wake::KeysRevoked,
            Wake::FleetChanged,
            Wake::TaskPaused { task: paused, paused: true },
            Wake::Uncertain,
        ];
        hints.note(&said);
        let told: Vec<Wake> = hints.take().iter().flat_map(|payload| heard(payload).0).collect();
        let words = |wakes: &[Wake]| {
            let mut words: Vec<String> = wakes.iter().map(|wake| format!("{wake:?}")).collect();
            words.sort();
            words
        };
        let as_told = |wake| match wake {
            Wake::Uncertain => None,
            // Which one is looked up.
            Wake::TaskPaused { .. } => Some(Wake::TasksChanged),
            other => Some(other),
        };
        let expected: Vec<Wake> = said.into_iter().skip(1).filter_map(as_told).collect();
        assert_eq!(words(&told), words(&expected));
        assert!(hints.take().is_empty(), "once");
    }

    #[test]
    fn a_flood_stays_under_what_a_notification_holds_and_says_that_there_is_more() {
        let hints = Hints::default();
        let task: TaskName = "x".repeat(64).parse().unwrap();
        for n in 0..5_000_i64 {
            let (lane, job) = (Lane(i64::MAX - n), JobId::from_u128(u128::MAX - n as u128));
            let due = Timestamp::from_micros(i64::MAX / 4);
            hints.note(&[
                Wake::JobDue { lane, task: task.clone(), due },
                Wake::DeliveryDue { lane, due },
                Wake::CancelRequested { job },
                Wake::JobChanged { job, ended: n % 2 == 0 },
                Wake::SecretsChanged { tenant: Tenant(i64::MAX - n) },
            ]);
        }
        let payloads = hints.take();
        assert!(
            payloads.iter().all(|payload| payload.len() < 7_900),
            "{:?}",
            payloads.iter().map(String::len)
        );
        assert!(payloads.iter().any(|payload| heard(payload).1));
    }

    #[test]
    fn what_another_version_says_beside_it_is_not_read() {
        let (wakes, more) = heard(r#"{"fleet":true,"weather":["fine"]}"#);
        assert!(matches!(wakes[..], [Wake::FleetChanged]) && !more);
        assert!(heard("not json").1);
    }
}
