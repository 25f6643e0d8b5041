//! The node's place, and what becomes of the work of one that is gone. On SQLite the file's lock is the lease.

use std::collections::{BTreeMap, HashSet};

use domain::{
    chance::Moment,
    delivery::{Attempt, Trigger},
    id::{DeliveryId, JobId, Tenant},
    lane::Lane,
    lease::Fence,
    task::TaskName,
    time::Timestamp,
};
use rusqlite::{OptionalExtension, params};
use storage::{Recovered, Result as Answer, StorageError, Wake};

use super::{
    fault::Fault,
    hot_jobs::{freed, task_of},
    seldom,
    writer::Writer,
};

/// The only node of a SQLite file.
pub(crate) const NODE: i64 = 1;

/// Takes the place with a new epoch.
pub(crate) fn join(w: &mut Writer<'_>, (): &()) -> Result<Fence, Fault> {
    let epoch = w.connection.prepare_cached(seldom::JOIN)?.query_row([NODE], |row| row.get(0))?;
    let fence = Fence { node: NODE, epoch };
    w.effects.joined(fence);
    Ok(fence)
}

/// Frees what older epochs hold: one walk over each narrow table.
pub(crate) fn take_over(w: &mut Writer<'_>, at: &Moment) -> Result<Recovered, Fault> {
    let fence = w.fence()?;
    Ok(Recovered { jobs: free_jobs(w, fence, *at)?, deliveries: free_deliveries(w, fence, *at)? })
}

