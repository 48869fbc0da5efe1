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
  changed    BLOB,                        -- another identity that the relay shows instead
  changed_bundle BLOB,                    -- its signed bundle
  changed_proof INTEGER NOT NULL DEFAULT 0, -- 0 it proves nothing, 1 the pinned one signed, 2 its recovery key
  accepted   INTEGER NOT NULL DEFAULT 0,  -- no longer a stranger
  bundle     BLOB    NOT NULL,            -- signed bytes
  number     INTEGER NOT NULL,            -- highest bundle number ever seen of this identity
  best_suite INTEGER NOT NULL,            -- highest suite ever shown
  fetched_at INTEGER NOT NULL,
  first_seen INTEGER NOT NULL
);

-- Identities that a handle had before.
CREATE TABLE peer_former(
  peer_id  INTEGER NOT NULL REFERENCES peer,
  identity BLOB    NOT NULL,
  proof    INTEGER NOT NULL,            -- by what the next one followed, as peer.changed_proof
  until    INTEGER NOT NULL,
  PRIMARY KEY(peer_id, identity)
) WITHOUT ROWID;

-- Blocked peers, with the trust that returns when the block is lifted.
CREATE TABLE peer_block(
  peer_id    INTEGER PRIMARY KEY REFERENCES peer,
  trust      INTEGER NOT NULL,
  blocked_at INTEGER NOT NULL
);

-- What the relay last said of a peer.
CREATE TABLE peer_profile(
  peer_id      INTEGER PRIMARY KEY REFERENCES peer,
  display_name TEXT,
  description  TEXT
);

-- Agents that this one holds as contacts.
CREATE TABLE contact(
  peer_id  INTEGER PRIMARY KEY REFERENCES peer,
  added_at INTEGER NOT NULL,
  sealed   BLOB                        -- notes
);

-- What is not pushed to the agent.
CREATE TABLE mute(
  kind       INTEGER NOT NULL,         -- 1 agent, 2 conversation
  target     TEXT    NOT NULL,         -- handle, or local id
  until      INTEGER,                  -- NULL: for ever
  created_at INTEGER NOT NULL,
  PRIMARY KEY(kind, target)
) WITHOUT ROWID;

-- What the agent has set of itself.
CREATE TABLE own_profile(
  id            INTEGER PRIMARY KEY CHECK (id = 1),
  display_name  TEXT,
  description   TEXT,
  listed        INTEGER NOT NULL,
  inbox_mode    INTEGER,               -- 1 open, 2 contacts only; NULL: as `run` was started
  invite_policy INTEGER NOT NULL,      -- 1 open, 2 contacts only
  updated_at    INTEGER NOT NULL
);

-- Of what the relay holds an older state.
CREATE TABLE undeclared(
  subject INTEGER NOT NULL,            -- 1 contact, 2 block, 3 own profile
  peer_id INTEGER NOT NULL,            -- 0 for the profile
  PRIMARY KEY(subject, peer_id)
) WITHOUT ROWID;

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
  peer_id         INTEGER REFERENCES peer, -- the peer of a direct conversation, the author in a group;
                                           -- NULL for own ones and events in a group
  form            INTEGER NOT NULL DEFAULT 0, -- 0 signed message, 1 event made from the verified roster
  own             INTEGER NOT NULL,
  era             INTEGER NOT NULL,        -- of the conversation
  session         BLOB    NOT NULL,        -- the author's
  n               INTEGER NOT NULL,        -- the author's number in conversation and session
  core_hash       BLOB    NOT NULL,
  hold            INTEGER NOT NULL,        -- 0 none, 1 waits for a gap, 2 waits for acceptance
  seq             INTEGER,                 -- local number, once visible
  place           INTEGER UNIQUE,          -- in the order in which messages became visible, in and out
  delivery        INTEGER UNIQUE,          -- delivery position, inbound only: the place
  status          INTEGER NOT NULL,        -- 1 queued, 2 stored, 3 delivered, 4 read, 5 failed
  type_tag        BLOB    NOT NULL,        -- keyed hash of the message type
  broadcast       INTEGER NOT NULL,
  epoch           INTEGER,                 -- of the group, under which it was sealed
  late            INTEGER NOT NULL DEFAULT 0, -- its author had left, it is from before the cut-off
  granted_by      INTEGER REFERENCES peer, -- who showed it from the group's past
  mid             BLOB,                    -- of an own one: names its envelope at the relay
  envelope_hash   BLOB,                    -- of an own one: SHA-256 of that envelope
  attempt         INTEGER NOT NULL DEFAULT 0, -- of an own one: how often it was sealed to another key
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
CREATE INDEX message_by_mid ON message(mid) WHERE mid IS NOT NULL;
CREATE INDEX message_held ON message(hold, visible_at) WHERE hold != 0;

