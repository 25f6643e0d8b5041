//! A job for people.

use crate::commands::output::Document;

/// A line for each member that says something; the links are for programs.
pub(super) fn table(job: &Document) -> String {
    job.lines(&["links"]).to_string()
}

/// One line: what it is doing.
pub(super) fn state(job: &Document) -> String {
    let mut text = format!("{} {}", job.cell("id"), job.cell("status"));
    if job.cell("attempt") != "0" {
        text.push_str(&format!(", attempt {} of {}", job.cell("attempt"), job.cell("max_attempts")));
    }
    let position = job.object("queue").map(|queue| queue.cell("position")).unwrap_or_default();
    if !position.is_empty() {
        text.push_str(&format!(", place {position}"));
    }
    let message = job.object("progress").map(|progress| progress.cell("message")).unwrap_or_default();
    if !message.is_empty() {
        text.push_str(": ");
        text.extend(message.chars().filter(|c| !c.is_control()));
    }
    text
}

/// Why it did not succeed, from its error.
pub(super) fn why(job: &Document) -> String {
    let error = job.object("error");
    let parts =
        ["title", "detail"].map(|name| error.as_ref().map(|error| error.cell(name)).unwrap_or_default());
    let mut text = format!("{} {}", job.cell("id"), job.cell("status"));
    for part in parts.iter().filter(|part| !part.is_empty()) {
        text.push_str(": ");
        text.extend(part.trim_end_matches('.').chars().filter(|c| !c.is_control()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_what_it_does() {
        for (json, state_is, why_is) in [
            (
                r#"{"id":"job_1","status":"queued","attempt":0,"queue":{"position":17},"error":null}"#,
                "job_1 queued, place 17",
                "job_1 queued",
            ),
            (
                r#"{"id":"job_1","status":"running","attempt":2,"max_attempts":3,"progress":{"message":"page\n4"}}"#,
                "job_1 running, attempt 2 of 3: page4",
                "job_1 running",
            ),
            (
                r#"{"id":"job_1","status":"failed","attempt":0,"error":{"title":"The job expired","detail":"It was late."}}"#,
                "job_1 failed",
                "job_1 failed: The job expired: It was late",
            ),
        ] {
            let job = Document::read(json).unwrap();
            assert_eq!(state(&job), state_is);
            assert_eq!(why(&job), why_is);
        }
    }

    #[test]
    fn the_table_shows_what_says_something() {
        let job =
            r#"{"id":"job_1","metadata":{},"result":{"price": 1.10},"error":null,"links":{"self":"/x"}}"#;
        assert_eq!(table(&Document::read(job).unwrap()), "id      job_1\nresult  {\"price\":1.10}\n");
    }
}