fn free_jobs(w: &mut Writer<'_>, fence: Fence, at: Moment) -> Result<u64, Fault> {
    let mut free = w.connection.prepare_cached(seldom::FREE_LOST_JOBS)?;
    let rows = free
        .query_map(params![fence.node, fence.epoch, at.now.micros()], |row| {
            let id: [u8; 16] = row.get(4)?;
            Ok((freed(row)?, Tenant(row.get(3)?), JobId::from_u128(u128::from_be_bytes(id))))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    // A lane is of one task.
    let mut lanes: BTreeMap<Lane, (TaskName, Option<Timestamp>)> = BTreeMap::new();
    for (freed, tenant, id) in &rows {
        let task = match lanes.get(&freed.lane) {
            Some((task, _)) => task.clone(),
            None => task_of(w, *tenant, *id)?,
        };
        w.effects.job_found(&task, *tenant);
        let (_, expires) = lanes.entry(freed.lane).or_insert((task, None));
        *expires = (*expires).into_iter().chain(freed.expires).min();
    }
    for (lane, (task, expires)) in lanes {
        w.effects.job_due(&task, lane, at.now, expires);
    }
    Ok(rows.len() as u64)
}

/// How an attempt that its node did not live to close is recorded.
pub(crate) struct Interrupted {
    pub(crate) outcome: i64,
    error: Option<String>,
    pub(crate) timings: String,
}

pub(crate) fn interrupted(at: Moment) -> Answer<Interrupted> {
    let attempt = Attempt::interrupted(1, Trigger::Policy, at.wall, at.wall);
    let timings = serde_json::to_string(&attempt.timings_ms).map_err(StorageError::refused)?;
    Ok(Interrupted { outcome: attempt.outcome.code(), error: attempt.error, timings })
}

fn free_deliveries(w: &mut Writer<'_>, fence: Fence, at: Moment) -> Result<u64, Fault> {
    let Interrupted { outcome, error, timings } = interrupted(at)?;
    let (node, epoch) = (fence.node, fence.epoch);
    w.connection.prepare_cached(seldom::CLOSE_LOST_ATTEMPTS)?.execute(params![
        at.wall.micros(),
        outcome,
        error,
        timings,
        node,
        epoch
    ])?;
    let mut free = w.connection.prepare_cached(seldom::FREE_LOST_DELIVERIES)?;
    let mut lanes = free
        .query_map(params![at.now.micros(), outcome, node, epoch], |row| row.get(0))?
        .collect::<Result<Vec<i64>, _>>()?;
    let count = lanes.len() as u64;
    lanes.sort_unstable();
    lanes.dedup();
    for lane in lanes {
        w.effects.wake(Wake::DeliveryDue { lane: Lane(lane), due: at.now });
    }
    Ok(count)
}

/// What a node says it holds, a stage each; `None` leaves the stage alone.
pub(crate) type Held = (Option<Vec<JobId>>, Option<Vec<DeliveryId>>, Moment);

/// Gives back what this node's rows say it holds and it does not.
pub(crate) fn give_back(w: &mut Writer<'_>, (jobs, deliveries, at): &Held) -> Result<Recovered, Fault> {
    let fence = w.fence()?;
    let mut recovered = Recovered::default();
    if let Some(held) = jobs {
        let held: HashSet<[u8; 16]> = held.iter().map(|id| id.to_bytes()).collect();
        for id in not_among(w, seldom::HELD_JOBS, fence, &held)? {
            recovered.jobs += u64::from(give_back_job(w, id, fence, *at)?);
        }
    }
    if let Some(held) = deliveries {
        let held: HashSet<[u8; 16]> = held.iter().map(|id| id.to_bytes()).collect();
        for id in not_among(w, seldom::HELD_DELIVERIES, fence, &held)? {
            recovered.deliveries += u64::from(give_back_delivery(w, id, fence, *at)?);
        }
    }
    Ok(recovered)
}

fn not_among(
    w: &Writer<'_>,
    sql: &str,
    fence: Fence,
    held: &HashSet<[u8; 16]>,
) -> Result<Vec<[u8; 16]>, Fault> {
    let mut rows = w.connection.prepare_cached(sql)?;
    let rows = rows.query_map([fence.node, fence.epoch], |row| row.get(0))?;
    let all = rows.collect::<Result<Vec<[u8; 16]>, _>>()?;
    Ok(all.into_iter().filter(|id| !held.contains(id)).collect())
}

fn give_back_job(w: &mut Writer<'_>, id: [u8; 16], fence: Fence, at: Moment) -> Result<bool, Fault> {
    let mut free = w.connection.prepare_cached(seldom::GIVE_BACK_JOB)?;
    let row = free
        .query_row(params![id, fence.node, fence.epoch, at.now.micros()], |row| {
            Ok((freed(row)?, Tenant(row.get(3)?)))
        })
        .optional()?;
    let Some((freed, tenant)) = row else { return Ok(false) };
    let job = JobId::from_u128(u128::from_be_bytes(id));
    let task = task_of(w, tenant, job)?;
    w.effects.job_requeued(&task, (tenant, job), freed.lane, freed.due, freed.expires);
    Ok(true)
}

fn give_back_delivery(w: &mut Writer<'_>, id: [u8; 16], fence: Fence, at: Moment) -> Result<bool, Fault> {
    let Interrupted { outcome, error, timings } = interrupted(at)?;
    let (node, epoch) = (fence.node, fence.epoch);
    w.connection.prepare_cached(seldom::CLOSE_ATTEMPT)?.execute(params![
        at.wall.micros(),
        outcome,
        error,
        timings,
        id,
        node,
        epoch
    ])?;
    let mut free = w.connection.prepare_cached(seldom::GIVE_BACK_DELIVERY)?;
    let lane: Option<i64> =
        free.query_row(params![at.now.micros(), outcome, id, node, epoch], |row| row.get(0)).optional()?;
    let Some(lane) = lane else { return Ok(false) };
    w.effects.wake(Wake::DeliveryDue { lane: Lane(lane), due: at.now });
    Ok(true)
}

/// How many wait of each task, for the counters of a start.
pub(crate) fn waiting(connection: &rusqlite::Connection) -> rusqlite::Result<Vec<(String, u64)>> {
    let mut lanes = connection.prepare(crate::cold::WAITING)?;
    let lanes = lanes.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let lanes = lanes.collect::<Result<Vec<(i64, i64)>, _>>()?;
    let mut task = connection.prepare(seldom::TASK_OF_LANE)?;
    let mut found: std::collections::BTreeMap<String, u64> = Default::default();
    for (lane, count) in lanes {
        *found.entry(task.query_row([lane], |row| row.get(0))?).or_default() += count.unsigned_abs();
    }
    Ok(found.into_iter().collect())
}
