//! Every statement is prepared, its parameters are all there, and the hot ones seek: a plan that was made while the
//! tables were empty must not scan them once they are full.

use testkit::postgres::Cluster;
use tokio_postgres::{Client, SimpleQueryMessage, types::Type};

use super::database;
use crate::{
    access, cold,
    postgres::{
        attach, claims, endpoints, finish, let_go, line::Verb, link::Address, midway, nodes, ranges,
        reads::for_postgres, report, retention, seldom, settle, submit, takeover, watch,
    },
};

/// Those of the verbs, whose text is PostgreSQL's own.
fn hot() -> Vec<String> {
    [
        submit::Submissions::STATEMENTS,
        claims::ClaimJobs::STATEMENTS,
        claims::ClaimExpired::STATEMENTS,
        claims::ClaimDeliveries::STATEMENTS,
        finish::Finishes::STATEMENTS,
        midway::Requeues::STATEMENTS,
        midway::Announcements::STATEMENTS,
        report::Reports::STATEMENTS,
        settle::Settlements::STATEMENTS,
        seldom::Cancels::STATEMENTS,
        seldom::BringForward::STATEMENTS,
        seldom::Resends::STATEMENTS,
        attach::Attaches::STATEMENTS,
        let_go::LettingGo::STATEMENTS,
        retention::Prunes::STATEMENTS,
        retention::Forgets::STATEMENTS,
        nodes::Extends::STATEMENTS,
    ]
    .concat()
    .into_iter()
    .map(for_postgres)
    .collect()
}

fn seldom() -> Vec<&'static str> {
    [
        endpoints::Commands::STATEMENTS,
        seldom::Pauses::STATEMENTS,
        nodes::Joins::STATEMENTS,
        nodes::Shares::STATEMENTS,
        nodes::Drains::STATEMENTS,
        nodes::Leaves::STATEMENTS,
        takeover::Takeovers::STATEMENTS,
        takeover::GiveBacks::STATEMENTS,
        &[nodes::ROSTER, ranges::RANGES, watch::CANCELS, watch::AWAITED, watch::TELL],
    ]
    .concat()
}

async fn client() -> Client {
    let url = database(Cluster::shared()).await;
    Address::parse(&url, super::LEASE).unwrap().reading().await.unwrap()
}

/// The highest parameter, if every one below it is there too.
fn parameters(sql: &str) -> usize {
    let count = (1..).take_while(|n| sql.contains(&format!("${n}"))).count();
    assert!(!sql.contains(&format!("${}", count + 2)), "a parameter is skipped: {sql}");
    count
}

#[tokio::test]
async fn every_statement_is_prepared_with_all_its_parameters() {
    let client = client().await;
    let cold = cold::ALL.iter().chain(access::ALL).map(|(_, sql)| for_postgres(sql));
    for sql in hot().into_iter().chain(seldom().into_iter().map(for_postgres)).chain(cold) {
        let statement = client.prepare(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(statement.params().len(), parameters(&sql), "{sql}");
    }
}

/// `$12` is the twelfth parameter wherever it stands: what is bound by number comes back under its number.
#[tokio::test]
async fn parameters_go_by_their_number_whatever_their_order_in_the_text() {
    let client = client().await;
    for (_, sql) in cold::ALL.iter().chain(access::ALL) {
        let sql = for_postgres(sql);
        let mut numbers: Vec<usize> = sql
            .split('$')
            .skip(1)
            .map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap())
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>(), "{sql}");
    }
    let row = client
        .query_one(
            &for_postgres(
                "SELECT CAST(?2 AS BIGINT), CAST(?12 AS BIGINT), CAST(?1 AS BIGINT), ?3, ?4, ?5, ?6, \
            ?7, ?8, ?9, ?10, ?11",
            ),
            &[&1_i64, &2_i64, &"", &"", &"", &"", &"", &"", &"", &"", &"", &12_i64],
        )
        .await
        .unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i64>(2)), (2, 12, 1));
}

/// The plan for any parameters: one made for NULLs would leave out what they rule out.
async fn plan(client: &Client, sql: &str) -> String {
    client.batch_execute("SET plan_cache_mode = force_generic_plan").await.unwrap();
    let nulls = vec!["NULL"; parameters(sql)].join(", ");
    let execute = if nulls.is_empty() { "EXECUTE p".to_owned() } else { format!("EXECUTE p ({nulls})") };
    explain(client, sql, &execute).await
}

