//! What has been kept long enough goes: array statements by primary keys, one small step a transaction. Jobs that
//! somebody else has locked are left to the next walk.

use std::collections::{BTreeMap, HashMap, HashSet};

use domain::{
    chance::Moment,
    id::{EventId, JobId, Tenant},
    retention::{Fate, KEY},
    time::Timestamp,
};
use storage::{Apart, Deleted, Due, Forget, STEP_JOBS, STEP_ROWS, Wake};
use tokio_postgres::Row;

use super::{
    columns::{Fixed, Id, span, span_of_moments},
    fault::Fault,
    line::Verb,
    submit::id_of,
    transaction::{Transaction, nothing},
};
use crate::{bounds::first_of, cold, effects::Effects};

macro_rules! lock_jobs {
    ($how:literal) => {
        concat!(
            "SELECT j.* FROM UNNEST($1::bigint[], $2::bytea[]) AS u (tenant, id) CROSS JOIN LATERAL \
             (SELECT tenant, id, task, status, finished_at, created_at, idempotency, event FROM jobs \
             WHERE tenant = u.tenant AND id = u.id AND id BETWEEN $3 AND $4 ",
            $how,
            ") j"
        )
    };
}
/// Arrays: ?1 tenant, ?2 id; ?3 to ?4 their span. Nobody adds a callback to them until the commit.
const LOCK_DUE: &str = lock_jobs!("AND status >= 2 FOR UPDATE SKIP LOCKED");
const LOCK_JOB: &str = lock_jobs!("FOR UPDATE");

macro_rules! deliveries_of {
    ($of:literal, $which:literal, $how:literal) => {
        concat!(
            "SELECT d.* FROM UNNEST($1::bigint[], $2::bytea[]) AS u (tenant, id) CROSS JOIN LATERAL (SELECT ",
            $of,
            ", id, event FROM deliveries WHERE tenant = u.tenant AND ",
            $which,
            " = u.id AND id BETWEEN $3 AND $4 ",
            $how,
            ") d"
        )
    };
}
/// Arrays: ?1 tenant, ?2 job; ?3 to ?4 whatever was made since the first of them. Nobody resends them until the commit.
const LOCK_DELIVERIES: &str = deliveries_of!("job", "job", "FOR UPDATE");
const DELIVERIES: &str = deliveries_of!("job", "job", "OFFSET 0");
/// The same of events that are of no job.
const LOCK_APART: &str = deliveries_of!("event", "job IS NULL AND event", "FOR UPDATE");

/// ?1 deliveries.
const QUEUED: &str = "SELECT id FROM delivery_queue WHERE id = ANY ($1::bytea[])";
const UNQUEUE: &str = "DELETE FROM delivery_queue WHERE id = ANY ($1::bytea[])";

/// Arrays: ?1 tenant, ?2 id.
macro_rules! of_these {
    ($what:literal, $table:literal, $column:literal) => {
        concat!(
            $what,
            $table,
            " x USING UNNEST($1::bigint[], $2::bytea[]) AS u (tenant, id) WHERE x.tenant = u.tenant AND x.",
            $column,
            " = u.id"
        )
    };
}
const DELETE_ATTEMPTS: &str = of_these!("DELETE FROM ", "attempts", "delivery");
/// Answers with endpoints and numbers.
const DELETE_DELIVERIES: &str =
    concat!(of_these!("DELETE FROM ", "deliveries", "id"), " RETURNING x.endpoint, x.sequence");
/// Arrays: ?1 endpoint, ?2 number. Locked in the order in which those lock them that give out numbers.
const PRUNED_UP_TO: &str = "WITH l AS MATERIALIZED (SELECT endpoint FROM endpoint_sequence WHERE endpoint = ANY ($1::bytea[]) \
     ORDER BY endpoint FOR UPDATE) UPDATE endpoint_sequence s SET pruned = GREATEST(s.pruned, u.n) \
     FROM l JOIN UNNEST($1::bytea[], $2::bigint[]) AS u (endpoint, n) ON u.endpoint = l.endpoint \
     WHERE s.endpoint = l.endpoint";
const DELETE_EVENTS: &str = of_these!("DELETE FROM ", "events", "id");
const DELETE_PAYLOADS: &str = of_these!("DELETE FROM ", "payload", "id");
const DELETE_JOBS: &str = of_these!("DELETE FROM ", "jobs", "id");
const ERASE_EVENTS: &str = "UPDATE events x SET body = '' FROM UNNEST($1::bigint[], $2::bytea[]) AS u (tenant, id) \
     WHERE x.tenant = u.tenant AND x.id = u.id";
