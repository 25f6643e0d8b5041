//! What has been kept long enough goes: row by row, by primary keys, one small step a commit.

use domain::{
    chance::Moment,
    id::{EventId, JobId, Tenant},
    job::Status,
    retention::{Fate, KEY},
    time::Timestamp,
};
use rusqlite::{OptionalExtension, Row, params};
use storage::{Apart, Deleted, Due, Forget, STEP_JOBS, STEP_ROWS, Wake};

use super::{fault::Fault, seldom, writer::Writer};
use crate::{bounds::first_of, cold};

/// A job that has ended, as far as its end is concerned.
struct Ended {
    status: i64,
    task: String,
    finished_at: i64,
    created_at: i64,
    key: Option<[u8; 16]>,
    event: Option<[u8; 16]>,
    /// Something of it is queued.
    pending: bool,
}

impl Ended {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            status: row.get(0)?,
            task: row.get(1)?,
            finished_at: row.get::<_, Option<i64>>(2)?.unwrap_or_default(),
            created_at: row.get(3)?,
            key: row.get(4)?,
            event: row.get(5)?,
            pending: row.get(6)?,
        })
    }
}

fn ended(w: &Writer<'_>, tenant: Tenant, job: JobId) -> Result<Option<Ended>, Fault> {
    let mut read = w.connection.prepare_cached(seldom::ENDED_JOB)?;
    Ok(read.query_row(params![tenant.0, job.to_bytes()], Ended::read).optional()?)
}

/// Those of a step that are still as they were found.
pub(crate) fn prune(w: &mut Writer<'_>, (due, at): &(Vec<Due>, Moment)) -> Result<u64, Fault> {
    let mut gone = 0;
    for Due { tenant, job, fate } in due {
        let found = ended(w, *tenant, *job)?;
        let Some(found) = found.filter(|found| found.status >= Status::Succeeded.code() && !found.pending)
        else {
            continue;
        };
        match fate {
            Fate::Keep => continue,
            Fate::Erase => erase(w, *tenant, *job, &found)?,
            Fate::Prune => bury(w, *tenant, *job, &found, false, *at)?,
        }
        gone += 1;
    }
    Ok(gone)
}

/// Deletes a job now, with what is still to be sent of it.
pub(crate) fn delete_job(
    w: &mut Writer<'_>,
    (tenant, job, at): &(Tenant, JobId, Moment),
) -> Result<Deleted, Fault> {
    let Some(found) = ended(w, *tenant, *job)? else { return Ok(Deleted::Missing) };
    if found.status < Status::Succeeded.code() {
        return Ok(Deleted::NotFinished);
    }
    // Until it may be used for another request, a key must go on finding that its job is gone.
    let keyed = Timestamp::from_micros(found.created_at) + KEY > at.wall;
    bury(w, *tenant, *job, &found, keyed, *at)?;
    w.effects.wake(Wake::JobChanged { job: *job, ended: true });
    Ok(Deleted::Done)
}

/// What is of a job.
struct Estate {
    deliveries: Vec<[u8; 16]>,
    /// The two that every job may have, and those of its deliveries.
    events: Vec<[u8; 16]>,
}

