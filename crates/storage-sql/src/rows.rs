//! Rows into what the domain knows: one reader per kind of row, for both engines.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use domain::{
    callback::{Callbacks, Sealed},
    callback_url::CallbackUrl,
    delivery::{self, Attempt, Delivery, Outcome, Reason, Trigger},
    endpoint::{DisabledReason, Endpoint, Failing, Plan, Recovery, RecoveryState, Sample, Settings},
    event::EventKind,
    id::{DeliveryId, EndpointId, EventId, JobId, RecoveryId, Tenant},
    job::{Ended, Ending, Job, JobResult, Priority, Progress, ResultInfo, State, Status},
    lane::{Lane, Recorded, Terms},
    lease::Fence,
    problem::JobError,
    retention::{Fate, Kept, Tombstone},
    task::TaskName,
    time::Timestamp,
};
use serde_json::value::RawValue;
use storage::{
    Addressee, ClaimedDelivery, ClaimedJob, Content, DeliveryHold, Due, FeedItem, Found, Idempotency,
    JobHold, LaneClaim, LaneStart, Result, STEP_BYTES, STEP_JOBS, Scan, StorageError, Submitted,
};

use crate::columns::{Columns, Reading};

/// What is larger lives in `payload`, so that the rows around it stay short.
pub(crate) const INLINE: usize = 2 * 1024;

/// The kinds of `payload`.
pub(crate) mod payload {
    pub(crate) const INPUT: i64 = 1;
    pub(crate) const RESULT: i64 = 2;
    pub(crate) const BODY: i64 = 3;
}

/// What every statement selects that [`job`] reads: of `jobs j`, `job_queue q` and the result's `payload p`.
macro_rules! job_columns {
    () => {
        "j.tenant, j.id, j.task, j.priority, j.timeout_us, j.max_attempts, j.metadata, j.traceparent, j.callbacks, \
         j.created_at, j.run_at, j.expires_at, j.cancel_requested_at, j.rerun_of, j.status, j.attempt, j.started_at, \
         j.finished_at, j.result_size, j.result_sha256, j.result_type, j.result_shown, j.error, q.due_at, q.attempt, \
         q.node, q.started_at, q.cancel_at, j.result, p.bytes, q.progress, j.progress"
    };
}
/// The same with the input, of the input's `payload i`: [`claimed_job`].
macro_rules! claimed_job_columns {
    () => {
        concat!(crate::rows::job_columns!(), ", j.input, i.bytes, q.lane")
    };
}
/// What [`delivery`] reads: of `deliveries d` and `delivery_queue q`.
macro_rules! delivery_columns {
    () => {
        "d.tenant, d.id, d.event, d.kind, d.job, d.url, d.created_at, d.status, d.reason, d.attempts, d.finished_at, \
         q.due_at, q.attempt, q.node, q.started_at, q.trigger, q.succeeded, d.endpoint, d.sequence, \
         COALESCE(q.lane, d.lane), CASE WHEN q.number > 0 AND EXISTS (SELECT 1 FROM delivery_queue o \
         WHERE o.lane = q.lane AND o.number > 0 AND o.number < q.number) THEN 1 ELSE 0 END"
    };
}
/// What [`claimed_delivery`] reads: of `delivery_queue q`, `deliveries d`, `jobs j`, `endpoints n`, `events e` and the
/// body's `payload p`.
macro_rules! claimed_delivery_columns {
    () => {
        "q.tenant, q.id, q.lane, q.due_at, q.attempt, q.steps, q.since, q.succeeded, q.trigger, q.started_at, \
         d.event, d.kind, d.job, d.place, j.callbacks, j.traceparent, e.body, p.bytes, d.created_at, d.endpoint, \
         d.sequence, n.settings, n.secret, n.previous, n.previous_until"
    };
}
/// What [`endpoint`] reads: of `endpoints n`.
macro_rules! endpoint_columns {
    () => {
        "n.tenant, n.id, n.created_at, n.version, n.disabled, n.secret, n.previous, n.previous_until, n.settings"
    };
}
/// What [`recovery`] reads: of `recoveries r`.
macro_rules! recovery_columns {
    () => {
        "r.tenant, r.id, r.endpoint, r.reason, r.created_at, r.since, r.until, r.rate, r.reached, r.last, \
         r.recovered, r.state, r.finished_at"
    };
}
/// What [`attempt`] reads: of `attempts a`.
macro_rules! attempt_columns {
    () => {
        "a.delivery, a.number, a.trigger, a.started_at, a.ended_at, a.outcome, a.status, a.error, a.remote_address, \
         a.timings, a.response"
    };
}
/// What [`kept`] reads: of `jobs j`; whether something of it is still queued, and how large it is.
macro_rules! kept_columns {
    () => {
        "j.id, j.task, j.status, j.created_at, j.finished_at, j.idempotency, j.erased, \
         CASE WHEN EXISTS (SELECT 1 FROM deliveries d JOIN delivery_queue q ON q.id = d.id \
         WHERE d.tenant = j.tenant AND d.job = j.id) THEN 1 ELSE 0 END, \
         COALESCE(OCTET_LENGTH(j.input), 0) + COALESCE(OCTET_LENGTH(i.bytes), 0) + COALESCE(j.result_size, 0)"
    };
}
/// What [`tombstone`] reads: of `tombstones s`.
macro_rules! tombstone_columns {
    () => {
        "s.id, s.task, s.status, s.finished_at"
    };
}
/// What [`result`] reads: of `jobs j` and the result's `payload p`.
macro_rules! result_columns {
    () => {
        "j.id, j.status, j.result_type, j.result_sha256, j.result, p.bytes"
    };
}
pub(crate) use {
    attempt_columns, claimed_delivery_columns, claimed_job_columns, delivery_columns, endpoint_columns,
    job_columns, kept_columns, recovery_columns, result_columns, tombstone_columns,
};

