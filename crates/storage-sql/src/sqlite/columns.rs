//! SQLite's rows as [`Columns`].

use rusqlite::{Row, types::ValueRef};

use crate::columns::Columns;

fn value<'r>(row: &'r Row<'_>, column: usize) -> Result<ValueRef<'r>, String> {
    row.get_ref(column).map_err(|error| error.to_string())
}

impl Columns for Row<'_> {
    fn int_or(&self, column: usize) -> Result<Option<i64>, String> {
        value(self, column)?.as_i64_or_null().map_err(|error| error.to_string())
    }

    fn text_or(&self, column: usize) -> Result<Option<&str>, String> {
        value(self, column)?.as_str_or_null().map_err(|error| error.to_string())
    }

    fn bytes_or(&self, column: usize) -> Result<Option<&[u8]>, String> {
        value(self, column)?.as_blob_or_null().map_err(|error| error.to_string())
    }
}
