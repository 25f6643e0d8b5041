//! The statements that are no hot verb: one text for both engines. Parameters are `?1…?n`, which the PostgreSQL side
//! rewrites to `$n` (SQLite takes `$n` for a *named* parameter, numbered by first appearance); conversions are `CAST`,
//! never `::`, and a parameter that may be null is cast where it is tested, since PostgreSQL cannot guess its type.

use crate::rows::{
    attempt_columns, delivery_columns, endpoint_columns, job_columns, kept_columns, recovery_columns,
    result_columns, tombstone_columns,
};

/// A result is in the row up to 2 KiB, else in `payload`; only one that a job shows is joined.
macro_rules! job_from {
    () => {
        " FROM jobs j LEFT JOIN job_queue q ON q.id = j.id \
         LEFT JOIN payload p ON p.tenant = j.tenant AND p.id = j.id AND p.kind = 2 \
         AND j.result_shown = 1 AND j.result IS NULL"
    };
}

/// ?1 tenant, ?2 id.
pub(crate) const JOB: &str =
    concat!("SELECT ", job_columns!(), job_from!(), " WHERE j.tenant = ?1 AND j.id = ?2");

/// ?1 id; a signed link bears no tenant.
pub(crate) const LINKED_JOB: &str = concat!(
    "SELECT ",
    job_columns!(),
    " FROM tenants t CROSS JOIN jobs j LEFT JOIN job_queue q ON q.id = j.id \
     LEFT JOIN payload p ON p.tenant = j.tenant AND p.id = j.id AND p.kind = 2 \
     AND j.result_shown = 1 AND j.result IS NULL WHERE t.deleted_at IS NULL AND j.tenant = t.n AND j.id = ?1"
);

/// ?1 tenant, ?2 before, ?3 after (ids), ?4 task or null, ?5 ended status or null, ?6 created before, ?7 created after,
/// ?8 limit. By the primary key, newest first.
pub(crate) const JOBS: &str = concat!(
    "SELECT ",
    job_columns!(),
    job_from!(),
    " WHERE j.tenant = ?1 AND j.id < ?2 AND j.id > ?3 AND (CAST(?4 AS TEXT) IS NULL OR j.task = ?4) \
     AND (CAST(?5 AS BIGINT) IS NULL OR j.status = ?5) AND j.created_at < ?6 AND j.created_at > ?7 \
     ORDER BY j.tenant DESC, j.id DESC LIMIT ?8"
);

/// The same with ?5 0 for queued and 1 for running: by the queue, which holds those alone.
pub(crate) const LIVE_JOBS: &str = concat!(
    "SELECT ",
    job_columns!(),
    " FROM job_queue q CROSS JOIN jobs j LEFT JOIN payload p ON p.tenant = j.tenant AND p.id = j.id \
     AND p.kind = 2 AND j.result_shown = 1 AND j.result IS NULL \
     WHERE q.tenant = ?1 AND q.id < ?2 AND q.id > ?3 AND j.tenant = q.tenant AND j.id = q.id \
     AND (CAST(?4 AS TEXT) IS NULL OR j.task = ?4) AND CASE WHEN q.node IS NULL THEN 0 ELSE 1 END = CAST(?5 AS BIGINT) \
     AND j.created_at < ?6 AND j.created_at > ?7 ORDER BY q.id DESC LIMIT ?8"
);

/// ?1 digest.
pub(crate) const USED_KEY: &str = "SELECT k.key, k.fingerprint, k.job FROM idempotency k WHERE k.key = ?1";

/// ?1 tenant, ?2 id.
pub(crate) const INPUT: &str = "SELECT j.id, j.input, i.bytes FROM jobs j LEFT JOIN payload i \
     ON i.tenant = j.tenant AND i.id = j.id AND i.kind = 1 AND j.input IS NULL WHERE j.tenant = ?1 AND j.id = ?2";

