//! Every statement is prepared and bound out of order; the plans of the hot ones are what they were measured with.

use rusqlite::Connection;

use super::database;
use crate::{
    access, cold,
    sqlite::{seldom::SELDOM, statements::HOT},
};

fn statements() -> impl Iterator<Item = (&'static str, &'static str)> {
    HOT.iter().chain(SELDOM).chain(cold::ALL).chain(access::ALL).copied()
}

/// `?12` is the twelfth parameter wherever it stands, and all from the first to the last are there.
#[test]
fn parameters_go_by_their_number_whatever_the_order_they_are_bound_in() {
    let (_folder, connection) = database();
    for (name, sql) in statements() {
        let mut statement = connection.prepare(sql).unwrap_or_else(|error| panic!("{name}: {error}"));
        let count = statement.parameter_count();
        for n in (1..=count).rev() {
            assert_eq!(statement.parameter_name(n), Some(&*format!("?{n}")), "{name}");
            statement.raw_bind_parameter(n, 1_000_000 + n as i64).unwrap();
        }
        let expected = (1..=count)
            .rev()
            .fold(sql.to_owned(), |sql, n| sql.replace(&format!("?{n}"), &(1_000_000 + n).to_string()));
        assert_eq!(statement.expanded_sql().unwrap(), expected, "{name}");
    }
}

fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let count = explain.parameter_count();
    for n in 1..=count {
        explain.raw_bind_parameter(n, rusqlite::types::Null).unwrap();
    }
    let mut rows = explain.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        steps.push(row.get(3).unwrap());
    }
    steps
}

fn expect(name: &str, expected: &[&str]) {
    let (_folder, connection) = database();
    let (_, sql) = statements().find(|(known, _)| *known == name).unwrap();
    assert_eq!(plan(&connection, sql), expected, "{name}");
}

/// A claim steps over nothing that is in flight (246 µs against 28 with 10,000 in flight) and sorts nothing.
#[test]
fn claims_walk_the_partial_index() {
    for (name, table, index) in [
        ("due_jobs", "job_queue", "job_queue_due (lane=? AND due_at<?)"),
        ("next_job", "job_queue", "job_queue_due (lane=?)"),
        ("due_deliveries", "delivery_queue", "delivery_queue_due (lane=? AND due_at<?)"),
        ("next_delivery", "delivery_queue", "delivery_queue_due (lane=?)"),
    ] {
        expect(name, &[&format!("SEARCH {table} USING COVERING INDEX {index}")]);
    }
    expect(
        "expired_jobs",
        &["SEARCH job_queue USING COVERING INDEX job_queue_expiry (expires_at>? AND expires_at<?)"],
    );
}

#[test]
fn hot_writes_go_by_primary_keys() {
    for (name, step) in [
        ("hold_job", "SEARCH job_queue USING PRIMARY KEY (id=?)"),
        ("unqueue_job", "SEARCH job_queue USING PRIMARY KEY (id=?)"),
        ("requeue_job", "SEARCH job_queue USING PRIMARY KEY (id=?)"),
        ("end_job", "SEARCH jobs USING INDEX sqlite_autoindex_jobs_1 (tenant=? AND id=?)"),
        ("hold_delivery", "SEARCH delivery_queue USING PRIMARY KEY (id=?)"),
        ("end_sending", "SEARCH delivery_queue USING PRIMARY KEY (id=?)"),
        ("retry_delivery", "SEARCH delivery_queue USING PRIMARY KEY (id=?)"),
        ("end_delivery", "SEARCH deliveries USING PRIMARY KEY (tenant=? AND id=?)"),
        ("end_extra", "SEARCH deliveries USING PRIMARY KEY (tenant=? AND id=?)"),
        ("key", "SEARCH idempotency USING PRIMARY KEY (key=?)"),
    ] {
        expect(name, &[step]);
    }
}

#[test]
fn what_was_claimed_is_read_by_seeks() {
    for name in [
        "held_job",
        "waiting_job",
        "claimed_job",
        "claimed_delivery",
        "JOB",
        "LINKED_JOB",
        "USED_KEY",
        "DELIVERY",
        "RESULT",
        "INPUT",
        "BODY",
        "ATTEMPTS",
    ] {
        let (_folder, connection) = database();
        let (_, sql) = statements().find(|(known, _)| *known == name).unwrap();
        for step in plan(&connection, sql) {
            let by_key = step.starts_with("SEARCH ") && step.contains('=');
            // Whose the job of a signed link is, is not said: each tenant is asked.
            let in_its_row = step.starts_with("CORRELATED SCALAR SUBQUERY");
            assert!(by_key || in_its_row || step.starts_with("SCAN t "), "{name}: {step}");
        }
    }
}

/// Beside whatever else of its lane is out.
#[test]
fn a_probe_is_found_by_a_seek() {
    expect("PROBE_OUT", &["SEARCH delivery_queue USING INDEX delivery_queue_probe (lane=?)"]);
}

/// A page is a walk along one key from where it begins: no sort, whatever the filters.
#[test]
fn lists_sort_nothing() {
    for (name, first) in [
        ("JOBS", "SEARCH j USING INDEX sqlite_autoindex_jobs_1 (tenant=? AND id>? AND id<?)"),
        ("LIVE_JOBS", "SEARCH q USING PRIMARY KEY (id>? AND id<?)"),
        ("DELIVERIES", "SEARCH d USING PRIMARY KEY (tenant=? AND id>? AND id<?)"),
        ("DELIVERIES_OF_JOB", "SEARCH d USING INDEX deliveries_job (tenant=? AND job=? AND id>? AND id<?)"),
        (
            "DELIVERIES_OF_ENDPOINT",
            "SEARCH d USING INDEX deliveries_of_endpoint (tenant=? AND endpoint=? AND id>? AND id<?)",
        ),
    ] {
        let (_folder, connection) = database();
        let (_, sql) = statements().find(|(known, _)| *known == name).unwrap();
        let plan = plan(&connection, sql);
        assert_eq!(plan[0], first, "{name}");
        assert!(plan.iter().all(|step| !step.contains("TEMP B-TREE")), "{name}: {plan:?}");
    }
}

/// One seek a lane, so that a start with a million rows in one lane takes no longer than with one.
#[test]
fn lanes_are_found_by_seeks() {
    for (name, index) in [("JOB_LANES", "job_queue_due"), ("DELIVERY_LANES", "delivery_queue_due")] {
        let (_folder, connection) = database();
        let (_, sql) = statements().find(|(known, _)| *known == name).unwrap();
        let plan = plan(&connection, sql);
        assert!(plan.iter().any(|step| step.contains(&format!("{index} (lane>?)"))), "{plan:?}");
        for step in plan.iter().filter(|step| step.starts_with("SCAN")) {
            // The least lane of all is the index's first entry.
            assert!(
                ["SCAN l", "SCAN CONSTANT ROW"].contains(&&**step) || step.contains(index),
                "{name}: {plan:?}"
            );
        }
    }
}
