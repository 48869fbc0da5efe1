-- The proxy's state, version 1. Content columns (`sealed`) hold XChaCha20-Poly1305 boxes bound to
-- table, row and column; handles, numbers and times are in clear (docs/data-model.md).

-- Single values: store tag, delivery head, own session, schema facts.
CREATE TABLE meta(
  key   TEXT PRIMARY KEY,
  value BLOB NOT NULL
) WITHOUT ROWID;

-- One row per agent that this one has looked up, written to or heard from.
CREATE TABLE peer(
  peer_id    INTEGER PRIMARY KEY,
  handle     TEXT    NOT NULL UNIQUE,
  identity   BLOB    NOT NULL,            -- algorithm u16 || key
  trust      INTEGER NOT NULL,            -- 0 new, 1 tofu, 2 by fingerprint, 3 verified, 4 blocked
  changed    BLOB,                        -- the unproven identity that the relay shows instead
  accepted   INTEGER NOT NULL DEFAULT 0,  -- no longer a stranger
  bundle     BLOB    NOT NULL,            -- signed bytes
  number     INTEGER NOT NULL,            -- highest bundle number ever seen of this identity
  best_suite INTEGER NOT NULL,            -- highest suite ever shown
  fetched_at INTEGER NOT NULL,
  first_seen INTEGER NOT NULL
);

CREATE TABLE conversation(
  conversation_id INTEGER PRIMARY KEY,
  local           BLOB    NOT NULL UNIQUE, -- 16 bytes, kept through an identity change
  kind            INTEGER NOT NULL,        -- 1 direct, 2 group
  protocol_id     BLOB    NOT NULL UNIQUE, -- 32 bytes
  era             INTEGER NOT NULL DEFAULT 0, -- grows when the protocol id changes: numbering restarts
  peer_id         INTEGER REFERENCES peer,
  next_seq        INTEGER NOT NULL DEFAULT 1,
  out_n           INTEGER NOT NULL DEFAULT 0, -- last number given out in the own session
  out_hash        BLOB,                       -- hash of the core with that number
  updated_at      INTEGER NOT NULL,
  last_message_at INTEGER,
  hidden          INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX conversation_by_update ON conversation(updated_at);

CREATE TABLE message(
  message_row     INTEGER PRIMARY KEY,
  message_id      BLOB    NOT NULL UNIQUE, -- 16 bytes, end to end
  conversation_id INTEGER NOT NULL REFERENCES conversation,
  peer_id         INTEGER NOT NULL REFERENCES peer, -- the other side
  own             INTEGER NOT NULL,
  era             INTEGER NOT NULL,        -- of the conversation
  session         BLOB    NOT NULL,        -- the author's
  n               INTEGER NOT NULL,        -- the author's number in conversation and session
  core_hash       BLOB    NOT NULL,
  hold            INTEGER NOT NULL,        -- 0 none, 1 waits for a gap, 2 waits for acceptance
  seq             INTEGER,                 -- local number, once visible
  delivery        INTEGER UNIQUE,          -- delivery position, inbound only
  status          INTEGER NOT NULL,        -- 1 queued, 2 stored, 3 delivered, 4 read, 5 failed
  type_tag        BLOB    NOT NULL,        -- keyed hash of the message type
  broadcast       INTEGER NOT NULL,
  gap_after       INTEGER,
  gap_missing     INTEGER,
  created_at      INTEGER NOT NULL,
  visible_at      INTEGER,
  delivered_at    INTEGER,
  read_at         INTEGER,
  deleted         INTEGER NOT NULL DEFAULT 0,
  sealed          BLOB    NOT NULL,        -- signed message, verbatim
  UNIQUE(conversation_id, peer_id, own, era, session, n)
);
CREATE UNIQUE INDEX message_by_seq ON message(conversation_id, seq) WHERE seq IS NOT NULL;
CREATE INDEX message_undelivered ON message(delivery) WHERE delivered_at IS NULL AND delivery IS NOT NULL;
CREATE INDEX message_unread ON message(conversation_id) WHERE read_at IS NULL AND delivery IS NOT NULL;
CREATE INDEX message_held ON message(hold, visible_at) WHERE hold != 0;

-- client_msg_id -> message; the id itself is a keyed hash.
CREATE TABLE sent_id(
  tag         BLOB    PRIMARY KEY,
  message_row INTEGER NOT NULL,
  -- Hash of an envelope under the same mid that was given up while its fate was unknown.
  abandoned   BLOB
) WITHOUT ROWID;

CREATE INDEX sent_id_by_message ON sent_id(message_row) WHERE message_row != 0;

-- Envelopes for the relay in the order in which they go out. Ciphertext already.
CREATE TABLE outbox(
  token           INTEGER PRIMARY KEY AUTOINCREMENT,
  message_row     INTEGER,               -- NULL for control messages
  envelope        BLOB    NOT NULL,
  hash            BLOB    NOT NULL,
  deadline        INTEGER NOT NULL
);
CREATE INDEX outbox_by_deadline ON outbox(deadline);
CREATE INDEX outbox_by_message ON outbox(message_row) WHERE message_row IS NOT NULL;

-- Own numbers that were withdrawn and not yet announced in a message that was stored.
CREATE TABLE withdrawn(
  conversation_id INTEGER NOT NULL,
  n               INTEGER NOT NULL,
  PRIMARY KEY(conversation_id, n)
) WITHOUT ROWID;

-- A peer's numbering, one row per session.
CREATE TABLE inbound_session(
  session_row     INTEGER PRIMARY KEY,
  conversation_id INTEGER NOT NULL,
  peer_id         INTEGER NOT NULL,
  session         BLOB    NOT NULL,
  incarnation     INTEGER NOT NULL,
  contiguous      INTEGER NOT NULL,      -- everything up to here arrived or was withdrawn
  contiguous_hash BLOB,                  -- hash of the core with that number; NULL if withdrawn
  reported        INTEGER NOT NULL,      -- highest number that became visible
  receipt_due     INTEGER NOT NULL DEFAULT 0, -- a state that the peer does not know yet
  UNIQUE(conversation_id, peer_id, session)
);
CREATE INDEX inbound_session_due ON inbound_session(receipt_due) WHERE receipt_due != 0;

-- Numbers that a peer withdrew.
CREATE TABLE inbound_void(
  session_row INTEGER NOT NULL,
  first       INTEGER NOT NULL,
  last        INTEGER NOT NULL,
  PRIMARY KEY(session_row, first)
) WITHOUT ROWID;

-- What was durably taken from each queue of the relay.
CREATE TABLE cursor(
  queue    TEXT PRIMARY KEY,
  position INTEGER NOT NULL
) WITHOUT ROWID;

-- Envelopes that wait for something: sealed as they came.
CREATE TABLE held(
  held_id  INTEGER PRIMARY KEY AUTOINCREMENT,
  handle   TEXT    NOT NULL,             -- the claimed sender that must be looked up or decided on
  reason   INTEGER NOT NULL,             -- 1 unknown key, 2 identity changed
  held_at  INTEGER NOT NULL,
  envelope BLOB    NOT NULL
);
CREATE INDEX held_by_handle ON held(handle);

CREATE TABLE alert(
  alert_id     INTEGER PRIMARY KEY AUTOINCREMENT,
  at           INTEGER NOT NULL,
  kind         TEXT    NOT NULL,
  severity     INTEGER NOT NULL,
  conversation BLOB,
  peer         TEXT,
  reason       TEXT    NOT NULL
);
CREATE INDEX alert_by_kind ON alert(kind, at);
