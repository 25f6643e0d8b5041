//! The writes that are seldom: cancel, resend. One a transaction.

use std::collections::HashSet;

use domain::{
    chance::Moment,
    delivery::{Status, Trigger},
    id::{DeliveryId, Tenant},
    lane::Lane,
    task::TaskName,
    time::Timestamp,
};
use storage::{Cancel, Canceled, DeliveryHold, Resent, StorageError, Wake, Written};

use super::{
    columns::{Fixed, sought},
    fault::Fault,
    finish::{self, leave_queue},
    line::Verb,
    submit::id_of,
    transaction::{Transaction, nothing},
};
use crate::effects::Effects;

/// ?1 job, ?2 tenant: who holds it. Whatever it is stays so until the commit.
const QUEUED_NODE: &str = "SELECT node FROM job_queue WHERE id = $1 AND tenant = $2 FOR UPDATE";

/// ?1 tenant, ?2 job.
const KNOWN_JOB: &str = "SELECT 1 FROM jobs WHERE tenant = $1 AND id = $2";

/// ?1 job, ?2 when.
const ASK_TO_STOP: &str = "UPDATE job_queue SET cancel_at = $2 WHERE id = $1 AND cancel_at IS NULL";

pub(crate) const CANCEL: &[&str] = &[QUEUED_NODE, KNOWN_JOB, ASK_TO_STOP];

pub(crate) struct Cancels;

impl Verb for Cancels {
    type Command = Cancel;
    type Answer = Canceled;
    const STATEMENTS: &'static [&'static str] = CANCEL;

    async fn write(
        tx: &Transaction<'_>,
        effects: &mut Effects,
        commands: &[Cancel],
    ) -> Result<Vec<Canceled>, Fault> {
        let mut answers = Vec::with_capacity(1);
        for command in commands {
            answers.push(cancel(tx, effects, command).await?);
        }
        Ok(answers)
    }
}

async fn cancel(tx: &Transaction<'_>, effects: &mut Effects, cancel: &Cancel) -> Result<Canceled, Fault> {
    let job = &cancel.finish.job;
    let (id, tenant) = (Fixed(job.id.to_bytes()), job.tenant.0);
    let queued = tx.begin(async { tx.row(QUEUED_NODE, &[&id, &tenant]).await }).await?;
    match queued.map(|row| row.try_get::<_, Option<i64>>(0)).transpose()? {
        Some(Some(_)) => {
            let asked = tx.execute(ASK_TO_STOP, &[&id, &cancel.finish.at.wall.micros()]).await?;
            tx.commit(nothing()).await?;
            if asked == 1 {
                effects.wake(Wake::CancelRequested { job: job.id });
                effects.wake(Wake::JobChanged { job: job.id, ended: false });
            }
            Ok(Canceled::Requested)
        }
        Some(None) => {
            let finish = std::slice::from_ref(&cancel.finish);
            let left = leave_queue(tx, finish).await?;
            Ok(match finish::end(tx, effects, finish, &left).await?.first() {
                Some(Written::Done) => Canceled::Ended,
                _ => Canceled::Changed,
            })
        }
        None => {
            let known = tx.row(KNOWN_JOB, &[&tenant, &id]).await?.is_some();
            tx.commit(nothing()).await?;
            Ok(if known { Canceled::TooLate } else { Canceled::Missing })
        }
    }
}

/// ?1 tenant, ?2 delivery: its status. It stays so until the commit.
const RESENDABLE: &str = "SELECT status FROM deliveries WHERE tenant = $1 AND id = $2 FOR UPDATE";

/// ?1 tenant, ?2 delivery: whether its bytes are gone. A statement of its own: whoever erases them locks the delivery too.
const ERASED: &str = "SELECT 1 FROM deliveries d JOIN events e ON e.tenant = d.tenant AND e.id = d.event \
     WHERE d.tenant = $1 AND d.id = $2 AND e.body = ''";

/// ?1 delivery: who holds it.
const QUEUED_DELIVERY: &str = "SELECT node FROM delivery_queue WHERE id = $1 FOR UPDATE";

/// ?1 delivery, ?2 now, ?3 trigger: a waiting one is brought forward.
const BRING_FORWARD: &str =
    "UPDATE delivery_queue SET due_at = $2, trigger = $3 WHERE id = $1 RETURNING lane";

