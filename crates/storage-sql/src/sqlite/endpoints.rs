//! Endpoints: their rows, the writer's copy of them, and what attempts and steps change about them.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use domain::{
    chance::Moment,
    delivery::{Attempt, Next, Reason, Status, Trigger},
    endpoint::{DisabledReason, Endpoint, Plan, Recovery, RecoveryState, State, Step, after_attempt},
    event::{Event, EventKind, EventSet},
    id::{DeliveryId, EndpointId, RecoveryId, Tenant},
    lane::Lane,
    time::Timestamp,
};
use rusqlite::{Connection, OptionalExtension, params};
use storage::{Ping, Put, PutEndpoint, Wake};

use super::{
    fan_out::{deliver, insert_event},
    fault::Fault,
    seldom,
    writer::Writer,
};
use crate::{
    access,
    address::{Address, Number, Occasion},
    cold, rows,
};

/// How many rows a step changes: it shares the writer with submissions.
const STEP: i64 = 200;
/// How many numbers a step of a recovery looks at.
const REACH: i64 = 1_000;

/// Every endpoint, as the rows say: the one writer keeps it true by forgetting it whenever it may not be.
#[derive(Default)]
pub(crate) struct Known(Option<HashMap<Tenant, Arc<[Arc<Endpoint>]>>>);

impl Known {
    /// A row changed, or what changed it did not happen.
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }
}

/// A tenant's endpoints. No statement, unless one of any tenant changed since the last one.
pub(crate) fn of(w: &mut Writer<'_>, tenant: Tenant) -> Result<Arc<[Arc<Endpoint>]>, Fault> {
    if w.endpoints.0.is_none() {
        let mut all: HashMap<Tenant, Vec<Arc<Endpoint>>> = HashMap::new();
        let mut read = w.connection.prepare_cached(seldom::ALL_ENDPOINTS)?;
        for endpoint in read.query_map([], |row| Ok(rows::endpoint(row)))? {
            let endpoint = endpoint??;
            all.entry(endpoint.tenant).or_default().push(Arc::new(endpoint));
        }
        w.endpoints.0 = Some(all.into_iter().map(|(tenant, list)| (tenant, list.into())).collect());
    }
    let known = w.endpoints.0.as_ref().and_then(|all| all.get(&tenant));
    Ok(known.cloned().unwrap_or_default())
}

/// The next number of an endpoint's sequence, and its state. `None`: it has no sequence, so that it is no endpoint.
pub(crate) fn number(w: &mut Writer<'_>, endpoint: &Endpoint) -> Result<Option<Number>, Fault> {
    let (id, terms) = (endpoint.id.to_bytes(), endpoint.settings.terms());
    w.hot.count_on.execute([id])?;
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?));
    let found = w.hot.sequence.query_row([id], read).optional()?;
    Ok(found.map(|(sequence, state)| {
        let state = State::from_code(state).unwrap_or(State::Deleted);
        Number { sequence, state, terms, ours: true }
    }))
}

fn write(w: &mut Writer<'_>, sql: &str, endpoint: &Endpoint) -> Result<usize, Fault> {
    w.endpoints.forget();
    Ok(w.connection.prepare_cached(sql)?.execute(params![
        endpoint.tenant.0,
        endpoint.id.to_bytes(),
        endpoint.created_at.micros(),
        endpoint.version,
        endpoint.settings.target.events.bits(),
        endpoint.disabled.map(DisabledReason::code),
        endpoint.secret.0,
        endpoint.previous.as_ref().map(|(secret, _)| &secret.0),
        endpoint.previous.as_ref().map(|(_, until)| until.micros()),
        endpoint.settings.to_text(),
    ])?)
}

/// Puts it in the place of the version before. `false`: that is not there.
pub(crate) fn replace(w: &mut Writer<'_>, endpoint: &Endpoint) -> Result<bool, Fault> {
    if write(w, cold::UPDATE_ENDPOINT, endpoint)? == 0 {
        return Ok(false);
    }
    let terms = endpoint.settings.terms().to_text();
    let mut set = w.connection.prepare_cached(cold::SET_STATE)?;
    set.execute(params![endpoint.id.to_bytes(), endpoint.state().code(), terms])?;
    Ok(true)
}