const SUCCEEDED: i64 = Status::Succeeded.code();
const FAILED: i64 = Status::Failed.code();
const CANCELED: i64 = Status::Canceled.code();

fn time<R: Columns>(row: &Reading<'_, R>, column: usize) -> Result<Timestamp> {
    row.int(column).map(Timestamp::from_micros)
}

fn time_or<R: Columns>(row: &Reading<'_, R>, column: usize) -> Result<Option<Timestamp>> {
    Ok(row.int_or(column)?.map(Timestamp::from_micros))
}

fn id_or<R: Columns, T>(row: &Reading<'_, R>, column: usize, make: fn(u128) -> T) -> Result<Option<T>> {
    row.bytes_or(column)?.map(|_| row.id(column, make)).transpose()
}

fn json<R: Columns>(row: &Reading<'_, R>, column: usize, text: &str) -> Result<Box<RawValue>> {
    RawValue::from_string(text.to_owned()).map_err(|error| row.bad(column, error))
}

/// Text that is in the row, or as bytes in `payload` in the next column.
fn text_or_payload<R: Columns>(row: &Reading<'_, R>, column: usize) -> Result<Arc<str>> {
    match row.text_or(column)? {
        Some(text) => Ok(text.into()),
        None => std::str::from_utf8(row.bytes(column + 1)?)
            .map(Into::into)
            .map_err(|error| row.bad(column + 1, error)),
    }
}

/// A job of [`job_columns`].
pub(crate) fn job<R: Columns>(row: &R) -> Result<Job> {
    job_of(&Reading::new(row, "jobs", job_columns!(), 1))
}

