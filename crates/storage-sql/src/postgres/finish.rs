//! Ends of jobs: who still holds what it ends, then the job, its event and its deliveries, for a whole batch.

use std::{borrow::Cow, collections::HashMap};

use domain::{
    callback::Callbacks,
    event::Event,
    id::JobId,
    job::{Ended, Ending, Job},
    time::Timestamp,
};
use storage::{Finish, Guard, JobHold, StorageError, Written};

use super::{
    columns::{Fixed, Id, sought, span},
    conclusion::{self, Conclusion},
    fault::Fault,
    hearers,
    line::{MANY, Verb},
    payload::{INSERT_PAYLOADS, Payloads},
    submit::id_of,
    transaction::{STAND, Transaction},
};
use crate::{
    address::Occasion,
    effects::Effects,
    rows::{INLINE, payload},
};

/// Arrays: ?1 id, ?2 attempt, ?3 node, ?4 epoch (both null: nobody holds it), ?5 tenant. Answers with id, attempt and cancel
/// request of those that are as they say, how many endpoints their tenants have, and whether the callbacks are to be read
/// again.
const LEAVE_QUEUE: &str = concat!(
    "DELETE FROM job_queue q WHERE ",
    sought!("$1"),
    " AND ((q.id, q.attempt, COALESCE(q.node, 0), COALESCE(q.epoch, 0), q.tenant) IN (SELECT id, attempt, \
     COALESCE(node, 0), COALESCE(epoch, 0), tenant FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[], \
     $5::bigint[]) AS u (id, attempt, node, epoch, tenant))) IS TRUE RETURNING q.id, q.attempt, q.cancel_at, \
     (SELECT t.endpoints FROM tenants t WHERE t.n = q.tenant), q.attached"
);

/// Arrays: ?1 tenant, ?2 id; ?3 to ?4 their span. A statement of its own sees what was attached while the last one waited.
const CALLBACKS: &str = "SELECT j.id, j.callbacks FROM UNNEST($1::bigint[], $2::bytea[]) AS u (tenant, id) \
     CROSS JOIN LATERAL (SELECT id, callbacks FROM jobs WHERE tenant = u.tenant AND id = u.id AND id BETWEEN $3 AND $4 OFFSET 0) j";

/// Arrays in the order of the columns. No span: the table that is updated cannot be kept from being walked along it.
const END_JOBS: &str = "UPDATE jobs j SET status = u.status, attempt = u.attempt, started_at = u.started, \
     finished_at = u.finished, cancel_requested_at = u.canceled, result_size = u.size, result_sha256 = u.sha256, \
     result_type = u.type, result_shown = u.shown, error = u.error, result = u.result, event = u.event, \
     progress = u.progress \
     FROM UNNEST($1::bigint[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], \
     $8::bigint[], $9::bytea[], $10::text[], $11::bigint[], $12::text[], $13::bytea[], $14::bytea[], $15::text[]) AS u (tenant, id, \
     status, attempt, started, finished, canceled, size, sha256, type, shown, error, result, event, progress) \
     WHERE j.tenant = u.tenant AND j.id = u.id";

/// What [`finish`] runs.
pub(crate) const STATEMENTS: &[&str] = &[
    LEAVE_QUEUE,
    CALLBACKS,
    END_JOBS,
    conclusion::INSERT_DRAWN_EVENTS,
    conclusion::INSERT_DELIVERIES,
    conclusion::QUEUE_DELIVERIES,
    hearers::ASKING,
    hearers::LOCK,
    hearers::COUNT_ON,
    INSERT_PAYLOADS,
    STAND,
];

pub(crate) struct Finishes;

impl Verb for Finishes {
    type Command = Finish;
    type Answer = Written;
    const MOST: usize = MANY;
    const STATEMENTS: &'static [&'static str] = STATEMENTS;

    fn key(finish: &Finish) -> [u8; 16] {
        finish.job.id.to_bytes()
    }

    async fn write(
        tx: &Transaction<'_>,
        effects: &mut Effects,
        commands: &[Finish],
    ) -> Result<Vec<Written>, Fault> {
        let left = tx.begin(leave_queue(tx, commands)).await?;
        end(tx, effects, commands, &left).await
    }
}

/// One that left the queue, and what its row there said.
pub(crate) struct Left {
    /// Which of the batch.
    place: usize,
    canceled: Option<Timestamp>,
    /// Its tenant has endpoints.
    heard: bool,
    /// A callback was added to it.
    attached: bool,
}

