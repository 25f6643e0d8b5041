//! One more callback for a job, against whoever ends it meanwhile.

use domain::{event::Event, id::EventId};
use storage::{Attach, Attached, Wake};

use super::{
    columns::Fixed,
    conclusion::{self, Conclusion},
    fault::Fault,
    line::Verb,
    transaction::{STAND, Transaction, nothing},
};
use crate::{
    address::{Address, Occasion},
    columns::Columns,
    effects::Effects,
    rows,
};

/// ?1 job, ?2 tenant. Whoever ends the job deletes this row: that waits until this is over, and finds the mark; or this
/// waits, and finds no row.
const MARK: &str = "UPDATE job_queue SET attached = 1 WHERE id = $1 AND tenant = $2";

/// ?1 tenant, ?2 job, ?3 callbacks as read, ?4 callbacks, ?5 1 if it had ended as read. Answers with its last event.
const ATTACH: &str = "UPDATE jobs SET callbacks = $4 WHERE tenant = $1 AND id = $2 AND callbacks = $3 \
     AND CASE WHEN status >= 2 THEN 1 ELSE 0 END = $5::bigint AND erased IS NULL \
     RETURNING event";

/// ?1 tenant, ?2 job, unless its payloads were erased.
const KNOWN_JOB: &str = "SELECT 1 FROM jobs WHERE tenant = $1 AND id = $2 AND erased IS NULL";

/// ?1 tenant, ?2 event.
const BODY: &str = "SELECT e.id, e.body, p.bytes FROM events e LEFT JOIN payload p \
     ON p.tenant = e.tenant AND p.id = e.id AND p.kind = 3 AND e.body IS NULL WHERE e.tenant = $1 AND e.id = $2";

pub(crate) struct Attaches;

impl Verb for Attaches {
    type Command = Attach;
    type Answer = Attached;
    const STATEMENTS: &'static [&'static str] =
        &[MARK, ATTACH, KNOWN_JOB, BODY, conclusion::INSERT_DELIVERIES, conclusion::QUEUE_DELIVERIES, STAND];

    async fn write(
        tx: &Transaction<'_>,
        effects: &mut Effects,
        commands: &[Attach],
    ) -> Result<Vec<Attached>, Fault> {
        let mut answers = Vec::with_capacity(1);
        for command in commands {
            answers.push(attach(tx, effects, command).await?);
        }
        tx.commit(nothing()).await?;
        Ok(answers)
    }
}

async fn attach(tx: &Transaction<'_>, effects: &mut Effects, attach: &Attach) -> Result<Attached, Fault> {
    let Attach { job, callbacks, at } = attach;
    let (tenant, id, ended) = (job.tenant.0, Fixed(job.id.to_bytes()), i64::from(job.ended().is_some()));
    tx.begin(async { tx.execute(MARK, &[&id, &tenant]).await }).await?;
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
        [&tenant, &id, &job.callbacks.as_text(), &callbacks.as_text(), &ended];
    let Some(row) = tx.row(ATTACH, &params).await? else {
        let known = tx.row(KNOWN_JOB, &[&tenant, &id]).await?.is_some();
        return Ok(if known { Attached::Changed } else { Attached::Missing });
    };
    if let Some((place, callback, ended)) = attach.is_late() {
        let event = row.bytes_or(0).ok().flatten().and_then(|bytes| bytes.try_into().ok());
        let event = event.map(u128::from_be_bytes).ok_or_else(|| rows::without_event(job.id))?;
        let body = tx.row(BODY, &[&tenant, &Fixed(event.to_be_bytes())]).await?;
        let body = body.ok_or_else(|| rows::without_event(job.id))?;
        let event = Event {
            id: EventId::from_u128(event),
            kind: ended.kind(),
            timestamp: ended.finished_at,
            body: rows::body(&body)?,
        };
        let occasion = Occasion::of_job(job, &event, *at);
        let mut late = Conclusion::default();
        late.deliver(&occasion, Address::to_callback(&occasion, place, callback), effects);
        late.insert_deliveries(tx).await?;
    }
    effects.wake(Wake::JobChanged { job: job.id, ended: false });
    Ok(Attached::Done)
}
