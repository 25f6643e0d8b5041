//! The reads of the port: shared statements, bound for SQLite.

use std::sync::Arc;

use domain::{
    chance::Moment,
    delivery::Delivery,
    endpoint::{Endpoint, Health, Recovery},
    event::EventKind,
    id::{DeliveryId, EndpointId, EventId, JobId, RecoveryId, Tenant},
    job::{Job, Status},
    lane::{Breaker, Lane, Record},
    retention::Tombstone,
    task::TaskName,
    time::Timestamp,
};
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use storage::{
    Check, Content, DeliveryDetail, DeliveryFilter, EndpointFilter, EventMark, Events, Feed, Fetched, Found,
    Idempotency, JobFilter, LaneStart, Page, Result as Answer, STEP_ROWS, Scan, StorageError, Submitted,
};

use super::fault::Fault;
use crate::{bounds::Bounds, cold, rows};

pub(crate) fn one<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl Fn(&Row<'_>) -> Answer<T>,
) -> Result<Option<T>, Fault> {
    let found = connection.prepare_cached(sql)?.query_row(params, |row| Ok(read(row))).optional()?;
    Ok(found.transpose()?)
}

pub(crate) fn many<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl Fn(&Row<'_>) -> Answer<T>,
) -> Result<Vec<T>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params, |row| Ok(read(row)))?;
    rows.map(|row| Ok(row??)).collect()
}

/// One job.
pub(crate) fn job(c: &Connection, tenant: Tenant, id: JobId) -> Result<Option<Job>, Fault> {
    one(c, cold::JOB, params![tenant.0, id.to_bytes()], |row| rows::job(row))
}

/// What a submission under this key would come to, if it was used.
pub(crate) fn replay(c: &Connection, key: Idempotency) -> Result<Option<Submitted>, Fault> {
    one(c, cold::USED_KEY, [key.digest], |row| rows::used_key(row, &key))
}

/// Its input.
pub(crate) fn input(c: &Connection, tenant: Tenant, id: JobId) -> Result<Option<Arc<str>>, Fault> {
    Ok(one(c, cold::INPUT, params![tenant.0, id.to_bytes()], |row| rows::input(row))?.flatten())
}

