//! Standard output is data, in the form that was asked for; standard error is for people.

mod document;
mod table;

use std::io::{self, IsTerminal, Write};

use clap::{Args, ValueEnum};

pub(crate) use self::{document::Document, table::Table};
use super::{
    failure::Failure,
    json_text::{compact, pretty},
};

/// How data is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document, indented.
    Json,
    /// One JSON document a line.
    Jsonl,
}

/// `-o`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Output {
    /// How to write the data on standard output.
    #[arg(short = 'o', long = "output", value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) format: Format,
}

impl Output {
    /// Prints one object as it came; as a table, a line for each of its members that `table` gives.
    pub(crate) fn object(self, json: &str, table: impl FnOnce(&Document) -> String) -> Result<(), Failure> {
        match self.format {
            Format::Json => line(&pretty(json)),
            Format::Jsonl => line(&compact(json)),
            Format::Table => line(table(&Document::read(json)?).trim_end_matches('\n')),
        }
    }

    /// Prints a list; `next` is the cursor of what follows it.
    pub(crate) fn list(self, items: &[String], next: Option<&str>, columns: Columns) -> Result<(), Failure> {
        match self.format {
            Format::Json => {
                let next = serde_json::Value::from(next);
                line(&pretty(&format!(r#"{{"items":[{}],"next_cursor":{next}}}"#, items.join(","))))
            }
            Format::Jsonl => items.iter().try_for_each(|item| line(&compact(item))),
            Format::Table => {
                let mut table = Table::headed(columns.iter().map(|(head, _)| *head));
                for item in items {
                    let item = Document::read(item)?;
                    table.row(columns.iter().map(|(_, read)| read(&item)));
                }
                bytes(table.to_string().as_bytes())
            }
        }
    }
}

/// A heading, and how its cell is read from an item.
pub(crate) type Columns = &'static [(&'static str, fn(&Document) -> String)];

/// A line of data.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    bytes(format!("{text}\n").as_bytes())
}

/// Data as it is.
pub(crate) fn bytes(data: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(data).and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
}

/// For people: on standard error, so that standard output stays data.
pub(crate) fn say(text: &str) {
    // Without a standard error there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Progress: said only if somebody watches.
pub(crate) fn progress(text: &str) {
    if is_watched() {
        say(text);
    }
}

/// Whether standard error is a terminal.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}
