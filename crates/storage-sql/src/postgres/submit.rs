//! Submissions: a batch's keys first, then a row each for those that are new.

use std::collections::HashMap;

use domain::{
    id::JobId,
    job::{Job, State},
    lease::Fence,
    time::Timestamp,
};
use storage::{ClaimedJob, JobHold, StorageError, Submit, Submitted};

use super::{
    columns::{Fixed, Id},
    fault::Fault,
    line::{MANY, Verb},
    payload::{INSERT_PAYLOADS, Payloads},
    transaction::{STAND, Transaction},
};
use crate::{
    effects::Effects,
    rows::{INLINE, payload},
};

/// Arrays: ?1 digest, ?2 fingerprint, ?3 tenant, ?4 job, ?5 created. Answers with the jobs whose key is theirs now.
const INSERT_KEYS: &str = "INSERT INTO idempotency (key, fingerprint, tenant, job, created_at) \
     SELECT * FROM UNNEST($1::bytea[], $2::bytea[], $3::bigint[], $4::bytea[], $5::bigint[]) \
     ON CONFLICT DO NOTHING RETURNING job";

/// ?1 digests.
const KEYS: &str = "SELECT key, fingerprint, job FROM idempotency WHERE key = ANY ($1::bytea[])";

/// Arrays in the order of the columns.
const INSERT_JOBS: &str = "INSERT INTO jobs (tenant, id, task, max_attempts, priority, timeout_us, created_at, run_at, \
     expires_at, rerun_of, idempotency, traceparent, metadata, callbacks, input, status, attempt, result_shown) \
     SELECT *, 0, 0, 0 FROM UNNEST($1::bigint[], $2::bytea[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], \
     $7::bigint[], $8::bigint[], $9::bigint[], $10::bytea[], $11::bytea[], $12::text[], $13::text[], $14::text[], \
     $15::text[])";

/// Arrays in the order of the columns.
const QUEUE_JOBS: &str = "INSERT INTO job_queue (id, tenant, lane, due_at, attempt, node, epoch, started_at, expires_at) \
     SELECT * FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], \
     $7::bigint[], $8::bigint[], $9::bigint[])";

pub(crate) struct Submissions;

impl Verb for Submissions {
    type Command = Submit;
    type Answer = Submitted;
    const MOST: usize = MANY;
    const REFUSES: bool = true;
    const STATEMENTS: &'static [&'static str] =
        &[INSERT_KEYS, KEYS, INSERT_JOBS, QUEUE_JOBS, INSERT_PAYLOADS, STAND];

    /// Two nodes that insert the same keys do so in the same order.
    fn key(submit: &Submit) -> [u8; 16] {
        submit.idempotency.map_or([0; 16], |key| key.digest)
    }

    async fn write(
        tx: &Transaction<'_>,
        effects: &mut Effects,
        commands: &[Submit],
    ) -> Result<Vec<Submitted>, Fault> {
        let used = tx.begin(use_keys(tx, commands)).await?;
        let used = used_by(tx, commands, used).await?;
        let mut batch = Batch::default();
        let answers: Vec<Submitted> = commands
            .iter()
            .map(|submit| match replay(submit, &used) {
                Some(answer) => answer,
                None => batch.add(submit, effects),
            })
            .collect();
        tx.commit(batch.insert(tx)).await?;
        Ok(answers)
    }
}

/// Inserts the keys; `Some` if there were any: the jobs that have one now.
async fn use_keys(tx: &Transaction<'_>, commands: &[Submit]) -> Result<Option<Vec<[u8; 16]>>, Fault> {
    let (mut digests, mut fingerprints, mut tenants, mut jobs, mut created) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for submit in commands {
        if let Some(key) = submit.idempotency {
            digests.push(Fixed(key.digest));
            fingerprints.push(Fixed(key.fingerprint));
            tenants.push(submit.job.tenant.0);
            jobs.push(Fixed(submit.job.id.to_bytes()));
            created.push(submit.at.wall.micros());
        }
    }
    if digests.is_empty() {
        return Ok(None);
    }
    let won = tx.rows(INSERT_KEYS, &[&digests, &fingerprints, &tenants, &jobs, &created]).await?;
    won.iter().map(|row| id_of(row, 0)).collect::<Result<_, _>>().map(Some)
}

pub(crate) fn id_of(row: &tokio_postgres::Row, column: usize) -> Result<[u8; 16], Fault> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map_err(|_| Fault::Answer(StorageError::refused("an id is not 16 bytes long")))
}

/// Whose the keys are that were used before: by digest, fingerprint and job.
type Used = HashMap<[u8; 16], ([u8; 32], [u8; 16])>;

/// Looks at the keys that were not ours to take. A statement of its own: it sees what another node committed while the
/// insert waited for it.
async fn used_by(
    tx: &Transaction<'_>,
    commands: &[Submit],
    won: Option<Vec<[u8; 16]>>,
) -> Result<Used, Fault> {
    let Some(won) = won else { return Ok(Used::new()) };
    let won: std::collections::HashSet<_> = won.into_iter().collect();
    let lost: Vec<Fixed<16>> = commands
        .iter()
        .filter(|submit| !won.contains(&submit.job.id.to_bytes()))
        .filter_map(|submit| submit.idempotency.map(|key| Fixed(key.digest)))
        .collect();
    if lost.is_empty() {
        return Ok(Used::new());
    }
    let read = |row: &tokio_postgres::Row| {
        let fingerprint: &[u8] = row.try_get(1)?;
        let fingerprint = fingerprint
            .try_into()
            .map_err(|_| StorageError::refused("a fingerprint is not 32 bytes long"))?;
        Ok((id_of(row, 0)?, (fingerprint, id_of(row, 2)?)))
    };
    tx.rows(KEYS, &[&lost]).await?.iter().map(read).collect()
}

