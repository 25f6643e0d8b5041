//! What happens to a job between its claim and its end: back to the queue, and the announcement that it began.

use domain::{lane::Lane, task::TaskName, time::Timestamp};
use storage::{Announce, JobHold, Requeue, Written};
use tokio_postgres::Row;

use super::{
    columns::{Fixed, JOINED, sought, span},
    conclusion::{self, Conclusion},
    fault::Fault,
    finish::{bad_row, reread},
    hearers,
    line::Verb,
    link::Params,
    payload::INSERT_PAYLOADS,
    transaction::{STAND, Transaction, nothing},
};
use crate::{address::Occasion, effects::Effects};

/// Arrays: ?1 id, ?2 node, ?3 epoch, ?4 attempt, ?5 due, ?6 attempts given back; ?7 to ?8 the span of the ids. Who was asked to stop is due at once.
/// Answers with place, lane, due, expiry and task.
const REQUEUE: &str = concat!(
    "WITH q AS (UPDATE job_queue q SET node = NULL, epoch = NULL, \
     due_at = LEAST(u.due, COALESCE(q.cancel_at, u.due)), \
     started_at = CASE WHEN q.attempt > u.back THEN q.started_at END, attempt = q.attempt - u.back, progress = NULL \
     FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) WITH ORDINALITY \
     AS u (id, node, epoch, attempt, due, back, place) WHERE q.id = u.id AND q.node = u.node AND q.epoch = u.epoch \
     AND q.attempt = u.attempt AND ",
    sought!("$1"),
    " RETURNING u.place, q.lane, q.due_at, q.expires_at, q.tenant, q.id) \
     SELECT q.place, q.lane, q.due_at, q.expires_at, j.task FROM q CROSS JOIN LATERAL \
     (SELECT task FROM jobs WHERE tenant = q.tenant AND id = q.id AND id BETWEEN $7 AND $8 OFFSET 0) j"
);

pub(crate) struct Requeues;

impl Verb for Requeues {
    type Command = Requeue;
    type Answer = Written;
    const MOST: usize = JOINED;
    const STATEMENTS: &'static [&'static str] = &[REQUEUE];

    fn key(requeue: &Requeue) -> [u8; 16] {
        requeue.hold.job.to_bytes()
    }

    async fn write(
        tx: &Transaction<'_>,
        effects: &mut Effects,
        commands: &[Requeue],
    ) -> Result<Vec<Written>, Fault> {
        let (mut ids, mut nodes, mut epochs, mut attempts, mut dues, mut backs) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for Requeue { hold: JobHold { job, fence, attempt, .. }, due, counted } in commands {
            ids.push(Fixed(job.to_bytes()));
            nodes.push(fence.node);
            epochs.push(fence.epoch);
            attempts.push(i64::from(*attempt));
            dues.push(due.micros());
            backs.push(i64::from(!counted));
        }
        let [least, most] = span(&ids);
        let params: &Params<'_> = &[&ids, &nodes, &epochs, &attempts, &dues, &backs, &least, &most];
        let freed = tx.begin(async { tx.rows(REQUEUE, params).await }).await?;
        let mut written = vec![Written::LeaseLost; commands.len()];
        for row in freed {
            let place = usize::try_from(row.try_get::<_, i64>(0)? - 1).unwrap_or(usize::MAX);
            let Some(requeue) = commands.get(place) else { continue };
            written[place] = Written::Done;
            let Freed { task, lane, due, expires } = freed_of(&row, 1, requeue.hold.job)?;
            effects.job_requeued(&task, (requeue.hold.tenant, requeue.hold.job), lane, due, expires);
        }
        tx.commit(nothing()).await?;
        Ok(written)
    }
}

/// What a job's queue row says once nobody holds it.
pub(crate) struct Freed {
    pub(crate) task: TaskName,
    pub(crate) lane: Lane,
    pub(crate) due: Timestamp,
    pub(crate) expires: Option<Timestamp>,
}

/// `lane, due_at, expires_at, task`, from `first` on.
pub(crate) fn freed_of(row: &Row, first: usize, job: domain::id::JobId) -> Result<Freed, Fault> {
    let task: &str = row.try_get(first + 3)?;
    Ok(Freed {
        task: task.parse().map_err(|error: domain::task::NotATaskName| bad_row(job, "task", error))?,
        lane: Lane(row.try_get(first)?),
        due: Timestamp::from_micros(row.try_get(first + 1)?),
        expires: row.try_get::<_, Option<i64>>(first + 2)?.map(Timestamp::from_micros),
    })
}

/// ?1 job, ?2 node, ?3 epoch, ?4 attempt. The row stays as it is until the commit: the job does not end meanwhile.
const HELD_CALLBACKS: &str = "SELECT j.callbacks, (SELECT t.endpoints FROM tenants t WHERE t.n = q.tenant) \
     FROM job_queue q JOIN jobs j ON j.tenant = q.tenant AND j.id = q.id \
     WHERE q.id = $1 AND q.node = $2 AND q.epoch = $3 AND q.attempt = $4 FOR SHARE OF q";

pub(crate) struct Announcements;

impl Verb for Announcements {
    type Command = Announce;
    type Answer = Written;
    const STATEMENTS: &'static [&'static str] = &[
        HELD_CALLBACKS,
        conclusion::INSERT_EVENTS,
        conclusion::INSERT_DELIVERIES,
        conclusion::QUEUE_DELIVERIES,
        hearers::ASKING,
        hearers::LOCK,
        hearers::COUNT_ON,
        INSERT_PAYLOADS,
        STAND,
    ];

    async fn write(
        tx: &Transaction<'_>,
        effects: &mut Effects,
        commands: &[Announce],
    ) -> Result<Vec<Written>, Fault> {
        let mut written = Vec::with_capacity(1);
        for Announce { job, hold, event, at } in commands {
            let (id, attempt) = (Fixed(job.id.to_bytes()), i64::from(hold.attempt));
            let held =
                async { tx.row(HELD_CALLBACKS, &[&id, &hold.fence.node, &hold.fence.epoch, &attempt]).await };
            let Some(row) = tx.begin(held).await? else {
                written.push(Written::LeaseLost);
                continue;
            };
            let callbacks = reread(job, row.try_get(0)?)?;
            let heard = row.try_get::<_, Option<i64>>(1)?.is_some_and(|endpoints| endpoints > 0);
            let occasion = Occasion::of_job(job, event, *at);
            let mut conclusion = Conclusion::default();
            conclusion.event(&occasion, effects);
            // The id is the job's own: repeated, there is nothing new to write.
            if !conclusion.insert_events(tx).await?.is_empty() {
                conclusion.insert_bodies(tx).await?;
                conclusion.for_callbacks(&occasion, &callbacks, effects);
                let told: Vec<_> = heard.then_some((occasion, &callbacks)).into_iter().collect();
                let endpoints = hearers::asking(tx, &told).await?;
                hearers::deliver(tx, effects, &mut conclusion, &told, &endpoints, |_, _| false).await?;
                conclusion.insert_deliveries(tx).await?;
            }
            written.push(Written::Done);
        }
        tx.commit(nothing()).await?;
        Ok(written)
    }
}
