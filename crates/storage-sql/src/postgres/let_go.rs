//! A delivery that nobody wants any more.

use domain::{
    chance::Moment,
    delivery::{Attempt, Reason, Status},
    id::{DeliveryId, Tenant},
    lane::Lane,
};
use storage::{DeliveryCanceled, Wake};

use super::{
    columns::Fixed,
    fault::Fault,
    line::Verb,
    takeover::{Interrupted, interrupted},
    transaction::{Transaction, nothing},
};
use crate::effects::Effects;

/// ?1 delivery, ?2 tenant. Before the delivery's own row, as settlements lock them.
const STOP_SENDING: &str = "DELETE FROM delivery_queue q USING deliveries d WHERE q.id = $1 AND q.tenant = $2 \
     AND d.tenant = q.tenant AND d.id = q.id AND d.status = 0 \
     RETURNING q.lane, q.attempt, q.last_outcome, q.node, q.trigger, q.started_at";

/// ?1 tenant, ?2 delivery.
const KNOWN: &str = "SELECT 1 FROM deliveries WHERE tenant = $1 AND id = $2";

/// In the order of the columns: its open attempt.
const LET_GO: &str = "INSERT INTO attempts (tenant, delivery, number, trigger, started_at, ended_at, outcome, error, \
     timings) VALUES ($1, $2, $3, $4, $5::bigint, GREATEST($5::bigint, $6::bigint), $7, $8, $9)";

/// ?1 tenant, ?2 delivery, ?3 status, ?4 reason, ?5 attempts, ?6 outcome, ?7 finished.
const END: &str = "UPDATE deliveries SET status = $3, reason = $4, attempts = $5, last_outcome = $6, finished_at = $7 \
     WHERE tenant = $1 AND id = $2";

pub(crate) struct LettingGo;

impl Verb for LettingGo {
    type Command = (Tenant, DeliveryId, Moment);
    type Answer = DeliveryCanceled;
    const STATEMENTS: &'static [&'static str] = &[STOP_SENDING, KNOWN, LET_GO, END];

    async fn write(
        tx: &Transaction<'_>,
        effects: &mut Effects,
        commands: &[Self::Command],
    ) -> Result<Vec<DeliveryCanceled>, Fault> {
        let mut answers = Vec::with_capacity(1);
        for command in commands {
            answers.push(cancel(tx, effects, command).await?);
        }
        tx.commit(nothing()).await?;
        Ok(answers)
    }
}

async fn cancel(
    tx: &Transaction<'_>,
    effects: &mut Effects,
    (tenant, id, at): &(Tenant, DeliveryId, Moment),
) -> Result<DeliveryCanceled, Fault> {
    let (tenant, id) = (tenant.0, Fixed(id.to_bytes()));
    let Some(row) = tx.begin(async { tx.row(STOP_SENDING, &[&id, &tenant]).await }).await? else {
        let known = tx.row(KNOWN, &[&tenant, &id]).await?.is_some();
        return Ok(if known { DeliveryCanceled::TooLate } else { DeliveryCanceled::Missing });
    };
    let (lane, attempts): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let mut last: Option<i64> = row.try_get(2)?;
    if row.try_get::<_, Option<i64>>(3)?.is_some() {
        let Interrupted { wall, outcome, timings, .. } = interrupted(*at)?;
        let (trigger, started): (i64, i64) = (row.try_get(4)?, row.try_get(5)?);
        let error = Attempt::LET_GO;
        tx.execute(LET_GO, &[&tenant, &id, &attempts, &trigger, &started, &wall, &outcome, &error, &timings])
            .await?;
        last = Some(outcome);
    }
    let (status, reason) = (Status::Failed.code(), Reason::Canceled.code());
    let finished = at.wall.micros();
    tx.execute(END, &[&tenant, &id, &status, &reason, &attempts, &last, &finished]).await?;
    effects.wake(Wake::DeliveryDue { lane: Lane(lane), due: at.now });
    Ok(DeliveryCanceled::Done)
}
