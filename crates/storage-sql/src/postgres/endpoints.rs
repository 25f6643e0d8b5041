//! Endpoints: registered, changed, deleted, pinged, and tended to in steps. One a transaction.

use std::time::Duration;

use domain::{
    chance::Moment,
    delivery::{Reason, Status, Trigger},
    endpoint::{DisabledReason, Endpoint, Plan, RecoveryState, State},
    event::{Event, EventKind, EventSet},
    id::{DeliveryId, EndpointId, RecoveryId, Tenant},
    lane::{Lane, Terms},
    time::Timestamp,
};
use storage::{Ping, Put, PutEndpoint, StorageError, Wake};

use super::{
    columns::Fixed,
    conclusion::{self, Conclusion},
    fault::Fault,
    hearers,
    line::Verb,
    payload::INSERT_PAYLOADS,
    transaction::{STAND, Transaction, nothing},
};
use crate::{
    access,
    address::{Address, Occasion},
    cold,
    effects::Effects,
    rows,
};

/// How many rows a step changes.
const STEP: i64 = 500;
/// How many numbers a step of a recovery looks at.
const REACH: i64 = 5_000;
/// How long a recovery is left to the node that makes its step.
const BESIDE: Duration = Duration::from_millis(250);

/// ?1 limit, ?2 disabled, ?3 deleted (reasons), ?4 finished, ?5 failed: what waits in the lanes of closed endpoints.
/// Beside the lane of one that is only disabled, pings go on.
const FAIL_WAITING: &str = "WITH w AS MATERIALIZED (SELECT q.id FROM \
     (SELECT s.lane FROM endpoint_sequence s WHERE s.state <> 0 UNION ALL \
     SELECT s.beside FROM endpoint_sequence s WHERE s.state <> 0 AND s.state = 2) c CROSS JOIN LATERAL \
     (SELECT id FROM delivery_queue WHERE lane = c.lane AND node IS NULL ORDER BY due_at, id LIMIT $1 \
     FOR UPDATE SKIP LOCKED) q LIMIT $1), \
     gone AS (DELETE FROM delivery_queue q WHERE q.id = ANY (ARRAY(SELECT id FROM w)) \
     RETURNING q.id, q.tenant, q.attempt, q.last_outcome, \
     EXISTS (SELECT 1 FROM endpoint_sequence s WHERE s.lane = q.lane AND s.state <> 0 AND s.state = 2) \
     OR EXISTS (SELECT 1 FROM endpoint_sequence s WHERE s.beside = q.lane AND s.state <> 0 AND s.state = 2) AS deleted), \
     failed AS (UPDATE deliveries d SET status = $5, reason = CASE WHEN g.deleted THEN $3::bigint ELSE $2::bigint END, \
     finished_at = $4, attempts = g.attempt, last_outcome = g.last_outcome FROM gone g \
     WHERE d.tenant = g.tenant AND d.id = g.id AND d.status = 0) SELECT count(*) FROM gone";

/// ?1 now: a recovery that has a step to make.
const OPEN_RECOVERY: &str = concat!(
    "SELECT ",
    crate::rows::recovery_columns!(),
    " FROM recoveries r WHERE r.next_at IS NOT NULL AND r.next_at <= $1 ORDER BY r.next_at LIMIT 1 FOR UPDATE OF r SKIP LOCKED"
);