/// Whose history there is.
pub(crate) fn histories(c: &Connection) -> Result<Vec<Tenant>, Fault> {
    let mut read = c.prepare_cached(cold::HISTORIES)?;
    let rows = read.query_map([], |row| row.get(0).map(Tenant))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Jobs whose time is over.
pub(crate) fn scan(c: &Connection, scan: &Scan) -> Result<Found, Fault> {
    let before = crate::bounds::first_of(scan.made_before);
    let key = params![scan.tenant.0, scan.after.to_bytes(), before, STEP_ROWS as i64];
    let seen = many(c, cold::KEPT, key, |row| rows::kept(row, scan))?;
    Ok(rows::found(scan.tenant, seen, STEP_ROWS))
}

/// What is left of a job.
pub(crate) fn tombstone(
    c: &Connection,
    tenant: Option<Tenant>,
    id: JobId,
) -> Result<Option<Tombstone>, Fault> {
    match tenant {
        Some(tenant) => one(c, cold::TOMBSTONE, params![tenant.0, id.to_bytes()], |row| rows::tombstone(row)),
        None => one(c, cold::LINKED_TOMBSTONE, [id.to_bytes()], |row| rows::tombstone(row)),
    }
}

/// Its result.
pub(crate) fn result(c: &Connection, tenant: Tenant, id: JobId) -> Result<Fetched, Fault> {
    fetched(c, job(c, tenant, id)?)
}

/// The result of whatever tenant's job.
pub(crate) fn linked_result(c: &Connection, id: JobId) -> Result<Fetched, Fault> {
    let job = one(c, cold::LINKED_JOB, params![id.to_bytes()], |row| rows::job(row))?;
    fetched(c, job)
}

fn fetched(c: &Connection, job: Option<Job>) -> Result<Fetched, Fault> {
    let Some(job) = job else { return Ok(Fetched::Missing) };
    let content: Option<Option<Content>> =
        one(c, cold::RESULT, params![job.tenant.0, job.id.to_bytes()], |row| rows::result(row))?;
    Ok(content.flatten().map_or_else(|| Fetched::None(Box::new(job)), Fetched::Content))
}

/// A list of jobs.
pub(crate) fn jobs(c: &Connection, filter: &JobFilter) -> Result<Page<Job>, Fault> {
    let before = filter.before.map(JobId::as_u128);
    let bounds = Bounds::of(filter.created_after, filter.created_before, before);
    let task = filter.task.as_ref().map(|task| task.as_str());
    let status = filter.status.map(Status::code);
    let live = filter.status.is_some_and(|status| !status.is_terminal());
    let items = many(
        c,
        if live { cold::LIVE_JOBS } else { cold::JOBS },
        params![
            filter.tenant.0,
            bounds.below,
            bounds.above,
            task,
            status,
            bounds.created_before,
            bounds.created_after,
            filter.limit + 1
        ],
        |row| rows::job(row),
    )?;
    Ok(page(items, filter.limit))
}

pub(crate) fn page<T>(mut items: Vec<T>, limit: u32) -> Page<T> {
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    Page { items, more }
}

/// One delivery with its attempts and its body.
pub(crate) fn delivery(
    c: &Connection,
    tenant: Tenant,
    id: DeliveryId,
) -> Result<Option<DeliveryDetail>, Fault> {
    let key = params![tenant.0, id.to_bytes()];
    let Some(delivery) = one(c, cold::DELIVERY, key, |row| rows::delivery(row))? else { return Ok(None) };
    let attempts = many(c, cold::ATTEMPTS, key, |row| rows::attempt(row))?;
    let body = one(c, cold::BODY, params![tenant.0, delivery.event.to_bytes()], |row| rows::body(row))?;
    let body = body.ok_or_else(|| StorageError::BadRow {
        table: "deliveries",
        column: "event",
        id: id.to_string(),
        detail: format!("there is no event {}", delivery.event),
    })?;
    Ok(Some(DeliveryDetail { delivery, attempts, body }))
}

/// A list of deliveries.
pub(crate) fn deliveries(c: &Connection, filter: &DeliveryFilter) -> Result<Page<Delivery>, Fault> {
    let before = filter.before.map(DeliveryId::as_u128);
    let bounds = Bounds::of(filter.created_after, filter.created_before, before).of_event(filter.event);
    let (event, endpoint) = (filter.event.map(EventId::to_bytes), filter.endpoint.map(EndpointId::to_bytes));
    let event: &[u8] = event.as_ref().map_or(&[], |bytes| bytes);
    let endpoint: &[u8] = endpoint.as_ref().map_or(&[], |bytes| bytes);
    let shared = params![
        filter.tenant.0,
        bounds.below,
        bounds.above,
        event,
        filter.status.map(|status| status.code()),
        filter.outcome.map(|outcome| outcome.code()),
        bounds.created_before,
        bounds.created_after,
        filter.limit + 1,
        endpoint,
    ];
    let of = match (filter.job, filter.endpoint) {
        (None, None) => None,
        // A job has few, an endpoint may have many.
        (Some(job), _) => Some((cold::DELIVERIES_OF_JOB, job.to_bytes())),
        (None, Some(endpoint)) => Some((cold::DELIVERIES_OF_ENDPOINT, endpoint.to_bytes())),
    };
    let items = match of {
        None => many(c, cold::DELIVERIES, shared, |row| rows::delivery(row))?,
        Some((sql, id)) => {
            let with_id: Vec<&dyn rusqlite::ToSql> = shared.iter().copied().chain([&id as _]).collect();
            many(c, sql, &*with_id, |row| rows::delivery(row))?
        }
    };
    Ok(page(items, filter.limit))
}

/// One endpoint.
pub(crate) fn endpoint(c: &Connection, tenant: Tenant, id: EndpointId) -> Result<Option<Endpoint>, Fault> {
    one(c, cold::ENDPOINT, params![tenant.0, id.to_bytes()], |row| rows::endpoint(row))
}

/// A list of endpoints.
pub(crate) fn endpoints(c: &Connection, filter: &EndpointFilter) -> Result<Page<Endpoint>, Fault> {
    let before = filter.before.map_or([0xff; 16], EndpointId::to_bytes);
    let key = params![filter.tenant.0, before, filter.limit + 1];
    Ok(page(many(c, cold::ENDPOINTS, key, |row| rows::endpoint(row))?, filter.limit))
}

/// One recovery.
pub(crate) fn recovery(c: &Connection, tenant: Tenant, id: RecoveryId) -> Result<Option<Recovery>, Fault> {
    one(c, cold::RECOVERY, params![tenant.0, id.to_bytes()], |row| rows::recovery(row))
}

/// What an endpoint is sent.
pub(crate) fn feed(
    c: &Connection,
    tenant: Tenant,
    id: EndpointId,
    after: i64,
    limit: u32,
) -> Result<Option<Feed>, Fault> {
    let key = params![tenant.0, id.to_bytes()];
    let ends = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?));
    let Some((last, pruned)) = c.prepare_cached(cold::FEED_ENDS)?.query_row(key, ends).optional()? else {
        return Ok(None);
    };
    let key = params![tenant.0, id.to_bytes(), after, last, limit];
    let items = many(c, cold::FEED, key, |row| rows::feed_item(row))?;
    Ok(Some(Feed { items, last, pruned_before: pruned + 1 }))
}

