//! Every statement of the SQLite store, in the order of `migrations/sqlite`.

/// What each connection is set to. Temporary b-trees stay in memory: they hold ids, never content.
pub(super) const PRAGMAS: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA foreign_keys = ON;
    PRAGMA temp_store = MEMORY;
    PRAGMA cache_size = -8000;
    PRAGMA wal_autocheckpoint = 0;
";
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";
pub(super) const COMMIT: &str = "COMMIT";
pub(super) const ROLLBACK: &str = "ROLLBACK";
/// Copies the log into the database and syncs both, so that what a crashed run left in the log is on
/// disk before anybody is told that it is.
pub(super) const CHECKPOINT: &str = "PRAGMA wal_checkpoint(TRUNCATE)";
/// Copies as much of the log as it can without waiting for anybody.
pub(super) const CHECKPOINT_PASSIVE: &str = "PRAGMA wal_checkpoint(PASSIVE)";

pub(super) const IDENTITY: &str = "SELECT secret FROM relay_identity WHERE id = 1";
pub(super) const INSERT_IDENTITY: &str =
    "INSERT INTO relay_identity (id, algorithm, secret, created_at) VALUES (1, ?1, ?2, ?3)";

pub(super) const INSERT_TIER: &str = "INSERT INTO tier (tier) VALUES (?1) ON CONFLICT DO NOTHING";
pub(super) const ORG: &str = "SELECT org_id, tier FROM org WHERE name = ?1";
pub(super) const ORGS: &str =
    "SELECT name, tier, (SELECT count(*) FROM agent WHERE agent.org_id = org.org_id)
    FROM org ORDER BY name";
pub(super) const INSERT_ORG: &str = "INSERT INTO org (name, tier, created_at) VALUES (?1, ?2, ?3)";
pub(super) const SET_TIER: &str = "UPDATE org SET tier = ?2 WHERE org_id = ?1";
pub(super) const MOVE_AGENT: &str = "UPDATE agent SET org_id = org.org_id FROM org
    WHERE agent_no = ?1 AND org.name = ?2";
/// One agent stands for all: whoever follows forgets them all.
pub(super) const NOTE_ORG_EVENT: &str = "INSERT INTO auth_event (agent_no, at)
    SELECT agent_no, ?2 FROM agent WHERE org_id = ?1 LIMIT 1";

pub(super) const COUNTER: &str = "SELECT value FROM counter WHERE name = ?1";
pub(super) const SET_COUNTER: &str = "INSERT INTO counter (name, value) VALUES (?1, ?2)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value";