/// Takes them out of the queue, if they are there as their guards say.
pub(crate) async fn leave_queue(tx: &Transaction<'_>, commands: &[Finish]) -> Result<Vec<Left>, Fault> {
    let (mut ids, mut attempts, mut nodes, mut epochs, mut tenants) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut places = HashMap::with_capacity(commands.len());
    for (place, finish) in commands.iter().enumerate() {
        let (attempt, fence) = match finish.guard {
            Guard::Held(JobHold { fence, attempt, .. }) => (attempt, Some(fence)),
            Guard::Queued { attempt } => (attempt, None),
        };
        let (id, attempt) = (finish.job.id.to_bytes(), i64::from(attempt));
        places.insert((id, attempt), place);
        ids.push(Fixed(id));
        tenants.push(finish.job.tenant.0);
        attempts.push(attempt);
        nodes.push(fence.map(|fence| fence.node));
        epochs.push(fence.map(|fence| fence.epoch));
    }
    let mut left = Vec::with_capacity(commands.len());
    for row in tx.rows(LEAVE_QUEUE, &[&ids, &attempts, &nodes, &epochs, &tenants]).await? {
        let Some(place) = places.get(&(id_of(&row, 0)?, row.try_get(1)?)) else { continue };
        left.push(Left {
            place: *place,
            canceled: row.try_get::<_, Option<i64>>(2)?.map(Timestamp::from_micros),
            heard: row.try_get::<_, Option<i64>>(3)?.is_some_and(|endpoints| endpoints > 0),
            attached: row.try_get::<_, Option<i64>>(4)?.is_some(),
        });
    }
    Ok(left)
}

/// Ends those that left the queue, and commits.
pub(crate) async fn end(
    tx: &Transaction<'_>,
    effects: &mut Effects,
    commands: &[Finish],
    left: &[Left],
) -> Result<Vec<Written>, Fault> {
    let mut written = vec![Written::LeaseLost; commands.len()];
    let attached = attached(tx, commands, left).await?;
    let mut endings = Vec::with_capacity(left.len());
    for left in left {
        let finish = &commands[left.place];
        let later = attached.get(&finish.job.id.to_bytes()).map(String::as_str);
        endings.push(Ends::of(finish, left, later)?);
        written[left.place] = Written::Done;
    }
    let (mut jobs, mut conclusion) = (EndedJobs::default(), Conclusion::default());
    let mut told = Vec::new();
    for Ends { finish, job, event, callbacks, heard } in &endings {
        jobs.add(finish, job);
        let occasion = Occasion::of_job(job, event, finish.at);
        conclusion.event(&occasion, effects);
        conclusion.for_callbacks(&occasion, callbacks, effects);
        told.extend(heard.then_some((occasion, callbacks)));
        effects.job_ended(job, matches!(finish.guard, Guard::Held(_)), finish.at);
    }
    let endpoints = hearers::asking(tx, &told).await?;
    hearers::deliver(tx, effects, &mut conclusion, &told, &endpoints, |_, _| false).await?;
    tx.commit(async { tokio::try_join!(biased; jobs.update(tx), conclusion.insert_drawn(tx)) }).await?;
    Ok(written)
}

/// The callbacks of those to whom one was attached, as they are now. Nothing is asked if there are none.
async fn attached(
    tx: &Transaction<'_>,
    commands: &[Finish],
    left: &[Left],
) -> Result<HashMap<[u8; 16], String>, Fault> {
    let (mut tenants, mut ids) = (Vec::new(), Vec::new());
    for finish in left.iter().filter(|left| left.attached).map(|left| &commands[left.place]) {
        tenants.push(finish.job.tenant.0);
        ids.push(Fixed(finish.job.id.to_bytes()));
    }
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let [least, most] = span(&ids);
    let rows = tx.rows(CALLBACKS, &[&tenants, &ids, &least, &most]).await?;
    rows.iter().map(|row| Ok((id_of(row, 0)?, row.try_get(1)?))).collect()
}

/// A job that ends, as its rows say by now.
struct Ends<'c> {
    finish: &'c Finish,
    job: Cow<'c, Job>,
    event: Cow<'c, Event>,
    callbacks: Callbacks,
    /// Its tenant has endpoints.
    heard: bool,
}

