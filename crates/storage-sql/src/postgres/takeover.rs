//! What becomes of the work of a node that is gone, and of what a node holds by mistake.

use domain::{
    chance::Moment,
    delivery::{Attempt, Trigger},
    id::{DeliveryId, JobId, Tenant},
    lane::Lane,
    lease::Fence,
};
use storage::{Recovered, StorageError, Wake};

use super::{
    columns::Fixed,
    fault::Fault,
    line::Verb,
    midway::{Freed, freed_of},
    nodes::now,
    submit::id_of,
    transaction::{Transaction, nothing},
};
use crate::effects::Effects;

/// Nodes whose lease is over. One that still commits something keeps its row until the next sweep.
const DEAD: &str = concat!(
    "SELECT n.id FROM nodes n JOIN fences f ON f.node = n.id WHERE n.lease_until <= ",
    now!(),
    " ORDER BY n.id \
     FOR UPDATE SKIP LOCKED"
);

/// ?1 nodes: from now on none of them is renewed, or writes its mark.
const GIVE_UP: &str = "WITH f AS (UPDATE fences SET epoch = 0 WHERE node = ANY ($1::bigint[])) \
     UPDATE nodes SET lease_until = 0 WHERE id = ANY ($1::bigint[])";

/// ?1 nodes. A row that somebody else has locked is freed by a later sweep; until then its node is remembered.
const FORGET: &str = "WITH n AS (DELETE FROM nodes n WHERE n.id = ANY ($1::bigint[]) \
     AND NOT EXISTS (SELECT 1 FROM job_queue q WHERE q.node = n.id) \
     AND NOT EXISTS (SELECT 1 FROM delivery_queue q WHERE q.node = n.id) RETURNING n.id) \
     DELETE FROM fences f USING n WHERE f.node = n.id";

/// Which rows are free: of these nodes, and of this one from before it joined again; or of one in one epoch but for
/// those it holds.
macro_rules! of_nodes {
    ($nodes:literal, $node:literal, $epoch:literal) => {
        concat!("(node = ANY (", $nodes, "::bigint[]) OR node = ", $node, " AND epoch < ", $epoch, ")")
    };
}
macro_rules! not_held {
    ($node:literal, $epoch:literal, $held:literal) => {
        concat!("node = ", $node, " AND epoch = ", $epoch, " AND NOT id = ANY (", $held, "::bytea[])")
    };
}

/// The first parameter is now; `$back` attempts are given back. Answers with lane, due, expiry, task, id and tenant.
macro_rules! free_jobs {
    ($back:literal, $which:expr) => {
        concat!(
            "WITH lost AS MATERIALIZED (SELECT id FROM job_queue WHERE ",
            $which,
            " ORDER BY id FOR UPDATE SKIP LOCKED), \
             q AS MATERIALIZED (UPDATE job_queue q SET node = NULL, epoch = NULL, due_at = $1, \
             started_at = CASE WHEN q.attempt > ",
            $back,
            " THEN q.started_at END, progress = NULL, attempt = q.attempt - ",
            $back,
            " WHERE q.id = ANY (ARRAY(SELECT id FROM lost)) RETURNING q.*) \
             SELECT q.lane, q.due_at, q.expires_at, j.task, q.id, q.tenant FROM q CROSS JOIN LATERAL \
             (SELECT task FROM jobs WHERE tenant = q.tenant AND id = q.id) j"
        )
    };
}

/// ?1 now, ?2 wall, ?3 outcome, ?4 error, ?5 timings: closes open attempts as interrupted; their deliveries wait again,
/// due now, no further in their policy. Answers with lanes, one a delivery.
macro_rules! free_deliveries {
    ($which:expr) => {
        concat!(
            "WITH lost AS MATERIALIZED (SELECT * FROM delivery_queue WHERE ", $which, " ORDER BY id FOR UPDATE SKIP LOCKED), \
             closed AS (INSERT INTO attempts (tenant, delivery, number, trigger, started_at, ended_at, outcome, error, \
             timings) SELECT tenant, id, attempt, trigger, started_at, GREATEST(started_at, $2), $3, $4, $5 FROM lost) \
             UPDATE delivery_queue q SET node = NULL, epoch = NULL, started_at = NULL, due_at = $1, last_outcome = $3, \
             trigger = CASE WHEN q.succeeded = 1 THEN q.trigger ELSE 0 END WHERE q.id = ANY (ARRAY(SELECT id FROM lost)) \
             RETURNING q.lane"
        )
    };
}

/// ?2 nodes, ?3 this node, ?4 its epoch. The lost start counts.
const FREE_LOST_JOBS: &str = free_jobs!("0", of_nodes!("$2", "$3", "$4"));
/// ?6 nodes, ?7 this node, ?8 its epoch.
const FREE_LOST_DELIVERIES: &str = free_deliveries!(of_nodes!("$6", "$7", "$8"));
/// ?2 node, ?3 epoch, ?4 held. The start is given back.
const FREE_OWN_JOBS: &str = free_jobs!("1", not_held!("$2", "$3", "$4"));
/// ?6 node, ?7 epoch, ?8 held.
const FREE_OWN_DELIVERIES: &str = free_deliveries!(not_held!("$6", "$7", "$8"));

pub(crate) struct Takeovers;

