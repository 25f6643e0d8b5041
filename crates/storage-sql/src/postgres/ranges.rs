//! History in ranges of ids, which are ranges of time: made ahead, and dropped as a whole once what was made in one has been
//! kept long enough. What of it still lives is carried over into the default partitions, where it is pruned by steps.
//!
//! A range is made in two transactions: its tables with their indexes, which takes time and holds up nobody; then they are
//! attached, which has the default partitions to itself for a moment. It goes in two as well. The first writes the tombstones and deletes the idempotency keys of what will go; it
//! may take long, and holds up nobody. The second has the range to itself while it sets aside what stays, and all of
//! history only for the moment in which the tables are dropped: if others are not done with it in time, it is tried again.
//!
//! Every node does this; a lock says whose turn it is. A role that may not create tables leaves all of it to steps.

use std::time::Duration;

use domain::{chance::Moment, time::Timestamp};
use storage::{Result, StorageError};
use tokio_postgres::{Client, Row, SimpleQueryMessage, error::SqlState};

use super::{
    fault::{Fault, words},
    link::Address,
    submit::id_of,
};
use crate::{bounds::first_of, columns::Columns};

/// History that is kept for less is pruned by steps alone: nothing of it has to be kept for an Idempotency-Key's sake.
const LEAST: Duration = Duration::from_secs(2 * 24 * 3_600);
/// So many ranges make up the time that history is kept; each is some more tables to plan for.
const PARTS: u32 = 10;
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How far ahead the first range begins: nothing with an id in it may be there yet.
const LEAD: Duration = Duration::from_secs(60);
/// What is carried over at most: history stands still meanwhile. A range of which more stays is left to steps.
const CARRIED: u64 = 2_000;
/// `ranges..` in ASCII: whoever changes ranges holds this lock.
const LOCK: &str = "SELECT pg_try_advisory_xact_lock(8241433461571890734)";

/// How each step begins.
const BEGIN: &str =
    "BEGIN; SET LOCAL lock_timeout = '1s'; SET LOCAL jit = off; SET LOCAL client_min_messages = warning";

/// The ranges there are, by time.
pub(crate) const RANGES: &str = "SELECT n, from_id, to_id, buried_at FROM history_ranges ORDER BY n";

/// The tables of a range, and by what they are partitioned.
const TABLES: [&str; 5] = ["jobs", "events", "deliveries", "attempts", "payload"];

/// One of them: all ids from the first of a millisecond up to the first of another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    n: i64,
    from: Timestamp,
    to: Timestamp,
    buried: bool,
}

/// What is to be done next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Prepare(Range),
    Attach(Range),
    Bury(Range),
    Drop(Range),
}

impl Step {
    /// Finds a row if nobody else made this step since it was decided.
    fn is_open(self) -> String {
        match self {
            Step::Prepare(Range { n, .. }) => {
                format!("SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM history_ranges WHERE n >= {n})")
            }
            Step::Attach(Range { n, .. }) => format!(
                "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM history_ranges WHERE n >= {n}) \
                 AND to_regclass('payload_{n}') IS NOT NULL"
            ),
            Step::Bury(Range { n, .. }) => {
                format!("SELECT 1 FROM history_ranges WHERE n = {n} AND buried_at IS NULL FOR UPDATE")
            }
            Step::Drop(Range { n, .. }) => {
                format!("SELECT 1 FROM history_ranges WHERE n = {n} AND buried_at IS NOT NULL FOR UPDATE")
            }
        }
    }
}

impl Range {
    pub(crate) fn read(row: &Row) -> Result<Self> {
        let moment = |column| {
            let id = id_of(row, column).map_err(Fault::into_answer)?;
            let millis = i64::try_from(u128::from_be_bytes(id) >> 80).unwrap_or(i64::MAX);
            Ok::<_, StorageError>(Timestamp::from_micros(millis.saturating_mul(1_000)))
        };
        let number = |column| row.int_or(column).map_err(StorageError::refused);
        Ok(Self {
            n: number(0)?.unwrap_or_default(),
            from: moment(1)?,
            to: moment(2)?,
            buried: number(3)?.is_some(),
        })
    }

    fn is_over(&self, kept: Duration, now: Timestamp) -> bool {
        self.to + kept <= now
    }

    fn bound(at: Timestamp) -> String {
        let hex: String = first_of(at).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("'\\x{hex}'::bytea")
    }

    fn tables(&self) -> String {
        TABLES.map(|table| format!("{table}_{}", self.n)).join(", ")
    }
}

/// How long a range is; `None` if history is not kept long enough for any.
fn length(kept: Duration) -> Option<Duration> {
    (kept >= LEAST).then(|| (kept / PARTS).min(LONGEST))
}

