//! The reads of the port: shared statements, over connections that many reads share at once.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use domain::{
    chance::Moment,
    delivery::{Delivery, State},
    endpoint::{Endpoint, Health, Recovery},
    event::{EventKind, EventSet},
    id::{DeliveryId, EndpointId, JobId, RecoveryId, Tenant},
    job::{Job, Status},
    lane::{Breaker, Lane, Record},
    retention::Tombstone,
    task::TaskName,
    time::Timestamp,
};
use storage::{
    Check, DeliveryDetail, DeliveryFilter, EndpointFilter, EventMark, Events, Feed, Fetched, Found,
    Idempotency, JobFilter, LaneStart, Page, Result, Roster, STEP_ROWS, Scan, StorageError, Submitted,
};
use tokio::{runtime::Handle, sync::Mutex as Slot};
use tokio_postgres::{Client, Row, SimpleQueryMessage, Statement, types::ToSql};

use super::{
    columns::Fixed,
    fault::{Fault, answered, words},
    link::{Address, Params, typed},
    migrate::MIGRATIONS,
    nodes::{self, ROSTER},
    ranges::{self, RANGES, Range},
};
use crate::{Mismatch, bounds::Bounds, cold, columns::Columns, rows};

/// Connections for reading, each made when it is first needed and anew when it broke.
pub(crate) struct Readers {
    address: Address,
    /// What drives the connections: whoever reads may be on a runtime that ends before we do.
    runtime: Handle,
    slots: Vec<Slot<Option<Arc<Reader>>>>,
    next: AtomicUsize,
}

struct Reader {
    client: Client,
    prepared: Mutex<HashMap<&'static str, Statement>>,
}

impl Reader {
    async fn statement(&self, sql: &'static str) -> std::result::Result<Statement, Fault> {
        let known = self.prepared.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(&for_postgres(sql)).await?;
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).insert(sql, statement.clone());
        Ok(statement)
    }

    async fn rows(
        &self,
        address: &Address,
        sql: &'static str,
        params: &Params<'_>,
    ) -> std::result::Result<Vec<Row>, Fault> {
        if let Some(types) = address.types(sql) {
            return typed(&self.client, sql, params, types?).await;
        }
        let statement = self.statement(sql).await?;
        Ok(self.client.query(&statement, params).await?)
    }
}

/// Shared statements name their parameters `?n`; none of them has a question mark elsewhere.
pub(crate) fn for_postgres(sql: &str) -> String {
    sql.replace('?', "$")
}

impl Readers {
    pub(crate) fn new(address: Address, runtime: Handle, connections: usize) -> Self {
        let slots = (0..connections.max(1)).map(|_| Slot::new(None)).collect();
        Self { address, runtime, slots, next: AtomicUsize::new(0) }
    }

