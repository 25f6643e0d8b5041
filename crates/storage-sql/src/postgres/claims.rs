//! Claims: of jobs by lane or by expiry, and of deliveries by lane. The rows are read before the commit, so that one
//! which cannot be read is not left claimed by nobody.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use domain::{
    chance::Moment,
    lane::{Ask, Lane},
    time::Timestamp,
};
use storage::{ClaimedDelivery, ClaimedJob, LaneClaim};
use tokio::time::Instant;
use tokio_postgres::Row;

use super::{
    columns::{Fixed, Id, span, span_of_moments},
    fault::Fault,
    line::Verb,
    link::Params,
    marks::{BEGINNING, Marks},
    submit::id_of,
    transaction::{STAND, Transaction, nothing},
};
use crate::{
    columns::Columns,
    effects::Effects,
    rows::{self, claimed_delivery_columns, claimed_job_columns},
};

/// `$due` finds what is claimed under ids of its own; what it says is read by the next statement, which knows by then in
/// which range of history that is. The queue is reached by `= ANY`: that is a seek a row whatever statistics say. Where
/// a batch is joined with it, it is not: the array would be read anew for each row (84 ms for 500 rows, 2.3 without).
macro_rules! claim_jobs {
    ($due:literal) => {
        concat!(
            "WITH due AS MATERIALIZED (", $due, ") UPDATE job_queue q SET attempt = q.attempt + 1, node = $1, epoch = $2, \
             started_at = COALESCE(q.started_at, $3) WHERE q.id = ANY (ARRAY(SELECT id FROM due)) RETURNING q.id"
        )
    };
}

/// ?1 jobs that were claimed, ?2 to ?3 their span. `OFFSET 0` keeps the order in which they are joined: a span seems to be of
/// few rows, and is of many.
const CLAIMED_JOBS: &str = concat!(
    "WITH q AS MATERIALIZED (SELECT * FROM job_queue WHERE id = ANY ($1::bytea[])) SELECT ",
    claimed_job_columns!(),
    " FROM q CROSS JOIN LATERAL (SELECT * FROM jobs WHERE tenant = q.tenant AND id = q.id AND id BETWEEN $2 AND $3 OFFSET 0) j \
     LEFT JOIN payload i ON i.tenant = j.tenant AND i.id = j.id AND i.kind = 1 AND j.input IS NULL \
     AND i.id BETWEEN $2 AND $3 \
     LEFT JOIN payload p ON p.tenant = j.tenant AND p.id = j.id AND p.kind = 2 AND j.result_shown = 1 \
     AND j.result IS NULL AND p.id BETWEEN $2 AND $3 ORDER BY q.due_at, q.id"
);

/// ?1 node, ?2 epoch, ?3 started, ?4 lanes, ?5 at most of each, ?6 now, ?7 their marks.
const CLAIM_JOBS: &str = claim_jobs!(
    "SELECT d.id FROM UNNEST($4::bigint[], $5::bigint[], $7::bigint[]) AS a (lane, k, mark) CROSS JOIN LATERAL \
     (SELECT id FROM job_queue WHERE lane = a.lane AND node IS NULL AND due_at >= a.mark AND due_at <= $6 ORDER BY due_at, id \
     LIMIT a.k FOR UPDATE SKIP LOCKED) d"
);

/// ?1 node, ?2 epoch, ?3 started, ?4 now, ?5 limit.
const CLAIM_EXPIRED: &str = claim_jobs!(
    "SELECT id FROM job_queue WHERE expires_at IS NOT NULL AND node IS NULL AND expires_at <= $4 \
     ORDER BY expires_at LIMIT $5 FOR UPDATE SKIP LOCKED"
);

/// True of a lane `a.lane` of which nothing is sent: its endpoint is disabled, or deleted.
macro_rules! closed {
    () => {
        "(EXISTS (SELECT 1 FROM endpoint_sequence s WHERE s.lane = a.lane AND s.state <> 0) \
         OR EXISTS (SELECT 1 FROM endpoint_sequence s WHERE s.beside = a.lane AND s.state <> 0 AND s.state = 2))"
    };
}

/// The terms of a lane `a.lane`, if it has any.
macro_rules! terms {
    () => {
        "(SELECT s.terms FROM endpoint_sequence s WHERE s.lane = a.lane AND s.terms IS NOT NULL)"
    };
}

