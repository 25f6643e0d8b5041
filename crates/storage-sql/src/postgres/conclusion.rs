//! Events and their deliveries: one for each callback that asked, the same in a finish and in an announcement.

use domain::{
    callback::Callbacks,
    delivery::{Reason, Status},
};
use storage::Wake;
use tokio_postgres::Row;

use super::{
    columns::{Fixed, Id},
    fault::Fault,
    payload::Payloads,
    submit::id_of,
    transaction::Transaction,
};
use crate::{
    address::{Address, Occasion},
    effects::Effects,
    rows::{INLINE, payload},
};

/// Arrays: ?1 tenant, ?2 id, ?3 kind, ?4 created, ?5 job, ?6 body. Answers with those that were not there.
macro_rules! insert_events {
    () => {
        "INSERT INTO events (tenant, id, kind, created_at, job, body) \
         SELECT * FROM UNNEST($1::bigint[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bytea[], $6::text[])"
    };
}

/// Of those whose ids follow from what they are about, which may be there already: the ids of those that were not.
pub(crate) const INSERT_EVENTS: &str = concat!(insert_events!(), " ON CONFLICT DO NOTHING RETURNING id");

/// Of those whose ids were drawn for them. A third cheaper.
pub(crate) const INSERT_DRAWN_EVENTS: &str = insert_events!();

/// Arrays in the order of the columns.
pub(crate) const INSERT_DELIVERIES: &str = "INSERT INTO deliveries (tenant, id, event, kind, job, place, lane, \
     created_at, url, endpoint, sequence, status, reason, finished_at, attempts) SELECT *, 0 FROM \
     UNNEST($1::bigint[], $2::bytea[], $3::bytea[], $4::bigint[], $5::bytea[], $6::bigint[], $7::bigint[], \
     $8::bigint[], $9::text[], $10::bytea[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[])";

/// Arrays in the order of the columns.
pub(crate) const QUEUE_DELIVERIES: &str = "INSERT INTO delivery_queue (id, tenant, lane, due_at, since, attempt, node, \
     epoch, started_at, number, job, steps, succeeded, trigger) SELECT u.id, u.tenant, u.lane, u.due_at, u.due_at, \
     u.attempt, u.node, u.epoch, u.started_at, u.number, u.job, 0, 0, 0 FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[], \
     $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bytea[]) AS u (id, tenant, lane, due_at, attempt, \
     node, epoch, started_at, number, job)";

/// A batch's events and deliveries, by column.
#[derive(Default)]
pub(crate) struct Conclusion<'c> {
    events: Events<'c>,
    deliveries: Deliveries,
    queue: Queue,
}

#[derive(Default)]
struct Events<'c> {
    tenant: Vec<i64>,
    id: Vec<Id>,
    kind: Vec<i64>,
    created: Vec<i64>,
    job: Vec<Option<Id>>,
    body: Vec<Option<&'c str>>,
    payloads: Payloads<'c>,
}

impl Events<'_> {
    async fn insert(&self, tx: &Transaction<'_>, sql: &str) -> Result<Vec<Row>, Fault> {
        if self.id.is_empty() {
            return Ok(Vec::new());
        }
        tx.rows(sql, &[&self.tenant, &self.id, &self.kind, &self.created, &self.job, &self.body]).await
    }
}

#[derive(Default)]
struct Deliveries {
    tenant: Vec<i64>,
    id: Vec<Id>,
    event: Vec<Id>,
    kind: Vec<i64>,
    job: Vec<Option<Id>>,
    place: Vec<Option<i64>>,
    lane: Vec<i64>,
    created: Vec<i64>,
    url: Vec<String>,
    endpoint: Vec<Option<Id>>,
    sequence: Vec<Option<i64>>,
    status: Vec<i64>,
    reason: Vec<Option<i64>>,
    finished: Vec<Option<i64>>,
}

/// Those of them that are sent.
#[derive(Default)]
struct Queue {
    id: Vec<Id>,
    tenant: Vec<i64>,
    lane: Vec<i64>,
    due: Vec<i64>,
    attempt: Vec<i64>,
    node: Vec<Option<i64>>,
    epoch: Vec<Option<i64>>,
    started: Vec<Option<i64>>,
    number: Vec<Option<i64>>,
    job: Vec<Option<Id>>,
    /// Some row bears this node's mark.
    marked: bool,
}

impl<'c> Conclusion<'c> {
    pub(crate) fn event(&mut self, occasion: &Occasion<'c>, effects: &mut Effects) {
        let (tenant, event) = (occasion.tenant, occasion.event);
        effects.happened(tenant);
        let inline = event.body.len() <= INLINE;
        let (id, events) = (Fixed(event.id.to_bytes()), &mut self.events);
        if !inline {
            events.payloads.add(tenant, id, payload::BODY, event.body.as_bytes());
        }
        events.tenant.push(tenant.0);
        events.id.push(id);
        events.kind.push(event.kind.code());
        events.created.push(event.timestamp.micros());
        events.job.push(occasion.job_id().map(|job| Fixed(job.to_bytes())));
        events.body.push(inline.then_some(&*event.body));
    }