const ERASE_JOBS: &str = "UPDATE jobs x SET input = NULL, result = NULL, result_shown = 0, erased = 1 \
     FROM UNNEST($1::bigint[], $2::bytea[]) AS u (tenant, id) WHERE x.tenant = u.tenant AND x.id = u.id";

/// Arrays: ?1 digest, ?2 job.
const DELETE_KEYS: &str = "DELETE FROM idempotency x USING UNNEST($1::bytea[], $2::bytea[]) AS u (key, job) \
     WHERE x.key = u.key AND x.job = u.job";

/// Arrays in the order of the columns. A range that is about to be dropped has its tombstones already.
const BURY: &str = "INSERT INTO tombstones (tenant, id, task, status, finished_at, gone_at, idempotency) \
     SELECT * FROM UNNEST($1::bigint[], $2::bytea[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bytea[]) \
     ON CONFLICT DO NOTHING";

/// ?1 tenant, ?2 after, ?3 before (ids), ?4 limit: oldest first.
const TOMBSTONES: &str = "SELECT id, gone_at, idempotency FROM tombstones WHERE tenant = $1 AND id > $2 AND id < $3 \
     ORDER BY tenant, id LIMIT $4";
const FORGET: &str = of_these!("DELETE FROM ", "tombstones", "id");

const DELETING: &[&str] = &[
    LOCK_DUE,
    LOCK_JOB,
    LOCK_DELIVERIES,
    DELIVERIES,
    QUEUED,
    UNQUEUE,
    DELETE_ATTEMPTS,
    DELETE_DELIVERIES,
    PRUNED_UP_TO,
    DELETE_EVENTS,
    DELETE_PAYLOADS,
    DELETE_JOBS,
    ERASE_EVENTS,
    ERASE_JOBS,
    DELETE_KEYS,
    BURY,
];

/// Ids under their tenants, by column.
#[derive(Default)]
struct Keys {
    tenant: Vec<i64>,
    id: Vec<Id>,
}

impl Keys {
    fn add(&mut self, tenant: i64, id: [u8; 16]) {
        self.tenant.push(tenant);
        self.id.push(Fixed(id));
    }

    /// Looks for these, in their span.
    async fn rows(&self, tx: &Transaction<'_>, sql: &str) -> Result<Vec<Row>, Fault> {
        if self.id.is_empty() {
            return Ok(Vec::new());
        }
        let [least, most] = span(&self.id);
        tx.rows(sql, &[&self.tenant, &self.id, &least, &most]).await
    }

    /// The same where these are not what is sought, but what it was made for: it bears their moment, or a later one.
    async fn rows_since(&self, tx: &Transaction<'_>, sql: &str) -> Result<Vec<Row>, Fault> {
        if self.id.is_empty() {
            return Ok(Vec::new());
        }
        let [least, _] = span_of_moments(span(&self.id));
        tx.rows(sql, &[&self.tenant, &self.id, &least, &Fixed([0xff; 16])]).await
    }

    async fn execute(&self, tx: &Transaction<'_>, sql: &str) -> Result<(), Fault> {
        if self.id.is_empty() {
            return Ok(());
        }
        tx.execute(sql, &[&self.tenant, &self.id]).await.map(drop)
    }

    /// The same, of what answers.
    async fn changed(&self, tx: &Transaction<'_>, sql: &str) -> Result<Vec<Row>, Fault> {
        if self.id.is_empty() {
            return Ok(Vec::new());
        }
        tx.rows(sql, &[&self.tenant, &self.id]).await
    }
}

/// A locked job.
struct Locked {
    tenant: i64,
    id: [u8; 16],
    task: String,
    status: i64,
    finished_at: i64,
    created_at: i64,
    key: Option<[u8; 16]>,
    event: Option<[u8; 16]>,
}

impl Locked {
    fn read(row: &Row) -> Result<Self, Fault> {
        let id_or = |column: usize| {
            let there = row.try_get::<_, Option<&[u8]>>(column)?.is_some();
            there.then(|| id_of(row, column)).transpose()
        };
        Ok(Self {
            tenant: row.try_get(0)?,
            id: id_of(row, 1)?,
            task: row.try_get(2)?,
            status: row.try_get(3)?,
            finished_at: row.try_get::<_, Option<i64>>(4)?.unwrap_or_default(),
            created_at: row.try_get(5)?,
            key: id_or(6)?,
            event: id_or(7)?,
        })
    }
}