/// What is to be done: first what is made ahead, so that nothing which cannot go keeps it from being there in time.
fn due(ranges: &[Range], kept: Duration, now: Timestamp) -> Vec<Step> {
    let mut steps = Vec::new();
    let (n, end) = ranges.last().map_or((0, now), |last| (last.n, last.to));
    if let Some(length) = length(kept).filter(|length| end <= now + *length) {
        let from = end.max(now + LEAD);
        let range = Range { n: n + 1, from, to: from + length, buried: false };
        steps.extend([Step::Prepare(range), Step::Attach(range)]);
    }
    for range in ranges.iter().filter(|range| range.is_over(kept, now)) {
        if !range.buried {
            steps.push(Step::Bury(*range));
        }
        steps.push(Step::Drop(Range { buried: true, ..*range }));
    }
    steps
}

/// What was made before is pruned by steps, what was made since goes with its range. `None`: all of it by steps. A range that
/// could not be dropped in its time is left to steps, so that nothing stays for ever.
fn by_steps_before(ranges: &[Range], kept: Duration, now: Timestamp) -> Option<Timestamp> {
    let late = kept + length(kept)?;
    ranges.iter().find(|range| !range.is_over(late, now)).map(|range| range.from)
}

/// Does what is due, and answers up to when history is pruned by steps.
pub(crate) async fn tend(
    address: &Address,
    mut ranges: Vec<Range>,
    kept: Duration,
    at: Moment,
) -> Option<Timestamp> {
    let mut client = None;
    for step in due(&ranges, kept, at.now) {
        match (make(address, &mut client, step, at).await, step) {
            (Err(why), _) => tell(step, &why),
            (Ok(()), Step::Prepare(_) | Step::Bury(_)) => {}
            (Ok(()), Step::Attach(range)) => ranges.push(range),
            (Ok(()), Step::Drop(gone)) => ranges.retain(|range| range.n != gone.n),
        }
    }
    by_steps_before(&ranges, kept, at.now)
}

/// Why a step was not made.
enum Stopped {
    Sql(tokio_postgres::Error),
    /// Another node makes it, or has.
    Others,
    /// So many rows of the range still live.
    Alive(u64),
}

impl From<tokio_postgres::Error> for Stopped {
    fn from(error: tokio_postgres::Error) -> Self {
        Stopped::Sql(error)
    }
}

