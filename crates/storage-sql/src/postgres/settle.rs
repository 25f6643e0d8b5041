//! Ends of attempts: who still holds what it settles, then the attempts and what comes next, for a whole batch.

use std::collections::HashMap;

use domain::{
    delivery::{Next, Reason, Status},
    time::Timestamp,
};
use storage::{Settle, StorageError, Wake, Written};
use tokio_postgres::Row;

use super::{
    aftermath::{self, Aftermath},
    columns::{Fixed, Id, JOINED, sought},
    conclusion,
    fault::Fault,
    hearers,
    line::{MANY, Verb},
    link::Params,
    payload::INSERT_PAYLOADS,
    submit::id_of,
    transaction::{STAND, Transaction},
};
use crate::{cold, effects::Effects};

/// Arrays: ?1 id, ?2 node, ?3 epoch, ?4 attempt. Answers with id and attempt of those that were held so, and with how many
/// endpoints their tenants have.
const LEAVE_QUEUE: &str = concat!(
    "DELETE FROM delivery_queue q WHERE ",
    sought!("$1"),
    " AND ((q.id, q.node, q.epoch, q.attempt) IN (SELECT * FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[], \
     $4::bigint[]))) IS TRUE RETURNING q.id, q.attempt, (SELECT t.endpoints FROM tenants t WHERE t.n = q.tenant)"
);

/// The same, and: ?5 due, ?6 steps, ?7 since, ?8 outcome, ?9 not before. Answers with id and attempt.
const WAIT_AGAIN: &str = concat!(
    "UPDATE delivery_queue q SET node = NULL, epoch = NULL, started_at = NULL, due_at = u.due, \
     steps = u.steps, since = u.since, trigger = 0, last_outcome = u.outcome, not_before = u.floor FROM UNNEST($1::bytea[], $2::bigint[], \
     $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[]) \
     AS u (id, node, epoch, attempt, due, steps, since, outcome, floor) WHERE q.id = u.id AND q.node = u.node \
     AND q.epoch = u.epoch AND q.attempt = u.attempt AND ",
    sought!("$1"),
    " RETURNING q.id, q.attempt, CAST(NULL AS BIGINT)"
);

/// Arrays in the order of the columns.
const INSERT_ATTEMPTS: &str = "INSERT INTO attempts (tenant, delivery, number, trigger, started_at, ended_at, outcome, \
     status, error, remote_address, timings, response, endpoint) SELECT * FROM UNNEST($1::bigint[], $2::bytea[], \
     $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::text[], $10::text[], \
     $11::text[], $12::text[], $13::bytea[])";

/// Arrays: ?1 tenant, ?2 id, ?3 attempts, ?4 outcome, ?5 status (null: it stays as it is), ?6 reason, ?7 finished.
const END_DELIVERIES: &str = "UPDATE deliveries d SET attempts = u.attempts, last_outcome = u.outcome, \
     status = COALESCE(u.status, d.status), reason = CASE WHEN u.status IS NULL THEN d.reason ELSE u.reason END, \
     finished_at = COALESCE(u.finished, d.finished_at) FROM UNNEST($1::bigint[], $2::bytea[], $3::bigint[], \
     $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[]) AS u (tenant, id, attempts, outcome, status, reason, \
     finished) WHERE d.tenant = u.tenant AND d.id = u.id";

pub(crate) struct Settlements;