/// Registers one, or replaces it by what follows it.
pub(crate) fn put(w: &mut Writer<'_>, put: &PutEndpoint) -> Result<Put, Fault> {
    let PutEndpoint { endpoint, new, recover, event, at } = put;
    let (tenant, id) = (endpoint.tenant.0, endpoint.id.to_bytes());
    let terms = endpoint.settings.terms().to_text();
    let (lane, beside) = (Lane::of_endpoint(endpoint.id), Lane::beside_endpoint(endpoint.id));
    if let Some(most) = new {
        if w.connection.prepare_cached(cold::ONE_ENDPOINT_MORE)?.execute(params![tenant, most])? == 0 {
            return Ok(Put::Full);
        }
        if write(w, cold::INSERT_ENDPOINT, endpoint)? == 0 {
            w.connection.prepare_cached(cold::ONE_ENDPOINT_LESS)?.execute([tenant])?;
            return Ok(Put::Changed);
        }
        let mut insert = w.connection.prepare_cached(cold::INSERT_SEQUENCE)?;
        insert.execute(params![id, tenant, lane.0, beside.0, terms])?;
    } else if reorders(w, endpoint)? {
        return Ok(Put::Waits);
    } else if !replace(w, endpoint)? {
        let mut known = w.connection.prepare_cached(cold::ENDPOINT)?;
        return Ok(if known.exists(params![tenant, id])? { Put::Changed } else { Put::Missing });
    }
    if let Some(plan) = recover {
        begin(w, plan, *at)?;
    }
    if let Some(event) = event {
        tell_disabled(w, endpoint, event, *at)?;
    }
    tell_starts(w)?;
    w.effects.wake(Wake::DeliveryDue { lane, due: at.now });
    w.effects.wake(Wake::EndpointChanged { endpoint: endpoint.id });
    Ok(Put::Done)
}

/// True if this changes whether it has an order while something is queued there, which has its place already.
fn reorders(w: &mut Writer<'_>, endpoint: &Endpoint) -> Result<bool, Fault> {
    let (id, lane) = (endpoint.id.to_bytes(), Lane::of_endpoint(endpoint.id));
    let terms: Option<Option<String>> =
        w.connection.prepare_cached(cold::TERMS)?.query_row([id], |row| row.get(0)).optional()?;
    let before = rows::terms(terms.flatten().as_deref())?;
    Ok(before.ordered != endpoint.settings.ordered
        && w.connection.prepare_cached(cold::QUEUED_IN)?.exists([lane.0])?)
}

/// Deletes one; its numbers stay.
pub(crate) fn remove(
    w: &mut Writer<'_>,
    (tenant, id, _): &(Tenant, EndpointId, Moment),
) -> Result<bool, Fault> {
    w.endpoints.forget();
    let mut delete = w.connection.prepare_cached(cold::DELETE_ENDPOINT)?;
    if delete.execute(params![tenant.0, id.to_bytes()])? == 0 {
        return Ok(false);
    }
    w.connection.prepare_cached(cold::ONE_ENDPOINT_LESS)?.execute([tenant.0])?;
    if w.connection.prepare_cached(access::DELETE_BOUND_KEYS)?.execute([id.to_bytes()])? > 0 {
        w.effects.wake(Wake::KeysRevoked);
    }
    let mut set = w.connection.prepare_cached(cold::SET_STATE)?;
    set.execute(params![id.to_bytes(), State::Deleted.code(), None::<&str>])?;
    tell_starts(w)?;
    w.effects.wake(Wake::EndpointChanged { endpoint: *id });
    Ok(true)
}

fn tell_starts(w: &mut Writer<'_>) -> Result<(), Fault> {
    let tenants = hearing_of_starts(w.connection)?;
    w.effects.starts_heard_by(tenants);
    Ok(())
}

/// The tenants of whose endpoints one hears of `job.started`.
pub(crate) fn hearing_of_starts(connection: &Connection) -> rusqlite::Result<HashSet<i64>> {
    let mut read = connection.prepare_cached(cold::HEARING)?;
    let tenants = read.query_map([EventSet::mask(EventKind::JobStarted)], |row| row.get(0))?;
    tenants.collect()
}

/// Sends a ping to one endpoint.
pub(crate) fn ping(w: &mut Writer<'_>, ping: &Ping) -> Result<Option<DeliveryId>, Fault> {
    let all = of(w, ping.tenant)?;
    let Some(endpoint) = all.iter().find(|endpoint| endpoint.id == ping.endpoint) else { return Ok(None) };
    let occasion = Occasion { kind: ping.kind, ..Occasion::of_none(ping.tenant, &ping.event, ping.at) };
    insert_event(w, &occasion)?;
    let address = Address::to_endpoint(&occasion, endpoint, None);
    let id = address.id;
    deliver(w, &occasion, address)?;
    Ok(Some(id))
}

