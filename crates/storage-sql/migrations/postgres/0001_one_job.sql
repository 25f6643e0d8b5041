-- Ids are UUIDs as 16 bytes, times microseconds since the Unix epoch, words small numbers (domain's `code()`).
-- The tenant's short number leads every key of what grows, so that the schema can be sharded by it.

-- A row stays when its tenant is deleted, so that no number is given twice: history bears it.
CREATE TABLE tenants (
  n BIGINT PRIMARY KEY,
  id BYTEA NOT NULL UNIQUE,
  name TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  deleted_at BIGINT,
  secret BYTEA NOT NULL,
  previous BYTEA,
  previous_until BIGINT,
  -- How many endpoints it has: a finish of one that has none looks for none.
  endpoints BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX tenants_name ON tenants (name) WHERE deleted_at IS NULL;

-- `hash` is SHA-256 of the secret, of which nothing else is kept. One that is bound to an `endpoint` is deleted with it,
-- and good for nothing without it.
CREATE TABLE keys (
  id BYTEA NOT NULL PRIMARY KEY,
  tenant BIGINT NOT NULL,
  role BIGINT NOT NULL,
  name TEXT,
  hash BYTEA NOT NULL,
  created_at BIGINT NOT NULL,
  endpoint BYTEA
);
CREATE INDEX keys_tenant ON keys (tenant, id);
CREATE INDEX keys_endpoint ON keys (endpoint) WHERE endpoint IS NOT NULL;

-- History, five tables of it, is partitioned by range of id: a UUIDv7 begins with its time. `history_ranges` says which
-- ranges there are (jobs_1, events_1 and so on); what lies in none, and what was carried over from one that was dropped,
-- is in the default partitions. Each bound is the least id of a millisecond; `buried_at` is set once all that is dropped
-- with it has its tombstone.
CREATE TABLE history_ranges (
  n BIGINT PRIMARY KEY,
  from_id BYTEA NOT NULL,
  to_id BYTEA NOT NULL,
  buried_at BIGINT
);

-- Inserted once, updated once, when the job ends. Until then job_queue says where it stands. `event` is the one that
-- says that it ended; `erased`, 1 once its payloads were deleted before it.
CREATE TABLE jobs (
  tenant BIGINT NOT NULL,
  id BYTEA NOT NULL,
  task TEXT NOT NULL,
  status BIGINT NOT NULL,
  attempt BIGINT NOT NULL,
  max_attempts BIGINT NOT NULL,
  priority BIGINT NOT NULL,
  timeout_us BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  run_at BIGINT,
  expires_at BIGINT,
  started_at BIGINT,
  finished_at BIGINT,
  cancel_requested_at BIGINT,
  rerun_of BYTEA,
  batch BYTEA,
  idempotency BYTEA,
  fairness TEXT,
  traceparent TEXT,
  result_size BIGINT,
  result_sha256 BYTEA,
  result_type TEXT,
  result_shown BIGINT NOT NULL,
  metadata TEXT NOT NULL,
  callbacks TEXT NOT NULL,
  error TEXT,
  input TEXT,
  result BYTEA,
  event BYTEA,
  erased BIGINT,
  progress TEXT,
  PRIMARY KEY (tenant, id)
) PARTITION BY RANGE (id);

-- One row while there is something left to do. A row without a node waits. `attached` is set once a callback was added
-- to the job: whoever deletes the row reads the callbacks again then, since a statement that waited for the lock has
-- the row it waited for as it is by now, and every other as it was when the statement began.
CREATE TABLE job_queue (
  id BYTEA NOT NULL PRIMARY KEY,
  tenant BIGINT NOT NULL,
  lane BIGINT NOT NULL,
  due_at BIGINT NOT NULL,
  attempt BIGINT NOT NULL,
  node BIGINT,
  epoch BIGINT,
  started_at BIGINT,
  expires_at BIGINT,
  cancel_at BIGINT,
  attached BIGINT,
  progress TEXT
);
CREATE INDEX job_queue_due ON job_queue (lane, due_at, id) WHERE node IS NULL;
CREATE INDEX job_queue_expiry ON job_queue (expires_at) WHERE expires_at IS NOT NULL AND node IS NULL;
CREATE INDEX job_queue_cancel ON job_queue (node) WHERE cancel_at IS NOT NULL;

-- `position` counts up as events are inserted. A sequence by hand: partitioned tables have no identity before
-- PostgreSQL 17.
CREATE SEQUENCE events_position_seq;
CREATE TABLE events (
  position BIGINT NOT NULL DEFAULT nextval('events_position_seq'),
  committed_by XID8 NOT NULL DEFAULT pg_current_xact_id(),
  tenant BIGINT NOT NULL,
  id BYTEA NOT NULL,
  kind BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  job BYTEA,
  body TEXT,
  PRIMARY KEY (tenant, id)
) PARTITION BY RANGE (id);
ALTER SEQUENCE events_position_seq OWNED BY events.position;
-- The tenant's feed: positions are drawn before the commit, transactions are what can be waited for.
CREATE INDEX events_feed ON events (tenant, committed_by, position);

-- Inserted once, updated when it ends, and when somebody asks for it again.
CREATE TABLE deliveries (
  tenant BIGINT NOT NULL,
  id BYTEA NOT NULL,
  event BYTEA NOT NULL,
  kind BIGINT NOT NULL,
  job BYTEA,
  endpoint BYTEA,
  place BIGINT,
  sequence BIGINT,
  lane BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  status BIGINT NOT NULL,
  reason BIGINT,
  attempts BIGINT NOT NULL,
  last_outcome BIGINT,
  finished_at BIGINT,
  url TEXT NOT NULL,
  PRIMARY KEY (tenant, id)
) PARTITION BY RANGE (id);
CREATE INDEX deliveries_job ON deliveries (tenant, job);
-- Of what happened to no job: few, and found by nothing else once they are old.
CREATE INDEX deliveries_apart ON deliveries (tenant, event) WHERE job IS NULL;
CREATE INDEX deliveries_endpoint ON deliveries (endpoint, sequence) WHERE sequence IS NOT NULL;
-- Whoever answers at one endpoint lists what is its own, however much else its tenant sends.
CREATE INDEX deliveries_of_endpoint ON deliveries (tenant, endpoint, id) WHERE endpoint IS NOT NULL;

-- One row while there is something left to send. With a node, (attempt, started_at, trigger) is the open attempt.
CREATE TABLE delivery_queue (
  id BYTEA NOT NULL PRIMARY KEY,
  tenant BIGINT NOT NULL,
  lane BIGINT NOT NULL,
  due_at BIGINT NOT NULL,
  attempt BIGINT NOT NULL,
  steps BIGINT NOT NULL,
  since BIGINT NOT NULL,
  succeeded BIGINT NOT NULL,
  trigger BIGINT NOT NULL,
  last_outcome BIGINT,
  node BIGINT,
  epoch BIGINT,
  started_at BIGINT,
  -- Its receiver asked for no attempt before then: neither a probe nor a recovery is earlier.
  not_before BIGINT,
  -- Where its lane has terms: its number if that is its place there, else 0.
  number BIGINT,
  -- As in deliveries: in which range of history it is found, and what keeps a job from being dropped.
  job BYTEA
);
CREATE INDEX delivery_queue_due ON delivery_queue (lane, due_at, id) WHERE node IS NULL;
-- What is in flight of the lanes that have terms.
CREATE INDEX delivery_queue_out ON delivery_queue (lane) WHERE number IS NOT NULL AND node IS NOT NULL;
-- The order of lanes that have one.
CREATE INDEX delivery_queue_order ON delivery_queue (lane, number) WHERE number > 0;
-- Of a lane whose breaker is half open, its one probe (1).
CREATE INDEX delivery_queue_probe ON delivery_queue (lane) WHERE trigger = 1 AND node IS NOT NULL;

-- Closed attempts. Inserted once, never updated.
CREATE TABLE attempts (
  tenant BIGINT NOT NULL,
  delivery BYTEA NOT NULL,
  number BIGINT NOT NULL,
  trigger BIGINT NOT NULL,
  started_at BIGINT NOT NULL,
  ended_at BIGINT NOT NULL,
  outcome BIGINT NOT NULL,
  status BIGINT,
  error TEXT,
  remote_address TEXT,
  timings TEXT NOT NULL,
  response TEXT,
  endpoint BYTEA,
  PRIMARY KEY (tenant, delivery, number)
) PARTITION BY RANGE (delivery);
CREATE INDEX attempts_endpoint ON attempts (endpoint, ended_at) WHERE endpoint IS NOT NULL;

-- What is left of a job that was pruned or deleted. `idempotency` is a key that outlived it.
CREATE TABLE tombstones (
  tenant BIGINT NOT NULL,
  id BYTEA NOT NULL,
  task TEXT NOT NULL,
  status BIGINT NOT NULL,
  finished_at BIGINT NOT NULL,
  gone_at BIGINT NOT NULL,
  idempotency BYTEA,
  PRIMARY KEY (tenant, id)
);

CREATE TABLE idempotency (
  key BYTEA NOT NULL PRIMARY KEY,
  fingerprint BYTEA NOT NULL,
  tenant BIGINT NOT NULL,
  job BYTEA NOT NULL,
  created_at BIGINT NOT NULL
);

-- What is over 2 KiB: a job's input (1) and result (2), an event's body (3). Inserted and deleted, never updated.
CREATE TABLE payload (
  tenant BIGINT NOT NULL,
  id BYTEA NOT NULL,
  kind BIGINT NOT NULL,
  bytes BYTEA NOT NULL,
  PRIMARY KEY (tenant, id, kind)
) PARTITION BY RANGE (id);

-- Tasks of which nothing is started.
CREATE TABLE paused_tasks (
  task TEXT NOT NULL PRIMARY KEY,
  paused_at BIGINT NOT NULL
);

-- All times are this database's. A lease of 0 has been given up, and is not renewed. `knows`: how many steps of the schema.
CREATE TABLE nodes (
  id BIGINT PRIMARY KEY,
  epoch BIGINT NOT NULL,
  lease_until BIGINT NOT NULL,
  name TEXT NOT NULL,
  version TEXT NOT NULL,
  knows BIGINT NOT NULL,
  started_at BIGINT NOT NULL,
  takes BIGINT NOT NULL,
  drain_at BIGINT,
  holds TEXT NOT NULL
);

CREATE SEQUENCE node_ids;

-- What a node holds (FOR KEY SHARE) while it writes its mark into rows, and whoever takes its work over has alone. Beside its
-- row in nodes, since that is written all the time: each of its versions that was locked by several at once is looked up in
-- pg_multixact by every reader for as long as some transaction is open. 0 once it was given up.
CREATE TABLE fences (
  node BIGINT PRIMARY KEY,
  epoch BIGINT NOT NULL
);

-- One row: counts the writes of nodes.holds, so that they are made one at a time.
CREATE TABLE fleet (version BIGINT NOT NULL);
INSERT INTO fleet (version) VALUES (0);

-- `settings` is what its owner set; `events` the set of kinds in it, so that a finish reads only who asked.
-- `failing_since` and `failed_events` are how it fares since its last success.
CREATE TABLE endpoints (
  tenant BIGINT NOT NULL,
  id BYTEA NOT NULL,
  created_at BIGINT NOT NULL,
  version BIGINT NOT NULL,
  events BIGINT NOT NULL,
  disabled BIGINT,
  failing_since BIGINT,
  failed_events BIGINT NOT NULL,
  secret BYTEA NOT NULL,
  previous BYTEA,
  previous_until BIGINT,
  settings TEXT NOT NULL,
  PRIMARY KEY (tenant, id)
);

-- The last number given, and whether what is numbered is sent at all: both are read and written under one row's lock,
-- so that nothing is queued for an endpoint that was disabled before. It outlives its endpoint, as its lanes do.
CREATE TABLE endpoint_sequence (
  endpoint BYTEA NOT NULL PRIMARY KEY,
  tenant BIGINT NOT NULL,
  lane BIGINT NOT NULL,
  beside BIGINT NOT NULL,
  last BIGINT NOT NULL,
  -- The greatest that was pruned.
  pruned BIGINT NOT NULL,
  state BIGINT NOT NULL,
  terms TEXT
);
CREATE INDEX endpoint_sequence_lane ON endpoint_sequence (lane) WHERE state <> 0;
CREATE INDEX endpoint_sequence_terms ON endpoint_sequence (lane) WHERE terms IS NOT NULL;
CREATE INDEX endpoint_sequence_beside ON endpoint_sequence (beside) WHERE state <> 0;

-- What sends an endpoint again what it missed, by sequence and in steps: how far it is, of how much, and how fast it
-- goes. `next_at` is null once it is over.
CREATE TABLE recoveries (
  tenant BIGINT NOT NULL,
  id BYTEA NOT NULL,
  endpoint BYTEA NOT NULL,
  created_at BIGINT NOT NULL,
  reason BIGINT,
  since BIGINT,
  until BIGINT,
  rate TEXT,
  reached BIGINT NOT NULL,
  last BIGINT NOT NULL,
  recovered BIGINT NOT NULL,
  next_at BIGINT,
  state BIGINT NOT NULL,
  finished_at BIGINT,
  PRIMARY KEY (tenant, id)
);
CREATE INDEX recoveries_next ON recoveries (next_at) WHERE next_at IS NOT NULL;

-- The queues turn over all the time: what is dead in them is cleared away early, and by little effort at a time.
ALTER TABLE job_queue SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000,
  autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_threshold = 10000);
ALTER TABLE delivery_queue SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000,
  autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_threshold = 10000);

CREATE TABLE jobs_rest PARTITION OF jobs DEFAULT;
CREATE TABLE events_rest PARTITION OF events DEFAULT;
-- Half of each page is left to updates, so that four indexes do not hear of them. Of what has one it is not worth the space.
CREATE TABLE deliveries_rest PARTITION OF deliveries DEFAULT WITH (fillfactor = 50);
CREATE TABLE attempts_rest PARTITION OF attempts DEFAULT;
CREATE TABLE payload_rest PARTITION OF payload DEFAULT;