impl Verb for Takeovers {
    type Command = Moment;
    type Answer = Recovered;
    const STATEMENTS: &'static [&'static str] =
        &[DEAD, GIVE_UP, FORGET, FREE_LOST_JOBS, FREE_LOST_DELIVERIES];

    async fn write(
        tx: &Transaction<'_>,
        effects: &mut Effects,
        commands: &[Moment],
    ) -> Result<Vec<Recovered>, Fault> {
        let mut answers = Vec::with_capacity(1);
        for at in commands {
            answers.push(take_over(tx, effects, *at).await?);
        }
        tx.commit(nothing()).await?;
        Ok(answers)
    }
}

async fn take_over(tx: &Transaction<'_>, effects: &mut Effects, at: Moment) -> Result<Recovered, Fault> {
    let Fence { node, epoch } = tx.fence()?;
    let dead = tx.begin(async { tx.rows(DEAD, &[]).await }).await?;
    // Only a node that joined again can have left something behind in its own name.
    if dead.is_empty() && epoch == 1 {
        return Ok(Recovered::default());
    }
    let dead = dead.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
    let now = at.now.micros();
    let mut recovered = Recovered::default();
    for row in tx.rows(FREE_LOST_JOBS, &[&now, &dead, &node, &epoch]).await? {
        let id = JobId::from_u128(u128::from_be_bytes(id_of(&row, 4)?));
        let Freed { task, lane, due, expires } = freed_of(&row, 0, id)?;
        effects.job_found(&task, Tenant(row.try_get(5)?));
        effects.job_due(&task, lane, due, expires);
        recovered.jobs += 1;
    }
    let Interrupted { wall, outcome, error, timings } = interrupted(at)?;
    let lanes = tx
        .rows(FREE_LOST_DELIVERIES, &[&now, &wall, &outcome, &error, &timings, &dead, &node, &epoch])
        .await?;
    recovered.deliveries = wake(effects, &lanes, at)?;
    tx.execute(GIVE_UP, &[&dead]).await?;
    tx.execute(FORGET, &[&dead]).await?;
    Ok(recovered)
}

/// How an attempt that its node did not live to close is recorded.
pub(crate) struct Interrupted {
    pub(crate) wall: i64,
    pub(crate) outcome: i64,
    error: Option<String>,
    pub(crate) timings: String,
}

pub(crate) fn interrupted(at: Moment) -> Result<Interrupted, Fault> {
    let attempt = Attempt::interrupted(1, Trigger::Policy, at.wall, at.wall);
    let timings = serde_json::to_string(&attempt.timings_ms).map_err(StorageError::refused)?;
    Ok(Interrupted { wall: at.wall.micros(), outcome: attempt.outcome.code(), error: attempt.error, timings })
}

/// Wakes each lane once; answers how many deliveries there were.
fn wake(effects: &mut Effects, rows: &[tokio_postgres::Row], at: Moment) -> Result<u64, Fault> {
    let mut lanes = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
    lanes.sort_unstable();
    lanes.dedup();
    for lane in lanes {
        effects.wake(Wake::DeliveryDue { lane: Lane(lane), due: at.now });
    }
    Ok(rows.len() as u64)
}

pub(crate) struct GiveBacks;

impl Verb for GiveBacks {
    type Command = (Option<Vec<JobId>>, Option<Vec<DeliveryId>>, Moment);
    type Answer = Recovered;
    const STATEMENTS: &'static [&'static str] = &[FREE_OWN_JOBS, FREE_OWN_DELIVERIES];

    async fn write(
        tx: &Transaction<'_>,
        effects: &mut Effects,
        commands: &[Self::Command],
    ) -> Result<Vec<Recovered>, Fault> {
        let mut answers = Vec::with_capacity(1);
        tx.begin(nothing()).await?;
        for (jobs, deliveries, at) in commands {
            let mut recovered = Recovered::default();
            if let Some(held) = jobs {
                recovered.jobs = give_back_jobs(tx, effects, held, *at).await?;
            }
            if let Some(held) = deliveries {
                recovered.deliveries = give_back_deliveries(tx, effects, held, *at).await?;
            }
            answers.push(recovered);
        }
        tx.commit(nothing()).await?;
        Ok(answers)
    }
}

async fn give_back_jobs(
    tx: &Transaction<'_>,
    effects: &mut Effects,
    held: &[JobId],
    at: Moment,
) -> Result<u64, Fault> {
    let held: Vec<_> = held.iter().map(|id| Fixed(id.to_bytes())).collect();
    let Fence { node, epoch } = tx.fence()?;
    let freed = tx.rows(FREE_OWN_JOBS, &[&at.now.micros(), &node, &epoch, &held]).await?;
    for row in &freed {
        let id = JobId::from_u128(u128::from_be_bytes(id_of(row, 4)?));
        let Freed { task, lane, due, expires } = freed_of(row, 0, id)?;
        effects.job_requeued(&task, (Tenant(row.try_get(5)?), id), lane, due, expires);
    }
    Ok(freed.len() as u64)
}

async fn give_back_deliveries(
    tx: &Transaction<'_>,
    effects: &mut Effects,
    held: &[DeliveryId],
    at: Moment,
) -> Result<u64, Fault> {
    let held: Vec<_> = held.iter().map(|id| Fixed(id.to_bytes())).collect();
    let Interrupted { wall, outcome, error, timings } = interrupted(at)?;
    let (Fence { node, epoch }, now) = (tx.fence()?, at.now.micros());
    let freed = tx
        .rows(FREE_OWN_DELIVERIES, &[&now, &wall, &outcome, &error, &timings, &node, &epoch, &held])
        .await?;
    wake(effects, &freed, at)
}