/// ?1 tenant, ?2 delivery, ?3 now, ?4 trigger: an ended one gets its queue row again, with its policy anew. One
/// for an endpoint goes beside its lane: it waits for nothing there.
const QUEUE_AGAIN: &str = "INSERT INTO delivery_queue (id, tenant, lane, due_at, attempt, steps, since, succeeded, \
     trigger, last_outcome, job) SELECT d.id, d.tenant, COALESCE((SELECT s.beside FROM endpoint_sequence s \
     WHERE s.endpoint = d.endpoint), d.lane), $3, d.attempts, 0, $3, CASE WHEN d.status = 1 THEN 1 ELSE 0 END, $4, \
     d.last_outcome, d.job FROM deliveries d WHERE d.tenant = $1 AND d.id = $2 RETURNING lane";

/// ?1 tenant, ?2 delivery: a failed one is pending again.
const PENDING_AGAIN: &str = "UPDATE deliveries SET status = 0, reason = NULL, finished_at = NULL \
     WHERE tenant = $1 AND id = $2 AND status = 2";

pub(crate) struct Resends;

impl Verb for Resends {
    type Command = (Tenant, DeliveryId, Moment);
    type Answer = Resent;
    const STATEMENTS: &'static [&'static str] =
        &[RESENDABLE, ERASED, QUEUED_DELIVERY, BRING_FORWARD, QUEUE_AGAIN, PENDING_AGAIN];

    async fn write(
        tx: &Transaction<'_>,
        effects: &mut Effects,
        commands: &[Self::Command],
    ) -> Result<Vec<Resent>, Fault> {
        let mut answers = Vec::with_capacity(1);
        for command in commands {
            answers.push(resend(tx, effects, command).await?);
        }
        tx.commit(nothing()).await?;
        Ok(answers)
    }
}

async fn resend(
    tx: &Transaction<'_>,
    effects: &mut Effects,
    (tenant, id, at): &(Tenant, DeliveryId, Moment),
) -> Result<Resent, Fault> {
    let (tenant, id, now, trigger) =
        (tenant.0, Fixed(id.to_bytes()), at.now.micros(), Trigger::Resend.code());
    // The queue row first, as settlements lock them; a statement later sees what a settlement left.
    let queued = tx.begin(async { tx.row(QUEUED_DELIVERY, &[&id]).await }).await?;
    let Some(delivery) = tx.row(RESENDABLE, &[&tenant, &id]).await? else { return Ok(Resent::Missing) };
    if tx.row(ERASED, &[&tenant, &id]).await?.is_some() {
        return Ok(Resent::Erased);
    }
    let queued = match queued {
        Some(row) => Some(row),
        None => tx.row(QUEUED_DELIVERY, &[&id]).await?,
    };
    let lane = match queued.map(|row| row.try_get::<_, Option<i64>>(0)).transpose()? {
        Some(Some(_)) => return Ok(Resent::InFlight),
        Some(None) => tx.row(BRING_FORWARD, &[&id, &now, &trigger]).await?,
        None => {
            let lane = tx.row(QUEUE_AGAIN, &[&tenant, &id, &now, &trigger]).await?;
            if delivery.try_get::<_, i64>(0)? == Status::Failed.code() {
                tx.execute(PENDING_AGAIN, &[&tenant, &id]).await?;
            }
            lane
        }
    };
    if let Some(lane) = lane {
        effects.wake(Wake::DeliveryDue { lane: Lane(lane.try_get(0)?), due: at.now });
    }
    Ok(Resent::Due)
}

/// Arrays: ?1 id, ?2 node, ?3 epoch, ?4 attempt: their attempts never opened, and none is a
/// probe any more. Answers with ids, lanes and due times.
const PUT_BACK: &str = concat!(
    "WITH back AS MATERIALIZED (SELECT q.id FROM delivery_queue q WHERE ",
    sought!("$1"),
    " AND ((q.id, q.node, q.epoch, q.attempt) IN (SELECT * FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[], \
     $4::bigint[]))) IS TRUE ORDER BY q.id FOR UPDATE) \
     UPDATE delivery_queue q SET node = NULL, epoch = NULL, started_at = NULL, attempt = q.attempt - 1, \
     trigger = CASE WHEN q.trigger = 1 THEN 0 ELSE q.trigger END \
     WHERE q.id = ANY (ARRAY(SELECT id FROM back)) RETURNING q.id, q.lane, q.due_at"
);

pub(crate) struct PutBacks;