pub(super) const AGENT_BY_HANDLE: &str = "SELECT agent_no, agent_id, suspended_at IS NOT NULL, api_key_hash IS NOT NULL FROM agent WHERE handle = ?1";
pub(super) const AGENT_BY_ID: &str = "SELECT agent_no FROM agent WHERE agent_id = ?1";
pub(super) const INSERT_AGENT: &str = "INSERT INTO agent
    (agent_id, handle, identity, api_key_hash, mail_queue, control_queue, registered_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
pub(super) const REPLACE_KEY: &str =
    "UPDATE agent SET api_key_hash = ?2, revoked_at = NULL WHERE agent_no = ?1";
pub(super) const REVOKE_KEY: &str =
    "UPDATE agent SET api_key_hash = NULL, revoked_at = ?2 WHERE agent_no = ?1";
pub(super) const SET_SUSPENDED: &str = "UPDATE agent SET suspended_at = ?2 WHERE agent_no = ?1";

pub(super) const FREE_HANDLE: &str =
    "UPDATE agent SET handle = NULL, api_key_hash = NULL, revoked_at = ?2, listed = 0 WHERE agent_no = ?1";
pub(super) const MAIL_OF: &str = "SELECT mail_queue FROM agent WHERE agent_no = ?1";
pub(super) const INHERIT: &str = "UPDATE agent
    SET (display_name, description, listed, org_id, owner_user_id) =
    (SELECT display_name, description, listed, org_id, owner_user_id FROM agent AS old
        WHERE old.agent_no = ?1)
    WHERE agent_no = ?2";
/// Contacts and blocks of and with the old agent become those of the new one, which has none yet.
pub(super) const INHERIT_RELATIONS: [&str; 4] = [
    "UPDATE contact SET agent_no = ?2 WHERE agent_no = ?1",
    "UPDATE contact SET contact_no = ?2 WHERE contact_no = ?1",
    "UPDATE block SET agent_no = ?2 WHERE agent_no = ?1",
    "UPDATE block SET blocked_no = ?2 WHERE blocked_no = ?1",
];
pub(super) const INSERT_SUCCESSION: &str =
    "INSERT INTO succession (handle, old_no, new_no, bytes, at) VALUES (?1, ?2, ?3, ?4, ?5)";
pub(super) const HOLDER: &str = "SELECT agent_id, bytes FROM agent
    JOIN bundle ON bundle.agent_no = agent.agent_no
    WHERE handle = ?1 ORDER BY number DESC LIMIT 1";
/// The latest, newest first.
pub(super) const SUCCESSIONS: &str =
    "SELECT bytes FROM succession WHERE handle = ?1 ORDER BY succession_no DESC LIMIT ?2";

pub(super) const PUT_LAST_SEEN: &str =
    "UPDATE agent SET last_seen_at = ?2 WHERE agent_no = ?1 AND coalesce(last_seen_at, 0) < ?2";
/// Neither of the two has blocked the other.
pub(super) const IN_SIGHT: &str = "SELECT agent_no, handle, last_seen_at FROM agent
    WHERE handle IN (SELECT value FROM json_each(?2))
    AND NOT EXISTS (SELECT 1 FROM block WHERE block.agent_no = ?1 AND blocked_no = agent.agent_no)
    AND NOT EXISTS (SELECT 1 FROM block WHERE block.agent_no = agent.agent_no AND blocked_no = ?1)";
pub(super) const CONTACTS: &str = "SELECT contact_no, handle FROM contact
    JOIN agent ON agent.agent_no = contact_no WHERE contact.agent_no = ?1
    AND NOT EXISTS (SELECT 1 FROM block WHERE block.agent_no = ?1 AND blocked_no = contact_no)
    AND NOT EXISTS (SELECT 1 FROM block WHERE block.agent_no = contact_no AND blocked_no = ?1)";
pub(super) const BLOCK_BETWEEN: &str = "SELECT
    EXISTS (SELECT 1 FROM block WHERE agent_no = ?1 AND blocked_no = ?2)
    OR EXISTS (SELECT 1 FROM block WHERE agent_no = ?2 AND blocked_no = ?1)";

pub(super) const INSERT_AUTH_EVENT: &str = "INSERT INTO auth_event (agent_no, at) VALUES (?1, ?2)";
pub(super) const AUTH_EVENTS: &str =
    "SELECT event_no, agent_no FROM auth_event WHERE event_no > ?1 ORDER BY event_no LIMIT 1000";
pub(super) const LAST_AUTH_EVENT: &str =
    "SELECT event_no, agent_no FROM auth_event ORDER BY event_no DESC LIMIT 1";

pub(super) const CHALLENGE_USED: &str = "SELECT 1 FROM used_challenge WHERE challenge_hash = ?1";
pub(super) const USE_CHALLENGE: &str =
    "INSERT INTO used_challenge (challenge_hash, expires_at) VALUES (?1, ?2)";
pub(super) const EXPIRE_CHALLENGES: &str = "DELETE FROM used_challenge WHERE expires_at < ?1";

pub(super) const INSERT_INVITE: &str =
    "INSERT INTO invite (code_hash, created_at, expires_at) VALUES (?1, ?2, ?3)";
pub(super) const INVITE_USABLE: &str =
    "SELECT 1 FROM invite WHERE code_hash = ?1 AND used_at IS NULL AND expires_at >= ?2";
pub(super) const USE_INVITE: &str = "UPDATE invite SET used_at = ?2, used_by = ?3 WHERE code_hash = ?1";

pub(super) const LATEST_BUNDLE: &str =
    "SELECT number, bytes FROM bundle WHERE agent_no = ?1 ORDER BY number DESC LIMIT 1";
pub(super) const INSERT_BUNDLE: &str = "INSERT INTO bundle (agent_no, number, bytes) VALUES (?1, ?2, ?3)";
/// Keeps the sixteen latest, and what is not in the transparency log yet.
pub(super) const PRUNE_BUNDLES: &str = "DELETE FROM bundle WHERE agent_no = ?1 AND number <=
    (SELECT number FROM bundle WHERE agent_no = ?1 ORDER BY number DESC LIMIT 1 OFFSET 16)
    AND number NOT IN (SELECT number FROM transparency_due WHERE agent_no = ?1)";
/// With the block that keeps it from the viewer.
pub(super) const BUNDLE_BY_HANDLE: &str = "SELECT agent.agent_no, agent.agent_id, bundle.bytes, block.told
    FROM agent JOIN bundle ON bundle.agent_no = agent.agent_no
    LEFT JOIN block ON block.agent_no = agent.agent_no AND block.blocked_no = ?2
    WHERE agent.handle = ?1 ORDER BY bundle.number DESC LIMIT 1";

pub(super) const SET_PROFILE: &str =
    "UPDATE agent SET display_name = ?2, description = ?3, listed = ?4 WHERE agent_no = ?1";
pub(super) const PROFILE: &str =
    "SELECT agent.handle, display_name, description, registered_at, block.told FROM agent
    LEFT JOIN block ON block.agent_no = agent.agent_no AND block.blocked_no = ?2
    WHERE agent.handle = ?1";
/// Handles from ?1 to before ?2, for the viewer ?3. Who knows the whole handle learns nothing by it.
macro_rules! found {
    () => {
        "FROM agent WHERE handle >= ?1 AND handle < ?2
        AND (listed = 1 OR handle = ?1) AND agent_no <> ?3 AND suspended_at IS NULL
        AND NOT EXISTS (SELECT 1 FROM block WHERE block.agent_no = agent.agent_no AND blocked_no = ?3)
        AND NOT EXISTS (SELECT 1 FROM block WHERE block.agent_no = ?3 AND blocked_no = agent.agent_no)"
    };
}
pub(super) const DIRECTORY: &str = concat!(
    "SELECT handle, display_name, description, registered_at ",
    found!(),
    " ORDER BY handle LIMIT ?4 OFFSET ?5"
);
pub(super) const DIRECTORY_TOTAL: &str = concat!("SELECT count(*) ", found!());

pub(super) const AGENT_IN_SIGHT: &str = "SELECT agent.agent_no, block.told FROM agent
    LEFT JOIN block ON block.agent_no = agent.agent_no AND block.blocked_no = ?2
    WHERE agent.handle = ?1";
/// Whether a group of which ?1 is a member is open or has ?2 as a member or invited: then ?2 has to seal to ?1.
pub(super) const MEET_IN_GROUP: &str = "SELECT EXISTS (SELECT 1 FROM member
    WHERE member.agent_no = ?1 AND member.departed IS NULL
    AND (EXISTS (SELECT 1 FROM member AS other WHERE other.group_no = member.group_no
            AND other.agent_no = ?2 AND other.departed IS NULL)
        OR EXISTS (SELECT 1 FROM group_invite JOIN agent ON agent.agent_id = group_invite.agent_id
            WHERE group_invite.group_no = member.group_no AND agent.agent_no = ?2)
        OR EXISTS (SELECT 1 FROM grp WHERE grp.group_no = member.group_no AND is_open = 1)))";
