-- The relay's transparency log as this proxy has seen it (docs/protocol.md, 10). Nothing here is secret.
ALTER TABLE peer ADD COLUMN log_tag BLOB;                         -- stands for the handle in the log; dear to compute
ALTER TABLE peer ADD COLUMN log_sent INTEGER NOT NULL DEFAULT 0;  -- size of the last head that went to it
ALTER TABLE peer ADD COLUMN log_sent_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE peer ADD COLUMN log_unproven BLOB;                    -- hash of a bundle that was shown without proof
ALTER TABLE peer ADD COLUMN log_unproven_at INTEGER;              -- when it was first
ALTER TABLE grp ADD COLUMN log_sent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE grp ADD COLUMN log_sent_at INTEGER NOT NULL DEFAULT 0;

CREATE TABLE log_head(
  role   INTEGER PRIMARY KEY,      -- 1 the highest that was verified, 2 of another log that nobody has acknowledged
  size   INTEGER NOT NULL,
  signed BLOB    NOT NULL
);

-- How far the leaves were read: the subtrees of the tree over them.
CREATE TABLE log_scan(
  role   INTEGER PRIMARY KEY,      -- 1 up to a signed head, 2 beyond it
  size   INTEGER NOT NULL,
  hashes BLOB    NOT NULL
);

-- Leaves under the own handle among those that were read.
CREATE TABLE log_own(
  place  INTEGER PRIMARY KEY,
  number INTEGER NOT NULL,
  bundle BLOB    NOT NULL,
  told   INTEGER NOT NULL DEFAULT 0 -- an alert was raised about it
);

-- Pairs of heads that cannot be of one honest log.
CREATE TABLE log_evidence(
  evidence_id INTEGER PRIMARY KEY,
  at          INTEGER NOT NULL,
  kind        INTEGER NOT NULL,    -- 1 fork, 2 another log
  first       BLOB    NOT NULL,
  second      BLOB    NOT NULL,
  UNIQUE(first, second)
);

-- Logs that were given up when another was acknowledged.
CREATE TABLE log_former(
  log BLOB PRIMARY KEY
) WITHOUT ROWID;

-- Every bundle that this agent has signed.
CREATE TABLE own_bundle(
  hash     BLOB    PRIMARY KEY,
  number   INTEGER NOT NULL,
  previous BLOB
) WITHOUT ROWID;