impl Verb for PutBacks {
    type Command = Vec<DeliveryHold>;
    type Answer = usize;
    const STATEMENTS: &'static [&'static str] = &[PUT_BACK];

    async fn write(
        tx: &Transaction<'_>,
        effects: &mut Effects,
        commands: &[Self::Command],
    ) -> Result<Vec<usize>, Fault> {
        let (mut ids, mut nodes, mut epochs, mut attempts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for hold in commands.iter().flatten() {
            ids.push(Fixed(hold.delivery.to_bytes()));
            nodes.push(hold.fence.node);
            epochs.push(hold.fence.epoch);
            attempts.push(i64::from(hold.attempt));
        }
        let rows = tx.begin(async { tx.rows(PUT_BACK, &[&ids, &nodes, &epochs, &attempts]).await }).await?;
        let mut freed = HashSet::with_capacity(rows.len());
        for row in rows {
            freed.insert(id_of(&row, 0)?);
            let (lane, due) = (Lane(row.try_get(1)?), Timestamp::from_micros(row.try_get(2)?));
            effects.wake(Wake::DeliveryDue { lane, due });
        }
        tx.commit(nothing()).await?;
        let count = |holds: &Self::Command| {
            holds.iter().filter(|hold| freed.contains(&hold.delivery.to_bytes())).count()
        };
        Ok(commands.iter().map(count).collect())
    }
}

/// ?1 lane, ?2 now, ?3 trigger, ?4 limit: what waits for its time, and was not asked to, is due since its policy began,
/// so that the oldest go first. Answers with how many, and since when the first of them is due: long since, which a claim
/// that begins at a mark is to hear of.
const FORWARD: &str = "WITH w AS MATERIALIZED (SELECT id FROM delivery_queue WHERE lane = $1 AND node IS NULL \
     AND due_at > $2 AND (not_before IS NULL OR not_before <= $2) ORDER BY due_at, id LIMIT $4 \
     FOR UPDATE SKIP LOCKED), \
     f AS (UPDATE delivery_queue q SET due_at = LEAST(q.since, $2), trigger = $3 \
     WHERE q.id = ANY (ARRAY(SELECT id FROM w)) RETURNING q.due_at) SELECT count(*), min(due_at) FROM f";

/// How many rows a step of a recovery brings forward.
const STEP: i64 = 500;

pub(crate) struct BringForward;

impl Verb for BringForward {
    type Command = (Lane, Moment);
    type Answer = bool;
    const STATEMENTS: &'static [&'static str] = &[FORWARD];

    async fn write(
        tx: &Transaction<'_>,
        effects: &mut Effects,
        commands: &[Self::Command],
    ) -> Result<Vec<bool>, Fault> {
        let mut answers = Vec::with_capacity(1);
        for (lane, at) in commands {
            let (now, trigger) = (at.now.micros(), Trigger::Recovery.code());
            let forward = async { tx.row(FORWARD, &[&lane.0, &now, &trigger, &STEP]).await };
            let row = tx.begin(forward).await?;
            let row = row.ok_or_else(|| StorageError::refused("a count came back without a row"))?;
            let (count, first): (i64, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
            if let Some(due) = first.map(Timestamp::from_micros) {
                effects.wake(Wake::DeliveryDue { lane: *lane, due });
            }
            answers.push(count == STEP);
        }
        tx.commit(nothing()).await?;
        Ok(answers)
    }
}

/// ?1 task, ?2 when.
const PAUSE_TASK: &str = "INSERT INTO paused_tasks (task, paused_at) VALUES ($1, $2) ON CONFLICT DO NOTHING";

/// ?1 task.
const RESUME_TASK: &str = "DELETE FROM paused_tasks WHERE task = $1";

/// Paused since then, or resumed.
pub(crate) struct Pauses;

impl Verb for Pauses {
    type Command = (TaskName, Option<Timestamp>);
    type Answer = ();
    const STATEMENTS: &'static [&'static str] = &[PAUSE_TASK, RESUME_TASK];

    async fn write(
        tx: &Transaction<'_>,
        effects: &mut Effects,
        commands: &[Self::Command],
    ) -> Result<Vec<()>, Fault> {
        tx.begin(nothing()).await?;
        for (task, paused_at) in commands {
            let name = task.as_str();
            match paused_at {
                Some(at) => tx.execute(PAUSE_TASK, &[&name, &at.micros()]).await?,
                None => tx.execute(RESUME_TASK, &[&name]).await?,
            };
            effects.wake(Wake::TaskPaused { task: task.clone(), paused: paused_at.is_some() });
        }
        tx.commit(nothing()).await?;
        Ok(vec![(); commands.len()])
    }
}
