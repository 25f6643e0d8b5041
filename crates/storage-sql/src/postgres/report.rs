//! How far running work is: the newest of a second.

use domain::delivery::{Reason, Status};
use storage::{Report, Wake, Written};

use super::{
    columns::{Fixed, Id},
    conclusion::{self, Conclusion},
    fault::Fault,
    finish::reread,
    hearers,
    line::Verb,
    payload::INSERT_PAYLOADS,
    transaction::{STAND, Transaction, nothing},
};
use crate::{address::Occasion, effects::Effects};

/// ?1 job, ?2 node, ?3 epoch, ?4 attempt, ?5 progress. A callback that is being added hears from the next one on.
const REPORT: &str = "UPDATE job_queue q SET progress = $5 FROM jobs j WHERE q.id = $1 AND q.node = $2 AND q.epoch = $3 \
     AND q.attempt = $4 AND j.tenant = q.tenant AND j.id = q.id RETURNING j.callbacks, \
     (SELECT t.endpoints FROM tenants t WHERE t.n = q.tenant)";

/// ?1 deliveries, ?2 status, ?3 reason, ?4 finished: those that have not left. Newer news goes in their place.
const REPLACE: &str = "WITH q AS (DELETE FROM delivery_queue WHERE id = ANY ($1::bytea[]) AND node IS NULL \
     RETURNING tenant, id, attempt, last_outcome) UPDATE deliveries d SET status = $2, reason = $3, \
     finished_at = $4, attempts = q.attempt, last_outcome = q.last_outcome FROM q \
     WHERE d.tenant = q.tenant AND d.id = q.id";

pub(crate) struct Reports;

impl Verb for Reports {
    type Command = Report;
    type Answer = Written;
    const STATEMENTS: &'static [&'static str] = &[
        REPORT,
        REPLACE,
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
        commands: &[Report],
    ) -> Result<Vec<Written>, Fault> {
        let mut written = Vec::with_capacity(1);
        for command in commands {
            written.push(report(tx, effects, command).await?);
        }
        tx.commit(nothing()).await?;
        Ok(written)
    }
}

async fn report(tx: &Transaction<'_>, effects: &mut Effects, report: &Report) -> Result<Written, Fault> {
    let Report { job, hold, event, replaces, at } = report;
    let (id, attempt) = (Fixed(job.id.to_bytes()), i64::from(hold.attempt));
    let text = job.progress.as_ref().map(|progress| progress.as_json());
    let write = async { tx.row(REPORT, &[&id, &hold.fence.node, &hold.fence.epoch, &attempt, &text]).await };
    let Some(row) = tx.begin(write).await? else { return Ok(Written::LeaseLost) };
    let callbacks = reread(job, row.try_get(0)?)?;
    let heard = row.try_get::<_, Option<i64>>(1)?.is_some_and(|endpoints| endpoints > 0);
    let occasion = Occasion::of_job(job, event, *at);
    let told: Vec<_> = heard.then_some((occasion, &callbacks)).into_iter().collect();
    let endpoints = hearers::asking(tx, &told).await?;
    if occasion.is_heard(&endpoints, &callbacks) {
        if let Some(older) = replaces {
            let older = occasion.as_of(*older, &endpoints, &callbacks);
            let old: Vec<Id> = older.iter().map(|id| Fixed(id.to_bytes())).collect();
            let (status, reason, wall) = (Status::Failed.code(), Reason::Canceled.code(), at.wall.micros());
            tx.execute(REPLACE, &[&old, &status, &reason, &wall]).await?;
        }
        let mut conclusion = Conclusion::default();
        conclusion.event(&occasion, effects);
        conclusion.for_callbacks(&occasion, &callbacks, effects);
        hearers::deliver(tx, effects, &mut conclusion, &told, &endpoints, |_, _| false).await?;
        conclusion.insert_events(tx).await?;
        conclusion.insert_bodies(tx).await?;
        conclusion.insert_deliveries(tx).await?;
    }
    effects.wake(Wake::JobChanged { job: job.id, ended: false });
    Ok(Written::Done)
}
