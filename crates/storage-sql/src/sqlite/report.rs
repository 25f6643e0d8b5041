//! How far running work is: the newest of a second.

use domain::{
    delivery::{Reason, Status},
    id::DeliveryId,
};
use rusqlite::{OptionalExtension, params};
use storage::{Guard, Report, Wake, Written};

use super::{
    endpoints,
    fan_out::{fan_out, insert_event},
    fault::Fault,
    hot_jobs::{Found, find},
    seldom,
    writer::Writer,
};
use crate::address::Occasion;

/// Writes it, with its event if somebody asked for that.
pub(crate) fn report(w: &mut Writer<'_>, report: &Report) -> Result<Written, Fault> {
    let Report { job, hold, event, replaces, at } = report;
    let Some(Found { callbacks, .. }) = find(w, job, &Guard::Held(*hold))? else {
        return Ok(Written::LeaseLost);
    };
    let text = job.progress.as_ref().map(|progress| progress.as_json());
    w.connection.prepare_cached(seldom::REPORT)?.execute(params![job.id.to_bytes(), text])?;
    let (occasion, endpoints) = (Occasion::of_job(job, event, *at), endpoints::of(w, job.tenant)?);
    if occasion.is_heard(&endpoints, &callbacks) {
        for older in replaces.iter().flat_map(|older| occasion.as_of(*older, &endpoints, &callbacks)) {
            replace(w, job.tenant.0, older, at.wall.micros())?;
        }
        insert_event(w, &occasion)?;
        fan_out(w, &occasion, &callbacks)?;
    }
    w.effects.wake(Wake::JobChanged { job: job.id, ended: false });
    Ok(Written::Done)
}

/// Newer news goes in its place.
fn replace(w: &mut Writer<'_>, tenant: i64, delivery: DeliveryId, wall: i64) -> Result<(), Fault> {
    let id = delivery.to_bytes();
    let mut waiting = w.connection.prepare_cached(seldom::REPLACE)?;
    let waited: Option<(i64, Option<i64>)> =
        waiting.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    if let Some((attempts, last)) = waited {
        let (status, reason) = (Status::Failed.code(), Reason::Canceled.code());
        w.hot.end_delivery.execute(params![tenant, id, status, reason, attempts, last, wall])?;
    }
    Ok(())
}