/// ?1 tenant, ?2 id.
pub(crate) const RESULT: &str = concat!(
    "SELECT ",
    result_columns!(),
    " FROM jobs j LEFT JOIN payload p ON p.tenant = j.tenant AND p.id = j.id AND p.kind = 2 \
     WHERE j.tenant = ?1 AND j.id = ?2"
);

/// ?1 tenant, ?2 id.
pub(crate) const DELIVERY: &str = concat!(
    "SELECT ",
    delivery_columns!(),
    " FROM deliveries d LEFT JOIN delivery_queue q ON q.id = d.id WHERE d.tenant = ?1 AND d.id = ?2"
);

macro_rules! delivery_filter {
    () => {
        " AND (d.event = ?4 OR length(?4) = 0) \
         AND (CAST(?5 AS BIGINT) IS NULL OR d.status = ?5) \
         AND (CAST(?6 AS BIGINT) IS NULL OR COALESCE(q.last_outcome, d.last_outcome) = ?6) \
         AND d.created_at < ?7 AND d.created_at > ?8 AND (d.endpoint = ?10 OR length(?10) = 0)"
    };
}
/// ?1 tenant, ?2 before, ?3 after (ids), ?4 event or no bytes, ?5 status or null, ?6 outcome or null, ?7 created before,
/// ?8 created after, ?9 limit, ?10 endpoint or no bytes. By the primary key, newest first: an event's deliveries have
/// its moment in their ids.
pub(crate) const DELIVERIES: &str = concat!(
    "SELECT ",
    delivery_columns!(),
    " FROM deliveries d LEFT JOIN delivery_queue q ON q.id = d.id WHERE d.tenant = ?1 AND d.id < ?2 AND d.id > ?3",
    delivery_filter!(),
    " ORDER BY d.tenant DESC, d.id DESC LIMIT ?9"
);

/// The same of one job, ?11. By the index on it.
pub(crate) const DELIVERIES_OF_JOB: &str = concat!(
    "SELECT ",
    delivery_columns!(),
    " FROM deliveries d LEFT JOIN delivery_queue q ON q.id = d.id \
     WHERE d.tenant = ?1 AND d.job = ?11 AND d.id < ?2 AND d.id > ?3",
    delivery_filter!(),
    " ORDER BY d.tenant DESC, d.job DESC, d.id DESC LIMIT ?9"
);

/// The same to one endpoint, ?11. By the index on it.
pub(crate) const DELIVERIES_OF_ENDPOINT: &str = concat!(
    "SELECT ",
    delivery_columns!(),
    " FROM deliveries d LEFT JOIN delivery_queue q ON q.id = d.id \
     WHERE d.tenant = ?1 AND d.endpoint = ?11 AND d.id < ?2 AND d.id > ?3",
    delivery_filter!(),
    " ORDER BY d.tenant DESC, d.endpoint DESC, d.id DESC LIMIT ?9"
);

/// ?1 tenant, ?2 id.
pub(crate) const ENDPOINT: &str =
    concat!("SELECT ", endpoint_columns!(), " FROM endpoints n WHERE n.tenant = ?1 AND n.id = ?2");

/// ?1 tenant, ?2 before, ?3 limit. By the primary key, newest first.
pub(crate) const ENDPOINTS: &str = concat!(
    "SELECT ",
    endpoint_columns!(),
    " FROM endpoints n WHERE n.tenant = ?1 AND n.id < ?2 ORDER BY n.tenant DESC, n.id DESC LIMIT ?3"
);

/// ?1 lane, ?2 the lane beside it.
pub(crate) const WAITING_IN: &str =
    "SELECT count(*) FROM delivery_queue WHERE (lane = ?1 OR lane = ?2) AND node IS NULL";

/// ?1 endpoint, ?2 not before, ?3 limit: its last attempts.
pub(crate) const SAMPLES: &str = "SELECT delivery, started_at, ended_at, outcome, status, error FROM attempts \
     WHERE endpoint = ?1 AND ended_at > ?2 ORDER BY endpoint DESC, ended_at DESC LIMIT ?3";

