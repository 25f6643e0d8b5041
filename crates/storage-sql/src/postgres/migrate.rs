//! The schema of PostgreSQL: applied by `ringback migrate` alone, never by a node that starts, so that many nodes can.
//!
//! Nothing here is prepared, and the lock is a transaction's: it may be a pooler that we speak to.

use std::time::Duration;

use tokio_postgres::{Client, GenericClient, types::Type};

use super::{link::Address, nodes::now};
use crate::{
    OpenError,
    migrate::{APPLIED, Applied, Migration, RECORD, missing, schema_migrations},
};

pub(crate) const MIGRATIONS: &[Migration] = &[Migration {
    name: "one_job",
    sql: include_str!("../../migrations/postgres/0001_one_job.sql"),
    needs: 1,
}];

/// `ringback` in ASCII: whoever migrates holds this lock.
const LOCK: &str = "SELECT pg_advisory_xact_lock(8244241983189640043)";

/// ?1 what a step needs. Live nodes that know less.
const HOLDOUTS: &str = concat!(
    "SELECT id, name, version FROM nodes WHERE knows < $1 AND lease_until > ",
    now!(),
    " ORDER BY id LIMIT 1"
);

/// For connections that have no lease to lose.
const LEASE: Duration = Duration::from_secs(30);

/// Brings a database up to this version's schema; answers with the names of the steps that it applied. Several at once
/// wait for each other.
pub async fn migrate(url: &str) -> Result<Vec<&'static str>, OpenError> {
    apply(url, MIGRATIONS).await
}

/// The same for any list of steps.
pub(crate) async fn apply(url: &str, steps: &[Migration]) -> Result<Vec<&'static str>, OpenError> {
    let mut client = Address::parse(url, LEASE)?.connect().await?;
    let mut names = Vec::new();
    // A step, a transaction: what was applied stays so if a later one cannot be.
    loop {
        let transaction = client.transaction().await?;
        transaction.batch_execute("SET LOCAL client_min_messages = warning").await?;
        transaction.batch_execute(LOCK).await?;
        transaction.batch_execute(schema_migrations!("BYTEA")).await?;
        let left = missing(steps, &applied(&transaction).await?)?;
        let Some((n, step)) = left.first() else {
            transaction.commit().await?;
            return Ok(names);
        };
        nobody_is_left_behind(&transaction, *n, step).await?;
        transaction.batch_execute(step.sql).await?;
        let checksum = step.checksum();
        let record = RECORD.replace('?', "$");
        transaction
            .execute_typed(
                &record,
                &[
                    (n, Type::INT8),
                    (&step.name, Type::TEXT),
                    (&checksum.as_slice(), Type::BYTEA),
                    (&step.needs, Type::INT8),
                ],
            )
            .await?;
        transaction.commit().await?;
        names.push(step.name);
    }
}

/// A step that contracts waits for every node that still needs what it takes away.
async fn nobody_is_left_behind(
    client: &impl GenericClient,
    n: i64,
    step: &Migration,
) -> Result<(), OpenError> {
    if n == 1 {
        return Ok(());
    }
    let behind = client.query_typed(HOLDOUTS, &[(&step.needs, Type::INT8)]).await?;
    match behind.first() {
        None => Ok(()),
        Some(row) => Err(OpenError::Holdout {
            step: step.name,
            node: row.get(0),
            name: row.get(1),
            version: row.get(2),
        }),
    }
}

/// What [`migrate`] would run.
pub async fn pending_sql(url: &str) -> Result<String, OpenError> {
    let client = Address::parse(url, LEASE)?.connect().await?;
    let left = missing(MIGRATIONS, &known_to(&client).await?)?;
    Ok(left.into_iter().map(|(n, step)| script(n, step)).collect())
}

fn script(n: i64, step: &Migration) -> String {
    let Migration { name, sql, needs } = step;
    let checksum: String = step.checksum().iter().map(|byte| format!("{byte:02x}")).collect();
    let table = schema_migrations!("BYTEA");
    format!(
        "-- {n}: {name}\nBEGIN;\n{LOCK};\n{table};\n{sql}\nINSERT INTO schema_migrations (n, name, checksum, needs) \
         VALUES ({n}, '{name}', '\\x{checksum}', {needs});\nCOMMIT;\n"
    )
}

async fn applied(client: &impl GenericClient) -> Result<Vec<Applied>, OpenError> {
    let rows = client.query_typed(APPLIED, &[]).await?;
    Ok(rows.iter().map(|row| Applied { n: row.get(0), checksum: row.get(1), needs: row.get(2) }).collect())
}

pub(crate) async fn known_to(client: &Client) -> Result<Vec<Applied>, OpenError> {
    let there = "SELECT to_regclass('schema_migrations') IS NOT NULL";
    let there = client.query_typed(there, &[]).await?.first().is_some_and(|row| row.get(0));
    if there { applied(client).await } else { Ok(Vec::new()) }
}

/// Whether the database is one for this version.
pub(crate) async fn check(client: &Client) -> Result<(), OpenError> {
    match missing(MIGRATIONS, &known_to(client).await?)?.len() {
        0 => Ok(()),
        behind => Err(OpenError::Behind { steps: behind }),
    }
}
