//! The hot verbs of jobs, row by row with prepared statements inside the writer's transaction.

use domain::{
    callback::Callbacks,
    chance::Moment,
    event::Event,
    id::{JobId, Tenant},
    job::{Ended, Ending, Job, State},
    lane::{Ask, Lane},
    lease::Fence,
    time::Timestamp,
};
use rusqlite::{OptionalExtension, params};
use storage::{
    Announce, ClaimedJob, Finish, Guard, Idempotency, JobHold, LaneClaim, Requeue, StorageError, Submit,
    Submitted, Wake, Written,
};

use super::{
    fan_out::{fan_out, insert_event},
    fault::Fault,
    seldom,
    writer::Writer,
};
use crate::{
    address::Occasion,
    rows::{self, INLINE, payload},
};

/// Records a job, born claimed if somebody takes it.
pub(crate) fn submit(w: &mut Writer<'_>, submit: &Submit) -> Result<Submitted, Fault> {
    let Submit { job, input, due, idempotency, at } = submit;
    if let Some(key) = idempotency
        && let Some(used) = use_key(w, key, job, *at)?
    {
        return Ok(used);
    }
    insert_job(w, submit)?;
    let lane = job.lane();
    let fence = if *due <= at.now { w.effects.reserve_job(&job.task, lane, at.now) } else { None };
    queue_job(w, submit, lane, fence)?;
    let Some(fence) = fence else {
        w.effects.job_queued(&job.task, job.tenant, lane, *due, job.expires_at);
        return Ok(Submitted::Accepted(job.clone()));
    };
    let job = Job { state: State::Running { attempt: 1, started_at: at.wall }, ..job.clone() };
    let hold = JobHold { tenant: job.tenant, job: job.id, lane, fence, attempt: 1 };
    w.effects.job_born(ClaimedJob { job: job.clone(), input: input.clone(), hold, due: *due });
    Ok(Submitted::Accepted(job))
}

/// Writes the key's row. `Some`: it was there.
fn use_key(w: &mut Writer<'_>, key: &Idempotency, job: &Job, at: Moment) -> Result<Option<Submitted>, Fault> {
    let new = w.hot.insert_key.execute(params![
        key.digest,
        key.fingerprint,
        job.tenant.0,
        job.id.to_bytes(),
        at.wall.micros()
    ])?;
    if new == 1 {
        return Ok(None);
    }
    let (fingerprint, made): ([u8; 32], [u8; 16]) =
        w.hot.key.query_row([key.digest], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Some(if fingerprint == key.fingerprint {
        Submitted::Replayed(JobId::from_u128(u128::from_be_bytes(made)))
    } else {
        Submitted::KeyReused
    }))
}

fn insert_job(w: &mut Writer<'_>, submit: &Submit) -> Result<(), Fault> {
    let Submit { job, input, idempotency, .. } = submit;
    let run_at = match job.state {
        State::Queued { run_at, .. } => run_at.map(Timestamp::micros),
        _ => None,
    };
    let id = job.id.to_bytes();
    let inline = input.len() <= INLINE;
    w.hot.insert_job.execute(params![
        job.tenant.0,
        id,
        job.task.as_str(),
        job.max_attempts,
        job.priority.get(),
        i64::try_from(job.timeout.as_micros()).unwrap_or(i64::MAX),
        job.created_at.micros(),
        run_at,
        job.expires_at.map(Timestamp::micros),
        job.rerun_of.map(JobId::to_bytes),
        idempotency.as_ref().map(|key| key.digest),
        job.traceparent.as_deref(),
        job.metadata.get(),
        job.callbacks.as_text(),
        inline.then_some(&**input),
    ])?;
    if !inline {
        w.hot.insert_payload.execute(params![job.tenant.0, id, payload::INPUT, input.as_bytes()])?;
    }
    Ok(())
}

fn queue_job(w: &mut Writer<'_>, submit: &Submit, lane: Lane, fence: Option<Fence>) -> Result<(), Fault> {
    let Submit { job, due, at, .. } = submit;
    w.hot.queue_job.execute(params![
        job.id.to_bytes(),
        job.tenant.0,
        lane.0,
        due.micros(),
        i64::from(fence.is_some()),
        fence.map(|fence| fence.node),
        fence.map(|fence| fence.epoch),
        fence.map(|_| at.wall.micros()),
        job.expires_at.map(Timestamp::micros),
    ])?;
    Ok(())
}