pub(super) const INSERT_CONTACT: &str =
    "INSERT INTO contact (agent_no, contact_no) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
pub(super) const DELETE_CONTACT: &str = "DELETE FROM contact WHERE agent_no = ?1 AND contact_no = ?2";
pub(super) const HAS_CONTACT: &str = "SELECT 1 FROM contact WHERE agent_no = ?1 AND contact_no = ?2";
pub(super) const COUNT_CONTACTS: &str = "SELECT count(*) FROM contact WHERE agent_no = ?1";
pub(super) const CONTACT_HOLDERS: &str = "SELECT agent_no FROM contact WHERE contact_no = ?1
    AND NOT EXISTS (SELECT 1 FROM block WHERE block.agent_no = ?1 AND blocked_no = contact.agent_no)
    AND NOT EXISTS (SELECT 1 FROM block WHERE block.agent_no = contact.agent_no AND blocked_no = ?1)";
pub(super) const INSERT_BLOCK: &str = "INSERT INTO block (agent_no, blocked_no, told) VALUES (?1, ?2, ?3)
    ON CONFLICT (agent_no, blocked_no) DO UPDATE SET told = excluded.told";
pub(super) const DELETE_BLOCK: &str = "DELETE FROM block WHERE agent_no = ?1 AND blocked_no = ?2";
pub(super) const HAS_BLOCK: &str = "SELECT 1 FROM block WHERE agent_no = ?1 AND blocked_no = ?2";
pub(super) const COUNT_BLOCKS: &str = "SELECT count(*) FROM block WHERE agent_no = ?1";
pub(super) const BLOCKS: &str = "SELECT agent_no, blocked_no, told FROM block";

