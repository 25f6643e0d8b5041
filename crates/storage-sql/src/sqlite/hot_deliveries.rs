//! The hot verbs of deliveries.

use domain::{
    chance::Moment,
    delivery::{Next, Reason, Status, Trigger},
    lane::{Ask, Lane},
    time::Timestamp,
};
use rusqlite::{OptionalExtension, params};
use storage::{ClaimedDelivery, DeliveryHold, LaneClaim, Settle, StorageError, Wake, Written};

use super::{endpoints, fault::Fault, seldom, writer::Writer};
use crate::rows;

/// Claims what is due in each lane and opens its attempts.
pub(crate) fn claim(
    w: &mut Writer<'_>,
    (asks, at): &(Vec<Ask>, Moment),
) -> Result<Vec<LaneClaim<ClaimedDelivery>>, Fault> {
    let mut claims = Vec::with_capacity(asks.len());
    for ask in asks {
        let nothing = LaneClaim { lane: ask.lane, claimed: Vec::new(), next_due: None, terms: ask.terms };
        if w.hot.closed_lane.exists([ask.lane.0])? {
            claims.push(nothing);
            continue;
        }
        let terms: Option<String> = w.hot.lane_terms.query_row([ask.lane.0], |row| row.get(0)).optional()?;
        if terms != ask.terms.to_text() {
            let next: Option<i64> =
                w.hot.next_delivery.query_row([ask.lane.0], |row| row.get(0)).optional()?;
            claims.push(rows::other_terms(nothing, terms.as_deref(), next));
            continue;
        }
        if ask.terms.ordered {
            claims.push(claim_head(w, ask, *at)?);
            continue;
        }
        let due: Vec<[u8; 16]> = if ask.probe {
            let oldest =
                w.hot.probe_delivery.query_row(params![ask.lane.0, at.now.micros()], |row| row.get(0));
            oldest.optional()?.into_iter().collect()
        } else {
            let params = params![ask.lane.0, at.now.micros(), ask.k];
            w.hot.due_deliveries.query_map(params, |row| row.get(0))?.collect::<Result<_, _>>()?
        };
        let trigger = ask.probe.then_some(Trigger::Probe);
        let claimed = due.into_iter().map(|id| hold(w, id, trigger, *at)).collect::<Result<_, _>>()?;
        let next: Option<i64> = w.hot.next_delivery.query_row([ask.lane.0], |row| row.get(0)).optional()?;
        claims.push(LaneClaim { claimed, next_due: next.map(Timestamp::from_micros), ..nothing });
    }
    Ok(claims)
}

/// The first of a lane with an order, if it is due and none is out.
fn claim_head(w: &mut Writer<'_>, ask: &Ask, at: Moment) -> Result<LaneClaim<ClaimedDelivery>, Fault> {
    let mut claim = LaneClaim { lane: ask.lane, claimed: Vec::new(), next_due: None, terms: ask.terms };
    if w.connection.prepare_cached(seldom::ORDERED_OUT)?.exists([ask.lane.0])? {
        // What settles it looks again.
        return Ok(claim);
    }
    let head = w.connection.prepare_cached(seldom::ORDERED_HEAD)?.query_row([ask.lane.0], |row| {
        Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, i64>(1)?, row.get::<_, Option<i64>>(2)?))
    });
    let Some((id, due, floor)) = head.optional()? else { return Ok(claim) };
    let due = if ask.probe { floor.unwrap_or(i64::MIN) } else { due };
    if due <= at.now.micros() {
        claim.claimed.push(hold(w, id, ask.probe.then_some(Trigger::Probe), at)?);
    } else {
        claim.next_due = Some(Timestamp::from_micros(due));
    }
    Ok(claim)
}

fn hold(
    w: &mut Writer<'_>,
    id: [u8; 16],
    trigger: Option<Trigger>,
    at: Moment,
) -> Result<ClaimedDelivery, Fault> {
    let fence = w.fence()?;
    let trigger = trigger.map(Trigger::code);
    w.hot.hold_delivery.execute(params![id, fence.node, fence.epoch, at.wall.micros(), trigger])?;
    Ok(w.hot.claimed_delivery.query_row([id], |row| Ok(rows::claimed_delivery(row, fence)))??)
}

/// How many rows a step of a recovery brings forward.
const STEP: i64 = 200;