-- client_msg_id -> message; the id itself is a keyed hash.
CREATE TABLE sent_id(
  tag         BLOB    PRIMARY KEY,
  message_row INTEGER NOT NULL,
  -- Hashes of envelopes under the same mid that were given up while their fate was unknown, 32 bytes each.
  abandoned   BLOB
) WITHOUT ROWID;

CREATE INDEX sent_id_by_message ON sent_id(message_row) WHERE message_row != 0;

-- Envelopes for the relay in the order in which they go out. Ciphertext already.
CREATE TABLE outbox(
  token           INTEGER PRIMARY KEY AUTOINCREMENT,
  message_row     INTEGER,               -- NULL for control messages
  envelope        BLOB    NOT NULL,
  hash            BLOB    NOT NULL,
  deadline        INTEGER NOT NULL,
  group_row       INTEGER,               -- of a message to a group
  parked          INTEGER NOT NULL DEFAULT 0, -- it is sealed again before it goes out: its epoch is closed,
                                         -- or its recipient could not be looked up
  receipt_of      INTEGER                -- session whose receipt it is: owed again if it is not sent
);
CREATE INDEX outbox_parked ON outbox(token) WHERE parked = 1;
CREATE INDEX outbox_by_deadline ON outbox(deadline);
CREATE INDEX outbox_by_group ON outbox(group_row) WHERE group_row IS NOT NULL;
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
  before          INTEGER NOT NULL DEFAULT 0, -- up to here nothing is owed: this agent could not read then
  receipt_due     INTEGER NOT NULL DEFAULT 0, -- states that the author is to be told: 1 delivered, 2 read
  said_delivered  INTEGER NOT NULL DEFAULT 0, -- how far receipts have gone, for each state
  said_read       INTEGER NOT NULL DEFAULT 0,
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

-- One row per group that this agent founds, joins, is or was a member of. What is shown of it is kept
-- beside the log that it follows from.
CREATE TABLE grp(
  group_row        INTEGER PRIMARY KEY,
  group_id         BLOB    NOT NULL UNIQUE,
  conversation_id  INTEGER NOT NULL UNIQUE REFERENCES conversation,
  standing         INTEGER NOT NULL,          -- 1 entering, 2 member, 3 left, 4 removed, 5 ended
  stop             INTEGER NOT NULL DEFAULT 0, -- 0 none, 1 the relay forked the log, 2 it withholds commits
  length           INTEGER NOT NULL DEFAULT 0, -- commits verified and kept
  head             BLOB,                      -- hash of the last of them
  epoch            INTEGER NOT NULL DEFAULT 0, -- of the head
  members          INTEGER NOT NULL DEFAULT 0, -- after the head
  role             INTEGER,                   -- own role
  debt             INTEGER NOT NULL DEFAULT 0, -- 0 none, 1 soft, 2 hard
  debt_since       INTEGER,
  is_open          INTEGER NOT NULL DEFAULT 0, -- anybody may join: the relay may make itself a reader
  created_by       TEXT,
  created_at       INTEGER NOT NULL,
  ended_by         TEXT,
  ended_at         INTEGER,
  profile_revision INTEGER NOT NULL DEFAULT 0,
  renew            INTEGER NOT NULL DEFAULT 0, -- 1: this agent replaces the key before it seals anything
  profile_due      INTEGER NOT NULL DEFAULT 0, -- 1 the own profile, 2 the one kept, has to be sent again
  sealed           BLOB    NOT NULL           -- the profile: its signed message, or what was asked for
);