/// What happened to a tenant, but for news of progress (5). A rowid of the one writer's: positions are in the order of commits.
const EVENTS: &str = "SELECT e.id, e.kind, e.created_at, e.body, p.bytes, NULL, e.position FROM events e \
    LEFT JOIN payload p ON p.tenant = e.tenant AND p.id = e.id AND p.kind = 3 AND e.body IS NULL \
    WHERE e.position > ?1 AND e.position <= ?2 AND e.tenant = ?3 AND e.kind <> ?4 AND e.kind <> 5 ORDER BY e.position LIMIT ?5";

/// How many positions one look walks over: those of other tenants lie between.
const REACH: i64 = 20_000;

/// What happened to a tenant, behind a mark.
pub(crate) fn events(c: &Connection, tenant: Tenant, after: EventMark, limit: u32) -> Result<Events, Fault> {
    let mut reached = i64::try_from(after.0).unwrap_or(i64::MAX);
    let last: Option<i64> =
        c.prepare_cached("SELECT max(position) FROM events")?.query_row([], |row| row.get(0))?;
    let last = last.unwrap_or(0);
    let mut found = Vec::new();
    while found.is_empty() && reached < last {
        let end = reached.saturating_add(REACH).min(last);
        let key = params![reached, end, tenant.0, EventKind::EndpointPing.code(), limit];
        found = many(c, EVENTS, key, |row| {
            let position: i64 = row.get(6).map_err(StorageError::refused)?;
            Ok((rows::feed_item(row)?, position))
        })?;
        reached = match found.last() {
            Some((_, position)) if found.len() == limit as usize => *position,
            _ => end,
        };
    }
    let next = EventMark(u128::from(reached.unsigned_abs()));
    Ok(Events { items: found.into_iter().map(|(item, _)| item).collect(), next })
}

/// How one is.
pub(crate) fn health(c: &Connection, id: EndpointId, at: Moment) -> Result<Health, Fault> {
    let lanes = [Lane::of_endpoint(id).0, Lane::beside_endpoint(id).0];
    let waiting: i64 = c.prepare_cached(cold::WAITING_IN)?.query_row(lanes, |row| row.get(0))?;
    let since = Health::since(at.wall).micros();
    let key = params![id.to_bytes(), since, Health::MOST];
    Ok(Health::of(waiting.unsigned_abs(), &many(c, cold::SAMPLES, key, |row| rows::sample(row))?))
}

/// What its latest attempts said of one.
pub(crate) fn record(c: &Connection, id: EndpointId) -> Result<Record, Fault> {
    let latest = many(c, cold::RECORD, params![id.to_bytes(), Breaker::RECORDED], |row| rows::recorded(row))?;
    let probing = c.prepare_cached(cold::PROBE_OUT)?.exists([Lane::of_endpoint(id).0])?;
    Ok(Record { latest, probing })
}

/// Every lane with something queued.
pub(crate) fn lanes(c: &Connection) -> Result<Vec<LaneStart>, Fault> {
    let mut lanes = many(c, cold::JOB_LANES, [], |row| rows::lane(row, true))?;
    lanes.extend(many(c, cold::DELIVERY_LANES, [], |row| rows::lane(row, false))?);
    let failing = many(c, cold::FAILING_LANES, [], |row| rows::lane_alone(row))?;
    lanes.iter_mut().for_each(|start| start.failing = failing.contains(&start.lane));
    Ok(lanes)
}

/// The machine's clock, as SQLite reads it: in milliseconds.
pub(crate) fn now(c: &Connection) -> Result<Timestamp, Fault> {
    let now = "SELECT CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)";
    let millis: i64 = c.prepare_cached(now)?.query_row([], |row| row.get(0))?;
    Ok(Timestamp::from_micros(millis * 1_000))
}

/// Tasks that somebody paused.
pub(crate) fn paused_tasks(c: &Connection) -> Result<Vec<TaskName>, Fault> {
    many(c, cold::PAUSED_TASKS, [], |row| rows::task(row))
}

/// Since when jobs of each task have waited.
pub(crate) fn oldest_waiting(c: &Connection) -> Result<Vec<(TaskName, Timestamp)>, Fault> {
    Ok(rows::oldest(many(c, cold::JOB_LANES, [], |row| rows::lane(row, true))?))
}

/// How the engine is.
pub(crate) fn check(c: &Connection) -> Result<Check, Fault> {
    let schema = c.prepare_cached(cold::VERSION)?.query_row([], |row| row.get(0))?;
    Ok(Check { engine: format!("SQLite {}", rusqlite::version()), schema })
}
