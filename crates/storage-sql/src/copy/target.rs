//! The PostgreSQL database that is filled. Nothing is prepared, and no setting outlives its transaction: it may be a
//! pooler that we speak to.

use std::time::Duration;

use rusqlite::types::{Value, ValueRef};
use tokio_postgres::{
    Client,
    types::{ToSql, Type},
};

use super::{
    CopyError, Row, behind,
    source::{Column, Kind, Layout},
    tables::SEQUENCES,
};
use crate::{
    OpenError,
    columns::Columns,
    postgres::{
        fault::words,
        link::Address,
        migrate::{MIGRATIONS, known_to},
        nodes::now,
        open::look,
    },
};

/// Whether the database holds half of a copy. Asked of a catalog: nobody else has that table.
pub(crate) const IS_UNFINISHED: &str = "SELECT to_regclass('unfinished_copy') IS NOT NULL";

/// What whoever would run a node on it is told.
pub(crate) const UNFINISHED: &str = "the database holds an unfinished copy of a SQLite file; run the same \
     `ringback storage copy` again, it goes on where it stopped";

/// One row for each table that is copied: of which file, and how many rows of it are here.
const CREATE: &str =
    "CREATE TABLE unfinished_copy (name TEXT PRIMARY KEY, source BYTEA NOT NULL, copied BIGINT NOT NULL)";

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = on";

/// Pages are read by key, also where nothing is known yet of a table that was just filled.
const BEGIN_READING: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL enable_seqscan = off; \
     SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off";

/// A node that joins meanwhile waits, and then finds the table; one that joined before is seen. Nodes renew their lease
/// there: where some run after all, they are not held up for long.
const NOBODY_JOINS: &str = "SET LOCAL lock_timeout = '2s'; LOCK TABLE nodes IN SHARE ROW EXCLUSIVE MODE";

const LIVE_NODES: &str =
    concat!("SELECT id, name FROM nodes WHERE lease_until > ", now!(), " ORDER BY id LIMIT 1");

/// For connections that have no lease to lose.
const LEASE: Duration = Duration::from_secs(30);

/// A parameter and its type.
type Param<'p> = (Box<dyn ToSql + Sync + 'p>, Type);

pub(super) struct Target(Client);

/// Where a copy stands when it begins.
pub(super) enum Begun {
    /// There is nothing left to do.
    Finished,
    /// So many rows of each table are there.
    Copied(Vec<u64>),
}

impl Target {
    /// Connects to a database that has this version's schema.
    pub(super) async fn open(url: &str) -> Result<Self, CopyError> {
        let address = Address::parse(url, LEASE)?;
        let client = address.connect().await.map_err(OpenError::Postgres)?;
        look(&client, false).await?;
        behind(MIGRATIONS, &known_to(&client).await?, "database")?;
        Ok(Self(client))
    }

    async fn run(&self, sql: &str) -> Result<(), CopyError> {
        self.0.batch_execute(sql).await.map_err(|error| CopyError::Postgres(words(&error)))
    }