/// True of a lane `a.lane` with terms of which another node has something in flight: what its owner allows is allowed to all
/// nodes together, and while a fleet changes two may believe that they serve it.
macro_rules! busy {
    ($node:literal, $epoch:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM endpoint_sequence s JOIN delivery_queue o ON o.lane = s.lane \
             WHERE s.lane = a.lane AND s.terms IS NOT NULL AND o.number IS NOT NULL AND o.node IS NOT NULL \
             AND (o.node <> ",
            $node,
            " OR o.epoch <> ",
            $epoch,
            "))"
        )
    };
}

/// ?1 deliveries that were claimed, ?2 to ?3 their moments, which are their events' too, ?4 to ?5 the span of their jobs.
const CLAIMED_DELIVERIES: &str = concat!(
    "WITH q AS MATERIALIZED (SELECT * FROM delivery_queue WHERE id = ANY ($1::bytea[])) SELECT ",
    claimed_delivery_columns!(),
    " FROM q CROSS JOIN LATERAL (SELECT * FROM deliveries WHERE tenant = q.tenant AND id = q.id AND id BETWEEN $2 AND $3 OFFSET 0) d \
     CROSS JOIN LATERAL (SELECT * FROM events WHERE tenant = d.tenant AND id = d.event AND id BETWEEN $2 AND $3 OFFSET 0) e \
     LEFT JOIN LATERAL (SELECT * FROM jobs WHERE tenant = q.tenant AND id = q.job AND id BETWEEN $4 AND $5 OFFSET 0) j ON TRUE \
     LEFT JOIN LATERAL (SELECT * FROM endpoints WHERE tenant = d.tenant AND id = d.endpoint) n ON TRUE \
     LEFT JOIN payload p ON p.tenant = e.tenant AND p.id = e.id AND p.kind = 3 AND e.body IS NULL \
     AND p.id BETWEEN $2 AND $3 ORDER BY q.due_at, q.id"
);

/// How a claim ends: with what [`CLAIMED_DELIVERIES`] asks for.
macro_rules! claim_these {
    ($which:literal) => {
        concat!(
            " UPDATE delivery_queue q SET attempt = q.attempt + 1, node = $1, epoch = $2, started_at = $3, \
             trigger = CASE WHEN q.lane = ANY($7::bigint[]) THEN 1 ELSE q.trigger END \
             WHERE q.id = ANY (ARRAY(SELECT id FROM due))",
            $which,
            " RETURNING q.id, q.job"
        )
    };
}

/// ?1 lanes: of those that have terms, the rows by which they are served. Two nodes lock them in the same order.
const LOCK_LANES: &str = "SELECT s.endpoint FROM endpoint_sequence s WHERE s.lane = ANY($1) AND s.terms IS NOT NULL \
     ORDER BY s.endpoint FOR UPDATE";

/// ?1 node, ?2 epoch, ?3 started, ?4 lanes, ?5 at most of each, ?6 now, ?7 lanes that are probed: of those the oldest,
/// whether its time has come or not. ?8 the terms that each was asked under: others, and lanes of which other nodes have
/// something in flight, give nothing. ?9 their marks.
const CLAIM_DELIVERIES: &str = concat!(
    "WITH due AS MATERIALIZED (SELECT d.id FROM (SELECT a.lane, CASE WHEN ",
    closed!(),
    " OR ",
    terms!(),
    " IS DISTINCT FROM a.terms OR ",
    busy!("$1", "$2"),
    " THEN 0 ELSE a.k END AS k, a.mark FROM UNNEST($4::bigint[], $5::bigint[], $8::text[], $9::bigint[]) \
     AS a (lane, k, terms, mark) OFFSET 0) a \
     CROSS JOIN LATERAL \
     (SELECT id FROM delivery_queue WHERE lane = a.lane AND node IS NULL AND due_at >= a.mark \
     AND due_at <= CASE WHEN a.lane = ANY($7::bigint[]) THEN 9223372036854775807 ELSE $6 END \
     AND (a.lane <> ALL($7::bigint[]) OR not_before IS NULL OR not_before <= $6) ORDER BY due_at, id \
     LIMIT a.k FOR UPDATE SKIP LOCKED) d)",
    claim_these!("")
);