fn job_of<R: Columns>(row: &Reading<'_, R>) -> Result<Job> {
    let (state, cancel_requested_at) = match row.int(14)? {
        ended @ (SUCCEEDED | FAILED | CANCELED) => (State::Ended(ended_of(row, ended)?), time_or(row, 12)?),
        _ => (live_of(row)?, time_or(row, 27)?),
    };
    let timeout = row.number::<u64>(4).map(Duration::from_micros)?;
    Ok(Job {
        id: row.id(1, JobId::from_u128)?,
        tenant: Tenant(row.int(0)?),
        task: row.text(2)?.parse().map_err(|error| row.bad(2, error))?,
        priority: Priority::new(row.number(3)?).ok_or_else(|| row.bad(3, "over 9"))?,
        timeout,
        max_attempts: row.number(5)?,
        metadata: json(row, 6, row.text(6)?)?.into(),
        traceparent: row.text_or(7)?.map(Into::into),
        callbacks: Callbacks::stored(row.text(8)?).map_err(|error| row.bad(8, error))?,
        created_at: time(row, 9)?,
        expires_at: time_or(row, 11)?,
        cancel_requested_at,
        rerun_of: row.bytes_or(13)?.map(|_| row.id(13, JobId::from_u128)).transpose()?,
        progress: progress(row, 30)?.map_or_else(|| progress(row, 31), |said| Ok(Some(said)))?,
        state,
    })
}

fn progress<R: Columns>(row: &Reading<'_, R>, column: usize) -> Result<Option<Arc<Progress>>> {
    let read = |text: &str| Progress::stored(text).map(Arc::new).map_err(|error| row.bad(column, error));
    row.text_or(column)?.map(read).transpose()
}

fn live_of<R: Columns>(row: &Reading<'_, R>) -> Result<State> {
    let (due, attempt) = (time(row, 23)?, row.number(24)?);
    Ok(match row.int_or(25)? {
        Some(_) => State::Running { attempt, started_at: time(row, 26)? },
        None => {
            // Shown only where somebody asked for it or a retry waits for it.
            let run_at = (attempt > 0 || row.int_or(10)?.is_some()).then_some(due);
            State::Queued { attempt, run_at, started_at: time_or(row, 26)? }
        }
    })
}

fn ended_of<R: Columns>(row: &Reading<'_, R>, status: i64) -> Result<Ended> {
    let ending = match status {
        SUCCEEDED => Ending::Succeeded(result_of(row)?),
        FAILED => {
            let text = row.text(22)?.to_owned();
            Ending::Failed(JobError::stored(text).map_err(|error| row.bad(22, error))?)
        }
        _ => Ending::Canceled,
    };
    Ok(Ended { attempt: row.number(15)?, started_at: time_or(row, 16)?, finished_at: time(row, 17)?, ending })
}

fn result_of<R: Columns>(row: &Reading<'_, R>) -> Result<JobResult> {
    let info =
        ResultInfo { size: row.number(18)?, sha256: row.array(19)?, content_type: row.text(20)?.into() };
    let inline = match row.int(21)? {
        0 => None,
        _ => {
            let column = if row.bytes_or(28)?.is_some() { 28 } else { 29 };
            let text = std::str::from_utf8(row.bytes(column)?).map_err(|error| row.bad(column, error))?;
            Some(json(row, column, text.trim())?.into())
        }
    };
    Ok(JobResult { info, inline })
}

/// A job of [`claimed_job_columns`], which `fence` holds.
pub(crate) fn claimed_job<R: Columns>(row: &R, fence: Fence) -> Result<ClaimedJob> {
    let row = Reading::new(row, "jobs", claimed_job_columns!(), 1);
    let job = job_of(&row)?;
    let hold =
        JobHold { tenant: job.tenant, job: job.id, lane: Lane(row.int(34)?), fence, attempt: job.attempt() };
    Ok(ClaimedJob { input: text_or_payload(&row, 32)?, due: time(&row, 23)?, hold, job })
}

/// What a job answered, of [`result_columns`]. `None`: it has no result, or it was erased.
pub(crate) fn result<R: Columns>(row: &R) -> Result<Option<Content>> {
    let row = Reading::new(row, "jobs", result_columns!(), 0);
    if row.int(1)? != SUCCEEDED {
        return Ok(None);
    }
    let Some(bytes) = row.bytes_or(4)?.map_or_else(|| row.bytes_or(5), |bytes| Ok(Some(bytes)))? else {
        return Ok(None);
    };
    Ok(Some(Content { content_type: row.text(2)?.into(), sha256: row.array(3)?, bytes: bytes.into() }))
}

