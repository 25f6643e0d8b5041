//! Nodes and their leases, which the database's clock alone judges.

use std::time::Duration;

use domain::{fleet::Holds, lease::Fence, time::Timestamp};
use storage::{Drained, NodeRow, Renewed, Roster, Shared, StorageError};
use tokio_postgres::Row;

use super::{
    fault::Fault,
    line::Verb,
    migrate::MIGRATIONS,
    transaction::{Transaction, nothing},
};
use crate::{
    copy::{IS_UNFINISHED, UNFINISHED},
    effects::Effects,
};

/// The database's clock, in microseconds.
macro_rules! now {
    () => {
        "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"
    };
}
pub(crate) use now;

/// Whoever listens renews its lease at once, and so hears who came, left or is to drain.
const TELL_FLEET: &str = r#"SELECT pg_notify('ringback', '{"fleet":true}')"#;

/// ?1 node. Waits for what this node began before it lost its lease: from now on none of that is committed.
const BEGIN_ANEW: &str = "SELECT 1 FROM fences WHERE node = $1 FOR UPDATE";

/// ?1 lease, ?2 node or null for one that was never here, ?3 epoch, ?4 name, ?5 version, ?6 steps of the schema.
const JOIN: &str = concat!(
    "INSERT INTO nodes (id, epoch, lease_until, name, version, knows, started_at, takes, holds) \
     SELECT COALESCE($2, nextval('node_ids')), $3, n.now + $1, $4, $5, $6, n.now, 1, '{}' FROM (SELECT ",
    now!(),
    " AS now) n ON CONFLICT (id) DO UPDATE SET epoch = GREATEST(nodes.epoch + 1, EXCLUDED.epoch), \
     lease_until = EXCLUDED.lease_until, takes = 1, holds = '{}' RETURNING id, epoch"
);

/// ?1 node, ?2 epoch.
const STAND_ANEW: &str = "INSERT INTO fences (node, epoch) VALUES ($1, $2) \
     ON CONFLICT (node) DO UPDATE SET epoch = EXCLUDED.epoch";

/// What [`read`] reads.
macro_rules! node_columns {
    () => {
        "c.now, f.version, n.id, n.epoch, n.name, n.version, n.started_at, n.lease_until, n.takes, n.drain_at, n.holds"
    };
}

/// ?1 node, ?2 epoch, ?3 lease, ?4 takes. Answers with everybody as before, and first whether it was renewed. One
/// statement, which is its own transaction: an idle node does little else.
const EXTEND: &str = concat!(
    "WITH c AS MATERIALIZED (SELECT ",
    now!(),
    " AS now), me AS (UPDATE nodes SET lease_until = c.now + $3, takes = $4 FROM c WHERE id = $1 AND epoch = $2 \
     AND lease_until > c.now RETURNING id) SELECT ",
    node_columns!(),
    ", (SELECT count(*) FROM me) FROM c CROSS JOIN fleet f CROSS JOIN nodes n ORDER BY n.id"
);

/// Everybody.
pub(crate) const ROSTER: &str = concat!(
    "SELECT ",
    node_columns!(),
    " FROM (SELECT ",
    now!(),
    " AS now) c CROSS JOIN fleet f LEFT JOIN nodes n ON true ORDER BY n.id"
);

/// ?1 node, ?2 epoch, ?3 holds, ?4 version. Answers with whether the version was so, and whether the lease was not over.
const SHARE: &str = concat!(
    "WITH f AS (UPDATE fleet SET version = version + 1 WHERE version = $4 RETURNING 1), \
     n AS (UPDATE nodes SET holds = $3 WHERE id = $1 AND epoch = $2 AND lease_until > ",
    now!(),
    " AND EXISTS (SELECT 1 FROM f) RETURNING 1) SELECT (SELECT count(*) FROM f), (SELECT count(*) FROM n)"
);

/// ?1 node.
const DRAIN: &str = concat!(
    "UPDATE nodes SET drain_at = COALESCE(drain_at, ",
    now!(),
    ") WHERE id = $1 AND lease_until > ",
    now!()
);

/// ?1 node, ?2 epoch.
const LEAVE: &str = "UPDATE nodes SET lease_until = 0 WHERE id = $1 AND epoch = $2";

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX / 4)
}

/// Everybody, of rows with [`node_columns`].
pub(crate) fn read(rows: &[Row]) -> Result<Roster, Fault> {
    let first = rows.first().ok_or_else(|| StorageError::refused("the table `fleet` has no row"))?;
    let (now, version) = (Timestamp::from_micros(first.try_get(0)?), first.try_get(1)?);
    // No node at all is one row without one.
    let nodes = rows.iter().filter(|row| !matches!(row.try_get::<_, Option<i64>>(2), Ok(None)));
    Ok(Roster { now, version, nodes: nodes.map(node).collect::<Result<_, _>>()? })
}

fn node(row: &Row) -> Result<NodeRow, Fault> {
    let id: i64 = row.try_get(2)?;
    let bad = |error: serde_json::Error| StorageError::BadRow {
        table: "nodes",
        column: "holds",
        id: id.to_string(),
        detail: error.to_string(),
    };
    Ok(NodeRow {
        fence: Fence { node: id, epoch: row.try_get(3)? },
        name: row.try_get(4)?,
        version: row.try_get(5)?,
        started_at: Timestamp::from_micros(row.try_get(6)?),
        lease_until: Timestamp::from_micros(row.try_get(7)?),
        takes: row.try_get::<_, i64>(8)? != 0,
        drain_at: row.try_get::<_, Option<i64>>(9)?.map(Timestamp::from_micros),
        holds: serde_json::from_str(row.try_get(10)?).map_err(bad)?,
    })
}

