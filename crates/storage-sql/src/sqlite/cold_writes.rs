//! The writes that are seldom: cancel, attach, resend; and what is said of tasks.

use domain::{
    chance::Moment,
    delivery::{Attempt, Reason, Status, Trigger},
    event::Event,
    id::{DeliveryId, EventId, Tenant},
    lane::Lane,
    task::TaskName,
    time::Timestamp,
};
use rusqlite::{OptionalExtension, params};
use storage::{Attach, Attached, Cancel, Canceled, DeliveryCanceled, DeliveryHold, Resent, Wake, Written};

use super::{
    fan_out::deliver,
    fault::Fault,
    hot_jobs,
    nodes::{self, Interrupted},
    seldom,
    writer::Writer,
};
use crate::{
    address::{Address, Occasion},
    cold, rows,
};

/// Cancels a queued job, or asks a running one to stop.
pub(crate) fn cancel(w: &mut Writer<'_>, cancel: &Cancel) -> Result<Canceled, Fault> {
    let finish = &cancel.finish;
    let (tenant, id) = (finish.job.tenant.0, finish.job.id.to_bytes());
    let mut queued = w.connection.prepare_cached(seldom::QUEUED_NODE)?;
    match queued.query_row(params![id, tenant], |row| row.get::<_, Option<i64>>(0)).optional()? {
        Some(Some(_)) => {
            hot_jobs::ask_to_stop(w, finish.job.id, finish.at)?;
            Ok(Canceled::Requested)
        }
        Some(None) => Ok(match hot_jobs::finish(w, finish)? {
            Written::Done => Canceled::Ended,
            Written::LeaseLost => Canceled::Changed,
        }),
        None => {
            let mut known = w.connection.prepare_cached(seldom::KNOWN_JOB)?;
            Ok(if known.exists(params![tenant, id])? { Canceled::TooLate } else { Canceled::Missing })
        }
    }
}

/// Counts what waits of each tenant: on the writer, so that no commit comes between the walk and the counters.
pub(crate) fn count_waiting(w: &mut Writer<'_>, (): &()) -> Result<(), Fault> {
    let mut count = w.connection.prepare_cached(cold::WAITING_OF_TENANTS)?;
    let counts =
        count.query_map([], |row| Ok((Tenant(row.get(0)?), row.get::<_, i64>(1)?.unsigned_abs())))?;
    w.effects.counted(counts.collect::<Result<_, _>>()?);
    Ok(())
}

/// Adds a callback; if the job has ended, with the delivery that it asks for.
pub(crate) fn attach(w: &mut Writer<'_>, attach: &Attach) -> Result<Attached, Fault> {
    let Attach { job, callbacks, at } = attach;
    let (tenant, id) = (job.tenant.0, job.id.to_bytes());
    let event = w
        .connection
        .prepare_cached(seldom::ATTACH)?
        .query_row(
            params![tenant, id, job.callbacks.as_text(), callbacks.as_text(), job.ended().is_some()],
            |row| row.get::<_, Option<[u8; 16]>>(0),
        )
        .optional()?;
    let Some(event) = event else {
        let mut known = w.connection.prepare_cached(seldom::KNOWN_JOB)?;
        let erased = known.query_row(params![tenant, id], |row| row.get(0)).optional()?;
        return Ok(if erased == Some(false) { Attached::Changed } else { Attached::Missing });
    };
    if let Some((place, callback, ended)) = attach.is_late() {
        let event = event.ok_or_else(|| rows::without_event(job.id))?;
        let mut body = w.connection.prepare_cached(cold::BODY)?;
        let body = body.query_row(params![tenant, event], |row| Ok(rows::body(row)))??;
        let id = EventId::from_u128(u128::from_be_bytes(event));
        let event = Event { id, kind: ended.kind(), timestamp: ended.finished_at, body };
        let occasion = Occasion::of_job(job, &event, *at);
        deliver(w, &occasion, Address::to_callback(&occasion, place, callback))?;
    }
    w.effects.wake(Wake::JobChanged { job: job.id, ended: false });
    Ok(Attached::Done)
}