/// What a submission comes to whose key was used: `k.key, k.fingerprint, k.job`.
pub(crate) fn used_key<R: Columns>(row: &R, key: &Idempotency) -> Result<Submitted> {
    let row = Reading::new(row, "idempotency", "k.key, k.fingerprint, k.job", 0);
    let same = row.array::<32>(1)? == key.fingerprint;
    Ok(if same { Submitted::Replayed(row.id(2, JobId::from_u128)?) } else { Submitted::KeyReused })
}

/// A job that has ended names the event that said so.
pub(crate) fn without_event(job: JobId) -> StorageError {
    let (table, column, detail) = ("jobs", "event", "null".to_owned());
    StorageError::BadRow { table, column, id: job.to_string(), detail }
}

/// An input: `j.id, j.input, i.bytes`. `None`: it was erased.
pub(crate) fn input<R: Columns>(row: &R) -> Result<Option<Arc<str>>> {
    let row = Reading::new(row, "jobs", "j.id, j.input, i.bytes", 0);
    let there = row.text_or(1)?.is_some() || row.bytes_or(2)?.is_some();
    there.then(|| text_or_payload(&row, 1)).transpose()
}

/// A job as a walk looks at it, of [`kept_columns`]: what is due of it, if anything, and how large it is.
pub(crate) fn kept<R: Columns>(row: &R, scan: &Scan) -> Result<(JobId, Fate, u64)> {
    let row = Reading::new(row, "jobs", kept_columns!(), 0);
    let job = Kept {
        task: row.text(1)?,
        created_at: time(&row, 3)?,
        finished_at: if row.int(2)? < SUCCEEDED { None } else { time_or(&row, 4)? },
        keyed: row.bytes_or(5)?.is_some(),
        pending: row.int(7)? != 0,
        erased: row.int_or(6)?.is_some(),
    };
    Ok((row.id(0, JobId::from_u128)?, scan.retention.fate(&job, scan.at.wall), row.number(8)?))
}

/// What is left of a job, of [`tombstone_columns`].
pub(crate) fn tombstone<R: Columns>(row: &R) -> Result<Tombstone> {
    let row = Reading::new(row, "tombstones", tombstone_columns!(), 0);
    Ok(Tombstone {
        id: row.id(0, JobId::from_u128)?,
        task: row.text(1)?.parse().map_err(|error| row.bad(1, error))?,
        status: row.word(2, |code| Status::ALL.into_iter().find(|status| status.code() == code))?,
        finished_at: time(&row, 3)?,
    })
}

/// Gathers what a walk saw of one tenant's jobs, at most a step's worth. `asked` were asked for.
pub(crate) fn found(tenant: Tenant, seen: Vec<(JobId, Fate, u64)>, asked: usize) -> Found {
    let (mut due, mut left, mut bytes, mut last) = (Vec::new(), None, 0, None);
    let whole = seen.len() == asked;
    for (job, fate, size) in seen {
        bytes += if fate == Fate::Keep { 0 } else { size };
        if due.len() == STEP_JOBS || !due.is_empty() && bytes > STEP_BYTES {
            // It begins the next step.
            return Found { due, left, next: last };
        }
        match fate {
            Fate::Keep => left = left.or(Some(job)),
            fate => due.push(Due { tenant, job, fate }),
        }
        last = Some(job);
    }
    Found { due, left, next: last.filter(|_| whole) }
}

/// An event's body: `e.id, e.body, p.bytes`.
pub(crate) fn body<R: Columns>(row: &R) -> Result<Arc<str>> {
    text_or_payload(&Reading::new(row, "events", "e.id, e.body, p.bytes", 0), 1)
}