pub(super) const HELD_LEASE: &str = "SELECT agent.agent_no, incarnation, session, time, bytes FROM agent
    LEFT JOIN lease ON lease.agent_no = agent.agent_no WHERE agent_id = ?1";
pub(super) const PUT_LEASE: &str = "INSERT INTO lease (agent_no, incarnation, session, time, bytes)
    VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (agent_no) DO UPDATE SET incarnation = excluded.incarnation,
    session = excluded.session, time = excluded.time, bytes = excluded.bytes";
pub(super) const AGENT_NO: &str = "SELECT agent_no FROM agent WHERE agent_id = ?1";
pub(super) const HEADS: &str =
    "SELECT queue_no, head FROM queue WHERE queue_no IN (SELECT value FROM json_each(?1))";
pub(super) const MEMBERSHIP_MARKS: &str = "SELECT agent_no, count(*), count(departed) FROM member
    WHERE agent_no IN (SELECT value FROM json_each(?1)) GROUP BY agent_no";
pub(super) const LEASE: &str = "SELECT bytes FROM lease WHERE agent_no = ?1";

pub(super) const PUT_HOOK: &str = "INSERT INTO hook (agent_no, url, secret, set_at) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (agent_no) DO UPDATE SET url = excluded.url, secret = excluded.secret, set_at = excluded.set_at";
pub(super) const DELETE_HOOK: &str = "DELETE FROM hook WHERE agent_no = ?1";
pub(super) const COUNT_HOOKS: &str = "SELECT count(*) FROM hook";
/// Who has a hook and serves a queue.
pub(super) const HOOKED_READERS: &str = "SELECT agent_no FROM hook JOIN agent USING (agent_no)
    WHERE (mail_queue = ?1 OR control_queue = ?1) AND suspended_at IS NULL
    UNION SELECT hook.agent_no FROM grp JOIN member ON member.group_no = grp.group_no
    JOIN hook ON hook.agent_no = member.agent_no JOIN agent ON agent.agent_no = hook.agent_no
    WHERE (message_queue = ?1 OR log_queue = ?1) AND departed IS NULL AND suspended_at IS NULL";
/// What has grown is the newest; a ladder goes on, but for one that is over.
pub(super) const OWE_WAKEUP: &str = "INSERT INTO wakeup (agent_no, queue, head, serial, since, due_at)
    SELECT agent_no, ?2, ?3, 1, ?4, ?5 FROM hook WHERE agent_no = ?1
    ON CONFLICT (agent_no) DO UPDATE SET queue = excluded.queue, head = excluded.head, serial = serial + 1,
    since = CASE WHEN dead_at IS NULL THEN since ELSE excluded.since END,
    attempts = CASE WHEN dead_at IS NULL THEN attempts ELSE 0 END,
    due_at = CASE WHEN dead_at IS NULL THEN max(due_at, excluded.due_at) ELSE excluded.due_at END,
    dead_at = NULL";