    async fn rows(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<tokio_postgres::Row>, CopyError> {
        let params: Vec<_> =
            params.iter().map(|(value, of)| (&**value as &(dyn ToSql + Sync), of.clone())).collect();
        self.0.query_typed(sql, &params).await.map_err(|error| CopyError::Postgres(words(&error)))
    }

    async fn holds(&self, sql: &str) -> Result<bool, CopyError> {
        Ok(self.rows(sql, &[]).await?.first().is_some_and(|row| row.get(0)))
    }

    /// Makes sure that this is a place to copy to, and marks it as one where no node runs.
    pub(super) async fn begin(&self, source: &[u8], layouts: &[Layout]) -> Result<Begun, CopyError> {
        // By now nodes may run there.
        if self.holds("SELECT to_regclass('finished_copy') IS NOT NULL").await? {
            self.copied("finished_copy", source, layouts).await?;
            return Ok(Begun::Finished);
        }
        self.run(BEGIN).await?;
        self.run(NOBODY_JOINS).await?;
        if let Some(row) = self.rows(LIVE_NODES, &[]).await?.first() {
            return Err(CopyError::Running { node: row.get(0), name: row.get(1) });
        }
        let begun = if self.holds(IS_UNFINISHED).await? {
            Begun::Copied(self.copied("unfinished_copy", source, layouts).await?)
        } else {
            self.begin_anew(source, layouts).await?;
            Begun::Copied(vec![0; layouts.len()])
        };
        self.run("COMMIT").await?;
        Ok(begun)
    }

    async fn begin_anew(&self, source: &[u8], layouts: &[Layout]) -> Result<(), CopyError> {
        for Layout { table, .. } in layouts {
            if self.holds(&format!("SELECT EXISTS (SELECT 1 FROM {})", table.name)).await? {
                return Err(CopyError::Occupied { table: table.name });
            }
        }
        self.run(CREATE).await?;
        let names: Vec<_> = layouts.iter().map(|layout| layout.table.name).collect();
        let insert = "INSERT INTO unfinished_copy (name, source, copied) SELECT name, $2, 0 FROM UNNEST($1) AS n (name)";
        self.rows(insert, &[(Box::new(names), Type::TEXT_ARRAY), (Box::new(source), Type::BYTEA)]).await?;
        Ok(())
    }

    /// How many rows of each table a copy has. It must be of this very file.
    async fn copied(&self, copy: &str, source: &[u8], layouts: &[Layout]) -> Result<Vec<u64>, CopyError> {
        let rows = self.rows(&format!("SELECT name, source, copied FROM {copy}"), &[]).await?;
        if rows.iter().any(|row| row.get::<_, &[u8]>(1) != source) {
            return Err(CopyError::Other);
        }
        let of = |layout: &Layout| {
            let row = rows.iter().find(|row| row.get::<_, &str>(0) == layout.table.name);
            row.map(|row| row.get::<_, i64>(2).unsigned_abs()).ok_or(CopyError::Other)
        };
        layouts.iter().map(of).collect()
    }

    /// The greatest key of a table: rows come in the order of keys.
    pub(super) async fn greatest(&self, layout: &Layout) -> Result<Option<Row>, CopyError> {
        let key = &layout.columns[..layout.key];
        let last =
            key.iter().map(|column| format!("{} DESC", ordered(column))).collect::<Vec<_>>().join(", ");
        let (table, list) = (layout.table.name, Layout::list(key));
        let rows = self.rows(&format!("SELECT {list} FROM {table} ORDER BY {last} LIMIT 1"), &[]).await?;
        rows.first().map(|row| values(row, key)).transpose()
    }

    /// Writes rows behind the `copied` ones that are there, and that it did.
    pub(super) async fn insert(&self, layout: &Layout, page: &[Row], copied: u64) -> Result<(), CopyError> {
        self.run(BEGIN).await?;
        let Layout { table, columns, .. } = layout;
        let (mut names, mut given) = (Layout::list(columns), "u.*".to_owned());
        for (name, value) in table.beside {
            names.push_str(&format!(", \"{name}\""));
            given.push_str(&format!(", {value}"));
        }
        let marks = (1..=columns.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
        let sql = format!(
            "INSERT INTO {} ({names}) SELECT {given} FROM UNNEST({marks}) AS u ({})",
            table.name,
            Layout::list(columns)
        );
        let params: Vec<_> =
            columns.iter().enumerate().map(|(n, column)| array(page, n, column.kind)).collect();
        self.rows(&sql, &params).await.map_err(|error| refused(layout, page, error))?;
        let count =
            "UPDATE unfinished_copy SET copied = copied + $3 WHERE name = $1 AND copied = $2 RETURNING 1";
        let int = |n: u64| -> Param<'_> { (Box::new(n as i64), Type::INT8) };
        let name: Param<'_> = (Box::new(table.name), Type::TEXT);
        if self.rows(count, &[name, int(copied), int(page.len() as u64)]).await?.is_empty() {
            return Err(CopyError::Twice);
        }
        self.run("COMMIT").await
    }

    /// From now on everything is read as it is at this moment.
    pub(super) async fn begin_reading(&self) -> Result<(), CopyError> {
        self.run(BEGIN_READING).await
    }

    /// The rows behind the key `after` up to the key `last`, in the order of keys: at most one more than `most`.
    pub(super) async fn page(
        &self,
        layout: &Layout,
        after: Option<&[Value]>,
        last: Option<&[Value]>,
        most: usize,
    ) -> Result<Vec<Row>, CopyError> {
        let order = layout.columns[..layout.key].iter().map(ordered).collect::<Vec<_>>().join(", ");
        let (mut bounds, mut params) = (Vec::new(), Vec::new());
        for (key, than) in [(after, ">"), (last, "<=")] {
            let Some(key) = key else { continue };
            let marks = key.iter().map(|value| {
                params.push(scalar(value));
                format!("${}", params.len())
            });
            bounds.push(format!("({order}) {than} ({})", marks.collect::<Vec<_>>().join(", ")));
        }
        let within =
            if bounds.is_empty() { String::new() } else { format!("WHERE {} ", bounds.join(" AND ")) };
        let (list, table) = (Layout::list(&layout.columns), layout.table.name);
        let sql = format!("SELECT {list} FROM {table} {within}ORDER BY {order} LIMIT {}", most + 1);
        self.rows(&sql, &params).await?.iter().map(|row| values(row, &layout.columns)).collect()
    }

    /// The end of [`Self::begin_reading`].
    pub(super) async fn end_reading(&self) -> Result<(), CopyError> {
        self.run("COMMIT").await
    }

    /// Moves what draws numbers past those that were copied, and lets nodes in.
    pub(super) async fn finish(&self) -> Result<(), CopyError> {
        self.run(BEGIN).await?;
        for (sequence, table, column) in SEQUENCES {
            let sql = format!(
                "SELECT setval({sequence}, greatest) FROM (SELECT max({column}) AS greatest FROM {table}) g \
                 WHERE greatest > 0"
            );
            for row in self.rows(&sql, &[]).await? {
                if row.get::<_, Option<i64>>(0).is_none() {
                    return Err(CopyError::Postgres(format!("nothing draws {table}.{column}")));
                }
            }
        }
        // Whoever comes first takes over what they had.
        self.run("INSERT INTO fences (node, epoch) SELECT id, 0 FROM nodes").await?;
        self.run("ALTER TABLE unfinished_copy RENAME TO finished_copy; COMMIT").await
    }
}

/// A column of a key as SQLite sorts it: by bytes.
fn ordered(column: &Column) -> String {
    let collate = if column.kind == Kind::Text { " COLLATE \"C\"" } else { "" };
    format!("\"{}\"{collate}", column.name)
}

/// A value of a key.
fn scalar(value: &Value) -> Param<'static> {
    match value.clone() {
        Value::Text(text) => (Box::new(text), Type::TEXT),
        Value::Blob(bytes) => (Box::new(bytes), Type::BYTEA),
        Value::Integer(number) => (Box::new(number), Type::INT8),
        // No key has one.
        Value::Null | Value::Real(_) => (Box::new(None::<i64>), Type::INT8),
    }
}

/// One column of many rows. A STRICT table has nothing of another type in it; if it had, it would be null here, and the
/// comparison would find it.
fn array(page: &[Row], column: usize, kind: Kind) -> Param<'_> {
    let cells = page.iter().filter_map(|row| row.get(column)).map(ValueRef::from);
    match kind {
        Kind::Int => {
            let all: Vec<_> = cells.map(|cell| cell.as_i64_or_null().ok().flatten()).collect();
            (Box::new(all), Type::INT8_ARRAY)
        }
        Kind::Text => {
            let all: Vec<_> = cells.map(|cell| cell.as_str_or_null().ok().flatten()).collect();
            (Box::new(all), Type::TEXT_ARRAY)
        }
        Kind::Bytes => {
            let all: Vec<_> = cells.map(|cell| cell.as_blob_or_null().ok().flatten()).collect();
            (Box::new(all), Type::BYTEA_ARRAY)
        }
    }
}

/// A row as SQLite would give it.
fn values(row: &tokio_postgres::Row, columns: &[Column]) -> Result<Row, CopyError> {
    let value = |(n, column): (usize, &Column)| {
        let value = match column.kind {
            Kind::Int => row.int_or(n).map(|number| number.map(Value::Integer)),
            Kind::Text => row.text_or(n).map(|text| text.map(|text| Value::Text(text.to_owned()))),
            Kind::Bytes => row.bytes_or(n).map(|bytes| bytes.map(|bytes| Value::Blob(bytes.to_vec()))),
        };
        value.map(|value| value.unwrap_or(Value::Null)).map_err(CopyError::Postgres)
    };
    columns.iter().enumerate().map(value).collect()
}

fn refused(layout: &Layout, page: &[Row], error: CopyError) -> CopyError {
    match (error, page.first(), page.last()) {
        (CopyError::Postgres(detail), Some(first), Some(last)) => CopyError::Refused {
            table: layout.table.name,
            first: layout.id(first),
            last: layout.id(last),
            detail,
        },
        (error, ..) => error,
    }
}
