//! What is copied, and what is not. The columns of a table and their types are those that the SQLite file says it has: an INTEGER becomes a BIGINT, TEXT stays TEXT, a BLOB becomes BYTEA, and nothing else is changed.

/// A table that both engines have under the same name.
pub(super) struct Table {
    pub(super) name: &'static str,
    /// What is unique in it, and has an index on both engines: rows are read in this order. None: its primary key.
    pub(super) key: &'static [&'static str],
    /// What PostgreSQL's has beside and must be given, with its value in SQL.
    pub(super) beside: &'static [(&'static str, &'static str)],
}

const fn same(name: &'static str) -> Table {
    Table { name, key: &[], beside: &[] }
}

/// In the order in which they are copied.
pub(super) const TABLES: &[Table] = &[
    same("tenants"),
    same("keys"),
    same("endpoints"),
    same("endpoint_sequence"),
    same("paused_tasks"),
    same("recoveries"),
    same("idempotency"),
    same("tombstones"),
    same("jobs"),
    same("payload"),
    // SQLite's order of commits is that of positions; PostgreSQL's is that of transactions, and 0 comes before any of
    // its own. So a mark of SQLite's, which is a position, stands for the same place in the feed afterwards.
    Table { name: "events", key: &["tenant", "id"], beside: &[("committed_by", "CAST('0' AS XID8)")] },
    same("deliveries"),
    same("attempts"),
    same("job_queue"),
    Table {
        name: "delivery_queue",
        key: &[],
        beside: &[("job", "(SELECT d.job FROM deliveries d WHERE d.tenant = u.tenant AND d.id = u.id)")],
    },
    // A node whose lease is over (SQLite's never had one), so that the first node that starts takes over what it had
    // claimed: open attempts are closed as `interrupted`, jobs that ran are started again.
    Table {
        name: "nodes",
        key: &[],
        beside: &[
            ("name", "'SQLite'"),
            ("version", "''"),
            ("knows", "0"),
            ("started_at", "0"),
            ("takes", "0"),
            ("holds", "'{}'"),
        ],
    },
];

/// What draws numbers on PostgreSQL: moved past the greatest that was copied. How to find it; whose numbers.
pub(super) const SEQUENCES: &[(&str, &str, &str)] =
    &[("pg_get_serial_sequence('events', 'position')", "events", "position"), ("'node_ids'", "nodes", "id")];

/// What only one engine has and the copy leaves alone, and why: a table, or a column of one that is copied.
#[cfg(test)]
pub(super) const LEFT_OUT: &[(&str, &str)] = &[
    ("schema_migrations", "each engine has its own steps; both must be this version's"),
    ("history_ranges", "says what partitions nodes have made: what is copied lies in the default ones"),
    ("fences", "each copied node has one that is given up"),
    ("fleet", "counts the writes of nodes that run: there are none"),
    ("job_queue.attached", "for a statement that waits for the row's lock meanwhile: there is none"),
    ("nodes.drain_at", "nobody sends it away"),
];