fn tell(step: Step, why: &Stopped) {
    match why {
        Stopped::Others => {}
        Stopped::Alive(rows) => {
            tracing::info!(?step, rows, "too much of a range of history still lives; it is pruned by steps")
        }
        Stopped::Sql(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
            tracing::info!(?step, "history is in use; it is tried again");
        }
        Stopped::Sql(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => tracing::warn!(
            ?step,
            error = words(error),
            "this role may not change the tables of history, so that it is pruned job by job; make it their owner"
        ),
        Stopped::Sql(error) => {
            tracing::warn!(?step, error = words(error), "a range of history is as it was; it is tried again")
        }
    }
}

async fn make(
    address: &Address,
    client: &mut Option<Client>,
    step: Step,
    at: Moment,
) -> std::result::Result<(), Stopped> {
    let client = match client {
        Some(client) => client,
        None => client.insert(address.connect().await?),
    };
    let result = transact(client, step, at).await;
    if result.is_err() {
        // Whatever state it is in; a connection that broke has none.
        let _ = client.batch_execute("ROLLBACK").await;
    }
    result
}

async fn transact(client: &Client, step: Step, at: Moment) -> std::result::Result<(), Stopped> {
    client.batch_execute(BEGIN).await?;
    if first(client, LOCK).await?.as_deref() != Some("t") {
        return Err(Stopped::Others);
    }
    first(client, &step.is_open()).await?.ok_or(Stopped::Others)?;
    match step {
        Step::Prepare(range) => client.batch_execute(&prepared(&range)).await?,
        Step::Attach(range) => client.batch_execute(&attached(&range)).await?,
        Step::Bury(range) => client.batch_execute(&buried(&range, at)).await?,
        Step::Drop(range) => {
            client.batch_execute(&set_aside(&range, at)).await?;
            let alive = first(client, ALIVE).await?.and_then(|rows| rows.parse().ok()).unwrap_or(u64::MAX);
            if alive > CARRIED {
                return Err(Stopped::Alive(alive));
            }
            client.batch_execute(&dropped(&range)).await?;
        }
    }
    client.batch_execute("COMMIT").await?;
    tracing::info!(?step, "ranges of history");
    Ok(())
}

/// The first column of the first row. Nothing here is prepared: it may be a pooler that we speak to.
async fn first(client: &Client, sql: &str) -> std::result::Result<Option<String>, tokio_postgres::Error> {
    let messages = client.simple_query(sql).await?;
    Ok(messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}

/// Its tables, as the default ones are. Those of somebody who got no further are in nobody's way.
fn prepared(Range { n, .. }: &Range) -> String {
    let tables = TABLES.map(|table| {
        let options = if table == "deliveries" { " WITH (fillfactor = 50)" } else { "" };
        format!(
            "DROP TABLE IF EXISTS {table}_{n}; CREATE TABLE {table}_{n} (LIKE {table} INCLUDING ALL){options}; "
        )
    });
    tables.concat()
}

fn attached(range: &Range) -> String {
    let (n, from, to) = (range.n, Range::bound(range.from), Range::bound(range.to));
    let tables = TABLES.map(|table| {
        format!("ALTER TABLE {table} ATTACH PARTITION {table}_{n} FOR VALUES FROM ({from}) TO ({to}); ")
    });
    format!(
        "SET LOCAL lock_timeout = '100ms'; {} \
         INSERT INTO history_ranges (n, from_id, to_id) VALUES ({n}, {from}, {to})",
        tables.concat()
    )
}

/// When a range ends on the wall clock, as far as that is what it was when it shows `at`. Ids have the scheduling clock's time.
fn cut(range: &Range, at: Moment) -> i64 {
    range.to.micros() + at.wall.micros() - at.now.micros()
}

/// What ended before its range did. What ended later is carried over, so that all else of a job is in its own range.
fn gone(range: &Range, at: Moment) -> String {
    format!("j.status >= 2 AND j.finished_at < {}", cut(range, at))
}

fn buried(range: &Range, at: Moment) -> String {
    let (n, gone, wall) = (range.n, gone(range, at), at.wall.micros());
    format!(
        "INSERT INTO tombstones (tenant, id, task, status, finished_at, gone_at) \
         SELECT j.tenant, j.id, j.task, j.status, j.finished_at, {wall} FROM jobs_{n} j WHERE {gone} ON CONFLICT DO NOTHING; \
         DELETE FROM idempotency k USING jobs_{n} j WHERE {gone} AND k.key = j.idempotency AND k.job = j.id; \
         UPDATE history_ranges SET buried_at = {wall} WHERE n = {n}"
    )
}

/// How much was set aside.
const ALIVE: &str = "SELECT (SELECT count(*) FROM kept) + (SELECT count(*) FROM kept_events)";

/// Has the range to itself, and sets aside what stays: jobs that have not ended, or ended late, or of which something is still
/// to be sent; what is of a job that was carried over before; and what happened to no job, by the same measure.
fn set_aside(range: &Range, at: Moment) -> String {
    let (n, gone, cut) = (range.n, gone(range, at), cut(range, at));
    let (from, to) = (Range::bound(range.from), Range::bound(range.to));
    format!(
        "LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE; \
         CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT j.tenant, j.id FROM jobs_{n} j WHERE NOT ({gone}) \
         UNION SELECT q.tenant, q.job FROM delivery_queue q WHERE q.job >= {from} AND q.job < {to}; \
         CREATE TEMP TABLE kept_events ON COMMIT DROP AS \
         SELECT e.tenant, e.id FROM events_{n} e JOIN kept k ON k.tenant = e.tenant AND k.id = e.job UNION ALL \
         SELECT e.tenant, e.id FROM events_{n} e WHERE e.job < {from} \
         AND EXISTS (SELECT 1 FROM jobs j WHERE j.tenant = e.tenant AND j.id = e.job) UNION ALL \
         SELECT e.tenant, e.id FROM events_{n} e WHERE e.job IS NULL AND (e.created_at >= {cut} \
         OR EXISTS (SELECT 1 FROM deliveries_{n} d JOIN delivery_queue q ON q.id = d.id \
         WHERE d.tenant = e.tenant AND d.event = e.id AND d.job IS NULL)); \
         CREATE TEMP TABLE kept_jobs ON COMMIT DROP AS SELECT j.* FROM jobs_{n} j JOIN kept k USING (tenant, id); \
         CREATE TEMP TABLE kept_whole_events ON COMMIT DROP AS SELECT e.* FROM events_{n} e JOIN kept_events k USING (tenant, id); \
         CREATE TEMP TABLE kept_deliveries ON COMMIT DROP AS SELECT d.* FROM deliveries_{n} d \
         JOIN kept_events k ON k.tenant = d.tenant AND k.id = d.event; \
         CREATE TEMP TABLE kept_attempts ON COMMIT DROP AS SELECT a.* FROM attempts_{n} a \
         JOIN kept_deliveries d ON d.tenant = a.tenant AND d.id = a.delivery; \
         CREATE TEMP TABLE kept_payload ON COMMIT DROP AS SELECT p.* FROM payload_{n} p \
         JOIN (SELECT * FROM kept UNION ALL SELECT * FROM kept_events) k ON k.tenant = p.tenant AND k.id = p.id; \
         CREATE TEMP TABLE gone_numbers ON COMMIT DROP AS SELECT d.endpoint, max(d.sequence) AS n FROM deliveries_{n} d \
         LEFT JOIN kept_events k ON k.tenant = d.tenant AND k.id = d.event \
         WHERE d.sequence IS NOT NULL AND k.id IS NULL GROUP BY d.endpoint",
        tables = range.tables(),
    )
}

/// The rest, in a moment: the parents' locks are held from the drop on.
fn dropped(range: &Range) -> String {
    let (n, tables) = (range.n, range.tables());
    format!(
        "SET LOCAL lock_timeout = '100ms'; DROP TABLE {tables}; \
         INSERT INTO jobs SELECT * FROM kept_jobs; INSERT INTO events SELECT * FROM kept_whole_events; \
         INSERT INTO deliveries SELECT * FROM kept_deliveries; INSERT INTO attempts SELECT * FROM kept_attempts; \
         INSERT INTO payload SELECT * FROM kept_payload; \
         DELETE FROM tombstones t USING kept k WHERE t.tenant = k.tenant AND t.id = k.id; \
         DELETE FROM history_ranges WHERE n = {n}; \
         WITH l AS MATERIALIZED (SELECT endpoint FROM endpoint_sequence WHERE endpoint IN (SELECT endpoint FROM gone_numbers) \
         ORDER BY endpoint FOR UPDATE) UPDATE endpoint_sequence s SET pruned = GREATEST(s.pruned, g.n) \
         FROM l JOIN gone_numbers g ON g.endpoint = l.endpoint WHERE s.endpoint = l.endpoint"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3_600;

    fn day(n: u64) -> Timestamp {
        Timestamp::default() + Duration::from_secs(n * DAY)
    }

    fn days(n: u64) -> Duration {
        Duration::from_secs(n * DAY)
    }

    fn range(n: i64, from: u64, to: u64, buried: bool) -> Range {
        Range { n, from: day(from), to: day(to), buried }
    }

    #[test]
    fn ranges_are_made_ahead_and_go_when_all_of_them_is_old() {
        let (one, two) = (range(1, 0, 3, false), range(2, 3, 6, false));
        let soon = |now| day(now) + LEAD;
        let make = |range| vec![Step::Prepare(range), Step::Attach(range)];
        let first = |now, n| make(Range { n, from: soon(now), to: soon(now) + days(3), buried: false });
        let buried = range(1, 0, 3, true);
        for (ranges, kept, now, expected) in [
            (vec![], 30, 0, first(0, 1)),
            (vec![], 1, 0, vec![]),
            (vec![one], 30, 0, make(two)),
            (vec![one, two], 30, 2, vec![]),
            (vec![one, two], 30, 3, make(range(3, 6, 9, false))),
            // Nobody was there for a while.
            (vec![one, two], 30, 20, first(20, 3)),
            (vec![one, range(2, 3, 36, false)], 30, 32, vec![]),
            (vec![one, range(2, 3, 38, false)], 30, 33, vec![Step::Bury(one), Step::Drop(buried)]),
            (vec![buried, range(2, 3, 38, false)], 30, 33, vec![Step::Drop(buried)]),
            // Kept for less since: what there is goes, nothing is made.
            (vec![one, two], 1, 3, vec![]),
            (vec![one, two], 1, 4, vec![Step::Bury(one), Step::Drop(buried)]),
        ] {
            assert_eq!(due(&ranges, days(kept), day(now)), expected, "{ranges:?} {kept} {now}");
        }
    }

    #[test]
    fn steps_take_what_no_range_takes_with_it() {
        let (one, two) = (range(1, 10, 13, true), range(2, 13, 16, false));
        for (ranges, kept, now, expected) in [
            (vec![], 30, 40, None),
            (vec![one, two], 30, 40, Some(day(10))),
            (vec![one, two], 30, 45, Some(day(10))),
            (vec![one, two], 30, 46, Some(day(13))),
            (vec![one, two], 30, 49, None),
            (vec![one, two], 1, 12, None),
        ] {
            assert_eq!(by_steps_before(&ranges, days(kept), day(now)), expected, "{kept} {now}");
        }
    }
}