/// Claims what is due in each lane, in the lane's order.
pub(crate) fn claim(
    w: &mut Writer<'_>,
    (asks, at): &(Vec<Ask>, Moment),
) -> Result<Vec<LaneClaim<ClaimedJob>>, Fault> {
    let mut claims = Vec::with_capacity(asks.len());
    for ask in asks {
        let due: Vec<[u8; 16]> = w
            .hot
            .due_jobs
            .query_map(params![ask.lane.0, at.now.micros(), ask.k], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let claimed = due.into_iter().map(|id| hold(w, id, *at)).collect::<Result<_, _>>()?;
        let next: Option<i64> = w.hot.next_job.query_row([ask.lane.0], |row| row.get(0)).optional()?;
        claims.push(LaneClaim {
            lane: ask.lane,
            claimed,
            next_due: next.map(Timestamp::from_micros),
            terms: ask.terms,
        });
    }
    Ok(claims)
}

/// Claims what has expired in the queue, whatever its lane.
pub(crate) fn claim_expired(
    w: &mut Writer<'_>,
    (limit, at): &(u32, Moment),
) -> Result<(Vec<ClaimedJob>, Option<Timestamp>), Fault> {
    let expired: Vec<[u8; 16]> = w
        .hot
        .expired_jobs
        .query_map(params![at.now.micros(), limit], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let claimed = expired.into_iter().map(|id| hold(w, id, *at)).collect::<Result<_, _>>()?;
    let next: Option<i64> = w.hot.next_expiry.query_row([], |row| row.get(0)).optional()?;
    Ok((claimed, next.map(Timestamp::from_micros)))
}

fn hold(w: &mut Writer<'_>, id: [u8; 16], at: Moment) -> Result<ClaimedJob, Fault> {
    let fence = w.fence()?;
    w.hot.hold_job.execute(params![id, fence.node, fence.epoch, at.wall.micros()])?;
    let job = w.hot.claimed_job.query_row([id], |row| Ok(rows::claimed_job(row, fence)))??;
    w.effects.job_claimed(&job.job.task, job.job.tenant, job.job.id);
    Ok(job)
}

/// What the rows of a job say by now.
pub(crate) struct Found {
    canceled: Option<Timestamp>,
    pub(crate) callbacks: Callbacks,
}

/// Looks whether a write still finds its row. `None`: somebody else holds it, or it is over.
pub(crate) fn find(w: &mut Writer<'_>, job: &Job, guard: &Guard) -> Result<Option<Found>, Fault> {
    let id = job.id.to_bytes();
    let read = |row: &rusqlite::Row<'_>| {
        let canceled: Option<i64> = row.get(0)?;
        Ok((canceled.map(Timestamp::from_micros), job.callbacks.reread(row.get_ref(1)?.as_str()?)))
    };
    let found = match guard {
        Guard::Held(JobHold { fence, attempt, .. }) => {
            w.hot.held_job.query_row(params![id, fence.node, fence.epoch, attempt], read)
        }
        Guard::Queued { attempt } => w.hot.waiting_job.query_row(params![id, attempt], read),
    };
    let Some((canceled, callbacks)) = found.optional()? else { return Ok(None) };
    let callbacks = callbacks.map_err(|error| StorageError::BadRow {
        table: "jobs",
        column: "callbacks",
        id: job.id.to_string(),
        detail: error.to_string(),
    })?;
    Ok(Some(Found { canceled, callbacks }))
}

/// Ends a job and writes its event and deliveries.
pub(crate) fn finish(w: &mut Writer<'_>, finish: &Finish) -> Result<Written, Fault> {
    let Some(Found { canceled, callbacks }) = find(w, &finish.job, &finish.guard)? else {
        return Ok(Written::LeaseLost);
    };
    w.hot.unqueue_job.execute([finish.job.id.to_bytes()])?;
    end_job(w, finish, canceled)?;
    let Finish { job, ended, event, links, at, .. } = finish;
    if canceled == job.cancel_requested_at {
        conclude(w, job, &callbacks, event, *at)?;
    } else {
        // Somebody asked it to stop after it was claimed: the event says so too.
        let job = Job { cancel_requested_at: canceled, ..job.clone() };
        conclude(w, &job, &callbacks, &Event::ended(event.id, &job, ended, links), *at)?;
    }
    w.effects.job_ended(job, matches!(finish.guard, Guard::Held(_)), *at);
    Ok(Written::Done)
}

fn conclude(
    w: &mut Writer<'_>,
    job: &Job,
    callbacks: &Callbacks,
    event: &Event,
    at: Moment,
) -> Result<(), Fault> {
    let occasion = Occasion::of_job(job, event, at);
    insert_event(w, &occasion)?;
    fan_out(w, &occasion, callbacks)
}

/// Writes how it ended.
fn end_job(w: &mut Writer<'_>, finish: &Finish, canceled: Option<Timestamp>) -> Result<(), Fault> {
    let Finish { job, ended, result, .. } = finish;
    let (info, shown, error) = match &ended.ending {
        Ending::Succeeded(result) => (Some(&result.info), result.inline.is_some(), None),
        Ending::Failed(error) => (None, false, Some(error.as_json())),
        Ending::Canceled => (None, false, None),
    };
    let inline = result.as_deref().filter(|bytes| bytes.len() <= INLINE);
    let id = job.id.to_bytes();
    let Ended { attempt, started_at, finished_at, .. } = ended;
    w.hot.end_job.execute(params![
        job.tenant.0,
        id,
        ended.ending.status().code(),
        attempt,
        started_at.map(Timestamp::micros),
        finished_at.micros(),
        canceled.map(Timestamp::micros),
        info.map(|info| i64::try_from(info.size).unwrap_or(i64::MAX)),
        info.map(|info| info.sha256),
        info.map(|info| &*info.content_type),
        shown,
        error,
        inline,
        finish.event.id.to_bytes(),
        job.progress.as_ref().map(|progress| progress.as_json()),
    ])?;
    if let Some(bytes) = result.as_deref().filter(|_| inline.is_none()) {
        w.hot.insert_payload.execute(params![job.tenant.0, id, payload::RESULT, bytes])?;
    }
    Ok(())
}

/// Puts a claimed job back.
pub(crate) fn requeue(w: &mut Writer<'_>, requeue: &Requeue) -> Result<Written, Fault> {
    let Requeue { hold: JobHold { tenant, job, fence, attempt, .. }, due, counted } = *requeue;
    let uncounted = i64::from(!counted);
    let params = params![job.to_bytes(), fence.node, fence.epoch, attempt, due.micros(), uncounted];
    let freed = w.hot.requeue_job.query_row(params, freed).optional()?;
    let Some(freed) = freed else { return Ok(Written::LeaseLost) };
    let task = task_of(w, tenant, job)?;
    w.effects.job_requeued(&task, (tenant, job), freed.lane, freed.due, freed.expires);
    Ok(Written::Done)
}

/// What a job's queue row says once nobody holds it.
pub(crate) struct Freed {
    pub(crate) lane: Lane,
    pub(crate) due: Timestamp,
    pub(crate) expires: Option<Timestamp>,
}

/// `lane, due_at, expires_at`.
pub(crate) fn freed(row: &rusqlite::Row<'_>) -> rusqlite::Result<Freed> {
    let expires: Option<i64> = row.get(2)?;
    Ok(Freed {
        lane: Lane(row.get(0)?),
        due: Timestamp::from_micros(row.get(1)?),
        expires: expires.map(Timestamp::from_micros),
    })
}

/// The task of a job that has a queue row.
pub(crate) fn task_of(w: &Writer<'_>, tenant: Tenant, job: JobId) -> Result<domain::task::TaskName, Fault> {
    let mut statement = w.connection.prepare_cached(seldom::TASK)?;
    let task: String = statement.query_row(params![tenant.0, job.to_bytes()], |row| row.get(0))?;
    task.parse().map_err(|error: domain::task::NotATaskName| {
        Fault::Answer(StorageError::BadRow {
            table: "jobs",
            column: "task",
            id: job.to_string(),
            detail: error.to_string(),
        })
    })
}

/// Writes `job.started` and its deliveries, once.
pub(crate) fn announce(w: &mut Writer<'_>, announce: &Announce) -> Result<Written, Fault> {
    let Announce { job, hold, event, at } = announce;
    let Some(Found { callbacks, .. }) = find(w, job, &Guard::Held(*hold))? else {
        return Ok(Written::LeaseLost);
    };
    let occasion = Occasion::of_job(job, event, *at);
    if insert_event(w, &occasion)? {
        fan_out(w, &occasion, &callbacks)?;
    }
    Ok(Written::Done)
}

/// Asks running work to stop, once.
pub(crate) fn ask_to_stop(w: &mut Writer<'_>, job: JobId, at: Moment) -> Result<(), Fault> {
    let mut ask = w.connection.prepare_cached(seldom::ASK_TO_STOP)?;
    if ask.execute(params![job.to_bytes(), at.wall.micros()])? == 1 {
        w.effects.wake(Wake::CancelRequested { job });
        w.effects.wake(Wake::JobChanged { job, ended: false });
    }
    Ok(())
}
