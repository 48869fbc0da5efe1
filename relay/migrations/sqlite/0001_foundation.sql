-- The relay's tables; docs/data-model.md says what each column is for.

CREATE TABLE relay_identity (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    algorithm  INTEGER NOT NULL,
    secret     BLOB    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE counter (
    name  TEXT    PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tier (
    tier TEXT    PRIMARY KEY,
    cost INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO tier (tier) VALUES ('default');

CREATE TABLE org (
    org_id     INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL,
    tier       TEXT    NOT NULL DEFAULT 'default' REFERENCES tier (tier),
    created_at INTEGER NOT NULL
) STRICT;
INSERT INTO org (org_id, name, created_at) VALUES (1, 'default', 0);

CREATE TABLE user_account (
    user_id    INTEGER PRIMARY KEY,
    org_id     INTEGER NOT NULL REFERENCES org (org_id),
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE agent (
    agent_no      INTEGER PRIMARY KEY,
    agent_id      BLOB    NOT NULL UNIQUE CHECK (length(agent_id) = 16),
    handle        TEXT    NOT NULL UNIQUE,
    identity      BLOB    NOT NULL UNIQUE,
    api_key_hash  BLOB    UNIQUE CHECK (length(api_key_hash) = 32),
    mail_queue    INTEGER NOT NULL REFERENCES queue (queue_no),
    control_queue INTEGER NOT NULL REFERENCES queue (queue_no),
    org_id        INTEGER NOT NULL DEFAULT 1 REFERENCES org (org_id),
    owner_user_id INTEGER REFERENCES user_account (user_id),
    registered_at INTEGER NOT NULL,
    suspended_at  INTEGER,
    revoked_at    INTEGER
) STRICT;

CREATE TABLE auth_event (
    event_no INTEGER PRIMARY KEY AUTOINCREMENT,
    agent_no INTEGER NOT NULL REFERENCES agent (agent_no),
    at       INTEGER NOT NULL
) STRICT;

CREATE TABLE used_challenge (
    challenge_hash BLOB    PRIMARY KEY CHECK (length(challenge_hash) = 32),
    expires_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE invite (
    code_hash  BLOB    PRIMARY KEY CHECK (length(code_hash) = 32),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER,
    used_by    INTEGER REFERENCES agent (agent_no)
) STRICT, WITHOUT ROWID;

CREATE TABLE bundle (
    agent_no INTEGER NOT NULL REFERENCES agent (agent_no),
    number   INTEGER NOT NULL,
    bytes    BLOB    NOT NULL,
    PRIMARY KEY (agent_no, number)
) STRICT;

CREATE TABLE queue (
    queue_no INTEGER PRIMARY KEY,
    kind     INTEGER NOT NULL,
    head     INTEGER NOT NULL DEFAULT 0,
    acked    INTEGER NOT NULL DEFAULT 0,
    CHECK (acked <= head)
) STRICT;

-- Rows are appended in the order of their ids, and an index finds a queue's rows in order. Clustering
-- whole envelopes by queue would split pages in the middle of the table with every send.
CREATE TABLE envelope (
    envelope_id INTEGER PRIMARY KEY,
    queue_no    INTEGER NOT NULL,
    position    INTEGER NOT NULL,
    stored_at   INTEGER NOT NULL,
    bytes       BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX envelope_by_queue ON envelope (queue_no, position);

CREATE TABLE sent (
    sender_no   INTEGER NOT NULL,
    mid         BLOB    NOT NULL,
    envelope_id INTEGER NOT NULL,
    hash        BLOB    NOT NULL,
    PRIMARY KEY (sender_no, mid)
) STRICT, WITHOUT ROWID;
