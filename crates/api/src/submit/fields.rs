//! The fields of a submission: read once, every fault with its pointer.

use std::{borrow::Cow, sync::Arc, time::Duration};

use domain::{
    callback::Callbacks,
    chance::Moment,
    duration,
    id::{JobId, Tenant},
    job::{Job, Priority, State},
    task::TaskSpec,
    time::Timestamp,
};
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::{
    callback::{self, Rules},
    schema::Schemas,
};
use crate::{
    object,
    problem::{Faults, Problem, pointer, table},
};

/// What a submission is judged by.
pub(crate) struct Terms<'a> {
    pub(crate) tasks: &'a [TaskSpec],
    pub(crate) schemas: &'a Schemas,
    pub(crate) callback: Rules<'a>,
}

/// What a job has that its body does not say.
pub(crate) struct Origin {
    pub(crate) id: JobId,
    pub(crate) tenant: Tenant,
    pub(crate) traceparent: Option<Arc<str>>,
    pub(crate) at: Moment,
}

/// A submission that is fit to be recorded.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) job: Job,
    pub(crate) input: Arc<str>,
    /// When it may start, in scheduling time.
    pub(crate) due: Timestamp,
}

const FIELDS: [&str; 11] = [
    "task",
    "input",
    "callback",
    "metadata",
    "delay",
    "run_at",
    "expires_at",
    "ttl",
    "timeout",
    "max_attempts",
    "priority",
];

/// The furthest that `delay` and `ttl` reach: ten years.
const MOST_SPAN: Duration = Duration::from_secs(3_650 * 24 * 60 * 60);

/// Metadata's bounds: pairs, and bytes of keys and values together.
const MOST_PAIRS: usize = 50;
const MOST_METADATA: usize = 4 * 1024;

/// Reads the body of a submission.
pub(crate) fn read(text: &str, origin: &Origin, terms: &Terms<'_>) -> Result<Draft, Problem> {
    let mut reader = Reader { faults: Faults::default(), at: origin.at };
    let fields = object::members(text, &FIELDS, "", &mut reader.faults);
    let draft = fields.and_then(|fields| reader.draft(fields, origin, terms));
    let Reader { faults, .. } = reader;
    faults.finish()?;
    // Without a fault there is a draft.
    draft.ok_or_else(Problem::internal)
}

struct Reader {
    faults: Faults,
    at: Moment,
}

impl Reader {
    fn draft(
        &mut self,
        fields: [Option<&RawValue>; 11],
        origin: &Origin,
        terms: &Terms<'_>,
    ) -> Option<Draft> {
        let [task, input, callback, metadata, delay, run_at, expires_at, ttl, timeout, attempts, priority] =
            fields;
        let task = self.task(task, terms.tasks);
        if let Some(task) = task {
            terms.schemas.judge(&task.name, input, &mut self.faults);
        }
        let callback =
            callback.map(|raw| callback::read(raw, "/callback", &terms.callback, &mut self.faults));
        let metadata = metadata.map(|raw| self.metadata(raw));
        let run_at = self.run_at(delay, run_at);
        let expires_at = self.expires_at(expires_at, ttl, run_at);
        let priority = priority.and_then(|raw| self.priority(raw));
        let timeout = timeout.and_then(|raw| self.timeout(raw, task));
        let max_attempts = attempts.and_then(|raw| self.max_attempts(raw, task));
        let task = task?;
        let due = run_at.map_or(self.at.now, |at| scheduled(at, self.at));
        let job = Job {
            id: origin.id,
            tenant: origin.tenant,
            task: task.name.clone(),
            priority: priority.unwrap_or(Priority::DEFAULT),
            timeout: timeout.unwrap_or(task.timeout),
            max_attempts: max_attempts.unwrap_or_else(|| task.retry.max_attempts()),
            metadata: metadata.unwrap_or_else(|| compact(&[]))?,
            traceparent: origin.traceparent.clone(),
            callbacks: callback.unwrap_or_else(|| Some(Callbacks::default()))?,
            created_at: self.at.wall,
            expires_at,
            cancel_requested_at: None,
            rerun_of: None,
            progress: None,
            state: State::Queued { attempt: 0, run_at, started_at: None },
        };
        Some(Draft { job, input: input.map_or("null", RawValue::get).into(), due })
    }