/// Whoever has not acknowledged everything.
pub(super) const OWE_BACKLOGS: &str = "INSERT INTO wakeup (agent_no, queue, head, serial, since, due_at)
    SELECT hook.agent_no, 'mail', mail.head, 1, ?1, ?1 FROM hook JOIN agent ON agent.agent_no = hook.agent_no
    JOIN queue AS mail ON mail.queue_no = mail_queue JOIN queue AS control ON control.queue_no = control_queue
    WHERE suspended_at IS NULL AND (mail.head > mail.acked OR control.head > control.acked
        OR EXISTS (SELECT 1 FROM member JOIN grp ON grp.group_no = member.group_no
            JOIN queue AS messages ON messages.queue_no = message_queue
            JOIN queue AS log ON log.queue_no = log_queue
            WHERE member.agent_no = hook.agent_no AND departed IS NULL
            AND (messages.head > member.acked OR log.head > log_acked)))
    ON CONFLICT (agent_no) DO NOTHING";
/// What is due later than it can be was put off while the clock was ahead. Only with each end of the time whole is it
/// looked up by the index.
pub(super) const DUE_WAKEUPS: &str =
    "SELECT wakeup.agent_no, agent_id, url, secret, queue, head, serial, attempts
    FROM wakeup JOIN hook ON hook.agent_no = wakeup.agent_no JOIN agent ON agent.agent_no = wakeup.agent_no
    WHERE (dead_at IS NULL AND due_at <= ?1) OR (dead_at IS NULL AND due_at > ?2) ORDER BY due_at LIMIT ?3";
pub(super) const DELETE_WAKEUP: &str = "DELETE FROM wakeup WHERE agent_no = ?1";
pub(super) const SETTLE_WAKEUP: &str = "DELETE FROM wakeup WHERE agent_no = ?1 AND serial = ?2";
/// What grew since it was called for.
pub(super) const RENEW_WAKEUP: &str =
    "UPDATE wakeup SET attempts = 0, due_at = ?2, dead_at = NULL, reason = NULL WHERE agent_no = ?1";
pub(super) const FAIL_WAKEUP: &str = "UPDATE wakeup SET attempts = attempts + 1, reason = ?4,
    due_at = coalesce(?2, due_at), dead_at = CASE WHEN ?2 IS NULL THEN ?3 END
    WHERE agent_no = ?1 AND dead_at IS NULL";
pub(super) const DEAD_WAKEUPS: &str =
    "SELECT handle, attempts, coalesce(reason, ''), since, dead_at FROM wakeup
    JOIN agent ON agent.agent_no = wakeup.agent_no
    WHERE dead_at IS NOT NULL AND handle > ?1 ORDER BY handle LIMIT ?2";
pub(super) const REDELIVER_WAKEUP: &str =
    "UPDATE wakeup SET attempts = 0, due_at = ?2, dead_at = NULL, reason = NULL
    WHERE dead_at IS NOT NULL AND agent_no = (SELECT agent_no FROM agent WHERE handle = ?1)
    RETURNING agent_no";

pub(super) const INSERT_QUEUE: &str = "INSERT INTO queue (kind) VALUES (?1)";
pub(super) const QUEUE_HEAD: &str = "SELECT head, acked FROM queue WHERE queue_no = ?1";
pub(super) const SET_HEAD: &str = "UPDATE queue SET head = ?2 WHERE queue_no = ?1";
pub(super) const ACK: &str =
    "UPDATE queue SET acked = min(head, ?2) WHERE queue_no = ?1 AND acked < min(head, ?2)";

pub(super) const INSERT_GROUP: &str =
    "INSERT INTO grp (group_id, message_queue, log_queue, created_at) VALUES (?1, ?2, ?3, ?4)";
pub(super) const GROUP: &str = "SELECT group_no, message_queue, log_queue FROM grp WHERE group_id = ?1";
pub(super) const END_GROUP: &str =
    "UPDATE grp SET ended_at = ?2, slug = NULL, is_open = 0 WHERE group_no = ?1";
