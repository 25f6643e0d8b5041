//! A JSON object as the server sent it: its members in their order, each with the text it had.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::table::Table;
use crate::commands::{failure::Failure, json_text::compact};

/// An object whose members nobody has to know.
pub(crate) struct Document(Vec<(String, Box<RawValue>)>);

impl Document {
    pub(crate) fn read(json: &str) -> Result<Self, Failure> {
        serde_json::from_str(json).map_err(|error| {
            Failure::failed(format!(
                "the answer is not what a Ringback server sends ({error}). Is --url right?"
            ))
        })
    }

    /// A member's JSON text; `null` for one that is not there.
    pub(crate) fn raw(&self, name: &str) -> &str {
        self.0.iter().find(|(given, _)| given == name).map_or("null", |(_, value)| value.get())
    }

    /// A member for people.
    pub(crate) fn cell(&self, name: &str) -> String {
        cell(self.raw(name))
    }

    /// A member that is an object.
    pub(crate) fn object(&self, name: &str) -> Option<Document> {
        serde_json::from_str(self.raw(name)).ok()
    }

    /// A member that is a list of objects.
    pub(crate) fn objects(&self, name: &str) -> Vec<Document> {
        serde_json::from_str(self.raw(name)).unwrap_or_default()
    }

    /// A line for each member that says something, without those in `but`.
    pub(crate) fn lines(&self, but: &[&str]) -> Table {
        let mut table = Table::default();
        for (name, value) in &self.0 {
            let shown = cell(value.get());
            if !but.contains(&name.as_str()) && !matches!(shown.as_str(), "" | "[]" | "{}") {
                table.row([name.clone(), shown]);
            }
        }
        table
    }
}

/// A value for people: text without quotes, nothing for null, all else as JSON on one line.
fn cell(json: &str) -> String {
    match serde_json::from_str::<Option<String>>(json) {
        Ok(text) => text.unwrap_or_default(),
        Err(_) => compact(json),
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Document;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Document, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Document(members))
            }
        }
        d.deserialize_map(Members)
    }
}