-- The verified log, verbatim.
CREATE TABLE grp_commit(
  group_row INTEGER NOT NULL,
  position  INTEGER NOT NULL,
  signed    BLOB    NOT NULL,
  PRIMARY KEY(group_row, position)
) WITHOUT ROWID;

-- What the relay showed instead of a commit that is kept: proof that it forked the log.
CREATE TABLE grp_evidence(
  group_row INTEGER NOT NULL,
  position  INTEGER NOT NULL,
  signed    BLOB    NOT NULL,
  PRIMARY KEY(group_row, position)
) WITHOUT ROWID;

-- The members after the head.
CREATE TABLE grp_member(
  group_row INTEGER NOT NULL,
  identity  BLOB    NOT NULL,
  handle    TEXT    NOT NULL,
  role      INTEGER NOT NULL,
  place     INTEGER NOT NULL,               -- roster order
  joined_at INTEGER NOT NULL,
  own       INTEGER NOT NULL,               -- this agent
  confirmed INTEGER,                        -- newest epoch under which it has said something
  PRIMARY KEY(group_row, identity)
) WITHOUT ROWID;

-- What members have proved to have of this agent's messages: ranges of its numbers that only grow.
CREATE TABLE grp_receipt(
  group_row INTEGER NOT NULL,
  identity  BLOB    NOT NULL,
  session   BLOB    NOT NULL,               -- own
  state     INTEGER NOT NULL,               -- as message.status: 3 delivered, 4 read
  first     INTEGER NOT NULL,
  last      INTEGER NOT NULL,
  PRIMARY KEY(group_row, identity, session, state, first)
) WITHOUT ROWID;

-- The own commit on its way into a log: at most one for each group.
CREATE TABLE grp_pending(
  group_row INTEGER PRIMARY KEY,
  hash      BLOB    NOT NULL,
  position  INTEGER NOT NULL,
  signed    BLOB    NOT NULL,
  leaves    BLOB    NOT NULL,
  made_at   INTEGER NOT NULL
);

-- Epochs that have, had or should have a leaf for this agent.
CREATE TABLE epoch(
  epoch_row  INTEGER PRIMARY KEY,
  group_row  INTEGER NOT NULL,
  epoch      INTEGER NOT NULL,
  position   INTEGER NOT NULL,              -- of its commit
  leaf_index INTEGER NOT NULL,
  state      INTEGER NOT NULL,              -- 1 leaf wanted, 2 adopted, 3 no usable leaf, 4 erased
  noted_at   INTEGER NOT NULL,
  sealed_own INTEGER NOT NULL DEFAULT 0,    -- own ciphertexts
  opened     INTEGER NOT NULL DEFAULT 0,    -- those of others
  adopted_at INTEGER,                       -- Unix milliseconds
  closed_run INTEGER,                       -- running time at which a later epoch was adopted
  drained    INTEGER NOT NULL DEFAULT 0,    -- the group's queue was emptied since
  UNIQUE(group_row, epoch)
);

-- The chain of each sender in an adopted epoch.
CREATE TABLE chain(
  chain_row INTEGER PRIMARY KEY,
  epoch_row INTEGER NOT NULL,
  agent     BLOB    NOT NULL,
  next      INTEGER NOT NULL,
  sealed    BLOB    NOT NULL,               -- chain key
  UNIQUE(epoch_row, agent)
);

-- Message keys that were stepped over.
CREATE TABLE skipped_key(
  key_row   INTEGER PRIMARY KEY AUTOINCREMENT,
  chain_row INTEGER NOT NULL,
  i         INTEGER NOT NULL,
  sealed    BLOB    NOT NULL,
  UNIQUE(chain_row, i)
);