/// What a submission comes to whose key was used before; `None` if it is new.
fn replay(submit: &Submit, used: &Used) -> Option<Submitted> {
    let key = submit.idempotency?;
    let (fingerprint, job) = used.get(&key.digest)?;
    if *job == submit.job.id.to_bytes() {
        return None;
    }
    Some(if *fingerprint == key.fingerprint {
        Submitted::Replayed(JobId::from_u128(u128::from_be_bytes(*job)))
    } else {
        Submitted::KeyReused
    })
}

/// The rows of new jobs, by column.
#[derive(Default)]
struct Batch<'c> {
    tenant: Vec<i64>,
    id: Vec<Id>,
    task: Vec<&'c str>,
    max_attempts: Vec<i64>,
    priority: Vec<i64>,
    timeout: Vec<i64>,
    created: Vec<i64>,
    run_at: Vec<Option<i64>>,
    expires: Vec<Option<i64>>,
    rerun_of: Vec<Option<Id>>,
    key: Vec<Option<Id>>,
    traceparent: Vec<Option<&'c str>>,
    metadata: Vec<&'c str>,
    callbacks: Vec<&'c str>,
    input: Vec<Option<&'c str>>,
    lane: Vec<i64>,
    due: Vec<i64>,
    attempt: Vec<i64>,
    node: Vec<Option<i64>>,
    epoch: Vec<Option<i64>>,
    started: Vec<Option<i64>>,
    payloads: Payloads<'c>,
    /// Some row bears this node's mark.
    marked: bool,
}

impl<'c> Batch<'c> {
    /// A new job, born claimed if somebody takes it.
    fn add(&mut self, submit: &'c Submit, effects: &mut Effects) -> Submitted {
        let Submit { job, input, due, at, .. } = submit;
        self.describe(submit);
        let lane = job.lane();
        let fence = if *due <= at.now { effects.reserve_job(&job.task, lane, at.now) } else { None };
        self.queue(submit, lane.0, fence);
        let Some(fence) = fence else {
            effects.job_queued(&job.task, job.tenant, lane, *due, job.expires_at);
            return Submitted::Accepted(job.clone());
        };
        let job = Job { state: State::Running { attempt: 1, started_at: at.wall }, ..job.clone() };
        let hold = JobHold { tenant: job.tenant, job: job.id, lane, fence, attempt: 1 };
        effects.job_born(ClaimedJob { job: job.clone(), input: input.clone(), hold, due: *due });
        Submitted::Accepted(job)
    }

    fn describe(&mut self, submit: &'c Submit) {
        let Submit { job, input, idempotency, .. } = submit;
        let id = Fixed(job.id.to_bytes());
        let inline = input.len() <= INLINE;
        if !inline {
            self.payloads.add(job.tenant, id, payload::INPUT, input.as_bytes());
        }
        let run_at = match job.state {
            State::Queued { run_at, .. } => run_at,
            _ => None,
        };
        self.tenant.push(job.tenant.0);
        self.id.push(id);
        self.task.push(job.task.as_str());
        self.max_attempts.push(job.max_attempts.into());
        self.priority.push(job.priority.get().into());
        self.timeout.push(i64::try_from(job.timeout.as_micros()).unwrap_or(i64::MAX));
        self.created.push(job.created_at.micros());
        self.run_at.push(run_at.map(Timestamp::micros));
        self.expires.push(job.expires_at.map(Timestamp::micros));
        self.rerun_of.push(job.rerun_of.map(|id| Fixed(id.to_bytes())));
        self.key.push(idempotency.map(|key| Fixed(key.digest)));
        self.traceparent.push(job.traceparent.as_deref());
        self.metadata.push(job.metadata.get());
        self.callbacks.push(job.callbacks.as_text());
        self.input.push(inline.then_some(&**input));
    }

    fn queue(&mut self, submit: &Submit, lane: i64, fence: Option<Fence>) {
        self.lane.push(lane);
        self.due.push(submit.due.micros());
        self.attempt.push(fence.is_some().into());
        self.node.push(fence.map(|fence| fence.node));
        self.epoch.push(fence.map(|fence| fence.epoch));
        self.started.push(fence.map(|_| submit.at.wall.micros()));
        self.marked |= fence.is_some();
    }

    async fn insert(&self, tx: &Transaction<'_>) -> Result<(), Fault> {
        if self.id.is_empty() {
            return Ok(());
        }
        let stand = async { if self.marked { tx.stand().await } else { Ok(()) } };
        let jobs = async {
            tx.execute(
                INSERT_JOBS,
                &[
                    &self.tenant,
                    &self.id,
                    &self.task,
                    &self.max_attempts,
                    &self.priority,
                    &self.timeout,
                    &self.created,
                    &self.run_at,
                    &self.expires,
                    &self.rerun_of,
                    &self.key,
                    &self.traceparent,
                    &self.metadata,
                    &self.callbacks,
                    &self.input,
                ],
            )
            .await
        };
        let queue = async {
            tx.execute(
                QUEUE_JOBS,
                &[
                    &self.id,
                    &self.tenant,
                    &self.lane,
                    &self.due,
                    &self.attempt,
                    &self.node,
                    &self.epoch,
                    &self.started,
                    &self.expires,
                ],
            )
            .await
        };
        tokio::try_join!(biased; stand, jobs, queue, self.payloads.insert(tx))?;
        Ok(())
    }
}