/// A delivery of [`delivery_columns`].
pub(crate) fn delivery<R: Columns>(row: &R) -> Result<Delivery> {
    let row = Reading::new(row, "deliveries", delivery_columns!(), 1);
    let queued = row.int_or(12)?;
    Ok(Delivery {
        id: row.id(1, DeliveryId::from_u128)?,
        tenant: Tenant(row.int(0)?),
        event: row.id(2, EventId::from_u128)?,
        kind: row.word(3, EventKind::from_code)?,
        job: id_or(&row, 4, JobId::from_u128)?,
        endpoint: id_or(&row, 17, EndpointId::from_u128)?,
        sequence: row.int_or(18)?,
        lane: Lane(row.int(19)?),
        url: CallbackUrl::stored(row.text(5)?).map_err(|error| row.bad(5, error))?,
        created_at: time(&row, 6)?,
        attempt: row.number(if queued.is_some() { 12 } else { 9 })?,
        state: delivery_state(&row)?,
    })
}

fn delivery_state<R: Columns>(row: &Reading<'_, R>) -> Result<delivery::State> {
    let status = row.word(7, |code| delivery::Status::ALL.iter().copied().find(|s| s.code() == code))?;
    let finished_at = time_or(row, 10)?;
    if row.int_or(13)?.is_some() {
        let started_at = time(row, 14)?;
        let trigger = row.word(15, Trigger::from_code)?;
        let succeeded_at = finished_at.filter(|_| status == delivery::Status::Succeeded);
        return Ok(delivery::State::InFlight { started_at, trigger, succeeded_at });
    }
    let finished = || finished_at.ok_or_else(|| row.bad(10, "null"));
    Ok(match status {
        // Also while one more attempt, asked for by hand, waits: it stays succeeded.
        delivery::Status::Succeeded => delivery::State::Succeeded { finished_at: finished()? },
        delivery::Status::Failed => {
            delivery::State::Failed { finished_at: finished()?, reason: row.word(8, Reason::from_code)? }
        }
        delivery::Status::Pending => {
            delivery::State::Waiting { due: time(row, 11)?, behind: row.int(20)? != 0 }
        }
    })
}

/// A delivery of [`claimed_delivery_columns`], which `fence` holds.
pub(crate) fn claimed_delivery<R: Columns>(row: &R, fence: Fence) -> Result<ClaimedDelivery> {
    let row = Reading::new(row, "delivery_queue", claimed_delivery_columns!(), 1);
    let hold = DeliveryHold {
        tenant: Tenant(row.int(0)?),
        delivery: row.id(1, DeliveryId::from_u128)?,
        lane: Lane(row.int(2)?),
        fence,
        attempt: row.number(4)?,
    };
    let endpoint = addressee(&row)?;
    let target = match endpoint {
        Some(_) => Settings::stored(row.text(21)?).map_err(|error| row.bad(21, error))?.target,
        None => {
            let callbacks = Callbacks::stored(row.text(14)?).map_err(|error| row.bad(14, error))?;
            callbacks.get(row.number(13)?).ok_or_else(|| row.bad(13, "no such callback"))?.clone()
        }
    };
    Ok(ClaimedDelivery {
        hold,
        event: row.id(10, EventId::from_u128)?,
        kind: row.word(11, EventKind::from_code)?,
        created_at: time(&row, 18)?,
        job: id_or(&row, 12, JobId::from_u128)?,
        body: text_or_payload(&row, 16)?,
        target,
        endpoint,
        progress: delivery::Progress {
            steps: row.number(5)?,
            since: time(&row, 6)?,
            succeeded: row.int(7)? != 0,
        },
        trigger: row.word(8, Trigger::from_code)?,
        due: time(&row, 3)?,
        started_at: time(&row, 9)?,
        traceparent: row.text_or(15)?.map(Into::into),
    })
}