/// ?1 node, ?2 epoch, ?3 started, ?4 lanes, ?5 the terms that each was asked under, ?6 now, ?7 lanes that are probed: of each
/// lane the first in its order, if its time has come and none is out.
const CLAIM_HEADS: &str = concat!(
    "WITH due AS MATERIALIZED (SELECT h.id FROM UNNEST($4::bigint[], $5::text[]) AS a (lane, terms) \
     CROSS JOIN LATERAL (SELECT id, due_at, not_before FROM delivery_queue WHERE lane = a.lane AND number > 0 \
     ORDER BY number LIMIT 1) h WHERE NOT ",
    closed!(),
    " AND ",
    terms!(),
    " IS NOT DISTINCT FROM a.terms AND NOT EXISTS (SELECT 1 FROM delivery_queue o WHERE o.lane = a.lane \
     AND o.number IS NOT NULL AND o.node IS NOT NULL) \
     AND CASE WHEN a.lane = ANY($7::bigint[]) THEN COALESCE(h.not_before, $6) ELSE h.due_at END <= $6)",
    claim_these!(" AND q.node IS NULL")
);

/// ?1 lanes, each with an order: when the first of each is due, and their terms. While one is out none is: what settles it
/// looks again. ?2 now: never before a quarter of a second from now, since who asked has just been given what was due.
const NEXT_HEADS: &str = concat!(
    "SELECT a.lane, CASE WHEN ",
    closed!(),
    " OR EXISTS (SELECT 1 FROM delivery_queue o WHERE o.lane = a.lane AND o.number IS NOT NULL \
     AND o.node IS NOT NULL) THEN NULL ELSE (SELECT GREATEST(q.due_at, $2) FROM delivery_queue q \
     WHERE q.lane = a.lane AND q.number > 0 ORDER BY q.number LIMIT 1) END, ",
    terms!(),
    " FROM UNNEST($1::bigint[]) AS a (lane)"
);

/// ?1 lanes, ?2 their marks: when the next row of each is due. What is locked is there too.
const NEXT_JOBS: &str = "SELECT a.lane, (SELECT q.due_at FROM job_queue q WHERE q.lane = a.lane AND q.node IS NULL \
     AND q.due_at >= a.mark ORDER BY q.due_at, q.id LIMIT 1) FROM UNNEST($1::bigint[], $2::bigint[]) AS a (lane, mark)";
/// The same, and their terms, and whether other nodes have something of it in flight; of a closed lane none is. ?3 node,
/// ?4 epoch.
const NEXT_DELIVERIES: &str = concat!(
    "SELECT a.lane, r.due_at, ",
    terms!(),
    ", r.busy, a.closed FROM (SELECT a.lane, a.mark, ",
    closed!(),
    " AS closed FROM UNNEST($1::bigint[], $2::bigint[]) AS a (lane, mark) OFFSET 0) a LEFT JOIN LATERAL \
     (SELECT q.due_at, ",
    busy!("$3", "$4"),
    " AS busy FROM delivery_queue q WHERE q.lane = a.lane AND q.node IS NULL AND q.due_at >= a.mark \
     ORDER BY q.due_at, q.id LIMIT CASE WHEN a.closed THEN 0 ELSE 1 END) r ON TRUE"
);

const NEXT_EXPIRY: &str = "SELECT expires_at FROM job_queue WHERE expires_at IS NOT NULL AND node IS NULL \
     ORDER BY expires_at LIMIT 1";

/// How long a lane is left alone of which another node has something in flight.
const BUSY: Duration = Duration::from_millis(250);

pub(crate) struct ClaimJobs;

impl Verb for ClaimJobs {
    type Command = (Vec<Ask>, Moment);
    type Answer = Vec<LaneClaim<ClaimedJob>>;
    const STATEMENTS: &'static [&'static str] = &[CLAIM_JOBS, CLAIMED_JOBS, NEXT_JOBS, STAND];

    async fn write(
        tx: &Transaction<'_>,
        effects: &mut Effects,
        commands: &[Self::Command],
    ) -> Result<Vec<Self::Answer>, Fault> {
        let (mut answers, mut walks) = (Vec::with_capacity(1), Vec::with_capacity(1));
        for (asks, at) in commands {
            let (claimed, left, walk) = claim_jobs(tx, asks, *at).await?;
            let fence = tx.fence()?;
            let claimed =
                claimed.iter().map(|row| rows::claimed_job(row, fence)).collect::<Result<Vec<_>, _>>()?;
            for job in &claimed {
                effects.job_claimed(&job.job.task, job.job.tenant, job.job.id);
            }
            walks.push((walk, left.iter().map(Left::reached).collect()));
            answers.push(by_lane(asks, claimed, |job| job.hold.lane, left, at.now));
        }
        tx.commit(nothing()).await?;
        walks.into_iter().for_each(|(walk, reached)| walk.tell(tx.job_marks(), reached));
        Ok(answers)
    }
}