/// Everything that is of some jobs.
#[derive(Default)]
struct Estate {
    jobs: Keys,
    deliveries: Keys,
    events: Keys,
}

impl Estate {
    /// Deletes its deliveries and events.
    async fn delete(&self, tx: &Transaction<'_>) -> Result<Numbers, Fault> {
        let mut numbers = Numbers::default();
        self.deliveries.execute(tx, DELETE_ATTEMPTS).await?;
        for row in self.deliveries.changed(tx, DELETE_DELIVERIES).await? {
            if let Some(number) = row.try_get::<_, Option<i64>>(1)? {
                let greatest = numbers.0.entry(id_of(&row, 0)?).or_default();
                *greatest = number.max(*greatest);
            }
        }
        self.events.execute(tx, DELETE_EVENTS).await?;
        self.events.execute(tx, DELETE_PAYLOADS).await?;
        Ok(numbers)
    }

    fn of<'l>(
        locked: impl Iterator<Item = &'l Locked>,
        deliveries: &HashMap<[u8; 16], Vec<Delivery>>,
    ) -> Self {
        let mut estate = Self::default();
        for job in locked {
            let (tenant, mut events) = (job.tenant, HashSet::new());
            for Delivery { id, event } in deliveries.get(&job.id).into_iter().flatten() {
                estate.deliveries.add(tenant, *id);
                events.insert(*event);
            }
            events.extend(job.event);
            events.insert(EventId::started(JobId::from_u128(u128::from_be_bytes(job.id))).to_bytes());
            events.into_iter().for_each(|event| estate.events.add(tenant, event));
            estate.jobs.add(tenant, job.id);
        }
        estate
    }
}

/// The greatest numbers that were pruned, by endpoint.
#[derive(Default)]
struct Numbers(BTreeMap<[u8; 16], i64>);

impl Numbers {
    /// The last statement before a commit, since it locks what every job's end of this tenant waits for.
    async fn tell(&self, tx: &Transaction<'_>) -> Result<(), Fault> {
        if self.0.is_empty() {
            return Ok(());
        }
        let (endpoints, numbers): (Vec<Id>, Vec<i64>) =
            self.0.iter().map(|(endpoint, number)| (Fixed(*endpoint), *number)).unzip();
        tx.execute(PRUNED_UP_TO, &[&endpoints, &numbers]).await.map(drop)
    }
}

struct Delivery {
    id: [u8; 16],
    event: [u8; 16],
}

/// By what is first in their rows: a job, or an event that is of none.
fn by_first(rows: &[Row]) -> Result<HashMap<[u8; 16], Vec<Delivery>>, Fault> {
    let mut all: HashMap<[u8; 16], Vec<Delivery>> = HashMap::new();
    for row in rows {
        all.entry(id_of(row, 0)?).or_default().push(Delivery { id: id_of(row, 1)?, event: id_of(row, 2)? });
    }
    Ok(all)
}

pub(crate) struct Prunes;

impl Verb for Prunes {
    type Command = (Vec<Due>, Moment);
    type Answer = u64;
    const STATEMENTS: &'static [&'static str] = DELETING;

    async fn write(
        tx: &Transaction<'_>,
        _: &mut Effects,
        commands: &[Self::Command],
    ) -> Result<Vec<u64>, Fault> {
        let mut answers = Vec::with_capacity(1);
        for (due, at) in commands {
            answers.push(prune(tx, due, *at).await?);
        }
        tx.commit(nothing()).await?;
        Ok(answers)
    }
}

async fn prune(tx: &Transaction<'_>, due: &[Due], at: Moment) -> Result<u64, Fault> {
    let (mut keys, mut fates) = (Keys::default(), HashMap::new());
    for Due { tenant, job, fate } in due {
        keys.add(tenant.0, job.to_bytes());
        fates.insert(job.to_bytes(), *fate);
    }
    let locked = tx.begin(keys.rows(tx, LOCK_DUE)).await?;
    let locked = locked.iter().map(Locked::read).collect::<Result<Vec<_>, _>>()?;
    let mut keys = Keys::default();
    locked.iter().for_each(|job| keys.add(job.tenant, job.id));
    let deliveries = by_first(&keys.rows_since(tx, LOCK_DELIVERIES).await?)?;
    let ids: Vec<Id> = deliveries.values().flatten().map(|delivery| Fixed(delivery.id)).collect();
    let queued = tx.rows(QUEUED, &[&ids]).await?;
    let queued = queued.iter().map(|row| id_of(row, 0)).collect::<Result<HashSet<_>, _>>()?;
    let waits = |job: &Locked| {
        deliveries.get(&job.id).into_iter().flatten().any(|delivery| queued.contains(&delivery.id))
    };
    let is = |job: &Locked, fate: Fate| fates.get(&job.id) == Some(&fate) && !waits(job);
    let erased = Estate::of(locked.iter().filter(|job| is(job, Fate::Erase)), &deliveries);
    erased.events.execute(tx, ERASE_EVENTS).await?;
    erased.events.execute(tx, DELETE_PAYLOADS).await?;
    erased.jobs.execute(tx, DELETE_PAYLOADS).await?;
    erased.jobs.execute(tx, ERASE_JOBS).await?;
    let gone: Vec<&Locked> = locked.iter().filter(|job| is(job, Fate::Prune)).collect();
    bury(tx, &gone, &deliveries, |_| false, at).await?;
    Ok((erased.jobs.id.len() + gone.len()) as u64)
}