/// Who joins.
pub(crate) struct Joining {
    pub(crate) lease: Duration,
    pub(crate) name: String,
    pub(crate) version: String,
}

pub(crate) struct Joins;

impl Verb for Joins {
    type Command = Joining;
    type Answer = Fence;
    const STATEMENTS: &'static [&'static str] = &[BEGIN_ANEW, JOIN, STAND_ANEW, IS_UNFINISHED, TELL_FLEET];

    async fn write(
        tx: &Transaction<'_>,
        effects: &mut Effects,
        commands: &[Joining],
    ) -> Result<Vec<Fence>, Fault> {
        let mut answers = Vec::with_capacity(1);
        for Joining { lease, name, version } in commands {
            let earlier = tx.fence().ok();
            let (node, epoch) = (earlier.map(|fence| fence.node), earlier.map_or(1, |fence| fence.epoch + 1));
            let (lease, knows) = (micros(*lease), MIGRATIONS.len() as i64);
            let join = async {
                if let Some(node) = node {
                    tx.rows(BEGIN_ANEW, &[&node]).await?;
                }
                tx.row(JOIN, &[&lease, &node, &epoch, name, version, &knows]).await
            };
            let row = tx.begin(join).await?;
            let row = row.ok_or_else(|| StorageError::refused("the node's row was not made"))?;
            let fence = Fence { node: row.try_get(0)?, epoch: row.try_get(1)? };
            tx.execute(STAND_ANEW, &[&fence.node, &fence.epoch]).await?;
            // After this node's row: either the copy that begins sees that, or it is seen here.
            if tx.row(IS_UNFINISHED, &[]).await?.is_some_and(|row| row.get(0)) {
                return Err(StorageError::refused(UNFINISHED).into());
            }
            effects.joined(fence);
            // Until it is known who else is there.
            effects.fleet(2);
            answers.push(fence);
        }
        tx.commit(async { tx.rows(TELL_FLEET, &[]).await }).await?;
        Ok(answers)
    }
}

pub(crate) struct Extends;

impl Verb for Extends {
    type Command = (Duration, bool);
    type Answer = Renewed;
    const STATEMENTS: &'static [&'static str] = &[EXTEND];

    async fn write(
        tx: &Transaction<'_>,
        effects: &mut Effects,
        commands: &[Self::Command],
    ) -> Result<Vec<Renewed>, Fault> {
        let (fence, mut answers) = (tx.fence()?, Vec::with_capacity(1));
        for (lease, takes) in commands {
            let lease = micros(*lease);
            let rows = tx.rows(EXTEND, &[&fence.node, &fence.epoch, &lease, &i64::from(*takes)]).await?;
            let renewed = match rows.first() {
                Some(row) => row.try_get::<_, i64>(11)? == 1,
                None => false,
            };
            if !renewed {
                answers.push(Renewed::LeaseLost);
                continue;
            }
            let mut roster = read(&rows)?;
            // The statement sees this node's row as it was before.
            for row in roster.nodes.iter_mut().filter(|row| row.fence == fence) {
                (row.lease_until, row.takes) = (Timestamp::from_micros(roster.now.micros() + lease), *takes);
            }
            effects.fleet(roster.nodes.len());
            answers.push(Renewed::Done(roster));
        }
        Ok(answers)
    }
}

pub(crate) struct Shares;

impl Verb for Shares {
    type Command = (Holds, i64);
    type Answer = Shared;
    const STATEMENTS: &'static [&'static str] = &[SHARE];

    async fn write(
        tx: &Transaction<'_>,
        _: &mut Effects,
        commands: &[Self::Command],
    ) -> Result<Vec<Shared>, Fault> {
        let (fence, mut answers) = (tx.fence()?, Vec::with_capacity(1));
        for (holds, version) in commands {
            let text = serde_json::to_string(holds).map_err(StorageError::refused)?;
            let share = async { tx.row(SHARE, &[&fence.node, &fence.epoch, &text, version]).await };
            let row = tx.begin(share).await?;
            let row = row.ok_or_else(|| StorageError::refused("taking slots was not answered"))?;
            answers.push(match (row.try_get::<_, i64>(0)?, row.try_get::<_, i64>(1)?) {
                (0, _) => Shared::Raced,
                (_, 0) => Shared::LeaseLost,
                _ => Shared::Done,
            });
        }
        tx.commit(nothing()).await?;
        Ok(answers)
    }
}

pub(crate) struct Drains;

impl Verb for Drains {
    type Command = i64;
    type Answer = Drained;
    const STATEMENTS: &'static [&'static str] = &[DRAIN, TELL_FLEET];

    async fn write(
        tx: &Transaction<'_>,
        effects: &mut Effects,
        commands: &[i64],
    ) -> Result<Vec<Drained>, Fault> {
        let mut answers = Vec::with_capacity(1);
        for node in commands {
            let asked = tx.begin(async { tx.execute(DRAIN, &[node]).await }).await?;
            answers.push(if asked == 1 { Drained::Asked } else { Drained::Missing });
        }
        effects.wake(storage::Wake::FleetChanged);
        tx.commit(async { tx.rows(TELL_FLEET, &[]).await }).await?;
        Ok(answers)
    }
}

pub(crate) struct Leaves;

impl Verb for Leaves {
    type Command = ();
    type Answer = ();
    const STATEMENTS: &'static [&'static str] = &[LEAVE, TELL_FLEET];

    async fn write(tx: &Transaction<'_>, _: &mut Effects, commands: &[()]) -> Result<Vec<()>, Fault> {
        let fence = tx.fence()?;
        tx.begin(async { tx.execute(LEAVE, &[&fence.node, &fence.epoch]).await }).await?;
        tx.commit(async { tx.rows(TELL_FLEET, &[]).await }).await?;
        Ok(commands.to_vec())
    }
}