pub(crate) struct ClaimDeliveries;

impl Verb for ClaimDeliveries {
    type Command = (Vec<Ask>, Moment);
    type Answer = Vec<LaneClaim<ClaimedDelivery>>;
    const STATEMENTS: &'static [&'static str] =
        &[CLAIM_DELIVERIES, CLAIMED_DELIVERIES, NEXT_DELIVERIES, CLAIM_HEADS, NEXT_HEADS, LOCK_LANES, STAND];

    async fn write(
        tx: &Transaction<'_>,
        _: &mut Effects,
        commands: &[Self::Command],
    ) -> Result<Vec<Self::Answer>, Fault> {
        let (mut answers, mut walks) = (Vec::with_capacity(1), Vec::with_capacity(1));
        for (asks, at) in commands {
            let (mut claimed, mut left, walk) = claim_deliveries(tx, asks, *at).await?;
            walks.push((walk, left.iter().map(Left::reached).collect()));
            if asks.iter().any(|ask| ask.terms.ordered) {
                let (heads, behind) = claim_heads(tx, asks, *at).await?;
                claimed.extend(heads);
                left.extend(behind);
            }
            let fence = tx.fence()?;
            let claimed = claimed_deliveries(tx, &claimed)
                .await?
                .iter()
                .map(|row| rows::claimed_delivery(row, fence))
                .collect::<Result<Vec<_>, _>>()?;
            answers.push(by_lane(asks, claimed, |delivery| delivery.hold.lane, left, at.now + BUSY));
        }
        tx.commit(nothing()).await?;
        walks.into_iter().for_each(|(walk, reached)| walk.tell(tx.delivery_marks(), reached));
        Ok(answers)
    }
}

/// Lanes, at most of each, and the terms that each is asked under. Two nodes lock rows of the same lanes in the same order.
fn wanted<'a>(asks: impl Iterator<Item = &'a Ask>) -> (Vec<i64>, Vec<i64>, Vec<Option<String>>) {
    let mut wanted: BTreeMap<i64, (i64, Option<String>)> = BTreeMap::new();
    for ask in asks {
        wanted.entry(ask.lane.0).or_insert_with(|| (0, ask.terms.to_text())).0 += i64::from(ask.k);
    }
    let (mut lanes, mut most, mut terms) = (Vec::new(), Vec::new(), Vec::new());
    for (lane, (k, text)) in wanted {
        lanes.push(lane);
        most.push(k);
        terms.push(text);
    }
    (lanes, most, terms)
}

/// What the jobs say that were claimed, by when they were due.
async fn claimed_jobs(tx: &Transaction<'_>, claimed: &[Row]) -> Result<Vec<Row>, Fault> {
    if claimed.is_empty() {
        return Ok(Vec::new());
    }
    let ids = claimed.iter().map(|row| id_of(row, 0).map(Fixed)).collect::<Result<Vec<Id>, _>>()?;
    let [least, most] = span(&ids);
    tx.rows(CLAIMED_JOBS, &[&ids, &least, &most]).await
}

/// The same of deliveries.
async fn claimed_deliveries(tx: &Transaction<'_>, claimed: &[Row]) -> Result<Vec<Row>, Fault> {
    if claimed.is_empty() {
        return Ok(Vec::new());
    }
    let (mut ids, mut jobs) = (Vec::with_capacity(claimed.len()), Vec::with_capacity(claimed.len()));
    for row in claimed {
        ids.push(Fixed(id_of(row, 0)?));
        if row.try_get::<_, Option<&[u8]>>(1)?.is_some() {
            jobs.push(Fixed(id_of(row, 1)?));
        }
    }
    let ([least, most], [first, last]) = (span_of_moments(span(&ids)), span(&jobs));
    tx.rows(CLAIMED_DELIVERIES, &[&ids, &least, &most, &first, &last]).await
}

/// What a claim left of a lane.
struct Left {
    lane: i64,
    /// When its next row is due.
    due: Option<i64>,
    terms: Option<String>,
    /// Other nodes have something of it in flight.
    busy: bool,
    /// Nothing of it is sent, whatever there is.
    closed: bool,
}

impl Left {
    fn of_jobs(row: &Row) -> Result<Self, Fault> {
        Ok(Self { lane: row.try_get(0)?, due: row.try_get(1)?, terms: None, busy: false, closed: false })
    }

    fn of_deliveries(row: &Row) -> Result<Self, Fault> {
        let busy: Option<bool> = row.try_get(3)?;
        let (lane, due, terms) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        Ok(Self { lane, due, terms, busy: busy.unwrap_or_default(), closed: row.try_get(4)? })
    }