pub(super) const NAME_GROUP: &str = "UPDATE grp SET slug = ?2, is_open = ?3 WHERE group_no = ?1";
pub(super) const GROUP_BY_SLUG: &str = "SELECT group_id FROM grp WHERE slug = ?1";
pub(super) const IS_OPEN: &str = "SELECT is_open FROM grp WHERE group_no = ?1";
macro_rules! channel {
    () => {
        "SELECT slug, group_id, group_no, message_queue, log_queue, is_open, (SELECT count(*) FROM member
            WHERE member.group_no = grp.group_no AND departed IS NULL) FROM grp "
    };
}
pub(super) const CHANNEL: &str = concat!(channel!(), "WHERE slug = ?1");
pub(super) const OPEN_CHANNELS: &str = concat!(
    channel!(),
    "WHERE slug > ?1 AND is_open = 1 ORDER BY slug LIMIT ?2"
);
pub(super) const COMMIT_POSITION: &str =
    "SELECT position FROM group_commit WHERE group_no = ?1 AND hash = ?2";
pub(super) const INSERT_COMMIT: &str =
    "INSERT INTO group_commit (group_no, hash, position) VALUES (?1, ?2, ?3)";
/// The arbiter between two commits on one head: one row or none.
pub(super) const ADVANCE_LOG: &str = "UPDATE queue SET head = head + 1, log_head = ?4
    WHERE queue_no = ?1 AND head = ?2 AND log_head IS ?3";
pub(super) const LOG_TIP: &str = "SELECT head, log_head FROM queue WHERE queue_no = ?1";
pub(super) const INSERT_REKEY: &str =
    "INSERT INTO rekey (group_no, epoch, position, leaves) VALUES (?1, ?2, ?3, ?4)";
pub(super) const SET_EPOCH: &str = "UPDATE queue SET epoch = ?2 WHERE queue_no = ?1";
pub(super) const SET_CLOSED: &str = "UPDATE queue SET closed = ?2 WHERE queue_no = ?1 AND closed <> ?2";
pub(super) const JOIN: &str = "INSERT INTO member
    (group_no, agent_no, joined, joined_head, acked, log_acked) VALUES (?1, ?2, ?3, ?4, ?4, ?3)";
pub(super) const DEPART: &str = "UPDATE member SET departed = ?3, departed_head = ?4
    WHERE group_no = ?1 AND agent_no = ?2 AND departed IS NULL";
pub(super) const INVITE_TO_GROUP: &str =
    "INSERT INTO group_invite (group_no, agent_id, position) VALUES (?1, ?2, ?3)
    ON CONFLICT (group_no, agent_id) DO UPDATE SET position = excluded.position";
pub(super) const UNINVITE: &str = "DELETE FROM group_invite WHERE group_no = ?1 AND agent_id = ?2";
pub(super) const STANDING: &str = "SELECT
    EXISTS (SELECT 1 FROM member WHERE group_no = ?1 AND agent_no = ?2 AND departed IS NULL),
    EXISTS (SELECT 1 FROM group_invite JOIN agent ON agent.agent_id = group_invite.agent_id
        WHERE group_invite.group_no = ?1 AND agent.agent_no = ?2
        AND (SELECT head FROM queue WHERE queue_no = ?3) <= group_invite.position + ?4),
    (SELECT max(departed) FROM member WHERE group_no = ?1 AND agent_no = ?2),
    (SELECT is_open FROM grp WHERE group_no = ?1),
    (SELECT head FROM queue WHERE queue_no = ?3),
    (SELECT log_acked FROM member WHERE group_no = ?1 AND agent_no = ?2 ORDER BY joined DESC LIMIT 1)";
pub(super) const MESSAGES_HEAD: &str = "SELECT coalesce(member.departed_head, queue.head), member.acked
    FROM member JOIN queue ON queue.queue_no = ?3
    WHERE member.group_no = ?1 AND member.agent_no = ?2 ORDER BY member.joined DESC LIMIT 1";