impl<'c> Ends<'c> {
    fn of(finish: &'c Finish, left: &Left, later: Option<&str>) -> Result<Self, Fault> {
        let Finish { job, ended, event, links, .. } = finish;
        let Left { canceled, heard, .. } = *left;
        let callbacks = later.map_or_else(|| Ok(job.callbacks.clone()), |text| reread(job, text))?;
        if canceled == job.cancel_requested_at {
            return Ok(Self {
                finish,
                job: Cow::Borrowed(job),
                event: Cow::Borrowed(event),
                callbacks,
                heard,
            });
        }
        // Somebody asked it to stop after it was claimed: the event says so too.
        let job = Job { cancel_requested_at: canceled, ..job.clone() };
        let event = Event::ended(event.id, &job, ended, links);
        Ok(Self { finish, job: Cow::Owned(job), event: Cow::Owned(event), callbacks, heard })
    }
}

/// A job's callbacks as its row has them by now.
pub(crate) fn reread(job: &Job, text: &str) -> Result<Callbacks, Fault> {
    let bad = |error: serde_json::Error| bad_row(job.id, "callbacks", error);
    job.callbacks.reread(text).map_err(bad)
}

pub(crate) fn bad_row(job: JobId, column: &'static str, error: impl std::fmt::Display) -> Fault {
    Fault::Answer(StorageError::BadRow {
        table: "jobs",
        column,
        id: job.to_string(),
        detail: error.to_string(),
    })
}

/// Ended jobs, by column.
#[derive(Default)]
struct EndedJobs<'c> {
    tenant: Vec<i64>,
    id: Vec<Id>,
    status: Vec<i64>,
    attempt: Vec<i64>,
    started: Vec<Option<i64>>,
    finished: Vec<i64>,
    canceled: Vec<Option<i64>>,
    size: Vec<Option<i64>>,
    sha256: Vec<Option<Fixed<32>>>,
    content_type: Vec<Option<&'c str>>,
    shown: Vec<i64>,
    error: Vec<Option<&'c str>>,
    result: Vec<Option<&'c [u8]>>,
    event: Vec<Id>,
    progress: Vec<Option<String>>,
    payloads: Payloads<'c>,
}

impl<'c> EndedJobs<'c> {
    fn add(&mut self, finish: &'c Finish, job: &Job) {
        let Finish { ended, result, .. } = finish;
        let (info, shown, error) = match &ended.ending {
            Ending::Succeeded(result) => (Some(&result.info), result.inline.is_some(), None),
            Ending::Failed(error) => (None, false, Some(error.as_json())),
            Ending::Canceled => (None, false, None),
        };
        let id = Fixed(job.id.to_bytes());
        let (inline, aside) = match result.as_deref() {
            Some(bytes) if bytes.len() > INLINE => (None, Some(bytes)),
            inline => (inline, None),
        };
        if let Some(bytes) = aside {
            self.payloads.add(job.tenant, id, payload::RESULT, bytes);
        }
        let Ended { attempt, started_at, finished_at, .. } = ended;
        self.tenant.push(job.tenant.0);
        self.id.push(id);
        self.status.push(ended.ending.status().code());
        self.attempt.push(i64::from(*attempt));
        self.started.push(started_at.map(Timestamp::micros));
        self.finished.push(finished_at.micros());
        self.canceled.push(job.cancel_requested_at.map(Timestamp::micros));
        self.size.push(info.map(|info| i64::try_from(info.size).unwrap_or(i64::MAX)));
        self.sha256.push(info.map(|info| Fixed(info.sha256)));
        self.content_type.push(info.map(|info| &*info.content_type));
        self.shown.push(shown.into());
        self.error.push(error);
        self.result.push(inline);
        self.event.push(Fixed(finish.event.id.to_bytes()));
        self.progress.push(job.progress.as_ref().map(|progress| progress.as_json()));
    }

    async fn update(&self, tx: &Transaction<'_>) -> Result<(), Fault> {
        if self.id.is_empty() {
            return Ok(());
        }
        let update = async {
            tx.execute(
                END_JOBS,
                &[
                    &self.tenant,
                    &self.id,
                    &self.status,
                    &self.attempt,
                    &self.started,
                    &self.finished,
                    &self.canceled,
                    &self.size,
                    &self.sha256,
                    &self.content_type,
                    &self.shown,
                    &self.error,
                    &self.result,
                    &self.event,
                    &self.progress,
                ],
            )
            .await
        };
        tokio::try_join!(biased; update, self.payloads.insert(tx))?;
        Ok(())
    }
}