/// `endpoint.disabled`: to the endpoint itself, and to others that ask.
fn tell_disabled(w: &mut Writer<'_>, endpoint: &Endpoint, event: &Event, at: Moment) -> Result<(), Fault> {
    let occasion = Occasion::of_none(endpoint.tenant, event, at);
    insert_event(w, &occasion)?;
    let all = of(w, endpoint.tenant)?;
    for hearer in all.iter().filter(|e| e.id == endpoint.id || e.wants(event.kind, None)) {
        deliver(w, &occasion, Address::to_endpoint(&occasion, hearer, None))?;
    }
    Ok(())
}

/// A dead letter, for endpoints that ask, but never for the one that it was for.
pub(crate) fn tell_dead_letter(
    w: &mut Writer<'_>,
    tenant: Tenant,
    not_to: Option<EndpointId>,
    event: &Event,
    at: Moment,
) -> Result<(), Fault> {
    let all = of(w, tenant)?;
    if !all.iter().any(|e| Some(e.id) != not_to && e.wants(event.kind, None)) {
        return Ok(());
    }
    let occasion = Occasion::of_none(tenant, event, at);
    if !insert_event(w, &occasion)? {
        return Ok(());
    }
    for hearer in all.iter().filter(|e| Some(e.id) != not_to && e.wants(event.kind, None)) {
        let number = number(w, hearer)?;
        deliver(w, &occasion, Address::to_endpoint(&occasion, hearer, number))?;
    }
    Ok(())
}

/// What an attempt means for its endpoint.
pub(crate) fn learn(
    w: &mut Writer<'_>,
    tenant: Tenant,
    id: EndpointId,
    attempt: &Attempt,
    next: &Next,
    at: Moment,
) -> Result<(), Fault> {
    let found = w.hot.failing.query_row(params![tenant.0, id.to_bytes()], |row| Ok(rows::failing(row)));
    let Some(before) = found.optional()?.transpose()? else { return Ok(()) };
    let after = after_attempt(before, attempt, next, at.now);
    if after.failing != before {
        w.connection.prepare_cached(seldom::SET_FAILING)?.execute(params![
            tenant.0,
            id.to_bytes(),
            after.failing.since.map(|since| since.micros()),
            after.failing.events,
        ])?;
    }
    if let Some(reason) = after.disable {
        disable(w, tenant, id, reason, at)?;
    }
    Ok(())
}

fn disable(
    w: &mut Writer<'_>,
    tenant: Tenant,
    id: EndpointId,
    reason: DisabledReason,
    at: Moment,
) -> Result<(), Fault> {
    let all = of(w, tenant)?;
    let enabled = all.iter().find(|endpoint| endpoint.id == id && endpoint.disabled.is_none());
    let Some(endpoint) = enabled else { return Ok(()) };
    let endpoint =
        Endpoint { disabled: Some(reason), version: endpoint.version + 1, ..Endpoint::clone(endpoint) };
    let event = Event::endpoint_disabled(&endpoint, at.wall);
    put(w, &PutEndpoint { endpoint, new: None, recover: None, event: Some(event), at })?;
    Ok(())
}

fn begin(w: &mut Writer<'_>, plan: &Plan, at: Moment) -> Result<bool, Fault> {
    let begun = w.connection.prepare_cached(cold::BEGIN_RECOVERY)?.execute(params![
        plan.id.to_bytes(),
        plan.tenant.0,
        plan.endpoint.to_bytes(),
        plan.reason.map(Reason::code),
        plan.created_at.micros(),
        plan.since.map(Timestamp::micros),
        plan.until.map(Timestamp::micros),
        plan.rate.map(|rate| rate.to_string()),
        at.now.micros(),
    ])?;
    Ok(begun == 1)
}

/// Begins to send an endpoint again what it missed.
pub(crate) fn begin_recovery(w: &mut Writer<'_>, (plan, at): &(Plan, Moment)) -> Result<bool, Fault> {
    let begun = begin(w, plan, *at)?;
    w.effects.wake(Wake::EndpointChanged { endpoint: plan.endpoint });
    Ok(begun)
}