/// Makes a pending delivery a dead letter.
pub(crate) fn cancel_delivery(
    w: &mut Writer<'_>,
    (tenant, id, at): &(Tenant, DeliveryId, Moment),
) -> Result<DeliveryCanceled, Fault> {
    let (tenant, key) = (tenant.0, id.to_bytes());
    let status: Option<i64> = w
        .connection
        .prepare_cached(seldom::RESENDABLE)?
        .query_row(params![tenant, key], |row| row.get(0))
        .optional()?;
    match status {
        None => return Ok(DeliveryCanceled::Missing),
        Some(status) if status != Status::Pending.code() => return Ok(DeliveryCanceled::TooLate),
        Some(_) => {}
    }
    let Interrupted { outcome, timings, .. } = nodes::interrupted(*at)?;
    let mut let_go = w.connection.prepare_cached(seldom::LET_GO)?;
    let open = let_go.execute(params![at.wall.micros(), outcome, Attempt::LET_GO, timings, key])? == 1;
    let (lane, attempts, last): (i64, i64, Option<i64>) = w
        .connection
        .prepare_cached(seldom::STOP_SENDING)?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let (status, reason) = (Status::Failed.code(), Reason::Canceled.code());
    let last = if open { Some(outcome) } else { last };
    w.hot.end_delivery.execute(params![tenant, key, status, reason, attempts, last, at.wall.micros()])?;
    w.effects.wake(Wake::DeliveryDue { lane: Lane(lane), due: at.now });
    Ok(DeliveryCanceled::Done)
}

/// Makes the next attempt due now.
pub(crate) fn resend(
    w: &mut Writer<'_>,
    (tenant, id, at): &(Tenant, DeliveryId, Moment),
) -> Result<Resent, Fault> {
    let (tenant, key, now) = (tenant.0, id.to_bytes(), at.now.micros());
    let trigger = Trigger::Resend.code();
    let state: Option<(i64, bool, Option<i64>, bool)> = w
        .connection
        .prepare_cached(seldom::RESENDABLE)?
        .query_row(params![tenant, key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    let lane = match state {
        None => return Ok(Resent::Missing),
        Some((_, _, _, true)) => return Ok(Resent::Erased),
        Some((_, true, Some(_), _)) => return Ok(Resent::InFlight),
        Some((_, true, None, _)) => w
            .connection
            .prepare_cached(seldom::BRING_FORWARD)?
            .query_row(params![key, now, trigger], |row| row.get(0))?,
        Some((status, false, ..)) => {
            let lane = w
                .connection
                .prepare_cached(seldom::QUEUE_AGAIN)?
                .query_row(params![tenant, key, now, trigger], |row| row.get(0))?;
            if status == Status::Failed.code() {
                w.connection.prepare_cached(seldom::PENDING_AGAIN)?.execute(params![tenant, key])?;
            }
            lane
        }
    };
    w.effects.wake(Wake::DeliveryDue { lane: Lane(lane), due: at.now });
    Ok(Resent::Due)
}

/// Returns what was claimed and not sent.
pub(crate) fn put_back(w: &mut Writer<'_>, holds: &Vec<DeliveryHold>) -> Result<usize, Fault> {
    let mut count = 0;
    let mut put_back = w.connection.prepare_cached(seldom::PUT_BACK)?;
    for DeliveryHold { delivery, lane, fence, attempt, .. } in holds {
        let due: Option<i64> = put_back
            .query_row(params![delivery.to_bytes(), fence.node, fence.epoch, attempt], |row| row.get(0))
            .optional()?;
        if let Some(due) = due {
            count += 1;
            w.effects.wake(Wake::DeliveryDue { lane: *lane, due: Timestamp::from_micros(due) });
        }
    }
    Ok(count)
}

/// Nothing of a task is started from now on.
pub(crate) fn pause_task(w: &mut Writer<'_>, (task, at): &(TaskName, Timestamp)) -> Result<(), Fault> {
    let mut pause = w.connection.prepare_cached(cold::PAUSE_TASK)?;
    pause.execute(params![task.as_str(), at.micros()])?;
    w.effects.wake(Wake::TaskPaused { task: task.clone(), paused: true });
    Ok(())
}

/// It is started again.
pub(crate) fn resume_task(w: &mut Writer<'_>, task: &TaskName) -> Result<(), Fault> {
    w.connection.prepare_cached(cold::RESUME_TASK)?.execute([task.as_str()])?;
    w.effects.wake(Wake::TaskPaused { task: task.clone(), paused: false });
    Ok(())
}