/// The endpoint of a claimed delivery, if it is for one.
fn addressee<R: Columns>(row: &Reading<'_, R>) -> Result<Option<Addressee>> {
    let Some(id) = id_or(row, 19, EndpointId::from_u128)? else { return Ok(None) };
    let (secret, previous) = secrets_of(row, 22)?;
    Ok(Some(Addressee { id, sequence: row.int_or(20)?, secret, previous }))
}

/// `secret, previous, previous_until`, from `first` on.
fn secrets_of<R: Columns>(
    row: &Reading<'_, R>,
    first: usize,
) -> Result<(Sealed, Option<(Sealed, Timestamp)>)> {
    let previous = match (row.bytes_or(first + 1)?, time_or(row, first + 2)?) {
        (Some(bytes), Some(until)) => Some((Sealed(bytes.to_vec()), until)),
        _ => None,
    };
    Ok((Sealed(row.bytes(first)?.to_vec()), previous))
}

/// An event of a feed: `e.id, e.kind, e.created_at, e.body, p.bytes` and its number, where it has one there.
pub(crate) fn feed_item<R: Columns>(row: &R) -> Result<FeedItem> {
    let row = Reading::new(row, "events", "e.id, e.kind, e.created_at, e.body, p.bytes, d.sequence", 0);
    Ok(FeedItem {
        sequence: row.int_or(5)?,
        event: row.id(0, EventId::from_u128)?,
        kind: row.word(1, EventKind::from_code)?,
        timestamp: time(&row, 2)?,
        body: text_or_payload(&row, 3)?,
    })
}

/// An endpoint of [`endpoint_columns`].
pub(crate) fn endpoint<R: Columns>(row: &R) -> Result<Endpoint> {
    let row = Reading::new(row, "endpoints", endpoint_columns!(), 1);
    let (secret, previous) = secrets_of(&row, 5)?;
    Ok(Endpoint {
        id: row.id(1, EndpointId::from_u128)?,
        tenant: Tenant(row.int(0)?),
        created_at: time(&row, 2)?,
        version: row.int(3)?,
        disabled: row.int_or(4)?.map(|_| row.word(4, DisabledReason::from_code)).transpose()?,
        secret,
        previous,
        settings: Settings::stored(row.text(8)?).map_err(|error| row.bad(8, error))?,
    })
}

/// A recovery of [`recovery_columns`].
pub(crate) fn recovery<R: Columns>(row: &R) -> Result<Recovery> {
    let row = Reading::new(row, "recoveries", recovery_columns!(), 1);
    let rate = row.text_or(7)?.map(str::parse).transpose().map_err(|error| row.bad(7, error))?;
    Ok(Recovery {
        plan: Plan {
            tenant: Tenant(row.int(0)?),
            id: row.id(1, RecoveryId::from_u128)?,
            endpoint: row.id(2, EndpointId::from_u128)?,
            reason: row.int_or(3)?.map(|_| row.word(3, Reason::from_code)).transpose()?,
            created_at: time(&row, 4)?,
            since: time_or(&row, 5)?,
            until: time_or(&row, 6)?,
            rate,
        },
        reached: row.int(8)?,
        last: row.int(9)?,
        recovered: row.number(10)?,
        state: row.word(11, RecoveryState::from_code)?,
        finished_at: time_or(&row, 12)?,
    })
}

/// How an endpoint fares: `id, failing_since, failed_events`.
pub(crate) fn failing<R: Columns>(row: &R) -> Result<Failing> {
    let row = Reading::new(row, "endpoints", "id, failing_since, failed_events", 0);
    Ok(Failing { since: time_or(&row, 1)?, events: row.number(2)? })
}

/// An attempt as its endpoint's health counts it: `delivery, started_at, ended_at, outcome, status, error`.
pub(crate) fn sample<R: Columns>(row: &R) -> Result<Sample> {
    let row = Reading::new(row, "attempts", "delivery, started_at, ended_at, outcome, status, error", 0);
    Ok(Sample {
        delivery: row.id(0, DeliveryId::from_u128)?,
        started_at: time(&row, 1)?,
        ended_at: time(&row, 2)?,
        outcome: row.word(3, Outcome::from_code)?,
        status: row.int_or(4)?.map(|_| row.number(4)).transpose()?,
        error: row.text_or(5)?.map(Into::into),
    })
}