/// One membership after the other, each a range of the queue's index.
pub(super) const MESSAGES: &str = "SELECT envelope.position, envelope_id, stored_at, bytes
    FROM member CROSS JOIN envelope WHERE group_no = ?1 AND agent_no = ?2 AND queue_no = ?3
    AND position > max(?4, joined_head) AND position < min(?5, coalesce(departed_head + 1, ?5))
    ORDER BY joined, position LIMIT ?6";
pub(super) const MEMBERSHIPS: &str = "SELECT group_id, grp.group_no, message_queue, log_queue,
    member.departed IS NULL, coalesce(departed_head, messages.head), member.acked,
    coalesce(departed + 1, log.head), log_acked
    FROM member JOIN grp ON grp.group_no = member.group_no
    JOIN queue AS messages ON messages.queue_no = message_queue
    JOIN queue AS log ON log.queue_no = log_queue
    WHERE member.agent_no = ?1 AND joined = (SELECT max(joined) FROM member AS other
        WHERE other.group_no = member.group_no AND other.agent_no = member.agent_no)
    ORDER BY grp.group_no";
pub(super) const ACK_MESSAGES: &str = "UPDATE member SET acked = min(?4, coalesce(departed_head,
        (SELECT head FROM queue WHERE queue_no = ?3)))
    WHERE group_no = ?1 AND agent_no = ?2
    AND joined = (SELECT max(joined) FROM member WHERE group_no = ?1 AND agent_no = ?2)
    AND acked < min(?4, coalesce(departed_head, (SELECT head FROM queue WHERE queue_no = ?3)))";
pub(super) const ACK_LOG: &str = "UPDATE member SET log_acked = min(?4, coalesce(departed + 1,
        (SELECT head FROM queue WHERE queue_no = ?3)))
    WHERE group_no = ?1 AND agent_no = ?2
    AND joined = (SELECT max(joined) FROM member WHERE group_no = ?1 AND agent_no = ?2)
    AND log_acked < min(?4, coalesce(departed + 1, (SELECT head FROM queue WHERE queue_no = ?3)))";
pub(super) const REKEY_POSITION: &str = "SELECT position FROM rekey WHERE group_no = ?1 AND epoch = ?2";
pub(super) const LEAVES: &str = "SELECT leaves FROM rekey WHERE group_no = ?1 AND epoch = ?2";
/// What a send to a group is decided by; no row if the group is not there for the sender.
pub(super) const GROUP_GATE: &str = "SELECT message_queue, epoch, closed, ended_at IS NOT NULL
    FROM grp JOIN queue ON queue_no = message_queue
    WHERE group_id = ?1 AND EXISTS (SELECT 1 FROM member
        WHERE member.group_no = grp.group_no AND agent_no = ?2 AND departed IS NULL)";

pub(super) const RECIPIENT: &str =
    "SELECT agent_no, mail_queue, control_queue, tier, handle IS NULL FROM agent JOIN org USING (org_id)
    WHERE agent_id = ?1";
pub(super) const SENDER: &str = "SELECT org_id, tier FROM agent JOIN org USING (org_id) WHERE agent_no = ?1";
/// How far each member of the group with this queue has acknowledged.
pub(super) const MEMBERS_ACKS: &str = "SELECT agent_id, acked FROM grp
    JOIN member ON member.group_no = grp.group_no AND departed IS NULL
    JOIN agent ON agent.agent_no = member.agent_no WHERE message_queue = ?1";
pub(super) const SENT: &str = "SELECT envelope_id, hash FROM sent WHERE sender_no = ?1 AND mid = ?2";
pub(super) const INSERT_SENT: &str =
    "INSERT INTO sent (sender_no, mid, envelope_id, hash) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (sender_no, mid) DO NOTHING";
pub(super) const INSERT_ENVELOPE: &str =
    "INSERT INTO envelope (envelope_id, queue_no, position, stored_at, bytes) VALUES (?1, ?2, ?3, ?4, ?5)";
pub(super) const ENVELOPES: &str = "SELECT position, envelope_id, stored_at, bytes FROM envelope
    WHERE queue_no = ?1 AND position > ?2 AND position < ?3 ORDER BY position LIMIT ?4";