impl Estate {
    fn delete(&self, w: &Writer<'_>, tenant: Tenant) -> Result<(), Fault> {
        for delivery in &self.deliveries {
            w.connection.prepare_cached(seldom::DELETE_ATTEMPTS)?.execute(params![tenant.0, delivery])?;
            let numbered = w
                .connection
                .prepare_cached(seldom::DELETE_DELIVERY)?
                .query_row(params![tenant.0, delivery], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            if let Some((Some(endpoint), Some(number))) = numbered {
                let (endpoint, number): ([u8; 16], i64) = (endpoint, number);
                w.connection.prepare_cached(seldom::PRUNED_UP_TO)?.execute(params![endpoint, number])?;
            }
        }
        for event in &self.events {
            w.connection.prepare_cached(seldom::DELETE_EVENT)?.execute(params![tenant.0, event])?;
            w.connection.prepare_cached(seldom::DELETE_PAYLOAD)?.execute(params![tenant.0, event])?;
        }
        Ok(())
    }
}

fn estate(w: &Writer<'_>, tenant: Tenant, job: JobId, found: &Ended) -> Result<Estate, Fault> {
    let mut read = w.connection.prepare_cached(seldom::DELIVERIES_OF)?;
    let rows = read.query_map(params![tenant.0, job.to_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows = rows.collect::<Result<Vec<([u8; 16], [u8; 16])>, _>>()?;
    let (deliveries, mut events): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    events.extend(found.event);
    events.push(EventId::started(job).to_bytes());
    events.sort_unstable();
    events.dedup();
    Ok(Estate { deliveries, events })
}

fn erase(w: &mut Writer<'_>, tenant: Tenant, job: JobId, found: &Ended) -> Result<(), Fault> {
    for event in estate(w, tenant, job, found)?.events {
        w.connection.prepare_cached(seldom::ERASE_EVENT)?.execute(params![tenant.0, event])?;
        w.connection.prepare_cached(seldom::DELETE_PAYLOAD)?.execute(params![tenant.0, event])?;
    }
    let id = job.to_bytes();
    w.connection.prepare_cached(seldom::DELETE_PAYLOAD)?.execute(params![tenant.0, id])?;
    w.connection.prepare_cached(seldom::ERASE_JOB)?.execute(params![tenant.0, id])?;
    Ok(())
}

/// All of it goes; a tombstone stays, and with `keyed` the key.
fn bury(
    w: &mut Writer<'_>,
    tenant: Tenant,
    job: JobId,
    found: &Ended,
    keyed: bool,
    at: Moment,
) -> Result<(), Fault> {
    let estate = estate(w, tenant, job, found)?;
    if found.pending {
        for delivery in &estate.deliveries {
            w.connection.prepare_cached(seldom::DELETE_QUEUED)?.execute([delivery])?;
        }
    }
    estate.delete(w, tenant)?;
    let id = job.to_bytes();
    w.connection.prepare_cached(seldom::DELETE_PAYLOAD)?.execute(params![tenant.0, id])?;
    w.connection.prepare_cached(seldom::DELETE_JOB)?.execute(params![tenant.0, id])?;
    if let Some(key) = found.key.filter(|_| !keyed) {
        w.connection.prepare_cached(seldom::DELETE_KEY)?.execute(params![key, id])?;
    }
    w.connection.prepare_cached(seldom::BURY)?.execute(params![
        tenant.0,
        id,
        found.task,
        found.status,
        found.finished_at,
        at.wall.micros(),
        found.key.filter(|_| keyed),
    ])?;
    Ok(())
}

/// Deletes a step's worth of tombstones whose time is over.
pub(crate) fn forget(w: &mut Writer<'_>, forget: &Forget) -> Result<Option<JobId>, Fault> {
    let Forget { tenant, after, made_before, gone_before } = forget;
    let mut read = w.connection.prepare_cached(seldom::TOMBSTONES)?;
    let key = params![tenant.0, after.to_bytes(), first_of(*made_before), STEP_ROWS as i64];
    let rows = read
        .query_map(key, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<Vec<([u8; 16], i64, Option<[u8; 16]>)>, _>>()?;
    for (id, _, key) in rows.iter().filter(|(_, gone_at, _)| *gone_at <= gone_before.micros()) {
        w.connection.prepare_cached(seldom::FORGET)?.execute(params![tenant.0, id])?;
        if let Some(key) = key {
            w.connection.prepare_cached(seldom::DELETE_KEY)?.execute(params![key, id])?;
        }
    }
    let last = rows.last().filter(|_| rows.len() == STEP_ROWS);
    Ok(last.map(|(id, ..)| JobId::from_u128(u128::from_be_bytes(*id))))
}

/// Deletes a step's worth of what happened to no job, unless something of it is to be sent.
pub(crate) fn prune_apart(w: &mut Writer<'_>, apart: &Apart) -> Result<Option<EventId>, Fault> {
    let Apart { tenant, after, made_before, told_before } = apart;
    let mut read = w.connection.prepare_cached(cold::APART)?;
    let key = params![tenant.0, after.to_bytes(), first_of(*made_before), STEP_JOBS as i64];
    let rows = read
        .query_map(key, |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<([u8; 16], i64)>, _>>()?;
    for (event, _) in rows.iter().filter(|(_, told_at)| *told_at <= told_before.micros()) {
        let mut read = w.connection.prepare_cached(seldom::DELIVERIES_APART)?;
        let deliveries = read
            .query_map(params![tenant.0, event], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<Vec<([u8; 16], bool)>, _>>()?;
        if deliveries.iter().all(|(_, queued)| !queued) {
            let deliveries = deliveries.into_iter().map(|(id, _)| id).collect();
            Estate { deliveries, events: vec![*event] }.delete(w, *tenant)?;
        }
    }
    let last = rows.last().filter(|_| rows.len() == STEP_JOBS);
    Ok(last.map(|(id, _)| EventId::from_u128(u128::from_be_bytes(*id))))
}