/// One step of a lane's recovery.
pub(crate) fn bring_forward(w: &mut Writer<'_>, (lane, at): &(Lane, Moment)) -> Result<bool, Fault> {
    let forward = w
        .connection
        .prepare_cached(seldom::IN_BACK_OFF)?
        .query_map(params![lane.0, at.now.micros(), STEP], |row| row.get(0))?
        .collect::<Result<Vec<[u8; 16]>, _>>()?;
    for id in &forward {
        let mut forward = w.connection.prepare_cached(seldom::FORWARD)?;
        forward.execute(params![id, at.now.micros(), Trigger::Recovery.code()])?;
    }
    if !forward.is_empty() {
        w.effects.wake(Wake::DeliveryDue { lane: *lane, due: at.now });
    }
    Ok(forward.len() as i64 == STEP)
}

/// Closes an attempt and writes what comes next.
pub(crate) fn settle(w: &mut Writer<'_>, settle: &Settle) -> Result<Written, Fault> {
    let Settle { hold, attempt, next, endpoint, not_before, dead_letter, at } = settle;
    let DeliveryHold { delivery, fence, attempt: number, .. } = *hold;
    let (id, outcome) = (delivery.to_bytes(), attempt.outcome.code());
    let found = match next {
        Next::Again { due, progress } => w.hot.retry_delivery.execute(params![
            id,
            fence.node,
            fence.epoch,
            number,
            due.micros(),
            progress.steps,
            progress.since.micros(),
            outcome,
            not_before.map(Timestamp::micros)
        ])?,
        _ => w.hot.end_sending.execute(params![id, fence.node, fence.epoch, number])?,
    };
    if found == 0 {
        return Ok(Written::LeaseLost);
    }
    insert_attempt(w, settle)?;
    write_next(w, settle)?;
    if let Some(endpoint) = endpoint {
        endpoints::learn(w, hold.tenant, *endpoint, attempt, next, *at)?;
    }
    if let Some(event) = dead_letter {
        endpoints::tell_dead_letter(w, hold.tenant, *endpoint, event, *at)?;
    }
    Ok(Written::Done)
}

/// What comes next, once the queue row is as it has to be.
fn write_next(w: &mut Writer<'_>, settle: &Settle) -> Result<(), Fault> {
    let Settle { hold, attempt, next, endpoint, at, .. } = settle;
    let DeliveryHold { tenant, delivery, lane, attempt: number, .. } = *hold;
    let (tenant, id, outcome) = (tenant.0, delivery.to_bytes(), attempt.outcome.code());
    let ended = |status: Status, reason: Option<Reason>| {
        (status.code(), reason.map(Reason::code), number, outcome, at.wall.micros())
    };
    let (status, reason, number, outcome, finished) = match next {
        Next::Again { due, .. } => {
            w.effects.wake(Wake::DeliveryDue { lane, due: *due });
            if let Some(endpoint) = *endpoint
                && w.hot.closed_lane.exists([lane.0])?
            {
                // Closed while this was out: somebody has to see to what waits again.
                w.effects.wake(Wake::EndpointChanged { endpoint });
            }
            return Ok(());
        }
        Next::Unchanged => {
            w.hot.end_extra.execute(params![tenant, id, number, outcome])?;
            return Ok(());
        }
        Next::Succeeded => ended(Status::Succeeded, None),
        Next::Failed(reason) => ended(Status::Failed, Some(*reason)),
    };
    w.hot.end_delivery.execute(params![tenant, id, status, reason, number, outcome, finished])?;
    Ok(())
}

fn insert_attempt(w: &mut Writer<'_>, settle: &Settle) -> Result<(), Fault> {
    let Settle { hold, attempt, endpoint, .. } = settle;
    let json = |error: serde_json::Error| Fault::Answer(StorageError::refused(error));
    let timings = serde_json::to_string(&attempt.timings_ms).map_err(json)?;
    let response = attempt.response.as_ref().map(serde_json::to_string).transpose().map_err(json)?;
    w.hot.insert_attempt.execute(params![
        hold.tenant.0,
        hold.delivery.to_bytes(),
        hold.attempt,
        attempt.trigger.code(),
        attempt.started_at.micros(),
        attempt.ended_at.micros(),
        attempt.outcome.code(),
        attempt.status,
        attempt.error,
        attempt.remote_address.map(|address| address.to_string()),
        timings,
        response,
        endpoint.map(|endpoint| endpoint.to_bytes()),
    ])?;
    Ok(())
}