impl Verb for Settlements {
    type Command = Settle;
    type Answer = Written;
    const MOST: usize = MANY;
    const STATEMENTS: &'static [&'static str] = &[
        LEAVE_QUEUE,
        WAIT_AGAIN,
        INSERT_ATTEMPTS,
        END_DELIVERIES,
        aftermath::FAILING,
        aftermath::SET_FAILING,
        aftermath::CLOSED,
        cold::ENDPOINT,
        cold::UPDATE_ENDPOINT,
        cold::SET_STATE,
        hearers::ASKING,
        hearers::LOCK,
        hearers::COUNT_ON,
        conclusion::INSERT_EVENTS,
        conclusion::INSERT_DELIVERIES,
        conclusion::QUEUE_DELIVERIES,
        INSERT_PAYLOADS,
        STAND,
    ];

    fn key(settle: &Settle) -> [u8; 16] {
        settle.hold.delivery.to_bytes()
    }

    async fn write(
        tx: &Transaction<'_>,
        effects: &mut Effects,
        commands: &[Settle],
    ) -> Result<Vec<Written>, Fault> {
        let (mut again, mut over) = (Held::default(), Held::default());
        let mut places = HashMap::with_capacity(commands.len());
        for (place, settle) in commands.iter().enumerate() {
            let hold = &settle.hold;
            places.insert((hold.delivery.to_bytes(), i64::from(hold.attempt)), place);
            if matches!(settle.next, Next::Again { .. }) { &mut again } else { &mut over }.add(settle);
        }
        let (left, waiting) =
            tx.begin(async { tokio::try_join!(biased; over.leave(tx), again.wait(tx)) }).await?;
        let mut written = vec![Written::LeaseLost; commands.len()];
        let (mut attempts, mut ended) = (Attempts::default(), Ended::default());
        let (mut settled, mut heard) = (Vec::new(), Vec::new());
        for row in left.iter().chain(&waiting) {
            let Some(place) = places.get(&(id_of(row, 0)?, row.try_get(1)?)) else { continue };
            let settle = &commands[*place];
            written[*place] = Written::Done;
            attempts.add(settle)?;
            ended.add(settle);
            settled.push(settle);
            if settle.dead_letter.is_some() && row.try_get::<_, Option<i64>>(2)?.is_some_and(|n| n > 0) {
                heard.push(settle);
            }
            if let Next::Again { due, .. } = settle.next {
                effects.wake(Wake::DeliveryDue { lane: settle.hold.lane, due });
            }
        }
        let aftermath = Aftermath::of(tx, effects, &settled, &heard).await?;
        tx.commit(async {
            tokio::try_join!(biased; attempts.insert(tx), ended.update(tx), aftermath.write(tx))
        })
        .await?;
        Ok(written)
    }
}

/// Rows of the queue as they must be, and what they become, by column.
#[derive(Default)]
struct Held {
    id: Vec<Id>,
    node: Vec<i64>,
    epoch: Vec<i64>,
    attempt: Vec<i64>,
    due: Vec<i64>,
    steps: Vec<i64>,
    since: Vec<i64>,
    outcome: Vec<i64>,
    floor: Vec<Option<i64>>,
}

impl Held {
    fn add(&mut self, settle: &Settle) {
        let hold = &settle.hold;
        self.id.push(Fixed(hold.delivery.to_bytes()));
        self.node.push(hold.fence.node);
        self.epoch.push(hold.fence.epoch);
        self.attempt.push(hold.attempt.into());
        if let Next::Again { due, progress } = settle.next {
            self.due.push(due.micros());
            self.steps.push(progress.steps.into());
            self.since.push(progress.since.micros());
            self.outcome.push(settle.attempt.outcome.code());
            self.floor.push(settle.not_before.map(Timestamp::micros));
        }
    }

    async fn leave(&self, tx: &Transaction<'_>) -> Result<Vec<Row>, Fault> {
        if self.id.is_empty() {
            return Ok(Vec::new());
        }
        tx.rows(LEAVE_QUEUE, &[&self.id, &self.node, &self.epoch, &self.attempt]).await
    }

    async fn wait(&self, tx: &Transaction<'_>) -> Result<Vec<Row>, Fault> {
        let mut waiting = Vec::with_capacity(self.id.len());
        for start in (0..self.id.len()).step_by(JOINED) {
            let part = start..self.id.len().min(start + JOINED);
            let params: &Params<'_> = &[
                &&self.id[part.clone()],
                &&self.node[part.clone()],
                &&self.epoch[part.clone()],
                &&self.attempt[part.clone()],
                &&self.due[part.clone()],
                &&self.steps[part.clone()],
                &&self.since[part.clone()],
                &&self.outcome[part.clone()],
                &&self.floor[part],
            ];
            waiting.extend(tx.rows(WAIT_AGAIN, params).await?);
        }
        Ok(waiting)
    }
}