async fn explain(client: &Client, sql: &str, execute: &str) -> String {
    let explain = format!("PREPARE p AS {sql}; EXPLAIN (COSTS OFF) {execute}; DEALLOCATE p");
    let lines = client.simple_query(&explain).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let text = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    lines.iter().filter_map(text).collect::<Vec<_>>().join("\n")
}

/// The plan for parameters that could be.
pub(super) async fn plan_for_samples(client: &Client, sql: &str) -> String {
    let statement = client.prepare(sql).await.unwrap();
    let values: Vec<_> = statement.params().iter().map(sample).collect();
    let execute =
        if values.is_empty() { "EXECUTE p".into() } else { format!("EXECUTE p ({})", values.join(", ")) };
    explain(client, sql, &execute).await
}

/// What a parameter of this type may be.
fn sample(kind: &Type) -> &'static str {
    match *kind {
        Type::BYTEA_ARRAY => "ARRAY['\\x01', '\\x02']::bytea[]",
        Type::INT8_ARRAY => "ARRAY[1, 2]::bigint[]",
        Type::TEXT_ARRAY => "ARRAY['a', 'b']",
        Type::BYTEA => "'\\x01'::bytea",
        Type::TEXT => "'a'",
        _ => "1",
    }
}

/// For this batch alone, and as it is kept.
pub(super) const MODES: [&str; 2] =
    ["SET plan_cache_mode = force_custom_plan", "SET plan_cache_mode = force_generic_plan"];

/// A queue that was empty when statistics were taken, and filled up since.
const FILLED_UP: &str = "ANALYZE; INSERT INTO job_queue (id, tenant, lane, due_at, attempt) \
     SELECT decode(md5(n::text), 'hex'), 1, 16, n, 0 FROM generate_series(1, 30000) n; \
     INSERT INTO delivery_queue (id, tenant, lane, due_at, attempt, steps, since, succeeded, trigger) \
     SELECT decode(md5(n::text), 'hex'), 1, 16, n, 0, 0, 0, 0, 0 FROM generate_series(1, 30000) n";

/// A queue of which statistics know that next to nothing is in it, and which a transaction of somebody else's has filled with
/// what was deleted.
const GONE: &str = "DELETE FROM job_queue WHERE due_at > 1; DELETE FROM delivery_queue WHERE due_at > 1";

#[tokio::test]
async fn queues_are_sought_whatever_statistics_say() {
    let url = database(Cluster::shared()).await;
    let held = Address::parse(&url, super::LEASE).unwrap().connect().await.unwrap();
    held.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM tenants").await.unwrap();
    let client = Address::parse(&url, super::LEASE).unwrap().reading().await.unwrap();
    for state in [FILLED_UP, GONE] {
        Cluster::shared().sql(super::name(&url), state);
        if state == GONE {
            Cluster::shared().sql(super::name(&url), "VACUUM ANALYZE job_queue, delivery_queue");
        }
        for (mode, sql) in MODES.iter().flat_map(|mode| hot().into_iter().map(move |sql| (mode, sql))) {
            client.batch_execute(mode).await.unwrap();
            let plan = plan_for_samples(&client, &sql).await;
            let lines: Vec<&str> = plan.lines().collect();
            for (line, next) in lines.iter().zip(&lines[1..]) {
                let queue = line.contains("_queue q")
                    || line.contains("on job_queue")
                    || line.contains("on delivery_queue");
                let by_key = line.contains("_pkey") && queue;
                assert!(!by_key || next.contains("Index Cond"), "{mode} {state}\n{sql}\n{plan}");
            }
        }
    }
}

/// Thirty thousand rows in each table of history of which no statistics know, as after a busy quarter of a minute.
const BUSY: &str = "CREATE TABLE ids AS SELECT decode(lpad(to_hex(n), 12, '0') || right(md5(n::text), 20), 'hex') AS id, n \
     FROM generate_series(1, 30000) n; \
     INSERT INTO jobs (tenant, id, task, status, attempt, max_attempts, priority, timeout_us, created_at, result_shown, \
     metadata, callbacks) SELECT 1, id, 't', 0, 1, 3, 0, 1, n, 0, '{}', '[]' FROM ids; \
     INSERT INTO events (tenant, id, kind, created_at, job, body) SELECT 1, id, 1, n, id, '{}' FROM ids; \
     INSERT INTO deliveries (tenant, id, event, kind, job, lane, created_at, status, attempts, url) \
     SELECT 1, id, id, 1, id, 16, n, 1, 1, 'u' FROM ids; \
     INSERT INTO job_queue (id, tenant, lane, due_at, attempt) SELECT id, 1, 16, n, 0 FROM ids; \
     INSERT INTO delivery_queue (id, tenant, lane, due_at, attempt, steps, since, succeeded, trigger, job) \
     SELECT id, 1, 16, n, 0, 0, 0, 0, 0, id FROM ids";

