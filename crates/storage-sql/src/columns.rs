//! Columns by index, on both engines' rows: integers, text, bytes and their options, and nothing else.

use std::fmt::Display;

use storage::StorageError;

/// A row of either engine. A column that does not hold what is asked for is an error in words.
pub(crate) trait Columns {
    /// An integer of any width.
    fn int_or(&self, column: usize) -> Result<Option<i64>, String>;
    /// Text.
    fn text_or(&self, column: usize) -> Result<Option<&str>, String>;
    /// Bytes.
    fn bytes_or(&self, column: usize) -> Result<Option<&[u8]>, String>;
}

/// A row being read: what its errors name.
pub(crate) struct Reading<'r, R> {
    row: &'r R,
    table: &'static str,
    /// What the statement selects, as it says it; looked into only for an error.
    list: &'static str,
    /// Which column is the row's id.
    id: usize,
}

impl<'r, R: Columns> Reading<'r, R> {
    pub(crate) fn new(row: &'r R, table: &'static str, list: &'static str, id: usize) -> Self {
        Self { row, table, list, id }
    }

    /// The error that names table, column and id.
    pub(crate) fn bad(&self, column: usize, detail: impl Display) -> StorageError {
        let id = match self.row.bytes_or(self.id) {
            Ok(Some(bytes)) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            _ => "an unreadable id".to_owned(),
        };
        let column = self.list.split(", ").nth(column).unwrap_or("a column beyond the list");
        StorageError::BadRow { table: self.table, column, id, detail: detail.to_string() }
    }

    fn there<T>(&self, column: usize, value: Result<Option<T>, String>) -> Result<T, StorageError> {
        value.map_err(|detail| self.bad(column, detail))?.ok_or_else(|| self.bad(column, "null"))
    }

    pub(crate) fn int(&self, column: usize) -> Result<i64, StorageError> {
        self.there(column, self.row.int_or(column))
    }

    pub(crate) fn int_or(&self, column: usize) -> Result<Option<i64>, StorageError> {
        self.row.int_or(column).map_err(|detail| self.bad(column, detail))
    }

    /// A number that fits `T`.
    pub(crate) fn number<T: TryFrom<i64>>(&self, column: usize) -> Result<T, StorageError> {
        let value = self.int(column)?;
        T::try_from(value).map_err(|_| self.bad(column, format_args!("{value} is out of range")))
    }

    pub(crate) fn text(&self, column: usize) -> Result<&'r str, StorageError> {
        self.there(column, self.row.text_or(column))
    }

    pub(crate) fn text_or(&self, column: usize) -> Result<Option<&'r str>, StorageError> {
        self.row.text_or(column).map_err(|detail| self.bad(column, detail))
    }

    pub(crate) fn bytes(&self, column: usize) -> Result<&'r [u8], StorageError> {
        self.there(column, self.row.bytes_or(column))
    }

    pub(crate) fn bytes_or(&self, column: usize) -> Result<Option<&'r [u8]>, StorageError> {
        self.row.bytes_or(column).map_err(|detail| self.bad(column, detail))
    }

    /// Exactly `N` bytes.
    pub(crate) fn array<const N: usize>(&self, column: usize) -> Result<[u8; N], StorageError> {
        let bytes = self.bytes(column)?;
        bytes.try_into().map_err(|_| self.bad(column, format_args!("{} bytes instead of {N}", bytes.len())))
    }

    /// An id.
    pub(crate) fn id<T>(&self, column: usize, make: fn(u128) -> T) -> Result<T, StorageError> {
        self.array(column).map(|bytes| make(u128::from_be_bytes(bytes)))
    }

    /// A word stored as its code.
    pub(crate) fn word<T>(&self, column: usize, make: fn(i64) -> Option<T>) -> Result<T, StorageError> {
        let code = self.int(column)?;
        make(code).ok_or_else(|| self.bad(column, format_args!("unknown code {code}")))
    }
}