    /// One delivery for each callback that asked.
    pub(crate) fn for_callbacks(
        &mut self,
        occasion: &Occasion<'_>,
        callbacks: &Callbacks,
        effects: &mut Effects,
    ) {
        for (place, callback) in callbacks.asking_for(occasion.event.kind) {
            self.deliver(occasion, Address::to_callback(occasion, place, callback), effects);
        }
    }

    /// One delivery: queued, born claimed where somebody takes it, or born failed.
    pub(crate) fn deliver(&mut self, occasion: &Occasion<'_>, address: Address, effects: &mut Effects) {
        let Occasion { tenant, event, kind, at, .. } = *occasion;
        let rows = &mut self.deliveries;
        let status = if address.refused.is_some() { Status::Failed } else { Status::Pending };
        rows.tenant.push(tenant.0);
        rows.id.push(Fixed(address.id.to_bytes()));
        rows.event.push(Fixed(event.id.to_bytes()));
        rows.kind.push(kind.code());
        rows.job.push(occasion.job_id().map(|job| Fixed(job.to_bytes())));
        rows.place.push(address.place.map(i64::from));
        rows.lane.push(address.lane.0);
        rows.created.push(event.timestamp.micros());
        rows.url.push(address.target.url.as_str().to_owned());
        rows.endpoint.push(address.endpoint.as_ref().map(|endpoint| Fixed(endpoint.id.to_bytes())));
        rows.sequence.push(address.sequence);
        rows.status.push(status.code());
        rows.reason.push(address.refused.map(Reason::code));
        rows.finished.push(address.refused.map(|_| at.wall.micros()));
        if address.refused.is_none() {
            self.enqueue(occasion, address, effects);
        }
    }

    fn enqueue(&mut self, occasion: &Occasion<'_>, address: Address, effects: &mut Effects) {
        let (at, lane, rows) = (occasion.at, address.lane, &mut self.queue);
        let fence = effects.reserve_delivery(&address, at.now);
        rows.id.push(Fixed(address.id.to_bytes()));
        rows.tenant.push(occasion.tenant.0);
        rows.lane.push(lane.0);
        rows.due.push(at.now.micros());
        rows.attempt.push(fence.is_some().into());
        rows.node.push(fence.map(|fence| fence.node));
        rows.epoch.push(fence.map(|fence| fence.epoch));
        rows.started.push(fence.map(|_| at.wall.micros()));
        rows.number.push(address.number());
        rows.job.push(occasion.job_id().map(|job| Fixed(job.to_bytes())));
        rows.marked |= fence.is_some();
        match fence {
            None => effects.wake(Wake::DeliveryDue { lane, due: at.now }),
            Some(fence) => effects.delivery_born(address.claimed(occasion, fence)),
        }
    }

    /// The ids of those that were not there.
    pub(crate) async fn insert_events(&self, tx: &Transaction<'_>) -> Result<Vec<[u8; 16]>, Fault> {
        let new = self.events.insert(tx, INSERT_EVENTS).await?;
        new.iter().map(|row| id_of(row, 0)).collect()
    }

    /// Large bodies, of events that are new.
    pub(crate) async fn insert_bodies(&self, tx: &Transaction<'_>) -> Result<(), Fault> {
        self.events.payloads.insert(tx).await
    }

    pub(crate) async fn insert_deliveries(&self, tx: &Transaction<'_>) -> Result<(), Fault> {
        let (rows, queued) = (&self.deliveries, &self.queue);
        if rows.id.is_empty() {
            return Ok(());
        }
        let stand = async { if queued.marked { tx.stand().await } else { Ok(()) } };
        let insert = async {
            tx.execute(
                INSERT_DELIVERIES,
                &[
                    &rows.tenant,
                    &rows.id,
                    &rows.event,
                    &rows.kind,
                    &rows.job,
                    &rows.place,
                    &rows.lane,
                    &rows.created,
                    &rows.url,
                    &rows.endpoint,
                    &rows.sequence,
                    &rows.status,
                    &rows.reason,
                    &rows.finished,
                ],
            )
            .await
        };
        let queue = async {
            if queued.id.is_empty() {
                return Ok(0);
            }
            tx.execute(
                QUEUE_DELIVERIES,
                &[
                    &queued.id,
                    &queued.tenant,
                    &queued.lane,
                    &queued.due,
                    &queued.attempt,
                    &queued.node,
                    &queued.epoch,
                    &queued.started,
                    &queued.number,
                    &queued.job,
                ],
            )
            .await
        };
        tokio::try_join!(biased; stand, insert, queue)?;
        Ok(())
    }

    /// All of it: the events, their bodies and the deliveries.
    pub(crate) async fn insert(&self, tx: &Transaction<'_>) -> Result<(), Fault> {
        tokio::try_join!(
            biased;
            self.insert_events(tx),
            self.insert_bodies(tx),
            self.insert_deliveries(tx)
        )?;
        Ok(())
    }

    /// The same, of events whose ids were drawn for them.
    pub(crate) async fn insert_drawn(&self, tx: &Transaction<'_>) -> Result<(), Fault> {
        tokio::try_join!(
            biased;
            self.events.insert(tx, INSERT_DRAWN_EVENTS),
            self.insert_bodies(tx),
            self.insert_deliveries(tx)
        )?;
        Ok(())
    }
}
