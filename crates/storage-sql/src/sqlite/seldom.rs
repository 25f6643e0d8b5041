//! The statements that only SQLite's writer has and that are no hot verb, each prepared when it is first needed.

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)*) => {
        $($(#[$doc])* pub(crate) const $name: &str = $sql;)*

        /// By name, for the tests of plans and parameters.
        #[cfg(test)]
        pub(crate) const SELDOM: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}

/// ?1 ended, ?2 outcome, ?3 error, ?4 timings: open attempts, closed as interrupted.
macro_rules! close_attempts {
    () => {
        "INSERT INTO attempts (tenant, delivery, number, trigger, started_at, ended_at, outcome, error, timings) \
         SELECT tenant, id, attempt, trigger, started_at, max(started_at, ?1), ?2, ?3, ?4 FROM delivery_queue "
    };
}

/// ?1 now, ?2 outcome: deliveries that wait again, no further in their policy.
macro_rules! free_deliveries {
    () => {
        "UPDATE delivery_queue SET node = NULL, epoch = NULL, started_at = NULL, due_at = ?1, last_outcome = ?2, \
         trigger = CASE WHEN succeeded = 1 THEN trigger ELSE 0 END "
    };
}

statements! {
    /// ?1 tenant, ?2 job.
    TASK = "SELECT task FROM jobs WHERE tenant = ?1 AND id = ?2";
    /// ?1 job, ?2 when.
    ASK_TO_STOP = "UPDATE job_queue SET cancel_at = ?2 WHERE id = ?1 AND cancel_at IS NULL";
    /// ?1 job, ?2 tenant.
    QUEUED_NODE = "SELECT node FROM job_queue WHERE id = ?1 AND tenant = ?2";
    /// ?1 tenant, ?2 job: whether its payloads were erased.
    KNOWN_JOB = "SELECT erased IS NOT NULL FROM jobs WHERE tenant = ?1 AND id = ?2";

    /// ?1 tenant, ?2 delivery: its status, whether it is queued, who holds it, whether its bytes are gone.
    RESENDABLE = "SELECT d.status, q.id IS NOT NULL, q.node, COALESCE(e.body, 'x') = '' FROM deliveries d \
        JOIN events e ON e.tenant = d.tenant AND e.id = d.event LEFT JOIN delivery_queue q ON q.id = d.id WHERE d.tenant = ?1 AND d.id = ?2";
    /// ?1 delivery, ?2 now, ?3 trigger: a waiting one is brought forward.
    BRING_FORWARD = "UPDATE delivery_queue SET due_at = ?2, trigger = ?3 WHERE id = ?1 AND node IS NULL RETURNING lane";
    /// ?1 lane, ?2 now, ?3 limit: what waits for its time, and was not asked to.
    IN_BACK_OFF = "SELECT id FROM delivery_queue WHERE lane = ?1 AND node IS NULL AND due_at > ?2 \
        AND (not_before IS NULL OR not_before <= ?2) ORDER BY due_at, id LIMIT ?3";
    /// ?1 delivery, ?2 now, ?3 trigger: due since its policy began, so that the oldest go first.
    FORWARD = "UPDATE delivery_queue SET due_at = min(since, ?2), trigger = ?3 WHERE id = ?1";
    /// ?1 tenant, ?2 delivery, ?3 now, ?4 trigger: an ended one gets its queue row again, with its policy anew. One for an
    /// endpoint goes beside its lane: it waits for nothing there.
    QUEUE_AGAIN = "INSERT INTO delivery_queue (id, tenant, lane, due_at, attempt, steps, since, succeeded, trigger, \
        last_outcome) SELECT d.id, d.tenant, COALESCE((SELECT s.beside FROM endpoint_sequence s \
        WHERE s.endpoint = d.endpoint), d.lane), ?3, d.attempts, 0, ?3, d.status = 1, ?4, d.last_outcome \
        FROM deliveries d WHERE d.tenant = ?1 AND d.id = ?2 RETURNING lane";
    /// ?1 tenant, ?2 delivery: a failed one is pending again.
    PENDING_AGAIN = "UPDATE deliveries SET status = 0, reason = NULL, finished_at = NULL \
        WHERE tenant = ?1 AND id = ?2 AND status = 2";

    /// ?1 tenant, ?2 job, ?3 callbacks as read, ?4 callbacks, ?5 whether it had ended as read. Answers with its last event.
    ATTACH = "UPDATE jobs SET callbacks = ?4 WHERE tenant = ?1 AND id = ?2 AND callbacks = ?3 AND (status >= 2) = ?5 \
        AND erased IS NULL RETURNING event";

    /// ?1 job, ?2 progress. Its hold was looked at.
    REPORT = "UPDATE job_queue SET progress = ?2 WHERE id = ?1";
    /// ?1 delivery: one that has not left. Answers with attempts and the last outcome.
    REPLACE = "DELETE FROM delivery_queue WHERE id = ?1 AND node IS NULL RETURNING attempt, last_outcome";

    /// And ?5 delivery: its open attempt.
    LET_GO = concat!(close_attempts!(), "WHERE id = ?5 AND node IS NOT NULL");
    /// ?1 delivery. Answers with lane, attempts and the last outcome.
    STOP_SENDING = "DELETE FROM delivery_queue WHERE id = ?1 RETURNING lane, attempt, last_outcome";

    /// ?1 tenant, ?2 job: how it ended, its key, its last event, and whether something of it is queued.
    ENDED_JOB = "SELECT j.status, j.task, j.finished_at, j.created_at, j.idempotency, j.event, \
        EXISTS (SELECT 1 FROM deliveries d JOIN delivery_queue q ON q.id = d.id \
        WHERE d.tenant = j.tenant AND d.job = j.id) FROM jobs j WHERE j.tenant = ?1 AND j.id = ?2";
    /// ?1 tenant, ?2 job: its deliveries and their events.
    DELIVERIES_OF = "SELECT id, event FROM deliveries WHERE tenant = ?1 AND job = ?2";
    /// ?1 delivery.
    DELETE_QUEUED = "DELETE FROM delivery_queue WHERE id = ?1";
    /// ?1 tenant, ?2 delivery.
    DELETE_ATTEMPTS = "DELETE FROM attempts WHERE tenant = ?1 AND delivery = ?2";
    /// ?1 tenant, ?2 event: its deliveries, and whether they are queued.
    DELIVERIES_APART = "SELECT d.id, EXISTS (SELECT 1 FROM delivery_queue q WHERE q.id = d.id) FROM deliveries d \
        WHERE d.tenant = ?1 AND d.job IS NULL AND d.event = ?2";
    /// ?1 tenant, ?2 delivery. Answers with its endpoint and number.
    DELETE_DELIVERY = "DELETE FROM deliveries WHERE tenant = ?1 AND id = ?2 RETURNING endpoint, sequence";
    /// ?1 endpoint, ?2 number.
    PRUNED_UP_TO = "UPDATE endpoint_sequence SET pruned = max(pruned, ?2) WHERE endpoint = ?1";
    /// ?1 tenant, ?2 event.
    DELETE_EVENT = "DELETE FROM events WHERE tenant = ?1 AND id = ?2";
    /// ?1 tenant, ?2 event: nothing of it is to be sent any more.
    ERASE_EVENT = "UPDATE events SET body = '' WHERE tenant = ?1 AND id = ?2";
    /// ?1 tenant, ?2 job or event: all kinds.
    DELETE_PAYLOAD = "DELETE FROM payload WHERE tenant = ?1 AND id = ?2";
    /// ?1 tenant, ?2 job.
    ERASE_JOB = "UPDATE jobs SET input = NULL, result = NULL, result_shown = 0, erased = 1 WHERE tenant = ?1 AND id = ?2";
    /// ?1 tenant, ?2 job.
    DELETE_JOB = "DELETE FROM jobs WHERE tenant = ?1 AND id = ?2";
    /// ?1 digest, ?2 job.
    DELETE_KEY = "DELETE FROM idempotency WHERE key = ?1 AND job = ?2";
    /// In the order of the columns.
    BURY = "INSERT INTO tombstones (tenant, id, task, status, finished_at, gone_at, idempotency) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    /// ?1 tenant, ?2 after, ?3 before (ids), ?4 limit: oldest first.
    TOMBSTONES = "SELECT id, gone_at, idempotency FROM tombstones WHERE tenant = ?1 AND id > ?2 AND id < ?3 \
        ORDER BY tenant, id LIMIT ?4";
    /// ?1 tenant, ?2 job.
    FORGET = "DELETE FROM tombstones WHERE tenant = ?1 AND id = ?2";

    /// ?1 node.
    JOIN = "INSERT INTO nodes (id, epoch, lease_until) VALUES (?1, 1, 0) \
        ON CONFLICT (id) DO UPDATE SET epoch = epoch + 1 RETURNING epoch";
    /// ?1 node, ?2 epoch, ?3 now: what others and older epochs hold. One walk over the narrow table.
    FREE_LOST_JOBS = "UPDATE job_queue SET node = NULL, epoch = NULL, due_at = ?3, progress = NULL \
        WHERE node IS NOT NULL AND (node <> ?1 OR epoch <> ?2) RETURNING lane, due_at, expires_at, tenant, id";
    /// And ?5 node, ?6 epoch: what others and older epochs have open.
    CLOSE_LOST_ATTEMPTS = concat!(close_attempts!(), "WHERE node IS NOT NULL AND (node <> ?5 OR epoch <> ?6)");
    /// And ?3 node, ?4 epoch: what others and older epochs hold.
    FREE_LOST_DELIVERIES = concat!(
        free_deliveries!(), "WHERE node IS NOT NULL AND (node <> ?3 OR epoch <> ?4) RETURNING lane"
    );
    /// ?1 node, ?2 epoch.
    HELD_JOBS = "SELECT id FROM job_queue WHERE node = ?1 AND epoch = ?2";
    /// ?1 node, ?2 epoch.
    HELD_DELIVERIES = "SELECT id FROM delivery_queue WHERE node = ?1 AND epoch = ?2";
    /// ?1 job, ?2 node, ?3 epoch, ?4 now: uncounted.
    GIVE_BACK_JOB = "UPDATE job_queue SET node = NULL, epoch = NULL, due_at = ?4, \
        started_at = CASE WHEN attempt > 1 THEN started_at END, attempt = attempt - 1, progress = NULL \
        WHERE id = ?1 AND node = ?2 AND epoch = ?3 RETURNING lane, due_at, expires_at, tenant";
    /// And ?5 delivery, ?6 node, ?7 epoch.
    CLOSE_ATTEMPT = concat!(close_attempts!(), "WHERE id = ?5 AND node = ?6 AND epoch = ?7");
    /// And ?3 delivery, ?4 node, ?5 epoch.
    GIVE_BACK_DELIVERY = concat!(
        free_deliveries!(), "WHERE id = ?3 AND node = ?4 AND epoch = ?5 RETURNING lane"
    );
    /// ?1 delivery, ?2 node, ?3 epoch, ?4 attempt: its attempt never opened.
    PUT_BACK = "UPDATE delivery_queue SET node = NULL, epoch = NULL, started_at = NULL, attempt = attempt - 1, \
        trigger = CASE WHEN trigger = 1 THEN 0 ELSE trigger END \
        WHERE id = ?1 AND node = ?2 AND epoch = ?3 AND attempt = ?4 RETURNING due_at";
    /// ?1 lane.
    TASK_OF_LANE = "SELECT j.task FROM job_queue q CROSS JOIN jobs j WHERE q.lane = ?1 AND q.node IS NULL \
        AND j.tenant = q.tenant AND j.id = q.id LIMIT 1";

    /// Every endpoint there is.
    ALL_ENDPOINTS = concat!("SELECT ", crate::rows::endpoint_columns!(), " FROM endpoints n ORDER BY n.tenant, n.id");
    /// ?1 tenant, ?2 endpoint, ?3 since, ?4 events.
    SET_FAILING = "UPDATE endpoints SET failing_since = ?3, failed_events = ?4 WHERE tenant = ?1 AND id = ?2";
    /// ?1 limit: what waits in the lanes of closed endpoints. Beside the lane of one that is only disabled, pings go on.
    WAITING_FOR_CLOSED = "SELECT q.tenant, q.id, s.state FROM endpoint_sequence s INDEXED BY endpoint_sequence_lane \
        CROSS JOIN delivery_queue q WHERE s.state <> 0 AND q.lane = s.lane AND q.node IS NULL \
        UNION ALL SELECT q.tenant, q.id, s.state FROM endpoint_sequence s INDEXED BY endpoint_sequence_beside \
        CROSS JOIN delivery_queue q WHERE s.state <> 0 AND s.state = 2 AND q.lane = s.beside AND q.node IS NULL LIMIT ?1";
    /// ?1 tenant, ?2 delivery, ?3 status, ?4 reason, ?5 finished.
    FAIL_UNSENT = "UPDATE deliveries SET status = ?3, reason = ?4, finished_at = ?5, attempts = (SELECT q.attempt \
        FROM delivery_queue q WHERE q.id = deliveries.id), last_outcome = (SELECT q.last_outcome \
        FROM delivery_queue q WHERE q.id = deliveries.id) WHERE tenant = ?1 AND id = ?2 AND status = 0";
    /// ?1 delivery.
    UNQUEUE_DELIVERY = "DELETE FROM delivery_queue WHERE id = ?1";
    /// ?1 now: a recovery that has a step to make, its endpoint's state and terms.
    OPEN_RECOVERY = concat!("SELECT ", crate::rows::recovery_columns!(), ", s.state, s.terms FROM recoveries r \
        CROSS JOIN endpoint_sequence s WHERE r.next_at IS NOT NULL AND r.next_at <= ?1 AND s.endpoint = r.endpoint \
        ORDER BY r.next_at LIMIT 1");
    /// ?1 tenant, ?2 endpoint, ?3 after, ?4 to (numbers), ?5 reason or null, ?6 limit, ?7 since, ?8 until: dead letters, by
    /// their numbers.
    MISSED = "SELECT id, sequence FROM deliveries WHERE endpoint = ?2 AND sequence > ?3 AND sequence <= ?4 \
        AND tenant = ?1 AND status = 2 AND (?5 IS NULL OR reason = ?5) AND created_at >= ?7 AND created_at < ?8 \
        ORDER BY sequence LIMIT ?6";
    /// ?1 tenant, ?2 delivery, ?3 due, ?4 trigger, ?5 number: back in its own lane, with its policy anew.
    QUEUE_MISSED = "INSERT INTO delivery_queue (id, tenant, lane, due_at, attempt, steps, since, succeeded, trigger, \
        last_outcome, number) SELECT id, tenant, lane, ?3, attempts, 0, ?3, 0, ?4, last_outcome, ?5 FROM deliveries \
        WHERE tenant = ?1 AND id = ?2 RETURNING lane";
    /// ?1 lane: found if one of those that have an order there is out.
    ORDERED_OUT = "SELECT 1 FROM delivery_queue WHERE lane = ?1 AND number > 0 AND node IS NOT NULL";
    /// ?1 lane: the first in its order, when it is due, and not before when.
    ORDERED_HEAD = "SELECT id, due_at, not_before FROM delivery_queue WHERE lane = ?1 AND number > 0 \
        ORDER BY number LIMIT 1";
}