/// ?1 tenant, ?2 event.
pub(crate) const BODY: &str = "SELECT e.id, e.body, p.bytes FROM events e LEFT JOIN payload p \
     ON p.tenant = e.tenant AND p.id = e.id AND p.kind = 3 AND e.body IS NULL WHERE e.tenant = ?1 AND e.id = ?2";

/// ?1 tenant, ?2 delivery: its closed attempts, oldest first.
pub(crate) const ATTEMPTS: &str = concat!(
    "SELECT ",
    attempt_columns!(),
    " FROM attempts a WHERE a.tenant = ?1 AND a.delivery = ?2 ORDER BY a.number"
);

/// ?1 tenant, ?2 after, ?3 before (ids), ?4 limit: oldest first.
pub(crate) const KEPT: &str = concat!(
    "SELECT ",
    kept_columns!(),
    " FROM jobs j LEFT JOIN payload i ON i.tenant = j.tenant AND i.id = j.id AND i.kind = 1 AND j.input IS NULL \
     WHERE j.tenant = ?1 AND j.id > ?2 AND j.id < ?3 ORDER BY j.tenant, j.id LIMIT ?4"
);

/// Whose history there is.
pub(crate) const HISTORIES: &str = "SELECT n FROM tenants ORDER BY n";

/// ?1 tenant, ?2 id.
pub(crate) const TOMBSTONE: &str =
    concat!("SELECT ", tombstone_columns!(), " FROM tombstones s WHERE s.tenant = ?1 AND s.id = ?2");

/// ?1 id; a signed link bears no tenant.
pub(crate) const LINKED_TOMBSTONE: &str = concat!(
    "SELECT ",
    tombstone_columns!(),
    " FROM tenants t CROSS JOIN tombstones s WHERE s.tenant = t.n AND s.id = ?1"
);

/// In the order of the columns.
pub(crate) const INSERT_ENDPOINT: &str = "INSERT INTO endpoints (tenant, id, created_at, version, events, disabled, \
     secret, previous, previous_until, settings, failed_events) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 0) ON CONFLICT DO NOTHING";

/// The same: in the place of the version before. Whoever changes its state begins to count its failures anew.
pub(crate) const UPDATE_ENDPOINT: &str = "UPDATE endpoints SET created_at = ?3, version = ?4, events = ?5, \
     failing_since = CASE WHEN CAST(?6 AS BIGINT) IS NULL AND disabled IS NOT NULL THEN NULL ELSE failing_since END, \
     failed_events = CASE WHEN CAST(?6 AS BIGINT) IS NULL AND disabled IS NOT NULL THEN 0 ELSE failed_events END, \
     disabled = ?6, secret = ?7, previous = ?8, previous_until = ?9, settings = ?10 \
     WHERE tenant = ?1 AND id = ?2 AND version + 1 = ?4";

/// ?1 tenant, ?2 id.
pub(crate) const DELETE_ENDPOINT: &str = "DELETE FROM endpoints WHERE tenant = ?1 AND id = ?2";

/// ?1 endpoint, ?2 tenant, ?3 lane, ?4 the lane beside it, ?5 terms.
pub(crate) const INSERT_SEQUENCE: &str = "INSERT INTO endpoint_sequence (endpoint, tenant, lane, beside, last, \
     pruned, state, terms) VALUES (?1, ?2, ?3, ?4, 0, 0, 0, ?5)";

/// ?1 endpoint, ?2 state, ?3 terms.
pub(crate) const SET_STATE: &str = "UPDATE endpoint_sequence SET state = ?2, terms = ?3 WHERE endpoint = ?1";

/// ?1 tenant, ?2 how many it may have. No row: it has them.
pub(crate) const ONE_ENDPOINT_MORE: &str =
    "UPDATE tenants SET endpoints = endpoints + 1 WHERE n = ?1 AND endpoints < ?2";