/// What an attempt said of its endpoint: `delivery, trigger, outcome, ended_at`.
pub(crate) fn recorded<R: Columns>(row: &R) -> Result<Recorded> {
    let row = Reading::new(row, "attempts", "delivery, trigger, outcome, ended_at", 0);
    Ok(Recorded {
        taken: row.word(2, Outcome::from_code)? == Outcome::Delivered,
        probe: row.word(1, Trigger::from_code)? == Trigger::Probe,
        at: time(&row, 3)?,
    })
}

/// An attempt of [`attempt_columns`].
pub(crate) fn attempt<R: Columns>(row: &R) -> Result<Attempt> {
    let row = Reading::new(row, "attempts", attempt_columns!(), 0);
    let address = |text: &str| text.parse().map_err(|error| row.bad(8, error));
    let response = |text: &str| serde_json::from_str(text).map_err(|error| row.bad(10, error));
    Ok(Attempt {
        number: row.number(1)?,
        trigger: row.word(2, Trigger::from_code)?,
        started_at: time(&row, 3)?,
        ended_at: time(&row, 4)?,
        outcome: row.word(5, Outcome::from_code)?,
        status: row.int_or(6)?.map(|_| row.number(6)).transpose()?,
        error: row.text_or(7)?.map(Into::into),
        remote_address: row.text_or(8)?.map(address).transpose()?,
        timings_ms: serde_json::from_str(row.text(9)?).map_err(|error| row.bad(9, error))?,
        response: row.text_or(10)?.map(response).transpose()?,
    })
}

/// A task's name: `task`.
pub(crate) fn task<R: Columns>(row: &R) -> Result<TaskName> {
    let row = Reading::new(row, "paused_tasks", "task", 0);
    row.text(0)?.parse().map_err(|error| row.bad(0, error))
}

/// Of each task the earliest of its lanes.
pub(crate) fn oldest(lanes: Vec<LaneStart>) -> Vec<(TaskName, Timestamp)> {
    let mut oldest: BTreeMap<TaskName, Timestamp> = BTreeMap::new();
    for LaneStart { task, due, .. } in lanes {
        let Some(task) = task else { continue };
        let first = oldest.entry(task).or_insert(due);
        *first = due.min(*first);
    }
    oldest.into_iter().collect()
}

/// What a lane's owner allows: `terms`.
pub(crate) fn terms(text: Option<&str>) -> Result<Terms> {
    Terms::stored(text).map_err(StorageError::refused)
}

/// A claim that was made under other terms than these: it brings nothing but them, and when the lane's next row is due.
/// Who cannot read them leaves the lane to others.
pub(crate) fn other_terms<T>(claim: LaneClaim<T>, terms: Option<&str>, next: Option<i64>) -> LaneClaim<T> {
    match Terms::stored(terms) {
        Ok(terms) => LaneClaim { next_due: next.map(Timestamp::from_micros), terms, ..claim },
        Err(error) => {
            tracing::error!(lane = claim.lane.0, %error, "lane_terms_unknown");
            claim
        }
    }
}

/// A lane's name alone.
pub(crate) fn lane_alone<R: Columns>(row: &R) -> Result<Lane> {
    Ok(Lane(Reading::new(row, "delivery_queue", "lane", 0).int(0)?))
}

/// A lane: `lane, due_at` and, of jobs, `task`.
pub(crate) fn lane<R: Columns>(row: &R, of_jobs: bool) -> Result<LaneStart> {
    let row = Reading::new(row, "job_queue", "lane, due_at, task", 0);
    let task = if of_jobs { Some(row.text(2)?.parse().map_err(|error| row.bad(2, error))?) } else { None };
    Ok(LaneStart { lane: Lane(row.int(0)?), task, due: time(&row, 1)?, failing: false })
}
