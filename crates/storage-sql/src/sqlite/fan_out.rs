//! An event's row, and one delivery for each who hears of it: the same in a finish, in an announcement and for what
//! happens to deliveries and endpoints.

use domain::{callback::Callbacks, delivery::Status, time::Timestamp};
use rusqlite::params;
use storage::Wake;

use super::{endpoints, fault::Fault, writer::Writer};
use crate::{
    address::{Address, Occasion},
    rows::{INLINE, payload},
};

/// `false`: it was there before.
pub(crate) fn insert_event(w: &mut Writer<'_>, occasion: &Occasion<'_>) -> Result<bool, Fault> {
    let (tenant, event) = (occasion.tenant.0, occasion.event);
    let inline = event.body.len() <= INLINE;
    let new = w.hot.insert_event.execute(params![
        tenant,
        event.id.to_bytes(),
        event.kind.code(),
        event.timestamp.micros(),
        occasion.job_id().map(|job| job.to_bytes()),
        inline.then_some(&*event.body),
    ])?;
    if new == 1 && !inline {
        let body = event.body.as_bytes();
        w.hot.insert_payload.execute(params![tenant, event.id.to_bytes(), payload::BODY, body])?;
    }
    if new == 1 {
        w.effects.happened(occasion.tenant);
    }
    Ok(new == 1)
}

/// One delivery for each callback and each endpoint that asked, born claimed where somebody takes it.
pub(crate) fn fan_out(
    w: &mut Writer<'_>,
    occasion: &Occasion<'_>,
    callbacks: &Callbacks,
) -> Result<(), Fault> {
    for (place, callback) in callbacks.asking_for(occasion.event.kind) {
        deliver(w, occasion, Address::to_callback(occasion, place, callback))?;
    }
    let endpoints = endpoints::of(w, occasion.tenant)?;
    for endpoint in occasion.hearers(&endpoints, callbacks) {
        let numbered = occasion.event.kind.is_sequenced();
        let number = if numbered { endpoints::number(w, endpoint)? } else { None };
        deliver(w, occasion, Address::to_endpoint(occasion, endpoint, number))?;
    }
    Ok(())
}

/// Writes one delivery: queued, born claimed, or born failed.
pub(crate) fn deliver(w: &mut Writer<'_>, occasion: &Occasion<'_>, address: Address) -> Result<(), Fault> {
    let Occasion { tenant, event, kind, at, .. } = *occasion;
    let status = if address.refused.is_some() { Status::Failed } else { Status::Pending };
    w.hot.insert_delivery.execute(params![
        tenant.0,
        address.id.to_bytes(),
        event.id.to_bytes(),
        kind.code(),
        occasion.job_id().map(|job| job.to_bytes()),
        address.place,
        address.lane.0,
        event.timestamp.micros(),
        address.target.url.as_str(),
        address.endpoint.as_ref().map(|endpoint| endpoint.id.to_bytes()),
        address.sequence,
        status.code(),
        address.refused.map(|reason| reason.code()),
        address.refused.map(|_| at.wall.micros()),
    ])?;
    if address.refused.is_some() {
        return Ok(());
    }
    let lane = address.lane;
    let fence = w.effects.reserve_delivery(&address, at.now);
    w.hot.queue_delivery.execute(params![
        address.id.to_bytes(),
        tenant.0,
        lane.0,
        at.now.micros(),
        i64::from(fence.is_some()),
        at.now.micros(),
        fence.map(|fence| fence.node),
        fence.map(|fence| fence.epoch),
        fence.map(|_| Timestamp::micros(at.wall)),
        address.number(),
    ])?;
    match fence {
        None => w.effects.wake(Wake::DeliveryDue { lane, due: at.now }),
        Some(fence) => w.effects.delivery_born(address.claimed(occasion, fence)),
    }
    Ok(())
}
