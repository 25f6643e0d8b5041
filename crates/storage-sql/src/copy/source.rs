//! The SQLite file that is copied. Nobody else has it meanwhile, and nothing in it is changed.

use std::path::Path;

use rusqlite::{
    Connection, params_from_iter,
    types::{Type, Value, ValueRef},
};
use sha2::{Digest, Sha256};

use super::{
    CopyError, Row, behind,
    tables::{TABLES, Table},
};
use crate::sqlite::{
    lock::Lock,
    open::{MIGRATIONS, applied},
    upkeep::{UpkeepError, ours},
};

/// A page ends with the row that makes it this long, in bytes: a few megabytes are in memory, or one row if that is
/// longer.
const PAGE: usize = 4 << 20;

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Int,
    Text,
    Bytes,
}

pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// A table as the file has it.
pub(super) struct Layout {
    pub(super) table: &'static Table,
    /// Those of the key first, in its order.
    pub(super) columns: Vec<Column>,
    /// How many those are.
    pub(super) key: usize,
    pub(super) rows: u64,
}

impl Layout {
    pub(super) fn key_of<'r>(&self, row: &'r Row) -> &'r [Value] {
        row.get(..self.key).unwrap_or(row)
    }

    /// A row's key for people.
    pub(super) fn id(&self, row: &Row) -> String {
        let part = |value: &Value| match value {
            Value::Integer(number) => number.to_string(),
            Value::Text(text) => text.clone(),
            Value::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            Value::Null | Value::Real(_) => "?".into(),
        };
        self.key_of(row).iter().map(part).collect::<Vec<_>>().join("/")
    }

    /// These columns for a statement of either engine.
    pub(super) fn list(columns: &[Column]) -> String {
        columns.iter().map(|column| format!("\"{}\"", column.name)).collect::<Vec<_>>().join(", ")
    }
}

pub(super) struct Source {
    connection: Connection,
    _lock: Lock,
}

impl Source {
    /// Takes the file for as long as it lives.
    pub(super) fn open(path: &Path) -> Result<Self, CopyError> {
        let connection = ours(path)?;
        let _lock = Lock::take(path).map_err(UpkeepError::from)?;
        connection.execute_batch("PRAGMA query_only = ON").map_err(UpkeepError::from)?;
        let steps = applied(&connection).map_err(UpkeepError::from)?;
        match behind(MIGRATIONS, &steps, "file")? {
            0 => Ok(Self { connection, _lock }),
            steps => Err(CopyError::FileBehind { steps }),
        }
    }

    pub(super) fn layouts(&self) -> Result<Vec<Layout>, CopyError> {
        let all = TABLES.iter().map(|table| layout(&self.connection, table));
        Ok(all.collect::<Result<_, _>>().map_err(UpkeepError::from)?)
    }

    /// What tells this file, as it is now, from every other: whose it is, how often a node ran on it, how much is in it.
    pub(super) fn fingerprint(&self, layouts: &[Layout]) -> Result<Vec<u8>, CopyError> {
        let mut digest = Sha256::new();
        for layout in layouts {
            digest.update(format!("{} {}\n", layout.table.name, layout.rows));
            // A tenant bears a random id and secret; a node's row counts its lives.
            if matches!(layout.table.name, "tenants" | "nodes") {
                for row in self.page(layout, None, u32::MAX)? {
                    digest.update(format!("{row:?}\n"));
                }
            }
        }
        Ok(digest.finalize().to_vec())
    }

    /// The rows behind a key, in the order of keys: at most so many, and none if there are none.
    pub(super) fn page(
        &self,
        layout: &Layout,
        after: Option<&[Value]>,
        most: u32,
    ) -> Result<Vec<Row>, CopyError> {
        Ok(self.read(layout, after, most).map_err(UpkeepError::from)?)
    }

    fn read(&self, layout: &Layout, after: Option<&[Value]>, most: u32) -> rusqlite::Result<Vec<Row>> {
        let (table, columns) = (layout.table.name, Layout::list(&layout.columns));
        let key = Layout::list(&layout.columns[..layout.key]);
        let marks = vec!["?"; layout.key].join(", ");
        let behind = after.map(|_| format!("WHERE ({key}) > ({marks}) ")).unwrap_or_default();
        let sql = format!("SELECT {columns} FROM {table} {behind}ORDER BY {key} LIMIT {most}");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(after.unwrap_or_default()))?;
        let (mut page, mut length) = (Vec::new(), 0);
        while length < PAGE
            && let Some(row) = rows.next()?
        {
            let mut values = Row::with_capacity(layout.columns.len());
            for column in 0..layout.columns.len() {
                let value = row.get_ref(column)?;
                length += size_of::<Value>();
                if let ValueRef::Text(bytes) | ValueRef::Blob(bytes) = value {
                    length += bytes.len();
                }
                values.push(Value::try_from(value)?);
            }
            page.push(values);
        }
        Ok(page)
    }
}

/// How the file has a table.
fn layout(connection: &Connection, table: &'static Table) -> rusqlite::Result<Layout> {
    let mut columns =
        connection.prepare("SELECT name, type, pk FROM pragma_table_info(?1) ORDER BY pk = 0, pk, cid")?;
    let columns = columns.query_map([table.name], |row| {
        let kind = match row.get_ref(1)?.as_str()? {
            "INTEGER" => Kind::Int,
            "TEXT" => Kind::Text,
            "BLOB" => Kind::Bytes,
            other => return Err(rusqlite::Error::InvalidColumnType(1, other.into(), Type::Text)),
        };
        Ok((Column { name: row.get(0)?, kind }, row.get::<_, i64>(2)? > 0))
    })?;
    let mut columns = columns.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut key = columns.iter().filter(|(_, in_key)| *in_key).count();
    if !table.key.is_empty() {
        let place = |column: &Column| table.key.iter().position(|name| *name == column.name);
        columns.sort_by_key(|(column, _)| place(column).unwrap_or(table.key.len()));
        key = table.key.len();
    }
    let count = format!("SELECT count(*) FROM {}", table.name);
    let rows: i64 = connection.query_row(&count, [], |row| row.get(0))?;
    let columns = columns.into_iter().map(|(column, _)| column).collect();
    Ok(Layout { table, columns, key, rows: rows.unsigned_abs() })
}