/// ?1 tenant.
pub(crate) const ONE_ENDPOINT_LESS: &str = "UPDATE tenants SET endpoints = endpoints - 1 WHERE n = ?1";

/// ?1 endpoint: its terms.
pub(crate) const TERMS: &str = "SELECT terms FROM endpoint_sequence WHERE endpoint = ?1";

/// ?1 lane: found if anything is queued there, in flight or not. A walk over the narrow table, for what is seldom asked.
pub(crate) const QUEUED_IN: &str = "SELECT 1 FROM delivery_queue WHERE lane = ?1 LIMIT 1";

/// ?1 recovery, ?2 tenant, ?3 endpoint, ?4 reason, ?5 created, ?6 since, ?7 until, ?8 rate, ?9 now: of everything
/// up to the last number given, if the endpoint is enabled.
pub(crate) const BEGIN_RECOVERY: &str = "INSERT INTO recoveries (id, tenant, endpoint, reason, created_at, since, \
     until, rate, next_at, reached, last, recovered, state) \
     SELECT ?1, s.tenant, s.endpoint, ?4, ?5, ?6, ?7, ?8, ?9, 0, s.last, 0, 0 FROM endpoint_sequence s \
     WHERE s.endpoint = ?3 AND s.tenant = ?2 AND s.state = 0";

/// ?1 tenant, ?2 recovery.
pub(crate) const RECOVERY: &str =
    concat!("SELECT ", recovery_columns!(), " FROM recoveries r WHERE r.tenant = ?1 AND r.id = ?2");

/// ?1 tenant, ?2 recovery, ?3 finished, ?4 state.
pub(crate) const STOP_RECOVERY: &str = "UPDATE recoveries SET next_at = NULL, finished_at = ?3, state = ?4 \
     WHERE tenant = ?1 AND id = ?2 AND next_at IS NOT NULL";

/// ?1 tenant, ?2 recovery, ?3 how far it is, ?4 how many more, ?5 next step or null, ?6 finished or null, ?7 state.
pub(crate) const REACH_RECOVERY: &str = "UPDATE recoveries SET reached = ?3, recovered = recovered + ?4, next_at = ?5, \
     finished_at = ?6, state = ?7 WHERE tenant = ?1 AND id = ?2";

/// When the next step of any is.
pub(crate) const NEXT_RECOVERY: &str = "SELECT min(next_at) FROM recoveries WHERE next_at IS NOT NULL";

/// ?1 tenant, ?2 endpoint, ?3 after, ?4 to (numbers), ?5 limit: what it is sent, by number.
pub(crate) const FEED: &str = "SELECT e.id, e.kind, e.created_at, e.body, p.bytes, d.sequence FROM deliveries d \
     CROSS JOIN events e LEFT JOIN payload p ON p.tenant = e.tenant AND p.id = e.id AND p.kind = 3 AND e.body IS NULL \
     WHERE d.endpoint = ?2 AND d.sequence > ?3 AND d.sequence <= ?4 AND d.tenant = ?1 AND e.tenant = d.tenant \
     AND e.id = d.event ORDER BY d.sequence LIMIT ?5";

/// ?1 tenant, ?2 endpoint: its last number, and the greatest that was pruned.
pub(crate) const FEED_ENDS: &str = "SELECT s.last, s.pruned FROM endpoints n CROSS JOIN endpoint_sequence s \
     WHERE n.tenant = ?1 AND n.id = ?2 AND s.endpoint = n.id";

/// ?1 tenant, ?2 after, ?3 before (ids), ?4 limit: what happened to no job, and when, oldest first. Each was told to
/// somebody.
pub(crate) const APART: &str = "SELECT DISTINCT d.event, e.created_at FROM deliveries d CROSS JOIN events e \
     WHERE d.tenant = ?1 AND d.job IS NULL AND d.event > ?2 AND d.event < ?3 AND e.tenant = d.tenant AND e.id = d.event \
     ORDER BY d.event LIMIT ?4";