    async fn reader(&self) -> Result<Arc<Reader>> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.slots.len();
        let mut slot = self.slots[turn].lock().await;
        if let Some(reader) = slot.as_ref().filter(|reader| !reader.client.is_closed()) {
            return Ok(reader.clone());
        }
        let address = self.address.clone();
        let connecting = async move { address.reading().await.map_err(Fault::Unconnected) };
        let connected = self.runtime.spawn(answered(connecting)).await;
        let client = connected.map_err(|_| StorageError::Closed)?.map_err(Fault::into_answer)?;
        let reader = Arc::new(Reader { client, prepared: Mutex::default() });
        *slot = Some(reader.clone());
        Ok(reader)
    }

    /// A connection that broke while it was idle is noticed by the first read on it: that one is repeated.
    async fn rows(&self, sql: &'static str, params: &Params<'_>) -> Result<Vec<Row>> {
        match self.reader().await?.rows(&self.address, sql, params).await {
            Err(fault) if fault.is_disconnect() => {
                let again = self.reader().await?.rows(&self.address, sql, params).await;
                again.map_err(Fault::into_answer)
            }
            rows => rows.map_err(Fault::into_answer),
        }
    }

    /// What lies under a key. That takes no time: a server that says nothing to it is not waited for.
    pub(crate) async fn one<T>(
        &self,
        sql: &'static str,
        params: &Params<'_>,
        read: impl Fn(&Row) -> Result<T>,
    ) -> Result<Option<T>> {
        let rows = answered(async { Ok(self.rows(sql, params).await?) }).await;
        if matches!(rows, Err(Fault::Silent)) {
            self.leave();
        }
        rows.map_err(Fault::into_answer)?.first().map(read).transpose()
    }

    /// The connections are made anew: what queued up on these in the meantime would come first, answers that nobody waits
    /// for any more. A longer read that is under way keeps its own.
    fn leave(&self) {
        for slot in &self.slots {
            if let Ok(mut slot) = slot.try_lock() {
                slot.take();
            }
        }
    }

    pub(crate) async fn many<T>(
        &self,
        sql: &'static str,
        params: &Params<'_>,
        read: impl Fn(&Row) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.rows(sql, params).await?.iter().map(read).collect()
    }

    pub(crate) async fn job(&self, tenant: Tenant, id: JobId) -> Result<Option<Job>> {
        self.one(cold::JOB, &[&tenant.0, &Fixed(id.to_bytes())], rows::job).await
    }

    pub(crate) async fn replay(&self, key: &Idempotency) -> Result<Option<Submitted>> {
        self.one(cold::USED_KEY, &[&Fixed(key.digest)], |row| rows::used_key(row, key)).await
    }

    pub(crate) async fn input(&self, tenant: Tenant, id: JobId) -> Result<Option<Arc<str>>> {
        Ok(self.one(cold::INPUT, &[&tenant.0, &Fixed(id.to_bytes())], rows::input).await?.flatten())
    }

    pub(crate) async fn histories(&self) -> Result<Vec<Tenant>> {
        let read = |row: &Row| row.int_or(0).map_err(StorageError::refused);
        Ok(self.many(cold::HISTORIES, &[], read).await?.into_iter().flatten().map(Tenant).collect())
    }

    /// Over a connection of its own, if there is anything to do.
    pub(crate) async fn drop_old(&self, kept: Duration, at: Moment) -> Result<Option<Timestamp>> {
        let ranges = self.many(RANGES, &[], Range::read).await?;
        Ok(ranges::tend(&self.address, ranges, kept, at).await)
    }

    pub(crate) async fn scan(&self, scan: &Scan) -> Result<Found> {
        let (after, before) =
            (Fixed(scan.after.to_bytes()), Fixed(crate::bounds::first_of(scan.made_before)));
        let key: &Params<'_> = &[&scan.tenant.0, &after, &before, &(STEP_ROWS as i64)];
        let seen = self.many(cold::KEPT, key, |row| rows::kept(row, scan)).await?;
        Ok(rows::found(scan.tenant, seen, STEP_ROWS))
    }

    pub(crate) async fn tombstone(&self, tenant: Option<Tenant>, id: JobId) -> Result<Option<Tombstone>> {
        let id = Fixed(id.to_bytes());
        match tenant {
            Some(tenant) => self.one(cold::TOMBSTONE, &[&tenant.0, &id], rows::tombstone).await,
            None => self.one(cold::LINKED_TOMBSTONE, &[&id], rows::tombstone).await,
        }
    }

    pub(crate) async fn result(&self, tenant: Tenant, id: JobId) -> Result<Fetched> {
        let job = self.job(tenant, id).await?;
        self.fetched(job).await
    }

    pub(crate) async fn linked_result(&self, id: JobId) -> Result<Fetched> {
        let job = self.one(cold::LINKED_JOB, &[&Fixed(id.to_bytes())], rows::job).await?;
        self.fetched(job).await
    }

    async fn fetched(&self, job: Option<Job>) -> Result<Fetched> {
        let Some(job) = job else { return Ok(Fetched::Missing) };
        let key: &Params<'_> = &[&job.tenant.0, &Fixed(job.id.to_bytes())];
        let content = self.one(cold::RESULT, key, rows::result).await?;
        Ok(content.flatten().map_or_else(|| Fetched::None(Box::new(job)), Fetched::Content))
    }

    pub(crate) async fn waiting(&self) -> Result<Vec<(Tenant, u64)>> {
        let read = |row: &Row| {
            let number = |column| row.int_or(column).map(|number| number.unwrap_or(0));
            let counted = || Ok::<_, String>((Tenant(number(0)?), number(1)?.unsigned_abs()));
            counted().map_err(StorageError::refused)
        };
        self.many(cold::WAITING_OF_TENANTS, &[], read).await
    }

    pub(crate) async fn jobs(&self, filter: &JobFilter) -> Result<Page<Job>> {
        let before = filter.before.map(JobId::as_u128);
        let bounds = Bounds::of(filter.created_after, filter.created_before, before);
        let live = filter.status.is_some_and(|status| !status.is_terminal());
        let items = self
            .many(
                if live { cold::LIVE_JOBS } else { cold::JOBS },
                &[
                    &filter.tenant.0,
                    &Fixed(bounds.below),
                    &Fixed(bounds.above),
                    &filter.task.as_ref().map(|task| task.as_str()),
                    &filter.status.map(Status::code),
                    &bounds.created_before,
                    &bounds.created_after,
                    &(i64::from(filter.limit) + 1),
                ],
                rows::job,
            )
            .await?;
        Ok(page(items, filter.limit))
    }

    pub(crate) async fn delivery(&self, tenant: Tenant, id: DeliveryId) -> Result<Option<DeliveryDetail>> {
        let key: &Params<'_> = &[&tenant.0, &Fixed(id.to_bytes())];
        let Some(delivery) = self.one(cold::DELIVERY, key, rows::delivery).await? else { return Ok(None) };
        let mut attempts = self.many(cold::ATTEMPTS, key, rows::attempt).await?;
        // Read a moment later: what was closed meanwhile is not yet so in the delivery as it was read.
        let open = matches!(delivery.state, State::InFlight { .. });
        attempts.retain(|attempt| attempt.number + u32::from(open) <= delivery.attempt);
        let event = Fixed(delivery.event.to_bytes());
        let body = self.one(cold::BODY, &[&tenant.0, &event], rows::body).await?;
        let body = body.ok_or_else(|| StorageError::BadRow {
            table: "deliveries",
            column: "event",
            id: id.to_string(),
            detail: format!("there is no event {}", delivery.event),
        })?;
        Ok(Some(DeliveryDetail { delivery, attempts, body }))
    }

    pub(crate) async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Page<Delivery>> {
        let before = filter.before.map(DeliveryId::as_u128);
        let bounds = Bounds::of(filter.created_after, filter.created_before, before).of_event(filter.event);
        let (below, above) = (Fixed(bounds.below), Fixed(bounds.above));
        let event = filter.event.map_or_else(Vec::new, |event| event.to_bytes().to_vec());
        let endpoint = filter.endpoint.map_or_else(Vec::new, |endpoint| endpoint.to_bytes().to_vec());
        let (status, outcome) = (filter.status.map(|s| s.code()), filter.outcome.map(|o| o.code()));
        let limit = i64::from(filter.limit) + 1;
        let of = match (filter.job, filter.endpoint) {
            (None, None) => None,
            // A job has few, an endpoint may have many.
            (Some(job), _) => Some((cold::DELIVERIES_OF_JOB, Fixed(job.to_bytes()))),
            (None, Some(endpoint)) => Some((cold::DELIVERIES_OF_ENDPOINT, Fixed(endpoint.to_bytes()))),
        };
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![
            &filter.tenant.0,
            &below,
            &above,
            &event,
            &status,
            &outcome,
            &bounds.created_before,
            &bounds.created_after,
            &limit,
            &endpoint,
        ];
        let sql = match &of {
            None => cold::DELIVERIES,
            Some((sql, id)) => {
                params.push(id);
                sql
            }
        };
        Ok(page(self.many(sql, &params, rows::delivery).await?, filter.limit))
    }

    /// The tenants of whose endpoints one hears of `job.started`.
    pub(crate) async fn hearing_of_starts(&self) -> Result<HashSet<i64>> {
        let tenant = |row: &Row| Ok(row.int_or(0).ok().flatten().unwrap_or_default());
        let mask = EventSet::mask(EventKind::JobStarted);
        Ok(self.many(cold::HEARING, &[&mask], tenant).await?.into_iter().collect())
    }

    pub(crate) async fn endpoint(&self, tenant: Tenant, id: EndpointId) -> Result<Option<Endpoint>> {
        self.one(cold::ENDPOINT, &[&tenant.0, &Fixed(id.to_bytes())], rows::endpoint).await
    }

    pub(crate) async fn endpoints(&self, filter: &EndpointFilter) -> Result<Page<Endpoint>> {
        let before = Fixed(filter.before.map_or([0xff; 16], EndpointId::to_bytes));
        let key: &Params<'_> = &[&filter.tenant.0, &before, &(i64::from(filter.limit) + 1)];
        Ok(page(self.many(cold::ENDPOINTS, key, rows::endpoint).await?, filter.limit))
    }

    pub(crate) async fn recovery(&self, tenant: Tenant, id: RecoveryId) -> Result<Option<Recovery>> {
        self.one(cold::RECOVERY, &[&tenant.0, &Fixed(id.to_bytes())], rows::recovery).await
    }

    pub(crate) async fn feed(
        &self,
        tenant: Tenant,
        id: EndpointId,
        after: i64,
        limit: u32,
    ) -> Result<Option<Feed>> {
        let (key, limit) = (Fixed(id.to_bytes()), i64::from(limit));
        let ends = |row: &Row| {
            let number = |column| row.int_or(column).map_err(StorageError::refused);
            Ok((number(0)?.unwrap_or(0), number(1)?.unwrap_or(0)))
        };
        let Some((last, pruned)) = self.one(cold::FEED_ENDS, &[&tenant.0, &key], ends).await? else {
            return Ok(None);
        };
        // Up to that number all were committed with it, so that no gap is seen that is none.
        let params: &Params<'_> = &[&tenant.0, &key, &after, &last, &limit];
        let items = self.many(cold::FEED, params, rows::feed_item).await?;
        Ok(Some(Feed { items, last, pruned_before: pruned + 1 }))
    }

    pub(crate) async fn events(&self, tenant: Tenant, after: EventMark, limit: u32) -> Result<Events> {
        let (transaction, position) = ((after.0 >> 64).to_string(), after.0 as u64 as i64);
        let (ping, limit) = (EventKind::EndpointPing.code(), i64::from(limit));
        let params: &Params<'_> = &[&tenant.0, &transaction, &position, &ping, &limit];
        let read = |row: &Row| {
            let number = |column| Ok(row.int_or(column).map_err(StorageError::refused)?.unwrap_or(0));
            let (transaction, position): (i64, i64) = (number(6)?, number(7)?);
            let mark = u128::from(transaction as u64) << 64 | u128::from(position as u64);
            Ok((rows::feed_item(row)?, EventMark(mark)))
        };
        let found = self.many(EVENTS, params, read).await?;
        let next = found.last().map_or(after, |(_, mark)| *mark);
        Ok(Events { items: found.into_iter().map(|(item, _)| item).collect(), next })
    }

    pub(crate) async fn health(&self, id: EndpointId, at: Moment) -> Result<Health> {
        let (lane, beside) = (Lane::of_endpoint(id).0, Lane::beside_endpoint(id).0);
        let count = |row: &Row| Ok(row.int_or(0).ok().flatten().unwrap_or(0));
        let waiting = self.one(cold::WAITING_IN, &[&lane, &beside], count).await?.unwrap_or(0);
        let (since, most) = (Health::since(at.wall).micros(), i64::from(Health::MOST));
        let key: &Params<'_> = &[&Fixed(id.to_bytes()), &since, &most];
        Ok(Health::of(waiting.unsigned_abs(), &self.many(cold::SAMPLES, key, rows::sample).await?))
    }

    pub(crate) async fn record(&self, id: EndpointId) -> Result<Record> {
        let most = i64::from(Breaker::RECORDED);
        let latest = self.many(cold::RECORD, &[&Fixed(id.to_bytes()), &most], rows::recorded).await?;
        let probing = !self.rows(cold::PROBE_OUT, &[&Lane::of_endpoint(id).0]).await?.is_empty();
        Ok(Record { latest, probing })
    }

    pub(crate) async fn lanes(&self) -> Result<Vec<LaneStart>> {
        let mut lanes = self.many(cold::JOB_LANES, &[], |row| rows::lane(row, true)).await?;
        lanes.extend(self.many(cold::DELIVERY_LANES, &[], |row| rows::lane(row, false)).await?);
        let failing = self.many(cold::FAILING_LANES, &[], rows::lane_alone).await?;
        lanes.iter_mut().for_each(|start| start.failing = failing.contains(&start.lane));
        Ok(lanes)
    }

    pub(crate) async fn roster(&self) -> Result<Roster> {
        let rows = self.rows(ROSTER, &[]).await?;
        nodes::read(&rows).map_err(Fault::into_answer)
    }

    pub(crate) async fn paused_tasks(&self) -> Result<Vec<TaskName>> {
        self.many(cold::PAUSED_TASKS, &[], rows::task).await
    }

    pub(crate) async fn oldest_waiting(&self) -> Result<Vec<(TaskName, Timestamp)>> {
        Ok(rows::oldest(self.many(cold::JOB_LANES, &[], |row| rows::lane(row, true)).await?))
    }

    pub(crate) async fn check(&self) -> Result<Check> {
        let number = |row: &Row, column| row.int_or(column).ok().flatten().unwrap_or(0);
        let version = self.one(cold::VERSION, &[], |row| Ok((number(row, 0), number(row, 1)))).await?;
        let (schema, needs) = version.unwrap_or_default();
        let knows = MIGRATIONS.len() as i64;
        if needs > knows {
            let newer = Mismatch::Newer { found: schema, known: knows };
            return Err(StorageError::refused(newer));
        }
        let reader = self.reader().await?;
        let version = reader.client.simple_query("SHOW server_version").await;
        let version = version.map_err(|error| StorageError::refused(words(&error)))?;
        let version = version.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        Ok(Check {
            engine: format!("PostgreSQL {}", version.unwrap_or_default()),
            schema: u32::try_from(schema).unwrap_or(0),
        })
    }
}

/// ?1 tenant, ?2 transaction as text, ?3 position, ?4 a kind that is left out, ?5 limit: by transaction, and only of
/// those that were over before the oldest that still runs began, since a later look could find more of the others.
pub(crate) const EVENTS: &str = "SELECT e.id, e.kind, e.created_at, e.body, p.bytes, CAST(NULL AS BIGINT), \
     CAST(CAST(e.committed_by AS TEXT) AS BIGINT), e.position FROM events e \
     LEFT JOIN payload p ON p.tenant = e.tenant AND p.id = e.id AND p.kind = 3 AND e.body IS NULL \
     WHERE e.tenant = ?1 AND (e.committed_by, e.position) > (CAST(CAST(?2 AS TEXT) AS XID8), ?3) \
     AND e.committed_by < pg_snapshot_xmin(pg_current_snapshot()) AND e.kind <> ?4 AND e.kind <> 5 \
     ORDER BY e.tenant, e.committed_by, e.position LIMIT ?5";

pub(crate) fn page<T>(mut items: Vec<T>, limit: u32) -> Page<T> {
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    Page { items, more }
}