pub(super) const ACCOUNT_BY_KEY: &str =
    "SELECT agent_no, agent_id, mail_queue, control_queue, suspended_at IS NOT NULL, tier
    FROM agent JOIN org USING (org_id) WHERE api_key_hash = ?1";
pub(super) const AGENT: &str =
    "SELECT agent_id, handle, identity, registered_at, suspended_at, api_key_hash, org.name
    FROM agent JOIN org USING (org_id) WHERE agent_no = ?1 AND handle IS NOT NULL";
pub(super) const AGENTS: &str =
    "SELECT agent_id, handle, identity, registered_at, suspended_at, api_key_hash, org.name
    FROM agent JOIN org USING (org_id) WHERE handle > ?1 ORDER BY handle LIMIT ?2";
pub(super) const PING: &str = "SELECT 1";

pub(super) const SENT_AFTER: &str = "SELECT sender_no, mid, envelope_id FROM sent
    WHERE (sender_no, mid) > (?1, ?2) ORDER BY sender_no, mid LIMIT ?3";
pub(super) const DELETE_SENT: &str = "DELETE FROM sent WHERE sender_no = ?1 AND mid = ?2";
pub(super) const QUEUES_AFTER: &str =
    "SELECT queue_no, acked FROM queue WHERE queue_no > ?1 AND kind < ?3 ORDER BY queue_no LIMIT ?2";
/// Groups with what all their members have acknowledged; everything where nobody is left.
pub(super) const GROUPS_AFTER: &str = "SELECT group_no, message_queue, epoch,
    coalesce((SELECT min(acked) FROM member WHERE member.group_no = grp.group_no AND departed IS NULL), head),
    coalesce((SELECT min(log_acked) FROM member WHERE member.group_no = grp.group_no AND departed IS NULL), ?3)
    FROM grp JOIN queue ON queue_no = message_queue WHERE group_no > ?1 ORDER BY group_no LIMIT ?2";
pub(super) const OLDEST_REKEYS: &str = "SELECT epoch FROM rekey
    WHERE group_no = ?1 AND epoch <= ?2 AND position < ?3 ORDER BY epoch LIMIT ?4";
pub(super) const DELETE_REKEY: &str = "DELETE FROM rekey WHERE group_no = ?1 AND epoch = ?2";
pub(super) const OLDEST_ENVELOPES: &str = "SELECT envelope_id, stored_at FROM envelope
    WHERE queue_no = ?1 AND position <= ?2 ORDER BY position LIMIT ?3";
pub(super) const DELETE_ENVELOPE: &str = "DELETE FROM envelope WHERE envelope_id = ?1";
pub(super) const PRUNE_AUTH_EVENTS: &str = "DELETE FROM auth_event WHERE at < ?1
    AND event_no < (SELECT max(event_no) FROM auth_event)";

pub(super) const BLOB: &str =
    "SELECT blob_no, owner_no, length, completed_at IS NOT NULL FROM blob WHERE blob_id = ?1";
/// What an agent holds, small blobs counted as a share of what a row and a file cost; how many are unfinished.
pub(super) const BLOBS_HELD: &str =
    "SELECT coalesce(sum(max(length, ?2)), 0), count(*) - count(completed_at) FROM blob WHERE owner_no = ?1";
pub(super) const INSERT_BLOB: &str =
    "INSERT INTO blob (blob_id, owner_no, length, created_at) VALUES (?1, ?2, ?3, ?4)";
pub(super) const COMPLETE_BLOB: &str =
    "UPDATE blob SET completed_at = coalesce(completed_at, ?2) WHERE blob_no = ?1";
pub(super) const DELETE_BLOB: &str = "DELETE FROM blob WHERE blob_id = ?1";
pub(super) const EXPIRED_BLOBS: &str = "SELECT blob_id FROM blob WHERE created_at < ?1 AND blob_id > ?3
    UNION SELECT blob_id FROM blob WHERE completed_at IS NULL AND created_at < ?2 AND blob_id > ?3
    ORDER BY blob_id LIMIT ?4";