/// ?1 kinds, as a mask: tenants of whose endpoints one hears of them.
pub(crate) const HEARING: &str = "SELECT DISTINCT tenant FROM endpoints WHERE (events & ?1) <> 0";

/// One seek a lane: the least lane beyond the last one, until there is none.
macro_rules! lanes {
    ($table:literal) => {
        concat!(
            "WITH RECURSIVE l (lane) AS (SELECT min(lane) FROM ",
            $table,
            " WHERE node IS NULL UNION ALL SELECT (SELECT min(n.lane) FROM ",
            $table,
            " n WHERE n.node IS NULL AND n.lane > l.lane) FROM l WHERE l.lane IS NOT NULL)"
        )
    };
}

/// Lanes of jobs: lane, first due, task.
pub(crate) const JOB_LANES: &str = concat!(
    lanes!("job_queue"),
    " SELECT l.lane, (SELECT q.due_at FROM job_queue q WHERE q.lane = l.lane AND q.node IS NULL \
     ORDER BY q.due_at, q.id LIMIT 1), (SELECT j.task FROM jobs j WHERE (j.tenant, j.id) = (SELECT q.tenant, q.id \
     FROM job_queue q WHERE q.lane = l.lane AND q.node IS NULL ORDER BY q.due_at, q.id LIMIT 1)) \
     FROM l WHERE l.lane IS NOT NULL"
);

/// Lanes of deliveries: lane, first due.
pub(crate) const DELIVERY_LANES: &str = concat!(
    lanes!("delivery_queue"),
    " SELECT l.lane, (SELECT q.due_at FROM delivery_queue q WHERE q.lane = l.lane AND q.node IS NULL \
     ORDER BY q.due_at, q.id LIMIT 1) FROM l WHERE l.lane IS NOT NULL"
);

/// True of an attempt `a` that says whether its endpoint is there: not of a failure of ours (10, 11) or an address that is
/// not dialled (9); and of one beside the lane (a resend, what has no number) only if it was taken (0).
/// No `EXISTS`: PostgreSQL may take all deliveries into memory for that.
macro_rules! telling {
    () => {
        "a.outcome NOT IN (9, 10, 11) AND (a.outcome = 0 OR (a.trigger <> 3 AND (SELECT o.sequence FROM deliveries o \
         WHERE o.tenant = a.tenant AND o.id = a.delivery) IS NOT NULL))"
    };
}

/// ?1 endpoint, ?2 limit.
pub(crate) const RECORD: &str = concat!(
    "SELECT a.delivery, a.trigger, a.outcome, a.ended_at FROM attempts a WHERE a.endpoint = ?1 AND ",
    telling!(),
    " ORDER BY a.endpoint DESC, a.ended_at DESC LIMIT ?2"
);

/// ?1 lane: its probe (1) is out.
pub(crate) const PROBE_OUT: &str =
    "SELECT 1 FROM delivery_queue WHERE lane = ?1 AND trigger = 1 AND node IS NOT NULL LIMIT 1";

/// Lanes of endpoints (16 of the bits 16 and 32) whose last five attempts that say anything all failed, so that whoever
/// served them had their breakers open. A few seeks a lane.
pub(crate) const FAILING_LANES: &str = concat!(
    lanes!("delivery_queue"),
    " SELECT l.lane FROM l WHERE (l.lane & 48) = 16 AND (SELECT count(*) FROM (SELECT a.outcome FROM attempts a \
     WHERE a.endpoint = (SELECT d.endpoint FROM delivery_queue q CROSS JOIN deliveries d WHERE q.lane = l.lane \
     AND q.node IS NULL AND d.tenant = q.tenant AND d.id = q.id ORDER BY q.due_at, q.id LIMIT 1) \
     AND ",
    telling!(),
    " ORDER BY a.endpoint DESC, a.ended_at DESC LIMIT 5) x WHERE x.outcome <> 0) = 5"
);