/// ?1 tenant, ?2 endpoint, ?3 after, ?4 to (numbers), ?5 reason or null, ?6 limit, ?7 due, ?8 trigger, ?9 since, ?10 until, ?11 number, unless ?12 it is
/// their own: dead
/// letters are back in their own lane, by their numbers, with their policy anew. Answers with how many, the last number and the lane.
const RECOVER: &str = "WITH m AS MATERIALIZED (SELECT d.id, d.sequence FROM deliveries d WHERE d.endpoint = $2 \
     AND d.sequence > $3 AND d.sequence <= $4 AND d.tenant = $1 AND d.status = 2 \
     AND (CAST($5 AS BIGINT) IS NULL OR d.reason = $5) AND d.created_at >= $9 AND d.created_at < $10 \
     ORDER BY d.sequence LIMIT $6), \
     p AS (UPDATE deliveries d SET status = 0, reason = NULL, finished_at = NULL FROM m WHERE d.tenant = $1 \
     AND d.id = m.id RETURNING d.tenant, d.id, d.job, d.lane, d.attempts, d.last_outcome, d.sequence), \
     i AS (INSERT INTO delivery_queue (id, tenant, lane, due_at, attempt, steps, since, succeeded, trigger, last_outcome, \
     number, job) SELECT p.id, p.tenant, p.lane, $7::bigint + row_number() OVER (ORDER BY p.sequence), p.attempts, 0, \
     $7::bigint, 0, $8, p.last_outcome, CASE WHEN $12 THEN p.sequence ELSE $11::bigint END, p.job FROM p ON CONFLICT DO NOTHING) SELECT count(*), max(sequence), min(lane) FROM p";

/// Everything about endpoints that somebody asks for.
pub(crate) enum Command {
    Put(Box<PutEndpoint>),
    Remove(Tenant, EndpointId),
    Ping(Box<Ping>),
    Tend(Moment),
    Begin(Plan, Moment),
    Stop(Tenant, RecoveryId, Moment),
}

/// What it came to.
pub(crate) enum Answer {
    Put(Put),
    Removed(bool),
    Pinged(Option<DeliveryId>),
    Tended(Option<Timestamp>),
    Begun(bool),
    Stopped(bool),
}

pub(crate) struct Commands;

impl Verb for Commands {
    type Command = Command;
    type Answer = Answer;
    const STATEMENTS: &'static [&'static str] = &[
        cold::INSERT_ENDPOINT,
        cold::UPDATE_ENDPOINT,
        cold::DELETE_ENDPOINT,
        access::DELETE_BOUND_KEYS,
        cold::INSERT_SEQUENCE,
        cold::SET_STATE,
        cold::ONE_ENDPOINT_MORE,
        cold::ONE_ENDPOINT_LESS,
        cold::QUEUED_IN,
        LOCKED_TERMS,
        cold::BEGIN_RECOVERY,
        cold::ENDPOINT,
        cold::HEARING,
        FAIL_WAITING,
        OPEN_RECOVERY,
        RECOVER,
        cold::REACH_RECOVERY,
        cold::NEXT_RECOVERY,
        cold::STOP_RECOVERY,
        cold::RECOVERY,
        hearers::ASKING,
        hearers::LOCK,
        hearers::COUNT_ON,
        conclusion::INSERT_EVENTS,
        conclusion::INSERT_DELIVERIES,
        conclusion::QUEUE_DELIVERIES,
        INSERT_PAYLOADS,
        STAND,
    ];

    async fn write(
        tx: &Transaction<'_>,
        effects: &mut Effects,
        commands: &[Command],
    ) -> Result<Vec<Answer>, Fault> {
        let mut answers = Vec::with_capacity(1);
        tx.begin(nothing()).await?;
        for command in commands {
            answers.push(match command {
                Command::Put(command) => Answer::Put(put(tx, effects, command).await?),
                Command::Remove(tenant, id) => Answer::Removed(remove(tx, effects, *tenant, *id).await?),
                Command::Ping(command) => Answer::Pinged(ping(tx, effects, command).await?),
                Command::Tend(at) => Answer::Tended(tend(tx, effects, *at).await?),
                Command::Begin(plan, at) => {
                    effects.wake(Wake::EndpointChanged { endpoint: plan.endpoint });
                    Answer::Begun(begin(tx, plan, *at).await?)
                }
                Command::Stop(tenant, id, at) => Answer::Stopped(stop(tx, *tenant, *id, *at).await?),
            });
        }
        tx.commit(nothing()).await?;
        Ok(answers)
    }
}