/// Stops that.
pub(crate) fn stop_recovery(
    w: &mut Writer<'_>,
    (tenant, id, at): &(Tenant, RecoveryId, Moment),
) -> Result<bool, Fault> {
    let (key, finished) = (id.to_bytes(), at.wall.micros());
    let stopped = RecoveryState::Stopped.code();
    w.connection.prepare_cached(cold::STOP_RECOVERY)?.execute(params![tenant.0, key, finished, stopped])?;
    Ok(w.connection.prepare_cached(cold::RECOVERY)?.exists(params![tenant.0, key])?)
}

/// One step: what waits for closed endpoints fails, what is to be recovered is due again.
pub(crate) fn tend(w: &mut Writer<'_>, at: &Moment) -> Result<Option<Timestamp>, Fault> {
    let more = fail_waiting(w, *at)?;
    recover(w, *at)?;
    let next: Option<i64> =
        w.connection.prepare_cached(cold::NEXT_RECOVERY)?.query_row([], |row| row.get(0))?;
    Ok(if more { Some(at.now) } else { next.map(Timestamp::from_micros) })
}

fn fail_waiting(w: &mut Writer<'_>, at: Moment) -> Result<bool, Fault> {
    let waiting = {
        let mut read = w.connection.prepare_cached(seldom::WAITING_FOR_CLOSED)?;
        let rows = read.query_map([STEP], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 16]>(1)?, row.get::<_, i64>(2)?))
        })?;
        rows.collect::<Result<Vec<_>, _>>()?
    };
    for (tenant, id, state) in &waiting {
        let reason = State::from_code(*state).and_then(State::refuses).unwrap_or(Reason::EndpointDeleted);
        w.connection.prepare_cached(seldom::FAIL_UNSENT)?.execute(params![
            tenant,
            id,
            Status::Failed.code(),
            reason.code(),
            at.wall.micros()
        ])?;
        w.connection.prepare_cached(seldom::UNQUEUE_DELIVERY)?.execute([id])?;
    }
    Ok(waiting.len() as i64 == STEP)
}

fn recover(w: &mut Writer<'_>, at: Moment) -> Result<(), Fault> {
    let read = |row: &rusqlite::Row<'_>| {
        Ok((rows::recovery(row), row.get::<_, i64>(13)?, row.get::<_, Option<String>>(14)?))
    };
    let open = w.connection.prepare_cached(seldom::OPEN_RECOVERY)?.query_row([at.now.micros()], read);
    let Some((recovery, state, terms)) = open.optional()? else { return Ok(()) };
    let terms = rows::terms(terms.as_deref())?;
    let (recovery, enabled) = (recovery?, State::from_code(state) == Some(State::Enabled));
    let step = recovery.step(enabled, STEP, REACH);
    let missed = missed(w, &recovery, &step)?;
    let mut lane = None;
    for (place, (id, sequence)) in (0..).zip(&missed) {
        // In the lane's order, which is that of their numbers.
        let (tenant, due) = (recovery.plan.tenant.0, at.now.micros() + place);
        let mut queue = w.connection.prepare_cached(seldom::QUEUE_MISSED)?;
        let trigger = Trigger::Recovery.code();
        let number = terms.number(*sequence);
        lane = Some(queue.query_row(params![tenant, id, due, trigger, number], |row| row.get(0))?);
        w.connection.prepare_cached(seldom::PENDING_AGAIN)?.execute(params![tenant, id])?;
    }
    if let Some(lane) = lane {
        w.effects.wake(Wake::DeliveryDue { lane: Lane(lane), due: at.now });
    }
    let after = recovery.after(&step, missed.len() as i64, missed.last().map(|(_, number)| *number), at);
    w.connection.prepare_cached(cold::REACH_RECOVERY)?.execute(params![
        recovery.plan.tenant.0,
        recovery.plan.id.to_bytes(),
        after.reached,
        missed.len() as i64,
        after.next.map(Timestamp::micros),
        after.finished_at.map(Timestamp::micros),
        after.state.code(),
    ])?;
    Ok(())
}

fn missed(w: &Writer<'_>, recovery: &Recovery, step: &Step) -> Result<Vec<([u8; 16], i64)>, Fault> {
    if step.most == 0 {
        return Ok(Vec::new());
    }
    let plan = &recovery.plan;
    let mut read = w.connection.prepare_cached(seldom::MISSED)?;
    let rows = read.query_map(
        params![
            plan.tenant.0,
            plan.endpoint.to_bytes(),
            recovery.reached,
            step.end,
            plan.reason.map(Reason::code),
            step.most,
            plan.since.map_or(i64::MIN, Timestamp::micros),
            plan.until.map_or(i64::MAX, Timestamp::micros),
        ],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}