/// How many wait in each lane of jobs: lane, count. One walk over the partial index, at start.
pub(crate) const WAITING: &str = "SELECT lane, count(*) FROM job_queue WHERE node IS NULL GROUP BY lane";

/// How many wait of each tenant: tenant, count. A walk over the whole queue.
pub(crate) const WAITING_OF_TENANTS: &str =
    "SELECT tenant, count(*) FROM job_queue WHERE node IS NULL GROUP BY tenant";
/// ?1 task, ?2 when.
pub(crate) const PAUSE_TASK: &str =
    "INSERT INTO paused_tasks (task, paused_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING";

/// ?1 task.
pub(crate) const RESUME_TASK: &str = "DELETE FROM paused_tasks WHERE task = ?1";

/// By name.
pub(crate) const PAUSED_TASKS: &str = "SELECT task FROM paused_tasks ORDER BY task";

/// The schema's version, and how many of its steps a version must know that works with it.
pub(crate) const VERSION: &str = "SELECT max(n), max(needs) FROM schema_migrations";

/// All of them.
pub(crate) const ALL: &[(&str, &str)] = &[
    ("JOB", JOB),
    ("LINKED_JOB", LINKED_JOB),
    ("JOBS", JOBS),
    ("LIVE_JOBS", LIVE_JOBS),
    ("USED_KEY", USED_KEY),
    ("INPUT", INPUT),
    ("RESULT", RESULT),
    ("DELIVERY", DELIVERY),
    ("DELIVERIES", DELIVERIES),
    ("DELIVERIES_OF_JOB", DELIVERIES_OF_JOB),
    ("DELIVERIES_OF_ENDPOINT", DELIVERIES_OF_ENDPOINT),
    ("ENDPOINT", ENDPOINT),
    ("ENDPOINTS", ENDPOINTS),
    ("WAITING_IN", WAITING_IN),
    ("SAMPLES", SAMPLES),
    ("RECORD", RECORD),
    ("PROBE_OUT", PROBE_OUT),
    ("FEED", FEED),
    ("FEED_ENDS", FEED_ENDS),
    ("HEARING", HEARING),
    ("INSERT_ENDPOINT", INSERT_ENDPOINT),
    ("UPDATE_ENDPOINT", UPDATE_ENDPOINT),
    ("DELETE_ENDPOINT", DELETE_ENDPOINT),
    ("INSERT_SEQUENCE", INSERT_SEQUENCE),
    ("SET_STATE", SET_STATE),
    ("TERMS", TERMS),
    ("QUEUED_IN", QUEUED_IN),
    ("ONE_ENDPOINT_MORE", ONE_ENDPOINT_MORE),
    ("ONE_ENDPOINT_LESS", ONE_ENDPOINT_LESS),
    ("BEGIN_RECOVERY", BEGIN_RECOVERY),
    ("RECOVERY", RECOVERY),
    ("STOP_RECOVERY", STOP_RECOVERY),
    ("REACH_RECOVERY", REACH_RECOVERY),
    ("NEXT_RECOVERY", NEXT_RECOVERY),
    ("BODY", BODY),
    ("ATTEMPTS", ATTEMPTS),
    ("KEPT", KEPT),
    ("HISTORIES", HISTORIES),
    ("APART", APART),
    ("TOMBSTONE", TOMBSTONE),
    ("LINKED_TOMBSTONE", LINKED_TOMBSTONE),
    ("JOB_LANES", JOB_LANES),
    ("DELIVERY_LANES", DELIVERY_LANES),
    ("FAILING_LANES", FAILING_LANES),
    ("WAITING", WAITING),
    ("WAITING_OF_TENANTS", WAITING_OF_TENANTS),
    ("PAUSE_TASK", PAUSE_TASK),
    ("RESUME_TASK", RESUME_TASK),
    ("PAUSED_TASKS", PAUSED_TASKS),
    ("VERSION", VERSION),
];