async fn write(tx: &Transaction<'_>, sql: &'static str, endpoint: &Endpoint) -> Result<u64, Fault> {
    tx.execute(
        sql,
        &[
            &endpoint.tenant.0,
            &Fixed(endpoint.id.to_bytes()),
            &endpoint.created_at.micros(),
            &endpoint.version,
            &endpoint.settings.target.events.bits(),
            &endpoint.disabled.map(DisabledReason::code),
            &endpoint.secret.0,
            &endpoint.previous.as_ref().map(|(secret, _)| &secret.0),
            &endpoint.previous.as_ref().map(|(_, until)| until.micros()),
            &endpoint.settings.to_text(),
        ],
    )
    .await
}

/// Puts it in the place of the version before. `false`: that is not there.
pub(crate) async fn replace(tx: &Transaction<'_>, endpoint: &Endpoint) -> Result<bool, Fault> {
    if write(tx, cold::UPDATE_ENDPOINT, endpoint).await? == 0 {
        return Ok(false);
    }
    let id = Fixed(endpoint.id.to_bytes());
    let terms = endpoint.settings.terms().to_text();
    tx.execute(cold::SET_STATE, &[&id, &endpoint.state().code(), &terms]).await?;
    Ok(true)
}

async fn put(tx: &Transaction<'_>, effects: &mut Effects, put: &PutEndpoint) -> Result<Put, Fault> {
    let PutEndpoint { endpoint, new, recover, event, at } = put;
    let (tenant, id) = (endpoint.tenant.0, Fixed(endpoint.id.to_bytes()));
    let (lane, beside) = (Lane::of_endpoint(endpoint.id), Lane::beside_endpoint(endpoint.id));
    if let Some(most) = new {
        // The row's lock lets one after another look whether there is room.
        if tx.execute(cold::ONE_ENDPOINT_MORE, &[&tenant, &i64::from(*most)]).await? == 0 {
            return Ok(Put::Full);
        }
        if write(tx, cold::INSERT_ENDPOINT, endpoint).await? == 0 {
            tx.execute(cold::ONE_ENDPOINT_LESS, &[&tenant]).await?;
            return Ok(Put::Changed);
        }
        let terms = endpoint.settings.terms().to_text();
        tx.execute(cold::INSERT_SEQUENCE, &[&id, &tenant, &lane.0, &beside.0, &terms]).await?;
    } else if reorders(tx, endpoint).await? {
        return Ok(Put::Waits);
    } else if !replace(tx, endpoint).await? {
        let known = tx.row(cold::ENDPOINT, &[&tenant, &id]).await?.is_some();
        return Ok(if known { Put::Changed } else { Put::Missing });
    }
    if let Some(plan) = recover {
        begin(tx, plan, *at).await?;
    }
    if let Some(event) = event {
        tell_disabled(tx, effects, endpoint, event, *at).await?;
    }
    tell_starts(tx, effects).await?;
    effects.wake(Wake::DeliveryDue { lane, due: at.now });
    effects.wake(Wake::EndpointChanged { endpoint: endpoint.id });
    Ok(Put::Done)
}

/// ?1 endpoint: its terms, and its state. They stay so until the commit.
const LOCKED_TERMS: &str = "SELECT terms, state FROM endpoint_sequence WHERE endpoint = $1 FOR UPDATE";

/// True if this changes whether it has an order while something is queued there, which has its place already.
async fn reorders(tx: &Transaction<'_>, endpoint: &Endpoint) -> Result<bool, Fault> {
    let (id, lane) = (Fixed(endpoint.id.to_bytes()), Lane::of_endpoint(endpoint.id));
    let Some(row) = tx.row(LOCKED_TERMS, &[&id]).await? else { return Ok(false) };
    let before = rows::terms(row.try_get(0)?)?;
    Ok(before.ordered != endpoint.settings.ordered && tx.row(cold::QUEUED_IN, &[&lane.0]).await?.is_some())
}

