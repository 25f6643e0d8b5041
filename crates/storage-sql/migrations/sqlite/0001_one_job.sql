-- Ids are UUIDs as 16 bytes, times microseconds since the Unix epoch, words small numbers (domain's `code()`).
-- The tenant's short number leads every key of what grows, so that the schema can be sharded by it.

-- A row stays when its tenant is deleted, so that no number is given twice: history bears it.
CREATE TABLE tenants (
  n INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE,
  name TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  deleted_at INTEGER,
  secret BLOB NOT NULL,
  previous BLOB,
  previous_until INTEGER,
  -- How many endpoints it has: a finish of one that has none looks for none.
  endpoints INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX tenants_name ON tenants (name) WHERE deleted_at IS NULL;

-- `hash` is SHA-256 of the secret, of which nothing else is kept. One that is bound to an `endpoint` is deleted with it,
-- and good for nothing without it.
CREATE TABLE keys (
  id BLOB NOT NULL PRIMARY KEY,
  tenant INTEGER NOT NULL,
  role INTEGER NOT NULL,
  name TEXT,
  hash BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  endpoint BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_tenant ON keys (tenant, id);
CREATE INDEX keys_endpoint ON keys (endpoint) WHERE endpoint IS NOT NULL;

-- Inserted once, updated once, when the job ends. Until then job_queue says where it stands. `event` is the one that
-- says that it ended; `erased`, 1 once its payloads were deleted before it.
-- A rowid table: in a key's page a row over 1,002 bytes spills into a page of its own, and most are (178,000
-- instructions of the writer a job that way, 153,000 this way).
CREATE TABLE jobs (
  tenant INTEGER NOT NULL,
  id BLOB NOT NULL,
  task TEXT NOT NULL,
  status INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  max_attempts INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  timeout_us INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  run_at INTEGER,
  expires_at INTEGER,
  started_at INTEGER,
  finished_at INTEGER,
  cancel_requested_at INTEGER,
  rerun_of BLOB,
  batch BLOB,
  idempotency BLOB,
  fairness TEXT,
  traceparent TEXT,
  result_size INTEGER,
  result_sha256 BLOB,
  result_type TEXT,
  result_shown INTEGER NOT NULL,
  metadata TEXT NOT NULL,
  callbacks TEXT NOT NULL,
  error TEXT,
  input TEXT,
  result BLOB,
  event BLOB,
  erased INTEGER,
  progress TEXT,
  PRIMARY KEY (tenant, id)
) STRICT;

-- One row while there is something left to do. A row without a node waits.
CREATE TABLE job_queue (
  id BLOB NOT NULL PRIMARY KEY,
  tenant INTEGER NOT NULL,
  lane INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  node INTEGER,
  epoch INTEGER,
  started_at INTEGER,
  expires_at INTEGER,
  cancel_at INTEGER,
  progress TEXT
) STRICT, WITHOUT ROWID;
-- `node`, always null here, makes the index answer a claim without a look at the row.
CREATE INDEX job_queue_due ON job_queue (lane, due_at, id, node) WHERE node IS NULL;
CREATE INDEX job_queue_expiry ON job_queue (expires_at, id, node) WHERE expires_at IS NOT NULL AND node IS NULL;

-- `position` counts up in the order of commits.
CREATE TABLE events (
  position INTEGER PRIMARY KEY,
  tenant INTEGER NOT NULL,
  id BLOB NOT NULL,
  kind INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  job BLOB,
  body TEXT
) STRICT;
CREATE UNIQUE INDEX events_id ON events (tenant, id);

-- Inserted once, updated when it ends, and when somebody asks for it again.
CREATE TABLE deliveries (
  tenant INTEGER NOT NULL,
  id BLOB NOT NULL,
  event BLOB NOT NULL,
  kind INTEGER NOT NULL,
  job BLOB,
  endpoint BLOB,
  place INTEGER,
  sequence INTEGER,
  lane INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  status INTEGER NOT NULL,
  reason INTEGER,
  attempts INTEGER NOT NULL,
  last_outcome INTEGER,
  finished_at INTEGER,
  url TEXT NOT NULL,
  PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_job ON deliveries (tenant, job);
-- Of what happened to no job: few, and found by nothing else once they are old.
CREATE INDEX deliveries_apart ON deliveries (tenant, event) WHERE job IS NULL;
CREATE INDEX deliveries_endpoint ON deliveries (endpoint, sequence) WHERE sequence IS NOT NULL;
-- Whoever answers at one endpoint lists what is its own, however much else its tenant sends.
CREATE INDEX deliveries_of_endpoint ON deliveries (tenant, endpoint, id) WHERE endpoint IS NOT NULL;

-- One row while there is something left to send. With a node, (attempt, started_at, trigger) is the open attempt.
CREATE TABLE delivery_queue (
  id BLOB NOT NULL PRIMARY KEY,
  tenant INTEGER NOT NULL,
  lane INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  steps INTEGER NOT NULL,
  since INTEGER NOT NULL,
  succeeded INTEGER NOT NULL,
  trigger INTEGER NOT NULL,
  last_outcome INTEGER,
  node INTEGER,
  epoch INTEGER,
  started_at INTEGER,
  -- Its receiver asked for no attempt before then: neither a probe nor a recovery is earlier.
  not_before INTEGER,
  -- Where its lane has terms: its number if that is its place there, else 0.
  number INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_queue_due ON delivery_queue (lane, due_at, id, node) WHERE node IS NULL;
-- The order of lanes that have one.
CREATE INDEX delivery_queue_order ON delivery_queue (lane, number) WHERE number > 0;
-- What is in flight of them.
CREATE INDEX delivery_queue_out ON delivery_queue (lane) WHERE number > 0 AND node IS NOT NULL;
-- Of a lane whose breaker is half open, its one probe (1).
CREATE INDEX delivery_queue_probe ON delivery_queue (lane) WHERE trigger = 1 AND node IS NOT NULL;

-- Closed attempts. Inserted once, never updated.
CREATE TABLE attempts (
  tenant INTEGER NOT NULL,
  delivery BLOB NOT NULL,
  number INTEGER NOT NULL,
  trigger INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  ended_at INTEGER NOT NULL,
  outcome INTEGER NOT NULL,
  status INTEGER,
  error TEXT,
  remote_address TEXT,
  timings TEXT NOT NULL,
  response TEXT,
  endpoint BLOB,
  PRIMARY KEY (tenant, delivery, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_endpoint ON attempts (endpoint, ended_at) WHERE endpoint IS NOT NULL;

-- What is left of a job that was pruned or deleted. `idempotency` is a key that outlived it.
CREATE TABLE tombstones (
  tenant INTEGER NOT NULL,
  id BLOB NOT NULL,
  task TEXT NOT NULL,
  status INTEGER NOT NULL,
  finished_at INTEGER NOT NULL,
  gone_at INTEGER NOT NULL,
  idempotency BLOB,
  PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
  key BLOB NOT NULL PRIMARY KEY,
  fingerprint BLOB NOT NULL,
  tenant INTEGER NOT NULL,
  job BLOB NOT NULL,
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What is over 2 KiB: a job's input (1) and result (2), an event's body (3). Inserted and deleted, never updated.
CREATE TABLE payload (
  tenant INTEGER NOT NULL,
  id BLOB NOT NULL,
  kind INTEGER NOT NULL,
  bytes BLOB NOT NULL,
  PRIMARY KEY (tenant, id, kind)
) STRICT, WITHOUT ROWID;

-- Tasks of which nothing is started.
CREATE TABLE paused_tasks (
  task TEXT NOT NULL PRIMARY KEY,
  paused_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE nodes (
  id INTEGER PRIMARY KEY,
  epoch INTEGER NOT NULL,
  lease_until INTEGER NOT NULL
) STRICT;

-- `settings` is what its owner set; `events` the set of kinds in it, so that a finish reads only who asked.
-- `failing_since` and `failed_events` are how it fares since its last success.
CREATE TABLE endpoints (
  tenant INTEGER NOT NULL,
  id BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  version INTEGER NOT NULL,
  events INTEGER NOT NULL,
  disabled INTEGER,
  failing_since INTEGER,
  failed_events INTEGER NOT NULL,
  secret BLOB NOT NULL,
  previous BLOB,
  previous_until INTEGER,
  settings TEXT NOT NULL,
  PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

-- The last number given, and whether what is numbered is sent at all: both are read and written under one row's lock,
-- so that nothing is queued for an endpoint that was disabled before. It outlives its endpoint, as its lanes do.
CREATE TABLE endpoint_sequence (
  endpoint BLOB NOT NULL PRIMARY KEY,
  tenant INTEGER NOT NULL,
  lane INTEGER NOT NULL,
  beside INTEGER NOT NULL,
  last INTEGER NOT NULL,
  -- The greatest that was pruned.
  pruned INTEGER NOT NULL,
  state INTEGER NOT NULL,
  terms TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX endpoint_sequence_lane ON endpoint_sequence (lane) WHERE state <> 0;
CREATE INDEX endpoint_sequence_terms ON endpoint_sequence (lane) WHERE terms IS NOT NULL;
CREATE INDEX endpoint_sequence_beside ON endpoint_sequence (beside) WHERE state <> 0;

-- What sends an endpoint again what it missed, by sequence and in steps: how far it is, of how much, and how fast it
-- goes. `next_at` is null once it is over.
CREATE TABLE recoveries (
  tenant INTEGER NOT NULL,
  id BLOB NOT NULL,
  endpoint BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  reason INTEGER,
  since INTEGER,
  until INTEGER,
  rate TEXT,
  reached INTEGER NOT NULL,
  last INTEGER NOT NULL,
  recovered INTEGER NOT NULL,
  next_at INTEGER,
  state INTEGER NOT NULL,
  finished_at INTEGER,
  PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX recoveries_next ON recoveries (next_at) WHERE next_at IS NOT NULL;

-- What the planner must know and an empty file cannot tell: a tenant's number picks nothing out, an id does.
ANALYZE;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
  ('jobs', 'sqlite_autoindex_jobs_1', '1000000 1000000 1'),
  ('events', 'events_id', '1000000 1000000 1'),
  ('deliveries', 'deliveries', '1000000 1000000 1'),
  ('deliveries', 'deliveries_job', '1000000 1000000 1'),
  ('deliveries', 'deliveries_apart', '1000 1000 1'),
  ('deliveries', 'deliveries_endpoint', '1000000 1000000 1'),
  ('deliveries', 'deliveries_of_endpoint', '1000000 1000000 1000 1'),
  ('attempts', 'attempts', '1000000 1000000 2 1'),
  ('attempts', 'attempts_endpoint', '1000000 1000000 1'),
  ('endpoint_sequence', 'endpoint_sequence', '1000 1'),
  ('endpoints', 'endpoints', '1000 1000 1'),
  ('payload', 'payload', '1000000 1000000 2 1'),
  ('tombstones', 'tombstones', '1000000 1000000 1');
ANALYZE sqlite_schema;