/// Closed attempts, by column.
#[derive(Default)]
struct Attempts<'c> {
    tenant: Vec<i64>,
    delivery: Vec<Id>,
    number: Vec<i64>,
    trigger: Vec<i64>,
    started: Vec<i64>,
    ended: Vec<i64>,
    outcome: Vec<i64>,
    status: Vec<Option<i64>>,
    error: Vec<Option<std::borrow::Cow<'c, str>>>,
    address: Vec<Option<String>>,
    timings: Vec<String>,
    response: Vec<Option<String>>,
    endpoint: Vec<Option<Id>>,
}

impl<'c> Attempts<'c> {
    fn add(&mut self, settle: &'c Settle) -> Result<(), Fault> {
        let json = |error: serde_json::Error| Fault::Answer(StorageError::refused(error));
        let Settle { hold, attempt, .. } = settle;
        self.timings.push(serde_json::to_string(&attempt.timings_ms).map_err(json)?);
        self.response.push(attempt.response.as_ref().map(serde_json::to_string).transpose().map_err(json)?);
        self.tenant.push(hold.tenant.0);
        self.delivery.push(Fixed(hold.delivery.to_bytes()));
        self.number.push(hold.attempt.into());
        self.trigger.push(attempt.trigger.code());
        self.started.push(attempt.started_at.micros());
        self.ended.push(attempt.ended_at.micros());
        self.outcome.push(attempt.outcome.code());
        self.status.push(attempt.status.map(i64::from));
        self.error.push(attempt.error.as_deref().map(without_nul));
        self.address.push(attempt.remote_address.map(|address| address.to_string()));
        self.endpoint.push(settle.endpoint.map(|endpoint| Fixed(endpoint.to_bytes())));
        Ok(())
    }

    async fn insert(&self, tx: &Transaction<'_>) -> Result<(), Fault> {
        if self.delivery.is_empty() {
            return Ok(());
        }
        tx.execute(
            INSERT_ATTEMPTS,
            &[
                &self.tenant,
                &self.delivery,
                &self.number,
                &self.trigger,
                &self.started,
                &self.ended,
                &self.outcome,
                &self.status,
                &self.error,
                &self.address,
                &self.timings,
                &self.response,
                &self.endpoint,
            ],
        )
        .await
        .map(drop)
    }
}

/// PostgreSQL's text holds every character but this one.
fn without_nul(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// Deliveries that are over, by column.
#[derive(Default)]
struct Ended {
    tenant: Vec<i64>,
    id: Vec<Id>,
    attempts: Vec<i64>,
    outcome: Vec<i64>,
    status: Vec<Option<i64>>,
    reason: Vec<Option<i64>>,
    finished: Vec<Option<i64>>,
}

impl Ended {
    fn add(&mut self, settle: &Settle) {
        let (status, reason) = match settle.next {
            Next::Again { .. } => return,
            Next::Unchanged => (None, None),
            Next::Succeeded => (Some(Status::Succeeded), None),
            Next::Failed(reason) => (Some(Status::Failed), Some(reason)),
        };
        self.tenant.push(settle.hold.tenant.0);
        self.id.push(Fixed(settle.hold.delivery.to_bytes()));
        self.attempts.push(settle.hold.attempt.into());
        self.outcome.push(settle.attempt.outcome.code());
        self.status.push(status.map(Status::code));
        self.reason.push(reason.map(Reason::code));
        self.finished.push(status.map(|_| Timestamp::micros(settle.at.wall)));
    }

    async fn update(&self, tx: &Transaction<'_>) -> Result<(), Fault> {
        if self.id.is_empty() {
            return Ok(());
        }
        tx.execute(
            END_DELIVERIES,
            &[
                &self.tenant,
                &self.id,
                &self.attempts,
                &self.outcome,
                &self.status,
                &self.reason,
                &self.finished,
            ],
        )
        .await
        .map(drop)
    }
}