/// All of them go; tombstones stay, and the keys of those that are `keyed`.
async fn bury(
    tx: &Transaction<'_>,
    gone: &[&Locked],
    deliveries: &HashMap<[u8; 16], Vec<Delivery>>,
    keyed: impl Fn(&Locked) -> bool,
    at: Moment,
) -> Result<(), Fault> {
    if gone.is_empty() {
        return Ok(());
    }
    let estate = Estate::of(gone.iter().copied(), deliveries);
    let numbers = estate.delete(tx).await?;
    estate.jobs.execute(tx, DELETE_PAYLOADS).await?;
    estate.jobs.execute(tx, DELETE_JOBS).await?;
    let over = gone.iter().filter(|job| !keyed(job)).filter_map(|job| Some((Fixed(job.key?), Fixed(job.id))));
    let (keys, jobs): (Vec<Id>, Vec<Id>) = over.unzip();
    tx.execute(DELETE_KEYS, &[&keys, &jobs]).await?;
    let tasks: Vec<&str> = gone.iter().map(|job| &*job.task).collect();
    let statuses: Vec<i64> = gone.iter().map(|job| job.status).collect();
    let finished: Vec<i64> = gone.iter().map(|job| job.finished_at).collect();
    let gone_at = vec![at.wall.micros(); gone.len()];
    let kept: Vec<Option<Id>> = gone.iter().map(|job| job.key.filter(|_| keyed(job)).map(Fixed)).collect();
    let Keys { tenant, id } = &estate.jobs;
    tx.execute(BURY, &[tenant, id, &tasks, &statuses, &finished, &gone_at, &kept]).await?;
    numbers.tell(tx).await
}

pub(crate) struct Deletes;

impl Verb for Deletes {
    type Command = (Tenant, JobId, Moment);
    type Answer = Deleted;
    const STATEMENTS: &'static [&'static str] = DELETING;

    async fn write(
        tx: &Transaction<'_>,
        effects: &mut Effects,
        commands: &[Self::Command],
    ) -> Result<Vec<Deleted>, Fault> {
        let mut answers = Vec::with_capacity(1);
        for command in commands {
            answers.push(delete(tx, effects, command).await?);
        }
        tx.commit(nothing()).await?;
        Ok(answers)
    }
}

async fn delete(
    tx: &Transaction<'_>,
    effects: &mut Effects,
    (tenant, job, at): &(Tenant, JobId, Moment),
) -> Result<Deleted, Fault> {
    let mut key = Keys::default();
    key.add(tenant.0, job.to_bytes());
    let locked = tx.begin(key.rows(tx, LOCK_JOB)).await?;
    let Some(locked) = locked.first().map(Locked::read).transpose()? else { return Ok(Deleted::Missing) };
    if locked.status < domain::job::Status::Succeeded.code() {
        return Ok(Deleted::NotFinished);
    }
    let ids = |rows: &[Row]| rows.iter().map(|row| id_of(row, 1).map(Fixed)).collect::<Result<Vec<Id>, _>>();
    // Queue rows before deliveries, as settlements lock them; and again, since somebody may have resent one until then.
    let queued = ids(&key.rows_since(tx, DELIVERIES).await?)?;
    tx.execute(UNQUEUE, &[&queued]).await?;
    let deliveries = key.rows_since(tx, LOCK_DELIVERIES).await?;
    tx.execute(UNQUEUE, &[&ids(&deliveries)?]).await?;
    // Until it may be used for another request, a key must go on finding that its job is gone.
    let keyed = |job: &Locked| Timestamp::from_micros(job.created_at) + KEY > at.wall;
    bury(tx, &[&locked], &by_first(&deliveries)?, keyed, *at).await?;
    effects.wake(Wake::JobChanged { job: *job, ended: true });
    Ok(Deleted::Done)
}