    fn of_heads(row: &Row) -> Result<Self, Fault> {
        Ok(Self { terms: row.try_get(2)?, ..Self::of_jobs(row)? })
    }

    /// From where on the lane has rows; `None`: that is not known.
    fn reached(&self) -> Reached {
        (self.lane, (!self.closed).then_some(self.due.unwrap_or(i64::MAX)))
    }
}

/// A lane, and from where on it has rows, if that is known.
type Reached = (i64, Option<i64>);

/// Lanes are looked through from their marks on.
struct Walk {
    from: BTreeMap<i64, i64>,
    now: Timestamp,
    began: Instant,
    took: Duration,
}

impl Walk {
    fn begin(marks: &Marks, lanes: &[i64], now: Timestamp) -> Self {
        let from = lanes.iter().copied().zip(marks.begin(lanes, now)).collect();
        Self { from, now, began: Instant::now(), took: Duration::ZERO }
    }

    fn from(&self, lane: i64) -> i64 {
        self.from.get(&lane).copied().unwrap_or(BEGINNING)
    }

    /// All of it has been seen.
    fn ends(&mut self) {
        self.took = self.began.elapsed();
    }

    /// As soon as the claim stands. What is not due yet is no reason to begin later than now: a node whose clock is behind
    /// may add what its own clock says is due.
    fn tell(self, marks: &Marks, reached: Vec<Reached>) {
        for (lane, from) in reached {
            if let (Some(from), true) = (from, self.from.contains_key(&lane)) {
                marks.reached(lane, from.min(self.now.micros()), self.now, self.took);
            }
        }
    }
}

/// Claims, and then looks at what is left.
async fn claim_jobs(
    tx: &Transaction<'_>,
    asks: &[Ask],
    at: Moment,
) -> Result<(Vec<Row>, Vec<Left>, Walk), Fault> {
    let fence = tx.fence()?;
    let (lanes, most, _) = wanted(asks.iter());
    let (wall, now) = (at.wall.micros(), at.now.micros());
    let mut walk = Walk::begin(tx.job_marks(), &lanes, at.now);
    let marks: Vec<i64> = lanes.iter().map(|lane| walk.from(*lane)).collect();
    let params: &Params<'_> = &[&fence.node, &fence.epoch, &wall, &lanes, &most, &now, &marks];
    let claimed = async { tx.rows(CLAIM_JOBS, params).await };
    let left = async { tx.rows(NEXT_JOBS, &[&lanes, &marks]).await };
    let (_, claimed, left) = tx.begin(async { tokio::try_join!(biased; tx.stand(), claimed, left) }).await?;
    walk.ends();
    let left = left.iter().map(Left::of_jobs).collect::<Result<_, _>>()?;
    Ok((claimed_jobs(tx, &claimed).await?, left, walk))
}

/// The same, for a lane with terms only while no other node has something of it in flight.
async fn claim_deliveries(
    tx: &Transaction<'_>,
    asks: &[Ask],
    at: Moment,
) -> Result<(Vec<Row>, Vec<Left>, Walk), Fault> {
    let fence = tx.fence()?;
    let all: Vec<i64> = asks.iter().map(|ask| ask.lane.0).collect();
    let (lanes, most, terms) = wanted(asks.iter().filter(|ask| !ask.terms.ordered));
    let probed = probed(asks);
    let (wall, now) = (at.wall.micros(), at.now.micros());
    // A probe takes one before its time.
    let walked: Vec<i64> = lanes.iter().copied().filter(|lane| !probed.contains(lane)).collect();
    let mut walk = Walk::begin(tx.delivery_marks(), &walked, at.now);
    let marks: Vec<i64> = lanes.iter().map(|lane| walk.from(*lane)).collect();
    let lock = async { tx.rows(LOCK_LANES, &[&all]).await };
    let params: &Params<'_> =
        &[&fence.node, &fence.epoch, &wall, &lanes, &most, &now, &probed, &terms, &marks];
    let claimed = async { tx.rows(CLAIM_DELIVERIES, params).await };
    let left = async { tx.rows(NEXT_DELIVERIES, &[&lanes, &marks, &fence.node, &fence.epoch]).await };
    let all = async { tokio::try_join!(biased; tx.stand(), lock, claimed, left) };
    let (_, _, claimed, left) = tx.begin(all).await?;
    walk.ends();
    let left = left.iter().map(Left::of_deliveries).collect::<Result<_, _>>()?;
    Ok((claimed, left, walk))
}