async fn remove(
    tx: &Transaction<'_>,
    effects: &mut Effects,
    tenant: Tenant,
    id: EndpointId,
) -> Result<bool, Fault> {
    let key = Fixed(id.to_bytes());
    if tx.execute(cold::DELETE_ENDPOINT, &[&tenant.0, &key]).await? == 0 {
        return Ok(false);
    }
    tx.execute(cold::ONE_ENDPOINT_LESS, &[&tenant.0]).await?;
    if tx.execute(access::DELETE_BOUND_KEYS, &[&key]).await? > 0 {
        effects.wake(Wake::KeysRevoked);
    }
    tx.execute(cold::SET_STATE, &[&key, &State::Deleted.code(), &None::<&str>]).await?;
    tell_starts(tx, effects).await?;
    effects.wake(Wake::EndpointChanged { endpoint: id });
    Ok(true)
}

async fn tell_starts(tx: &Transaction<'_>, effects: &mut Effects) -> Result<(), Fault> {
    let rows = tx.rows(cold::HEARING, &[&EventSet::mask(EventKind::JobStarted)]).await?;
    effects.starts_heard_by(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?);
    Ok(())
}

async fn ping(tx: &Transaction<'_>, effects: &mut Effects, ping: &Ping) -> Result<Option<DeliveryId>, Fault> {
    let key = Fixed(ping.endpoint.to_bytes());
    let Some(row) = tx.row(cold::ENDPOINT, &[&ping.tenant.0, &key]).await? else { return Ok(None) };
    let endpoint = std::sync::Arc::new(rows::endpoint(&row)?);
    let occasion = Occasion { kind: ping.kind, ..Occasion::of_none(ping.tenant, &ping.event, ping.at) };
    let address = Address::to_endpoint(&occasion, &endpoint, None);
    let id = address.id;
    let mut conclusion = Conclusion::default();
    conclusion.event(&occasion, effects);
    conclusion.deliver(&occasion, address, effects);
    conclusion.insert(tx).await?;
    Ok(Some(id))
}

/// `endpoint.disabled`: to the endpoint itself, and to others that ask.
pub(crate) async fn tell_disabled(
    tx: &Transaction<'_>,
    effects: &mut Effects,
    endpoint: &Endpoint,
    event: &Event,
    at: Moment,
) -> Result<(), Fault> {
    let occasion = Occasion::of_none(endpoint.tenant, event, at);
    let none = domain::callback::Callbacks::default();
    let hearers = hearers::asking(tx, &[(occasion, &none)]).await?;
    let mut conclusion = Conclusion::default();
    conclusion.event(&occasion, effects);
    let own = std::sync::Arc::new(endpoint.clone());
    let others = hearers
        .iter()
        .filter(|hearer| hearer.id != endpoint.id && hearer.wants(EventKind::EndpointDisabled, None));
    for hearer in std::iter::once(&own).chain(others) {
        conclusion.deliver(&occasion, Address::to_endpoint(&occasion, hearer, None), effects);
    }
    conclusion.insert(tx).await
}

/// `true`: there may be more.
async fn fail_waiting(tx: &Transaction<'_>, at: Moment) -> Result<bool, Fault> {
    let (disabled, deleted) = (Reason::EndpointDisabled.code(), Reason::EndpointDeleted.code());
    let params: &super::link::Params<'_> =
        &[&STEP, &disabled, &deleted, &at.wall.micros(), &Status::Failed.code()];
    let row = tx.row(FAIL_WAITING, params).await?;
    let failed: i64 = row.map_or(Ok(0), |row| row.try_get(0))?;
    Ok(failed == STEP)
}

