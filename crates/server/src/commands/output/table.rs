//! A table for people: columns as wide as they need, two spaces apart, no lines drawn, so that `awk` reads it too.

use std::fmt;

/// Rows of cells; a heading is a row.
#[derive(Default, Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With a heading, shown also above nothing.
    pub(crate) fn headed<'a>(heads: impl IntoIterator<Item = &'a str>) -> Self {
        Self { rows: vec![heads.into_iter().map(str::to_uppercase).collect()] }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| harmless(&cell)).collect());
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (cell, width) in row.iter().zip(&mut widths) {
                *width = cell.chars().count().max(*width);
            }
        }
        widths
    }
}

/// Others chose these texts: nothing in them may move the cursor, ring, or colour the next prompt.
fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                // An empty cell shows as a dash, so that columns can be counted.
                let cell = if cell.is_empty() { "-" } else { cell };
                line.push_str(&format!("{cell:<width$}  "));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need() {
        let mut table = Table::headed(["id", "status"]);
        table.row(["job_1".into(), "succeeded".into()]);
        table.row(["é".into(), String::new()]);
        assert_eq!(table.to_string(), "ID     STATUS\njob_1  succeeded\né      -\n");
        assert_eq!(Table::headed(["a"]).to_string(), "A\n");
        assert_eq!(Table::default().to_string(), "");
    }

    #[test]
    fn nothing_moves_the_cursor() {
        let mut table = Table::default();
        table.row(["a\x1b[31mb\nc\r\u{9b}d".into()]);
        assert_eq!(table.to_string(), "a\\u{1b}[31mb\\nc\\r\\u{9b}d\n");
    }
}