fn probed(asks: &[Ask]) -> Vec<i64> {
    asks.iter().filter(|ask| ask.probe).map(|ask| ask.lane.0).collect()
}

/// The same of lanes with an order, whose rows are locked by then.
async fn claim_heads(tx: &Transaction<'_>, asks: &[Ask], at: Moment) -> Result<(Vec<Row>, Vec<Left>), Fault> {
    let fence = tx.fence()?;
    let (lanes, _, terms) = wanted(asks.iter().filter(|ask| ask.terms.ordered));
    let (wall, now, again) = (at.wall.micros(), at.now.micros(), (at.now + BUSY).micros());
    let probed = probed(asks);
    let params: &Params<'_> = &[&fence.node, &fence.epoch, &wall, &lanes, &terms, &now, &probed];
    let claimed = async { tx.rows(CLAIM_HEADS, params).await };
    let left = async { tx.rows(NEXT_HEADS, &[&lanes, &again]).await };
    let (claimed, left) = tokio::try_join!(biased; claimed, left)?;
    Ok((claimed, left.iter().map(Left::of_heads).collect::<Result<_, _>>()?))
}

/// An answer for each ask, in their order.
fn by_lane<T>(
    asks: &[Ask],
    claimed: Vec<T>,
    lane_of: impl Fn(&T) -> Lane,
    left: Vec<Left>,
    again: Timestamp,
) -> Vec<LaneClaim<T>> {
    type Found<T> = (VecDeque<T>, Option<i64>, Option<String>);
    let mut lanes: HashMap<Lane, Found<T>> = HashMap::new();
    for Left { lane, due, terms, busy, .. } in left {
        let due = if busy { due.map(|due| due.max(again.micros())) } else { due };
        lanes.insert(Lane(lane), (VecDeque::new(), due, terms));
    }
    for item in claimed {
        let (items, ..) = lanes.entry(lane_of(&item)).or_insert_with(|| (VecDeque::new(), None, None));
        items.push_back(item);
    }
    let answer = |ask: &Ask| {
        let nothing = LaneClaim { lane: ask.lane, claimed: Vec::new(), next_due: None, terms: ask.terms };
        let Some((items, next, terms)) = lanes.get_mut(&ask.lane) else { return nothing };
        if *terms != ask.terms.to_text() {
            return rows::other_terms(nothing, terms.as_deref(), *next);
        }
        let most = items.len().min(ask.k as usize);
        let next_due = next.map(Timestamp::from_micros);
        LaneClaim { claimed: items.drain(..most).collect(), next_due, ..nothing }
    };
    asks.iter().map(answer).collect()
}

pub(crate) struct ClaimExpired;

impl Verb for ClaimExpired {
    type Command = (u32, Moment);
    type Answer = (Vec<ClaimedJob>, Option<Timestamp>);
    const STATEMENTS: &'static [&'static str] = &[CLAIM_EXPIRED, CLAIMED_JOBS, NEXT_EXPIRY, STAND];

    async fn write(
        tx: &Transaction<'_>,
        effects: &mut Effects,
        commands: &[Self::Command],
    ) -> Result<Vec<Self::Answer>, Fault> {
        let mut answers = Vec::with_capacity(1);
        for (limit, at) in commands {
            let (fence, limit) = (tx.fence()?, i64::from(*limit));
            let (wall, now) = (at.wall.micros(), at.now.micros());
            let claimed =
                async { tx.rows(CLAIM_EXPIRED, &[&fence.node, &fence.epoch, &wall, &now, &limit]).await };
            let next = async { tx.row(NEXT_EXPIRY, &[]).await };
            let (_, claimed, next) =
                tx.begin(async { tokio::try_join!(biased; tx.stand(), claimed, next) }).await?;
            let claimed = claimed_jobs(tx, &claimed).await?;
            let mut claimed =
                claimed.iter().map(|row| rows::claimed_job(row, fence)).collect::<Result<Vec<_>, _>>()?;
            claimed.sort_by_key(|claimed| (claimed.job.expires_at, claimed.job.id));
            for job in &claimed {
                effects.job_claimed(&job.job.task, job.job.tenant, job.job.id);
            }
            let next = next.map(|row| row.int_or(0)).transpose().map_err(storage::StorageError::refused)?;
            answers.push((claimed, next.flatten().map(Timestamp::from_micros)));
        }
        tx.commit(nothing()).await?;
        Ok(answers)
    }
}