async fn begin(tx: &Transaction<'_>, plan: &Plan, at: Moment) -> Result<bool, Fault> {
    let begun = tx
        .execute(
            cold::BEGIN_RECOVERY,
            &[
                &Fixed(plan.id.to_bytes()),
                &plan.tenant.0,
                &Fixed(plan.endpoint.to_bytes()),
                &plan.reason.map(Reason::code),
                &plan.created_at.micros(),
                &plan.since.map(Timestamp::micros),
                &plan.until.map(Timestamp::micros),
                &plan.rate.map(|rate| rate.to_string()),
                &at.now.micros(),
            ],
        )
        .await?;
    Ok(begun == 1)
}

async fn stop(tx: &Transaction<'_>, tenant: Tenant, id: RecoveryId, at: Moment) -> Result<bool, Fault> {
    let (id, stopped) = (Fixed(id.to_bytes()), RecoveryState::Stopped.code());
    tx.execute(cold::STOP_RECOVERY, &[&tenant.0, &id, &at.wall.micros(), &stopped]).await?;
    Ok(tx.row(cold::RECOVERY, &[&tenant.0, &id]).await?.is_some())
}

async fn tend(tx: &Transaction<'_>, effects: &mut Effects, at: Moment) -> Result<Option<Timestamp>, Fault> {
    let more = fail_waiting(tx, at).await?;
    let recovered = recover(tx, effects, at).await?;
    let next: Option<i64> = match tx.row(cold::NEXT_RECOVERY, &[]).await? {
        Some(row) => row.try_get(0)?,
        None => None,
    };
    // One that is due and was not found has its step made by another node just now.
    let earliest = if recovered { at.now } else { at.now + BESIDE };
    Ok(if more { Some(at.now) } else { next.map(|next| Timestamp::from_micros(next).max(earliest)) })
}

/// `false`: none has a step to make that this node could make.
async fn recover(tx: &Transaction<'_>, effects: &mut Effects, at: Moment) -> Result<bool, Fault> {
    let Some(open) = tx.row(OPEN_RECOVERY, &[&at.now.micros()]).await? else { return Ok(false) };
    let recovery = rows::recovery(&open)?;
    let plan = &recovery.plan;
    // What is queued has its place by terms that stay so until the commit.
    let sequence = tx.row(LOCKED_TERMS, &[&Fixed(plan.endpoint.to_bytes())]).await?;
    let (terms, state) = match sequence {
        Some(row) => (rows::terms(row.try_get(0)?)?, State::from_code(row.try_get(1)?)),
        None => (Terms::default(), None),
    };
    let step = recovery.step(state == Some(State::Enabled), STEP, REACH);
    let params: &super::link::Params<'_> = &[
        &plan.tenant.0,
        &Fixed(plan.endpoint.to_bytes()),
        &recovery.reached,
        &step.end,
        &plan.reason.map(Reason::code),
        &step.most,
        &at.now.micros(),
        &Trigger::Recovery.code(),
        &plan.since.map_or(i64::MIN, Timestamp::micros),
        &plan.until.map_or(i64::MAX, Timestamp::micros),
        &terms.number(0),
        &terms.ordered,
    ];
    let row = tx.row(RECOVER, params).await?;
    let row = row.ok_or_else(|| StorageError::refused("a count came back without a row"))?;
    let (count, number, lane): (i64, Option<i64>, Option<i64>) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if let Some(lane) = lane {
        effects.wake(Wake::DeliveryDue { lane: Lane(lane), due: at.now });
    }
    let after = recovery.after(&step, count, number, at);
    tx.execute(
        cold::REACH_RECOVERY,
        &[
            &plan.tenant.0,
            &Fixed(plan.id.to_bytes()),
            &after.reached,
            &count,
            &after.next.map(Timestamp::micros),
            &after.finished_at.map(Timestamp::micros),
            &after.state.code(),
        ],
    )
    .await?;
    Ok(true)
}
