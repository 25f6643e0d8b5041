//! The statements of the hot verbs, prepared once on the writer's connection.

use rusqlite::{Connection, Statement, StatementStatus};

use crate::rows::{claimed_delivery_columns, claimed_job_columns};

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)*) => {
        /// Prepared for as long as the connection lives.
        pub(crate) struct Statements<'c> { $($(#[$doc])* pub(crate) $name: Statement<'c>,)* }

        impl<'c> Statements<'c> {
            pub(crate) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
                Ok(Self { $($name: connection.prepare($sql)?,)* })
            }

            /// How often they ran in all, but for BEGIN and COMMIT.
            pub(crate) fn runs(&self) -> u64 {
                let runs = |statement: &Statement<'_>| {
                    u64::try_from(statement.get_status(StatementStatus::Run)).unwrap_or(0)
                };
                [$(runs(&self.$name)),*].iter().sum::<u64>() - runs(&self.begin) - runs(&self.commit)
            }
        }

        /// By name, for the tests of plans and parameters.
        #[cfg(test)]
        pub(crate) const HOT: &[(&str, &str)] = &[$((stringify!($name), $sql)),*];
    };
}

statements! {
    begin = "BEGIN IMMEDIATE";
    commit = "COMMIT";

    /// ?1 digest, ?2 fingerprint, ?3 tenant, ?4 job, ?5 created.
    insert_key = "INSERT INTO idempotency (key, fingerprint, tenant, job, created_at) VALUES (?1, ?2, ?3, ?4, ?5) \
        ON CONFLICT DO NOTHING";
    /// ?1 digest.
    key = "SELECT fingerprint, job FROM idempotency WHERE key = ?1";
    /// In the order of the columns.
    insert_job = "INSERT INTO jobs (tenant, id, task, status, attempt, max_attempts, priority, timeout_us, created_at, \
        run_at, expires_at, rerun_of, idempotency, traceparent, result_shown, metadata, callbacks, input) \
        VALUES (?1, ?2, ?3, 0, 0, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 0, ?13, ?14, ?15)";
    /// ?1 tenant, ?2 id, ?3 kind, ?4 bytes.
    insert_payload = "INSERT INTO payload (tenant, id, kind, bytes) VALUES (?1, ?2, ?3, ?4)";
    /// ?1 id, ?2 tenant, ?3 lane, ?4 due, ?5 attempt, ?6 node, ?7 epoch, ?8 started, ?9 expires.
    queue_job = "INSERT INTO job_queue (id, tenant, lane, due_at, attempt, node, epoch, started_at, expires_at) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

    /// ?1 lane, ?2 now, ?3 limit.
    due_jobs = "SELECT id FROM job_queue WHERE lane = ?1 AND node IS NULL AND due_at <= ?2 \
        ORDER BY due_at, id LIMIT ?3";
    /// ?1 lane.
    next_job = "SELECT due_at FROM job_queue WHERE lane = ?1 AND node IS NULL ORDER BY due_at, id LIMIT 1";
    /// ?1 now, ?2 limit.
    expired_jobs = "SELECT id FROM job_queue WHERE expires_at IS NOT NULL AND node IS NULL AND expires_at <= ?1 \
        ORDER BY expires_at LIMIT ?2";
    next_expiry = "SELECT expires_at FROM job_queue WHERE expires_at IS NOT NULL AND node IS NULL \
        ORDER BY expires_at LIMIT 1";
    /// ?1 id, ?2 node, ?3 epoch, ?4 started.
    hold_job = "UPDATE job_queue SET attempt = attempt + 1, node = ?2, epoch = ?3, \
        started_at = COALESCE(started_at, ?4) WHERE id = ?1";
    /// ?1 id.
    claimed_job = concat!(
        "SELECT ", claimed_job_columns!(), " FROM job_queue q CROSS JOIN jobs j LEFT JOIN payload i \
        ON i.tenant = j.tenant AND i.id = j.id AND i.kind = 1 AND j.input IS NULL LEFT JOIN payload p \
        ON p.tenant = j.tenant AND p.id = j.id AND p.kind = 2 AND j.result_shown = 1 AND j.result IS NULL \
        WHERE q.id = ?1 AND j.tenant = q.tenant AND j.id = q.id"
    );

    /// ?1 id, ?2 node, ?3 epoch, ?4 attempt: what a write that ends it must know. A statement of its own, since
    /// RETURNING keeps its rows in a table made for the purpose: 42,000 instructions a row, against 7,000.
    held_job = "SELECT q.cancel_at, j.callbacks FROM job_queue q CROSS JOIN jobs j WHERE q.id = ?1 AND q.node = ?2 \
        AND q.epoch = ?3 AND q.attempt = ?4 AND j.tenant = q.tenant AND j.id = q.id";
    /// ?1 id, ?2 attempt.
    waiting_job = "SELECT q.cancel_at, j.callbacks FROM job_queue q CROSS JOIN jobs j WHERE q.id = ?1 \
        AND q.node IS NULL AND q.attempt = ?2 AND j.tenant = q.tenant AND j.id = q.id";
    /// ?1 id.
    unqueue_job = "DELETE FROM job_queue WHERE id = ?1";
    /// ?1 tenant, ?2 id, ?3 status, ?4 attempt, ?5 started, ?6 finished, ?7 cancel request, ?8 result size, ?9 sha256,
    /// ?10 content type, ?11 shown, ?12 error, ?13 result, ?14 event,
    /// ?15 progress.
    end_job = "UPDATE jobs SET status = ?3, attempt = ?4, started_at = ?5, finished_at = ?6, \
        cancel_requested_at = ?7, result_size = ?8, result_sha256 = ?9, result_type = ?10, result_shown = ?11, \
        error = ?12, result = ?13, event = ?14, progress = ?15 WHERE tenant = ?1 AND id = ?2";
    /// ?1 id, ?2 node, ?3 epoch, ?4 attempt, ?5 due, ?6 attempts given back. Who asked it to stop finds it due.
    requeue_job = "UPDATE job_queue SET node = NULL, epoch = NULL, due_at = min(?5, COALESCE(cancel_at, ?5)), \
        started_at = CASE WHEN attempt > ?6 THEN started_at END, attempt = attempt - ?6, progress = NULL \
        WHERE id = ?1 AND node = ?2 AND epoch = ?3 AND attempt = ?4 RETURNING lane, due_at, expires_at";
    /// ?1 tenant, ?2 id, ?3 kind, ?4 created, ?5 job, ?6 body.
    insert_event = "INSERT INTO events (tenant, id, kind, created_at, job, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
        ON CONFLICT DO NOTHING";
    /// In the order of the columns.
    insert_delivery = "INSERT INTO deliveries (tenant, id, event, kind, job, place, lane, created_at, url, endpoint, \
        sequence, status, reason, finished_at, attempts) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 0)";
    /// ?1 endpoint. A statement of its own, since RETURNING costs more than both.
    count_on = "UPDATE endpoint_sequence SET last = last + 1 WHERE endpoint = ?1";
    /// ?1 endpoint: its last number and its state.
    sequence = "SELECT last, state FROM endpoint_sequence WHERE endpoint = ?1";
    /// ?1 tenant, ?2 endpoint: how it fares.
    failing = "SELECT id, failing_since, failed_events FROM endpoints WHERE tenant = ?1 AND id = ?2";
    /// ?1 lane: found if nothing of it is sent.
    closed_lane = "SELECT 1 FROM endpoint_sequence WHERE lane = ?1 AND state <> 0 \
        UNION ALL SELECT 1 FROM endpoint_sequence WHERE beside = ?1 AND state <> 0 AND state = 2";
    /// ?1 lane: what its owner allows.
    lane_terms = "SELECT terms FROM endpoint_sequence WHERE lane = ?1 AND terms IS NOT NULL";
    /// ?1 id, ?2 tenant, ?3 lane, ?4 due, ?5 attempt, ?6 since, ?7 node, ?8 epoch, ?9 started, ?10 number.
    queue_delivery = "INSERT INTO delivery_queue (id, tenant, lane, due_at, attempt, steps, since, succeeded, \
        trigger, node, epoch, started_at, number) VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, 0, 0, ?7, ?8, ?9, ?10)";

    /// ?1 lane, ?2 now, ?3 limit.
    due_deliveries = "SELECT id FROM delivery_queue WHERE lane = ?1 AND node IS NULL AND due_at <= ?2 \
        ORDER BY due_at, id LIMIT ?3";
    /// ?1 lane, ?2 now: the oldest, whether its time has come or not.
    probe_delivery = "SELECT id FROM delivery_queue WHERE lane = ?1 AND node IS NULL \
        AND (not_before IS NULL OR not_before <= ?2) ORDER BY due_at, id LIMIT 1";
    /// ?1 lane.
    next_delivery = "SELECT due_at FROM delivery_queue WHERE lane = ?1 AND node IS NULL ORDER BY due_at, id LIMIT 1";
    /// ?1 id, ?2 node, ?3 epoch, ?4 started, ?5 trigger or null: as it was.
    hold_delivery = "UPDATE delivery_queue SET attempt = attempt + 1, node = ?2, epoch = ?3, started_at = ?4, \
        trigger = COALESCE(?5, trigger) WHERE id = ?1";
    /// ?1 id.
    claimed_delivery = concat!(
        "SELECT ", claimed_delivery_columns!(), " FROM delivery_queue q CROSS JOIN deliveries d CROSS JOIN events e \
        LEFT JOIN jobs j ON j.tenant = d.tenant AND j.id = d.job \
        LEFT JOIN endpoints n ON n.tenant = d.tenant AND n.id = d.endpoint \
        LEFT JOIN payload p ON p.tenant = e.tenant AND p.id = e.id AND p.kind = 3 AND e.body IS NULL \
        WHERE q.id = ?1 AND d.tenant = q.tenant AND d.id = q.id AND e.tenant = d.tenant AND e.id = d.event"
    );
    /// ?1 id, ?2 node, ?3 epoch, ?4 attempt.
    end_sending = "DELETE FROM delivery_queue WHERE id = ?1 AND node = ?2 AND epoch = ?3 AND attempt = ?4";
    /// ?1 id, ?2 node, ?3 epoch, ?4 attempt, ?5 due, ?6 steps, ?7 since, ?8 outcome, ?9 not before.
    retry_delivery = "UPDATE delivery_queue SET node = NULL, epoch = NULL, started_at = NULL, due_at = ?5, \
        steps = ?6, since = ?7, trigger = 0, last_outcome = ?8, not_before = ?9 \
        WHERE id = ?1 AND node = ?2 AND epoch = ?3 AND attempt = ?4";
    /// In the order of the columns.
    insert_attempt = "INSERT INTO attempts (tenant, delivery, number, trigger, started_at, ended_at, outcome, status, \
        error, remote_address, timings, response, endpoint) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    /// ?1 tenant, ?2 id, ?3 status, ?4 reason, ?5 attempts, ?6 outcome, ?7 finished.
    end_delivery = "UPDATE deliveries SET status = ?3, reason = ?4, attempts = ?5, last_outcome = ?6, \
        finished_at = ?7 WHERE tenant = ?1 AND id = ?2";
    /// ?1 tenant, ?2 id, ?3 attempts, ?4 outcome.
    end_extra = "UPDATE deliveries SET attempts = ?3, last_outcome = ?4 WHERE tenant = ?1 AND id = ?2";
}