-- Group envelopes that wait for a commit or an epoch key, as they came.
CREATE TABLE grp_held(
  held_id     INTEGER PRIMARY KEY AUTOINCREMENT,
  group_row   INTEGER NOT NULL,
  epoch       INTEGER NOT NULL,
  roster_head BLOB    NOT NULL,
  reason      INTEGER NOT NULL,             -- 1 unknown roster head, 2 missing epoch, 3 its turn
  in_line     INTEGER NOT NULL,             -- what comes after it waits behind it
  held_at     INTEGER NOT NULL,
  mid         BLOB    NOT NULL,
  sender      BLOB    NOT NULL,             -- agent id, as the header says
  told        INTEGER NOT NULL DEFAULT 0,   -- the agent knows that the relay withholds the commit
  envelope    BLOB    NOT NULL
);
CREATE INDEX grp_held_by_group ON grp_held(group_row, in_line);
CREATE INDEX grp_held_by_head ON grp_held(held_at) WHERE reason = 1 AND told = 0;

-- Invites that came and were not decided on.
CREATE TABLE invitation(
  invite_row  INTEGER PRIMARY KEY,
  invite_id   BLOB    NOT NULL UNIQUE,
  group_id    BLOB    NOT NULL,
  commit_hash BLOB    NOT NULL,
  commit_index INTEGER NOT NULL,
  roster_head BLOB    NOT NULL,             -- the oldest head that is believed
  position    INTEGER NOT NULL,
  peer_id     INTEGER NOT NULL REFERENCES peer,
  received_at INTEGER NOT NULL,
  sealed      BLOB    NOT NULL              -- name, as the inviter says
);

-- History that was promised to members who have not joined yet.
CREATE TABLE grant_due(
  group_row INTEGER NOT NULL,
  identity  BLOB    NOT NULL,
  after_seq INTEGER NOT NULL,
  PRIMARY KEY(group_row, identity)
) WITHOUT ROWID;

-- Numbers of authors that did not come: asked for until they do.
CREATE TABLE missing(
  session_row INTEGER NOT NULL,
  n           INTEGER NOT NULL,
  since       INTEGER NOT NULL,
  ask_at      INTEGER NOT NULL,
  tries       INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY(session_row, n)
) WITHOUT ROWID;
CREATE INDEX missing_by_time ON missing(ask_at);

-- Own messages that peers miss and are sent again.
CREATE TABLE answer(
  peer_id     INTEGER NOT NULL REFERENCES peer,
  message_row INTEGER NOT NULL,
  anew        INTEGER NOT NULL,             -- sealed to the peer's newest key, where it is a direct one
  asked       INTEGER NOT NULL DEFAULT 0,   -- that key is being looked up
  due_at      INTEGER NOT NULL,
  PRIMARY KEY(peer_id, message_row)
) WITHOUT ROWID;
CREATE INDEX answer_by_time ON answer(due_at);

-- Receivers on this host that the agent has registered.
CREATE TABLE webhook(
  webhook_row INTEGER PRIMARY KEY,
  webhook_id  BLOB    NOT NULL UNIQUE,      -- 16 bytes
  events      INTEGER NOT NULL,             -- a bit for each event
  created_at  INTEGER NOT NULL,
  sealed      BLOB    NOT NULL              -- URL and secret
);

-- What they are still to be told, and what they could not be told.
CREATE TABLE webhook_event(
  event_row   INTEGER PRIMARY KEY,
  webhook_row INTEGER NOT NULL REFERENCES webhook,
  delivery_id BLOB    NOT NULL UNIQUE,      -- 16 bytes, the same at every attempt
  turn        INTEGER NOT NULL,             -- the order of what waits
  event       INTEGER NOT NULL,             -- number of its bit
  message_row INTEGER,                      -- the message, which is kept once
  created_at  INTEGER NOT NULL,
  attempts    INTEGER NOT NULL DEFAULT 0,
  due_at      INTEGER NOT NULL,
  dead_at     INTEGER,                      -- when it was given up
  reason      TEXT,                         -- why the last attempt failed
  sealed      BLOB                          -- what happened, where it is no message
);
CREATE INDEX webhook_event_by_turn ON webhook_event(webhook_row, turn) WHERE dead_at IS NULL;
CREATE INDEX webhook_event_dead ON webhook_event(webhook_row, dead_at, event_row) WHERE dead_at IS NOT NULL;