    fn task<'t>(&mut self, raw: Option<&RawValue>, tasks: &'t [TaskSpec]) -> Option<&'t TaskSpec> {
        let Some(raw) = raw else {
            self.faults.add("/task", "required");
            return None;
        };
        let Some(name) = object::string(raw) else {
            self.faults.add("/task", "must be a string");
            return None;
        };
        let task = tasks.iter().find(|task| task.name.as_str() == name);
        if task.is_none() {
            self.faults.add_as(&table::UNKNOWN_TASK, "/task", "there is no task of this name");
        }
        task
    }

    fn metadata(&mut self, raw: &RawValue) -> Option<Arc<RawValue>> {
        let Some(pairs) = object::pairs(raw.get()) else {
            self.faults.add("/metadata", "must be an object of strings");
            return None;
        };
        let mut read: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::with_capacity(pairs.len().min(MOST_PAIRS));
        for (name, value) in pairs {
            match object::string(value) {
                Some(value) => read.push((name, value)),
                None => self.faults.add(pointer("/metadata", &name), "must be a string"),
            }
        }
        if read.len() > MOST_PAIRS {
            self.faults.add("/metadata", "at most 50 pairs");
        }
        if read.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MOST_METADATA {
            self.faults.add("/metadata", "at most 4 KiB of keys and values");
        }
        // Written anew, so that white space cannot outgrow the bound.
        compact(&read)
    }

    /// When it may start, on the wall clock; `None`: now.
    fn run_at(&mut self, delay: Option<&RawValue>, run_at: Option<&RawValue>) -> Option<Timestamp> {
        if delay.is_some() && run_at.is_some() {
            self.faults.add("/run_at", "does not go with delay");
        }
        let after = delay.and_then(|raw| self.span("/delay", raw)).map(|delay| self.at.wall + delay);
        let at = run_at.and_then(|raw| self.time("/run_at", raw));
        after.or(at).filter(|at| *at > self.at.wall)
    }

    fn expires_at(
        &mut self,
        expires_at: Option<&RawValue>,
        ttl: Option<&RawValue>,
        run_at: Option<Timestamp>,
    ) -> Option<Timestamp> {
        if expires_at.is_some() && ttl.is_some() {
            self.faults.add("/ttl", "does not go with expires_at");
        }
        let after = ttl.and_then(|raw| self.span("/ttl", raw)).map(|ttl| ("/ttl", self.at.wall + ttl));
        let at = expires_at.and_then(|raw| self.time("/expires_at", raw)).map(|at| ("/expires_at", at));
        let (pointer, expires) = after.or(at)?;
        if expires <= run_at.unwrap_or(self.at.wall) {
            self.faults.add(pointer, "the job would expire before it may start");
        }
        Some(expires)
    }

    fn priority(&mut self, raw: &RawValue) -> Option<Priority> {
        let priority = raw.get().parse().ok().and_then(Priority::new);
        if priority.is_none() {
            self.faults.add("/priority", "must be a whole number, 0 to 9");
        }
        priority
    }

    fn timeout(&mut self, raw: &RawValue, task: Option<&TaskSpec>) -> Option<Duration> {
        let span = self.span("/timeout", raw)?;
        let most = task.map_or(Duration::MAX, |task| task.timeout);
        if span.is_zero() {
            self.faults.add("/timeout", "must be above 0");
        } else if span > most {
            self.faults.add("/timeout", format!("the task allows {}", duration::show(most)));
        }
        Some(span)
    }

    fn max_attempts(&mut self, raw: &RawValue, task: Option<&TaskSpec>) -> Option<u32> {
        let most = task.map_or(u32::MAX, |task| task.retry.max_attempts());
        let attempts = raw.get().parse().ok().filter(|attempts| (1..=most).contains(attempts));
        if attempts.is_none() {
            let detail = match task {
                Some(_) => format!("must be a whole number, 1 to {most}: the task allows no more"),
                None => "must be a whole number above 0".into(),
            };
            self.faults.add("/max_attempts", detail);
        }
        attempts
    }

    fn span(&mut self, pointer: &str, raw: &RawValue) -> Option<Duration> {
        match object::string(raw).and_then(|text| duration::parse(&text).ok()) {
            Some(span) if span <= MOST_SPAN => return Some(span),
            Some(_) => self.faults.add(pointer, "at most 3650d"),
            None => self.faults.add(pointer, "must be a duration such as \"15s\" or \"2h30m\""),
        }
        None
    }

    fn time(&mut self, pointer: &str, raw: &RawValue) -> Option<Timestamp> {
        match object::string(raw).map(|text| text.parse::<Timestamp>()) {
            Some(Ok(time)) => return Some(time),
            Some(Err(error)) => self.faults.add(pointer, error.to_string()),
            None => self.faults.add(pointer, "must be a string"),
        }
        None
    }
}

/// A time of the wall clock in scheduling time. The two run together until somebody sets the wall clock; then it is the
/// distance from now that counts.
fn scheduled(wall: Timestamp, at: Moment) -> Timestamp {
    let apart = at.wall.since(at.now).max(at.now.since(at.wall));
    if apart < Duration::from_secs(1) { wall } else { at.now + wall.since(at.wall) }
}

fn compact(pairs: &[(Cow<'_, str>, Cow<'_, str>)]) -> Option<Arc<RawValue>> {
    let mut text = Vec::with_capacity(128);
    let mut json = serde_json::Serializer::new(&mut text);
    let mut map = json.serialize_map(Some(pairs.len())).ok()?;
    for (name, value) in pairs {
        map.serialize_entry(name, value).ok()?;
    }
    map.end().ok()?;
    RawValue::from_string(String::from_utf8(text).ok()?).ok().map(Arc::from)
}