/// A span of ids is there to choose a partition by. Whoever walked over it instead would pass each of its rows for each of
/// the batch's (1.2 s of the database's for a batch, seen).
#[tokio::test]
async fn a_batch_is_joined_by_key_however_wide_its_span() {
    let url = database(Cluster::shared()).await;
    let some =
        "SELECT string_agg(format('%L', id), ',') FROM (SELECT id FROM ids ORDER BY n % 60, n LIMIT 500) i";
    for (change, mode) in [(BUSY, MODES[0]), ("", MODES[1]), ("ANALYZE", MODES[0]), ("", MODES[1])] {
        Cluster::shared().sql(super::name(&url), change);
        let ids = Cluster::shared().sql(super::name(&url), some);
        let client = Address::parse(&url, super::LEASE).unwrap().reading().await.unwrap();
        client.batch_execute(mode).await.unwrap();
        let hot = [
            claims::ClaimJobs::STATEMENTS,
            claims::ClaimDeliveries::STATEMENTS,
            finish::Finishes::STATEMENTS,
            midway::Requeues::STATEMENTS,
            settle::Settlements::STATEMENTS,
            retention::Prunes::STATEMENTS,
        ];
        for sql in hot.concat() {
            let sql = for_postgres(sql);
            let statement = client.prepare(&sql).await.unwrap();
            let mut scalars = ["'\\x00'::bytea", "'\\xff'::bytea"].into_iter().cycle();
            let numbers = format!("ARRAY[{}]::bigint[]", vec!["1"; 500].join(","));
            let values: Vec<String> = statement
                .params()
                .iter()
                .map(|kind| match *kind {
                    Type::BYTEA_ARRAY => format!("ARRAY[{}]::bytea[]", ids.trim()),
                    Type::INT8_ARRAY => numbers.clone(),
                    Type::BYTEA => scalars.next().unwrap_or_default().to_owned(),
                    _ => sample(kind).to_owned(),
                })
                .collect();
            let execute = match values.is_empty() {
                true => "EXECUTE p".to_owned(),
                false => format!("EXECUTE p ({})", values.join(", ")),
            };
            let plan = explain(&client, &sql, &execute).await;
            let lines: Vec<&str> = plan.lines().collect();
            let full = ["jobs_rest", "events_rest", "deliveries_rest"];
            for (n, line) in lines.iter().enumerate().filter(|(_, line)| line.contains("Scan")) {
                // The heap of a bitmap says nothing that its index does not.
                if line.contains("Bitmap Heap") || !full.iter().any(|table| line.contains(table)) {
                    continue;
                }
                let cond = lines.get(n + 1).copied().unwrap_or_default();
                assert!(
                    ["(id = ", "(job = "].iter().any(|key| cond.contains(key)),
                    "{line}\n{cond}\n{sql}\n{plan}"
                );
            }
        }
    }
}

/// A million rows in each table of history, in ten ranges; none has anything beside its row.
const A_MILLION: &str = "DO $$ DECLARE t text; n int; BEGIN \
     FOREACH t IN ARRAY ARRAY['jobs', 'events', 'deliveries', 'attempts', 'payload'] LOOP FOR n IN 0..9 LOOP \
     EXECUTE format('CREATE TABLE %s_%s PARTITION OF %s FOR VALUES FROM (%L::bytea) TO (%L::bytea)', t, n + 1, t, \
     '\\x0' || n, '\\x0' || to_hex(n + 1)); END LOOP; END LOOP; END $$; \
     CREATE TEMP TABLE ids AS SELECT decode('0' || n % 10 || right(md5(n::text), 30), 'hex') AS id, n \
     FROM generate_series(1, 1000000) n; \
     INSERT INTO jobs (tenant, id, task, status, attempt, max_attempts, priority, timeout_us, created_at, finished_at, \
     result_shown, metadata, callbacks) SELECT 1, id, 't', 2, 1, 3, 0, 1, n, n, 0, '{}', '[]' FROM ids; \
     INSERT INTO events (tenant, id, kind, created_at, job, body) SELECT 1, id, 1, n, id, '{}' FROM ids; \
     INSERT INTO deliveries (tenant, id, event, kind, job, lane, created_at, status, attempts, url) \
     SELECT 1, id, id, 1, id, 16, n, 1, 1, 'u' FROM ids; \
     INSERT INTO attempts (tenant, delivery, number, trigger, started_at, ended_at, outcome, timings) \
     SELECT 1, id, 1, 0, n, n, 0, '{}' FROM ids; \
     INSERT INTO idempotency (key, fingerprint, tenant, job, created_at) SELECT id, id, 1, id, n FROM ids";

