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
    name       TEXT    NOT NULL UNIQUE,
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
    handle        TEXT    UNIQUE,
    identity      BLOB    NOT NULL UNIQUE,
    api_key_hash  BLOB    UNIQUE CHECK (length(api_key_hash) = 32),
    mail_queue    INTEGER NOT NULL REFERENCES queue (queue_no),
    control_queue INTEGER NOT NULL REFERENCES queue (queue_no),
    org_id        INTEGER NOT NULL DEFAULT 1 REFERENCES org (org_id),
    owner_user_id INTEGER REFERENCES user_account (user_id),
    display_name  TEXT,
    description   TEXT,
    listed        INTEGER NOT NULL DEFAULT 0,
    registered_at INTEGER NOT NULL,
    suspended_at  INTEGER,
    last_seen_at  INTEGER,
    revoked_at    INTEGER
) STRICT;
CREATE INDEX agent_by_org ON agent (org_id);

-- By what the handle came to another identity. The agent that had it before has none from then on.
CREATE TABLE succession (
    succession_no INTEGER PRIMARY KEY,
    handle        TEXT    NOT NULL,
    old_no        INTEGER NOT NULL UNIQUE REFERENCES agent (agent_no),
    new_no        INTEGER NOT NULL REFERENCES agent (agent_no),
    bytes         BLOB    NOT NULL,
    at            INTEGER NOT NULL
) STRICT;
CREATE INDEX succession_by_handle ON succession (handle, succession_no);

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

-- Whom an agent holds as a contact.
CREATE TABLE contact (
    agent_no   INTEGER NOT NULL REFERENCES agent (agent_no),
    contact_no INTEGER NOT NULL REFERENCES agent (agent_no),
    PRIMARY KEY (agent_no, contact_no)
) STRICT, WITHOUT ROWID;
CREATE INDEX contact_by_contact ON contact (contact_no, agent_no);

-- Whom an agent has blocked. Told: the blocked one learns that it is blocked, because the two had a
-- conversation before; to anybody else the agent does not exist.
CREATE TABLE block (
    agent_no   INTEGER NOT NULL REFERENCES agent (agent_no),
    blocked_no INTEGER NOT NULL REFERENCES agent (agent_no),
    told       INTEGER NOT NULL,
    PRIMARY KEY (agent_no, blocked_no)
) STRICT, WITHOUT ROWID;

-- The newest lease of an agent: which instance of it is the live one.
CREATE TABLE lease (
    agent_no    INTEGER PRIMARY KEY REFERENCES agent (agent_no),
    incarnation INTEGER NOT NULL,
    session     BLOB    NOT NULL CHECK (length(session) = 16),
    time        INTEGER NOT NULL,
    bytes       BLOB    NOT NULL
) STRICT;

-- Where to wake the crypto proxy of an agent that has no socket. The secret signs calls and opens nothing.
CREATE TABLE hook (
    agent_no INTEGER PRIMARY KEY REFERENCES agent (agent_no),
    url      TEXT    NOT NULL,
    secret   TEXT    NOT NULL,
    set_at   INTEGER NOT NULL
) STRICT;

-- The wake-up that an agent is owed: one, however much has grown since.
CREATE TABLE wakeup (
    agent_no INTEGER PRIMARY KEY REFERENCES hook (agent_no),
    queue    TEXT    NOT NULL,
    head     INTEGER NOT NULL,
    serial   INTEGER NOT NULL,
    since    INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at   INTEGER NOT NULL,
    dead_at  INTEGER,
    reason   TEXT
) STRICT;
CREATE INDEX wakeup_due ON wakeup (due_at) WHERE dead_at IS NULL;

-- Epoch and closed are of the messages of a group, log_head is of its log.
CREATE TABLE queue (
    queue_no INTEGER PRIMARY KEY,
    kind     INTEGER NOT NULL,
    head     INTEGER NOT NULL DEFAULT 0,
    acked    INTEGER NOT NULL DEFAULT 0,
    epoch    INTEGER NOT NULL DEFAULT 0,
    closed   INTEGER NOT NULL DEFAULT 0,
    log_head BLOB    CHECK (length(log_head) = 32),
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

CREATE TABLE grp (
    group_no      INTEGER PRIMARY KEY,
    group_id      BLOB    NOT NULL UNIQUE CHECK (length(group_id) = 32),
    message_queue INTEGER NOT NULL REFERENCES queue (queue_no),
    log_queue     INTEGER NOT NULL REFERENCES queue (queue_no),
    created_at    INTEGER NOT NULL,
    ended_at      INTEGER
) STRICT;
CREATE INDEX grp_by_message_queue ON grp (message_queue);
CREATE INDEX grp_by_log_queue ON grp (log_queue);

CREATE TABLE group_commit (
    group_no INTEGER NOT NULL REFERENCES grp (group_no),
    hash     BLOB    NOT NULL CHECK (length(hash) = 32),
    position INTEGER NOT NULL,
    PRIMARY KEY (group_no, hash)
) STRICT, WITHOUT ROWID;

-- One row a membership: who comes back gets another. No row a message.
CREATE TABLE member (
    group_no      INTEGER NOT NULL REFERENCES grp (group_no),
    agent_no      INTEGER NOT NULL REFERENCES agent (agent_no),
    joined        INTEGER NOT NULL,
    joined_head   INTEGER NOT NULL,
    departed      INTEGER,
    departed_head INTEGER,
    acked         INTEGER NOT NULL,
    log_acked     INTEGER NOT NULL,
    PRIMARY KEY (group_no, agent_no, joined)
) STRICT, WITHOUT ROWID;
CREATE INDEX member_by_agent ON member (agent_no, group_no);

CREATE TABLE group_invite (
    group_no INTEGER NOT NULL REFERENCES grp (group_no),
    agent_id BLOB    NOT NULL CHECK (length(agent_id) = 16),
    position INTEGER NOT NULL,
    PRIMARY KEY (group_no, agent_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE rekey (
    group_no INTEGER NOT NULL REFERENCES grp (group_no),
    epoch    INTEGER NOT NULL,
    position INTEGER NOT NULL,
    leaves   BLOB    NOT NULL,
    PRIMARY KEY (group_no, epoch)
) STRICT;