pub(crate) struct Forgets;

impl Verb for Forgets {
    type Command = Forget;
    type Answer = Option<JobId>;
    const STATEMENTS: &'static [&'static str] = &[TOMBSTONES, FORGET, DELETE_KEYS];

    async fn write(
        tx: &Transaction<'_>,
        _: &mut Effects,
        commands: &[Forget],
    ) -> Result<Vec<Option<JobId>>, Fault> {
        let mut answers = Vec::with_capacity(1);
        for command in commands {
            answers.push(forget(tx, command).await?);
        }
        tx.commit(nothing()).await?;
        Ok(answers)
    }
}

async fn forget(tx: &Transaction<'_>, forget: &Forget) -> Result<Option<JobId>, Fault> {
    let Forget { tenant, after, made_before, gone_before } = forget;
    let (after, before) = (Fixed(after.to_bytes()), Fixed(first_of(*made_before)));
    let most = STEP_ROWS as i64;
    let rows = tx.begin(async { tx.rows(TOMBSTONES, &[&tenant.0, &after, &before, &most]).await }).await?;
    let (mut over, mut keys, mut of) = (Keys::default(), Vec::new(), Vec::new());
    for row in &rows {
        if row.try_get::<_, i64>(1)? <= gone_before.micros() {
            let id = id_of(row, 0)?;
            over.add(tenant.0, id);
            if row.try_get::<_, Option<&[u8]>>(2)?.is_some() {
                keys.push(Fixed(id_of(row, 2)?));
                of.push(Fixed(id));
            }
        }
    }
    over.execute(tx, FORGET).await?;
    tx.execute(DELETE_KEYS, &[&keys, &of]).await?;
    let last = rows.last().filter(|_| rows.len() == STEP_ROWS);
    Ok(last.map(|row| id_of(row, 0)).transpose()?.map(|id| JobId::from_u128(u128::from_be_bytes(id))))
}

pub(crate) struct PrunesApart;

impl Verb for PrunesApart {
    type Command = Apart;
    type Answer = Option<EventId>;
    const STATEMENTS: &'static [&'static str] = &[
        cold::APART,
        LOCK_APART,
        QUEUED,
        DELETE_ATTEMPTS,
        DELETE_DELIVERIES,
        DELETE_EVENTS,
        DELETE_PAYLOADS,
        PRUNED_UP_TO,
    ];

    async fn write(
        tx: &Transaction<'_>,
        _: &mut Effects,
        commands: &[Apart],
    ) -> Result<Vec<Option<EventId>>, Fault> {
        let mut answers = Vec::with_capacity(1);
        for command in commands {
            answers.push(prune_apart(tx, command).await?);
        }
        tx.commit(nothing()).await?;
        Ok(answers)
    }
}

async fn prune_apart(tx: &Transaction<'_>, apart: &Apart) -> Result<Option<EventId>, Fault> {
    let Apart { tenant, after, made_before, told_before } = apart;
    let (after, before) = (Fixed(after.to_bytes()), Fixed(first_of(*made_before)));
    let most = STEP_JOBS as i64;
    let rows = tx.begin(async { tx.rows(cold::APART, &[&tenant.0, &after, &before, &most]).await }).await?;
    let mut old = Keys::default();
    for row in &rows {
        if row.try_get::<_, i64>(1)? <= told_before.micros() {
            old.add(tenant.0, id_of(row, 0)?);
        }
    }
    let deliveries = by_first(&old.rows_since(tx, LOCK_APART).await?)?;
    let ids: Vec<Id> = deliveries.values().flatten().map(|delivery| Fixed(delivery.id)).collect();
    let queued = tx.rows(QUEUED, &[&ids]).await?;
    let queued = queued.iter().map(|row| id_of(row, 0)).collect::<Result<HashSet<_>, _>>()?;
    let mut estate = Estate::default();
    for (event, deliveries) in deliveries {
        if deliveries.iter().all(|delivery| !queued.contains(&delivery.id)) {
            deliveries.iter().for_each(|delivery| estate.deliveries.add(tenant.0, delivery.id));
            estate.events.add(tenant.0, event);
        }
    }
    estate.delete(tx).await?.tell(tx).await?;
    let last = rows.last().filter(|_| rows.len() == STEP_JOBS);
    Ok(last.map(|row| id_of(row, 0)).transpose()?.map(|id| EventId::from_u128(u128::from_be_bytes(id))))
}