/// `cargo test --workspace --lib million -- --ignored`
#[tokio::test]
#[ignore = "it takes minutes to write a million rows of history"]
async fn everything_seeks_beside_a_million_rows_of_history() {
    let url = database(Cluster::shared()).await;
    Cluster::shared().sql(super::name(&url), A_MILLION);
    Cluster::shared().sql(super::name(&url), "ANALYZE");
    Cluster::shared().sql(super::name(&url), FILLED_UP);
    let client = Address::parse(&url, super::LEASE).unwrap().reading().await.unwrap();
    let cold = cold::ALL.iter().filter(|(name, _)| !WALKS.contains(name)).map(|(_, sql)| for_postgres(sql));
    for sql in hot().into_iter().chain(cold) {
        let plan = plan_for_samples(&client, &sql).await;
        let history = ["jobs", "events", "deliveries", "attempts", "idempotency"];
        let lines: Vec<&str> = plan.lines().collect();
        for (n, line) in lines.iter().enumerate() {
            let Some((_, table)) = line.split_once("Scan on ").or_else(|| line.split_once(" on ")) else {
                continue;
            };
            // The default partitions are empty here: how they are read costs nothing, and is decided anew each time.
            let of_history = history.iter().any(|name| table.starts_with(name)) && !table.contains("_rest");
            let sought = line.contains("Bitmap Heap")
                || lines.get(n + 1).is_some_and(|next| next.contains("Index Cond"));
            let scans = line.contains("Scan");
            assert!(!of_history || !scans || sought, "{line}\n{sql}\n{plan}");
        }
    }
}

/// Those that walk over a queue or a small table by their nature, at a start or now and then.
const WALKS: &[&str] =
    &["WAITING", "WAITING_OF_TENANTS", "HEARING", "HISTORIES", "PAUSED_TASKS", "VERSION", "NEXT_RECOVERY"];

#[tokio::test]
async fn hot_statements_seek() {
    let client = client().await;
    for sql in hot() {
        let plan = plan(&client, &sql).await;
        // What is scanned is the batch itself, or the one row that says what the fleet is, never a table.
        let tables = plan.replace("Seq Scan on fleet", "");
        assert!(!tables.contains("Seq Scan on"), "{sql}\n{plan}");
        assert!(!plan.contains("Hash Join") && !plan.contains("Merge Join"), "{sql}\n{plan}");
    }
}

/// A claim walks the partial index in the lane's order from its first row, and stops at its limit.
#[tokio::test]
async fn claims_walk_the_partial_index_and_sort_nothing_before_the_limit() {
    let client = client().await;
    for (sql, index) in [
        (claims::ClaimJobs::STATEMENTS[0], "job_queue_due"),
        (claims::ClaimDeliveries::STATEMENTS[0], "delivery_queue_due"),
        (claims::ClaimExpired::STATEMENTS[0], "job_queue_expiry"),
    ] {
        let plan = plan(&client, sql).await;
        let lines: Vec<&str> = plan.lines().map(str::trim).collect();
        let limit = lines.iter().position(|line| line.contains("Limit")).unwrap_or_else(|| panic!("{plan}"));
        assert!(lines[limit + 1].contains("LockRows"), "{plan}");
        assert!(lines[limit + 2].contains(&format!("Scan using {index}")), "{plan}");
    }
}

/// A page is a walk along one key from where it begins: no sort of what matches.
#[tokio::test]
async fn lists_sort_nothing() {
    let client = client().await;
    for sql in
        [cold::JOBS, cold::DELIVERIES, cold::DELIVERIES_OF_JOB, cold::DELIVERIES_OF_ENDPOINT, cold::LIVE_JOBS]
    {
        let plan = plan(&client, &for_postgres(sql)).await;
        assert!(!plan.contains("Sort"), "{sql}\n{plan}");
    }
}
