//! Every statement of the PostgreSQL store, in the order of `migrations/postgres`.

pub(super) const BEGIN: &str = "BEGIN";
pub(super) const COMMIT: &str = "COMMIT";
pub(super) const ROLLBACK: &str = "ROLLBACK";
/// Of the session, so that it ends with it.
pub(super) const TRY_LOCK: &str = "SELECT pg_try_advisory_lock($1)";
pub(super) const TRY_SHARE: &str = "SELECT pg_try_advisory_lock_shared($1)";
/// A session would have a lock of its own a second time; it is taken once.
pub(super) const TRY_NUMBERED_LOCK: &str =
    "SELECT CASE WHEN EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND classid = $1::INT::OID AND objid = $2::INT::OID AND objsubid = 2)
    THEN TRUE ELSE pg_try_advisory_lock($1::INT, $2::INT) END";
/// Until the end of the transaction.
pub(super) const LOCK_OWNER: &str = "SELECT pg_advisory_xact_lock($1::INT, ($2 % 2147483647)::INT)";
pub(super) const SERVER_VERSION: &str = "SELECT current_setting('server_version_num')::BIGINT";

pub(super) const IDENTITY: &str = "SELECT secret FROM relay_identity WHERE id = 1";
pub(super) const INSERT_IDENTITY: &str =
    "INSERT INTO relay_identity (id, algorithm, secret, created_at) VALUES (1, $1, $2, $3)
    ON CONFLICT (id) DO NOTHING";

pub(super) const INSERT_TIER: &str = "INSERT INTO tier (tier) VALUES ($1) ON CONFLICT DO NOTHING";
pub(super) const ORG: &str = "SELECT org_id, tier FROM org WHERE name = $1";
pub(super) const ORGS: &str =
    "SELECT name, tier, (SELECT count(*) FROM agent WHERE agent.org_id = org.org_id)
    FROM org ORDER BY name";
pub(super) const INSERT_ORG: &str = "INSERT INTO org (name, tier, created_at) VALUES ($1, $2, $3)";
pub(super) const SET_TIER: &str = "UPDATE org SET tier = $2 WHERE org_id = $1";
pub(super) const MOVE_AGENT: &str = "UPDATE agent SET org_id = org.org_id FROM org
    WHERE agent_no = $1 AND org.name = $2";
/// One agent stands for all: whoever follows forgets them all.
pub(super) const NOTE_ORG_EVENT: &str = "WITH next AS (UPDATE counter SET value = value + 1
        WHERE name = 'auth_events' RETURNING value)
    INSERT INTO auth_event (event_no, agent_no, at)
    SELECT value, agent_no, $2 FROM next CROSS JOIN agent WHERE org_id = $1 LIMIT 1";

pub(super) const COUNTER: &str = "SELECT value FROM counter WHERE name = $1";
pub(super) const SET_COUNTER: &str = "INSERT INTO counter (name, value) VALUES ($1, $2)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value";

/// Locked until the end of the act that decides by it; not against rows that only name the agent, so that two who name
/// each other do not wait for each other.
pub(super) const AGENT_BY_HANDLE: &str =
    "SELECT agent_no, agent_id, suspended_at IS NOT NULL, api_key_hash IS NOT NULL
    FROM agent WHERE handle = $1 FOR NO KEY UPDATE";
pub(super) const LOCK_AGENT: &str = "SELECT 1 FROM agent WHERE agent_no = $1 FOR NO KEY UPDATE";
pub(super) const AGENT_BY_ID: &str = "SELECT agent_no FROM agent WHERE agent_id = $1";
pub(super) const INSERT_AGENT: &str = "INSERT INTO agent
    (agent_id, handle, identity, api_key_hash, mail_queue, control_queue, registered_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING agent_no";
pub(super) const REPLACE_KEY: &str =
    "UPDATE agent SET api_key_hash = $2, revoked_at = NULL WHERE agent_no = $1";
pub(super) const REVOKE_KEY: &str =
    "UPDATE agent SET api_key_hash = NULL, revoked_at = $2 WHERE agent_no = $1";
pub(super) const SET_SUSPENDED: &str = "UPDATE agent SET suspended_at = $2 WHERE agent_no = $1";

pub(super) const FREE_HANDLE: &str = "UPDATE agent SET handle = NULL, api_key_hash = NULL, revoked_at = $2, listed = FALSE WHERE agent_no = $1";
pub(super) const LOCK_MAIL_OF: &str = "SELECT head, acked FROM agent JOIN queue ON queue_no = mail_queue WHERE agent_no = $1 FOR UPDATE OF queue";
pub(super) const INHERIT: &str = "UPDATE agent
    SET (display_name, description, listed, org_id, owner_user_id) =
    (SELECT display_name, description, listed, org_id, owner_user_id FROM agent AS old
        WHERE old.agent_no = $1)
    WHERE agent_no = $2";
/// Contacts and blocks of and with the old agent become those of the new one, which has none yet.
pub(super) const INHERIT_RELATIONS: [&str; 4] = [
    "UPDATE contact SET agent_no = $2 WHERE agent_no = $1",
    "UPDATE contact SET contact_no = $2 WHERE contact_no = $1",
    "UPDATE block SET agent_no = $2 WHERE agent_no = $1",
    "UPDATE block SET blocked_no = $2 WHERE blocked_no = $1",
];
pub(super) const INSERT_SUCCESSION: &str =
    "INSERT INTO succession (handle, old_no, new_no, bytes, at) VALUES ($1, $2, $3, $4, $5)";
pub(super) const HOLDER: &str = "SELECT agent_id, bytes FROM agent
    JOIN bundle ON bundle.agent_no = agent.agent_no
    WHERE handle = $1 ORDER BY number DESC LIMIT 1";
/// The latest, newest first.
pub(super) const SUCCESSIONS: &str =
    "SELECT bytes FROM succession WHERE handle = $1 ORDER BY succession_no DESC LIMIT $2";

pub(super) const PUT_LAST_SEEN: &str = "UPDATE agent SET last_seen_at = seen.at
    FROM (SELECT agent_no, max(at) AS at FROM unnest($1::BIGINT[], $2::BIGINT[]) AS each (agent_no, at)
        GROUP BY agent_no) AS seen
    WHERE agent.agent_no = seen.agent_no AND coalesce(last_seen_at, 0) < seen.at";
/// Neither of the two has blocked the other.
pub(super) const IN_SIGHT: &str = "SELECT agent_no, handle, last_seen_at FROM agent
    WHERE handle = ANY($2)
    AND NOT EXISTS (SELECT 1 FROM block WHERE block.agent_no = $1 AND blocked_no = agent.agent_no)
    AND NOT EXISTS (SELECT 1 FROM block WHERE block.agent_no = agent.agent_no AND blocked_no = $1)";
pub(super) const CONTACTS: &str = "SELECT contact_no, handle FROM contact
    JOIN agent ON agent.agent_no = contact_no WHERE contact.agent_no = $1
    AND NOT EXISTS (SELECT 1 FROM block WHERE block.agent_no = $1 AND blocked_no = contact_no)
    AND NOT EXISTS (SELECT 1 FROM block WHERE block.agent_no = contact_no AND blocked_no = $1)";
pub(super) const BLOCK_BETWEEN: &str = "SELECT
    EXISTS (SELECT 1 FROM block WHERE agent_no = $1 AND blocked_no = $2)
    OR EXISTS (SELECT 1 FROM block WHERE agent_no = $2 AND blocked_no = $1)";

/// The counter's row stays locked until the commit, so that no event becomes visible behind a later one.
pub(super) const INSERT_AUTH_EVENT: &str = "WITH next AS (UPDATE counter SET value = value + 1
        WHERE name = 'auth_events' RETURNING value)
    INSERT INTO auth_event (event_no, agent_no, at) SELECT value, $1, $2 FROM next";
pub(super) const AUTH_EVENTS: &str =
    "SELECT event_no, agent_no FROM auth_event WHERE event_no > $1 ORDER BY event_no LIMIT 1000";
pub(super) const LAST_AUTH_EVENT: &str =
    "SELECT event_no, agent_no FROM auth_event ORDER BY event_no DESC LIMIT 1";

pub(super) const CHALLENGE_USED: &str = "SELECT 1 FROM used_challenge WHERE challenge_hash = $1";
pub(super) const USE_CHALLENGE: &str =
    "INSERT INTO used_challenge (challenge_hash, expires_at) VALUES ($1, $2)";
pub(super) const EXPIRE_CHALLENGES: &str = "DELETE FROM used_challenge WHERE expires_at < $1";

pub(super) const INSERT_INVITE: &str =
    "INSERT INTO invite (code_hash, created_at, expires_at) VALUES ($1, $2, $3)";
pub(super) const INVITE_USABLE: &str =
    "SELECT 1 FROM invite WHERE code_hash = $1 AND used_at IS NULL AND expires_at >= $2 FOR UPDATE";
pub(super) const USE_INVITE: &str = "UPDATE invite SET used_at = $2, used_by = $3 WHERE code_hash = $1";

pub(super) const LATEST_BUNDLE: &str =
    "SELECT number, bytes FROM bundle WHERE agent_no = $1 ORDER BY number DESC LIMIT 1";
pub(super) const INSERT_BUNDLE: &str = "INSERT INTO bundle (agent_no, number, bytes) VALUES ($1, $2, $3)";
/// Keeps the sixteen latest, and what is not in the transparency log yet.
pub(super) const PRUNE_BUNDLES: &str = "DELETE FROM bundle WHERE agent_no = $1 AND number <=
    (SELECT number FROM bundle WHERE agent_no = $1 ORDER BY number DESC LIMIT 1 OFFSET 16)
    AND number NOT IN (SELECT number FROM transparency_due WHERE agent_no = $1)";
/// With the block that keeps it from the viewer.
pub(super) const BUNDLE_BY_HANDLE: &str = "SELECT agent.agent_no, agent.agent_id, bundle.bytes, block.told
    FROM agent JOIN bundle ON bundle.agent_no = agent.agent_no
    LEFT JOIN block ON block.agent_no = agent.agent_no AND block.blocked_no = $2
    WHERE agent.handle = $1 ORDER BY bundle.number DESC LIMIT 1";

pub(super) const SET_PROFILE: &str =
    "UPDATE agent SET display_name = $2, description = $3, listed = $4 WHERE agent_no = $1";
pub(super) const PROFILE: &str =
    "SELECT agent.handle, display_name, description, registered_at, block.told FROM agent
    LEFT JOIN block ON block.agent_no = agent.agent_no AND block.blocked_no = $2
    WHERE agent.handle = $1";
/// Handles from $1 to before $2, for the viewer $3. Who knows the whole handle learns nothing by it.
macro_rules! found {
    () => {
        "FROM agent WHERE handle >= $1 AND handle < $2
        AND (listed OR handle = $1) AND agent_no <> $3 AND suspended_at IS NULL
        AND NOT EXISTS (SELECT 1 FROM block WHERE block.agent_no = agent.agent_no AND blocked_no = $3)
        AND NOT EXISTS (SELECT 1 FROM block WHERE block.agent_no = $3 AND blocked_no = agent.agent_no)"
    };
}
pub(super) const DIRECTORY: &str = concat!(
    "SELECT handle, display_name, description, registered_at ",
    found!(),
    " ORDER BY handle LIMIT $4 OFFSET $5"
);
pub(super) const DIRECTORY_TOTAL: &str = concat!("SELECT count(*) ", found!());

pub(super) const AGENT_IN_SIGHT: &str = "SELECT agent.agent_no, block.told FROM agent
    LEFT JOIN block ON block.agent_no = agent.agent_no AND block.blocked_no = $2
    WHERE agent.handle = $1";
/// Whether a group of which $1 is a member is open or has $2 as a member or invited: then $2 has to seal to $1.
pub(super) const MEET_IN_GROUP: &str = "SELECT EXISTS (SELECT 1 FROM member
    WHERE member.agent_no = $1 AND member.departed IS NULL
    AND (EXISTS (SELECT 1 FROM member AS other WHERE other.group_no = member.group_no
            AND other.agent_no = $2 AND other.departed IS NULL)
        OR EXISTS (SELECT 1 FROM group_invite JOIN agent ON agent.agent_id = group_invite.agent_id
            WHERE group_invite.group_no = member.group_no AND agent.agent_no = $2)
        OR EXISTS (SELECT 1 FROM grp WHERE grp.group_no = member.group_no AND is_open)))";
pub(super) const INSERT_CONTACT: &str =
    "INSERT INTO contact (agent_no, contact_no) VALUES ($1, $2) ON CONFLICT DO NOTHING";
pub(super) const DELETE_CONTACT: &str = "DELETE FROM contact WHERE agent_no = $1 AND contact_no = $2";
pub(super) const HAS_CONTACT: &str = "SELECT 1 FROM contact WHERE agent_no = $1 AND contact_no = $2";
pub(super) const COUNT_CONTACTS: &str = "SELECT count(*) FROM contact WHERE agent_no = $1";
pub(super) const CONTACT_HOLDERS: &str = "SELECT agent_no FROM contact WHERE contact_no = $1
    AND NOT EXISTS (SELECT 1 FROM block WHERE block.agent_no = $1 AND blocked_no = contact.agent_no)
    AND NOT EXISTS (SELECT 1 FROM block WHERE block.agent_no = contact.agent_no AND blocked_no = $1)";
pub(super) const INSERT_BLOCK: &str = "INSERT INTO block (agent_no, blocked_no, told) VALUES ($1, $2, $3)
    ON CONFLICT (agent_no, blocked_no) DO UPDATE SET told = excluded.told";
pub(super) const DELETE_BLOCK: &str = "DELETE FROM block WHERE agent_no = $1 AND blocked_no = $2";
pub(super) const HAS_BLOCK: &str = "SELECT 1 FROM block WHERE agent_no = $1 AND blocked_no = $2";
pub(super) const COUNT_BLOCKS: &str = "SELECT count(*) FROM block WHERE agent_no = $1";
/// Blocks between pairs of agents, and the number of the last event of agents; one row at least.
pub(super) const BLOCKS_OF_SENDS: &str = "SELECT value, block.agent_no, block.blocked_no, told FROM counter
    LEFT JOIN (unnest($1::BIGINT[], $2::BIGINT[]) AS asked (agent_no, blocked_no)
        JOIN block ON block.agent_no = asked.agent_no AND block.blocked_no = asked.blocked_no) ON TRUE
    WHERE name = 'auth_events'";

pub(super) const LOCK_AGENT_BY_ID: &str = "SELECT agent_no FROM agent WHERE agent_id = $1 FOR NO KEY UPDATE";
pub(super) const HELD_LEASE: &str = "SELECT incarnation, session, time, bytes FROM lease WHERE agent_no = $1";
pub(super) const PUT_LEASE: &str = "INSERT INTO lease (agent_no, incarnation, session, time, bytes)
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (agent_no) DO UPDATE SET incarnation = excluded.incarnation,
    session = excluded.session, time = excluded.time, bytes = excluded.bytes";
pub(super) const AGENT_NO: &str = "SELECT agent_no FROM agent WHERE agent_id = $1";
pub(super) const HEADS: &str = "SELECT queue_no, head FROM queue WHERE queue_no = ANY($1)";
pub(super) const MEMBERSHIP_MARKS: &str = "SELECT agent_no, count(*), count(departed) FROM member
    WHERE agent_no = ANY($1) GROUP BY agent_no";
pub(super) const LEASE: &str = "SELECT bytes FROM lease WHERE agent_no = $1";

pub(super) const PUT_HOOK: &str = "INSERT INTO hook (agent_no, url, secret, set_at) VALUES ($1, $2, $3, $4)
    ON CONFLICT (agent_no) DO UPDATE SET url = excluded.url, secret = excluded.secret, set_at = excluded.set_at";
pub(super) const DELETE_HOOK: &str = "DELETE FROM hook WHERE agent_no = $1";
pub(super) const COUNT_HOOKS: &str = "SELECT count(*) FROM hook";
/// Who has a hook and serves a queue.
pub(super) const HOOKED_READERS: &str = "SELECT agent_no FROM hook JOIN agent USING (agent_no)
    WHERE (mail_queue = $1 OR control_queue = $1) AND suspended_at IS NULL
    UNION SELECT hook.agent_no FROM grp JOIN member ON member.group_no = grp.group_no
    JOIN hook ON hook.agent_no = member.agent_no JOIN agent ON agent.agent_no = hook.agent_no
    WHERE (message_queue = $1 OR log_queue = $1) AND departed IS NULL AND suspended_at IS NULL";
/// What has grown is the newest; a ladder goes on, but for one that is over.
pub(super) const OWE_WAKEUP: &str = "INSERT INTO wakeup (agent_no, queue, head, serial, since, due_at)
    SELECT agent_no, $2, $3, 1, $4, $5 FROM hook WHERE agent_no = $1
    ON CONFLICT (agent_no) DO UPDATE SET queue = excluded.queue, head = excluded.head, serial = wakeup.serial + 1,
    since = CASE WHEN wakeup.dead_at IS NULL THEN wakeup.since ELSE excluded.since END,
    attempts = CASE WHEN wakeup.dead_at IS NULL THEN wakeup.attempts ELSE 0 END,
    due_at = CASE WHEN wakeup.dead_at IS NULL THEN greatest(wakeup.due_at, excluded.due_at) ELSE excluded.due_at END,
    dead_at = NULL";
/// Whoever has not acknowledged everything.
pub(super) const OWE_BACKLOGS: &str = "INSERT INTO wakeup (agent_no, queue, head, serial, since, due_at)
    SELECT hook.agent_no, 'mail', mail.head, 1, $1, $1 FROM hook JOIN agent ON agent.agent_no = hook.agent_no
    JOIN queue AS mail ON mail.queue_no = mail_queue JOIN queue AS control ON control.queue_no = control_queue
    WHERE suspended_at IS NULL AND (mail.head > mail.acked OR control.head > control.acked
        OR EXISTS (SELECT 1 FROM member JOIN grp ON grp.group_no = member.group_no
            JOIN queue AS messages ON messages.queue_no = message_queue
            JOIN queue AS log ON log.queue_no = log_queue
            WHERE member.agent_no = hook.agent_no AND departed IS NULL
            AND (messages.head > member.acked OR log.head > log_acked)))
    ON CONFLICT (agent_no) DO NOTHING";
/// What is due later than it can be was put off while the clock was ahead.
pub(super) const DUE_WAKEUPS: &str =
    "SELECT wakeup.agent_no, agent_id, url, secret, queue, head, serial, attempts
    FROM wakeup JOIN hook ON hook.agent_no = wakeup.agent_no JOIN agent ON agent.agent_no = wakeup.agent_no
    WHERE dead_at IS NULL AND (due_at <= $1 OR due_at > $2) ORDER BY due_at LIMIT $3";
pub(super) const DELETE_WAKEUP: &str = "DELETE FROM wakeup WHERE agent_no = $1";
pub(super) const SETTLE_WAKEUP: &str = "DELETE FROM wakeup WHERE agent_no = $1 AND serial = $2";
/// What grew since it was called for.
pub(super) const RENEW_WAKEUP: &str =
    "UPDATE wakeup SET attempts = 0, due_at = $2, dead_at = NULL, reason = NULL WHERE agent_no = $1";
pub(super) const FAIL_WAKEUP: &str = "UPDATE wakeup SET attempts = attempts + 1, reason = $4,
    due_at = coalesce($2, due_at), dead_at = CASE WHEN $2 IS NULL THEN $3::BIGINT END
    WHERE agent_no = $1 AND dead_at IS NULL";
pub(super) const DEAD_WAKEUPS: &str =
    "SELECT handle, attempts, coalesce(reason, ''), since, dead_at FROM wakeup
    JOIN agent ON agent.agent_no = wakeup.agent_no
    WHERE dead_at IS NOT NULL AND handle > $1 ORDER BY handle LIMIT $2";
pub(super) const REDELIVER_WAKEUP: &str =
    "UPDATE wakeup SET attempts = 0, due_at = $2, dead_at = NULL, reason = NULL
    WHERE dead_at IS NOT NULL AND agent_no = (SELECT agent_no FROM agent WHERE handle = $1)
    RETURNING agent_no";

pub(super) const INSERT_QUEUE: &str = "INSERT INTO queue (kind) VALUES ($1) RETURNING queue_no";
pub(super) const QUEUE_HEAD: &str = "SELECT head, acked FROM queue WHERE queue_no = $1";
/// In one order whoever locks them, so that no two writers wait for each other.
pub(super) const LOCK_QUEUES: &str = "SELECT queue_no, head, acked, epoch, closed FROM queue
    WHERE queue_no = ANY($1) ORDER BY queue_no FOR UPDATE";
/// Of queues that are locked.
pub(super) const ADVANCE_HEADS: &str = "UPDATE queue SET head = queue.head + stored.count
    FROM unnest($1::BIGINT[], $2::BIGINT[]) AS stored (queue_no, count)
    WHERE queue.queue_no = stored.queue_no";
pub(super) const ACK_QUEUES: &str = "UPDATE queue SET acked = least(queue.head, ack.position)
    FROM unnest($1::BIGINT[], $2::BIGINT[]) AS ack (queue_no, position)
    WHERE queue.queue_no = ack.queue_no AND queue.acked < least(queue.head, ack.position)";

pub(super) const INSERT_GROUP: &str =
    "INSERT INTO grp (group_id, message_queue, log_queue, created_at) VALUES ($1, $2, $3, $4)
    RETURNING group_no";
pub(super) const GROUP: &str = "SELECT group_no, message_queue, log_queue FROM grp WHERE group_id = $1";
pub(super) const END_GROUP: &str =
    "UPDATE grp SET ended_at = $2, slug = NULL, is_open = FALSE WHERE group_no = $1";
pub(super) const NAME_GROUP: &str = "UPDATE grp SET slug = $2, is_open = $3 WHERE group_no = $1";
pub(super) const GROUP_BY_SLUG: &str = "SELECT group_id FROM grp WHERE slug = $1";
pub(super) const IS_OPEN: &str = "SELECT is_open FROM grp WHERE group_no = $1";
macro_rules! channel {
    () => {
        "SELECT slug, group_id, group_no, message_queue, log_queue, is_open, (SELECT count(*) FROM member
            WHERE member.group_no = grp.group_no AND departed IS NULL) FROM grp "
    };
}
pub(super) const CHANNEL: &str = concat!(channel!(), "WHERE slug = $1");
pub(super) const OPEN_CHANNELS: &str =
    concat!(channel!(), "WHERE slug > $1 AND is_open ORDER BY slug LIMIT $2");
pub(super) const COMMIT_POSITION: &str =
    "SELECT position FROM group_commit WHERE group_no = $1 AND hash = $2";
pub(super) const INSERT_COMMIT: &str =
    "INSERT INTO group_commit (group_no, hash, position) VALUES ($1, $2, $3)";
/// The arbiter between two commits on one head: one row or none.
pub(super) const ADVANCE_LOG: &str = "UPDATE queue SET head = head + 1, log_head = $4
    WHERE queue_no = $1 AND head = $2 AND log_head IS NOT DISTINCT FROM $3";
pub(super) const LOG_TIP: &str = "SELECT head, log_head FROM queue WHERE queue_no = $1";
pub(super) const INSERT_REKEY: &str =
    "INSERT INTO rekey (group_no, epoch, position, leaves) VALUES ($1, $2, $3, $4)";
pub(super) const SET_EPOCH: &str = "UPDATE queue SET epoch = $2 WHERE queue_no = $1";
pub(super) const SET_CLOSED: &str = "UPDATE queue SET closed = $2 WHERE queue_no = $1 AND closed <> $2";
pub(super) const JOIN: &str = "INSERT INTO member
    (group_no, agent_no, joined, joined_head, acked, log_acked) VALUES ($1, $2, $3, $4, $4, $3)";
pub(super) const DEPART: &str = "UPDATE member SET departed = $3, departed_head = $4
    WHERE group_no = $1 AND agent_no = $2 AND departed IS NULL";
pub(super) const INVITE_TO_GROUP: &str =
    "INSERT INTO group_invite (group_no, agent_id, position) VALUES ($1, $2, $3)
    ON CONFLICT (group_no, agent_id) DO UPDATE SET position = excluded.position";
pub(super) const UNINVITE: &str = "DELETE FROM group_invite WHERE group_no = $1 AND agent_id = $2";
pub(super) const STANDING: &str = "SELECT
    EXISTS (SELECT 1 FROM member WHERE group_no = $1 AND agent_no = $2 AND departed IS NULL),
    EXISTS (SELECT 1 FROM group_invite JOIN agent ON agent.agent_id = group_invite.agent_id
        WHERE group_invite.group_no = $1 AND agent.agent_no = $2
        AND (SELECT head FROM queue WHERE queue_no = $3) <= group_invite.position + $4),
    (SELECT max(departed) FROM member WHERE group_no = $1 AND agent_no = $2),
    (SELECT is_open FROM grp WHERE group_no = $1),
    (SELECT head FROM queue WHERE queue_no = $3),
    (SELECT log_acked FROM member WHERE group_no = $1 AND agent_no = $2 ORDER BY joined DESC LIMIT 1)";
pub(super) const MESSAGES_HEAD: &str = "SELECT coalesce(member.departed_head, queue.head), member.acked
    FROM member JOIN queue ON queue.queue_no = $3
    WHERE member.group_no = $1 AND member.agent_no = $2 ORDER BY member.joined DESC LIMIT 1";
/// One membership after the other, each a range of the queue's index.
pub(super) const MESSAGES: &str = "SELECT envelope.position, envelope_id, stored_at, bytes
    FROM member CROSS JOIN envelope WHERE group_no = $1 AND agent_no = $2 AND queue_no = $3
    AND position > greatest($4, joined_head) AND position < least($5, coalesce(departed_head + 1, $5))
    ORDER BY joined, position LIMIT $6";
/// Of many readers at once, each with the head that it sees, and at least one row: the messages of groups. Of each no row
/// beyond the first that does not fit into the bytes that it asked for; one always does.
pub(super) const MESSAGES_OF_MANY: &str =
    "SELECT place, seat.head, found.position, found.envelope_id, found.stored_at, found.bytes
    FROM unnest($1::BIGINT[], $2::BIGINT[], $3::BIGINT[], $4::BIGINT[], $5::BIGINT[], $6::BIGINT[],
        $7::BIGINT[])
        WITH ORDINALITY AS asked (queue_no, after, before, most, most_bytes, group_no, agent_no, place)
    CROSS JOIN LATERAL (SELECT coalesce(departed_head, queue.head) AS head
        FROM member JOIN queue ON queue.queue_no = asked.queue_no
        WHERE member.group_no = asked.group_no AND member.agent_no = asked.agent_no
        ORDER BY joined DESC LIMIT 1) AS seat
    LEFT JOIN LATERAL (SELECT position, envelope_id, stored_at, bytes,
            row_number() OVER so_far AS nth, sum(octet_length(bytes)) OVER so_far AS total
        FROM member CROSS JOIN envelope
        WHERE member.group_no = asked.group_no AND member.agent_no = asked.agent_no
        AND envelope.queue_no = asked.queue_no AND position > greatest(asked.after, joined_head)
        AND position < least(asked.before, seat.head + 1, coalesce(departed_head + 1, asked.before))
        WINDOW so_far AS (ORDER BY joined, position ROWS UNBOUNDED PRECEDING)
        ORDER BY joined, position LIMIT asked.most) AS found
        ON nth <= 2 OR found.total - octet_length(found.bytes) <= asked.most_bytes
    ORDER BY place, position";
pub(super) const MEMBERSHIPS: &str = "SELECT group_id, grp.group_no, message_queue, log_queue,
    member.departed IS NULL, coalesce(departed_head, messages.head), member.acked,
    coalesce(departed + 1, log.head), log_acked
    FROM member JOIN grp ON grp.group_no = member.group_no
    JOIN queue AS messages ON messages.queue_no = message_queue
    JOIN queue AS log ON log.queue_no = log_queue
    WHERE member.agent_no = $1 AND joined = (SELECT max(joined) FROM member AS other
        WHERE other.group_no = member.group_no AND other.agent_no = member.agent_no)
    ORDER BY grp.group_no";
/// Acks of members: each of the latest membership, never beyond what it may see.
macro_rules! ack_members {
    ($column:literal, $end:literal) => {
        concat!(
            "UPDATE member SET ",
            $column,
            " = least(ack.position, coalesce(",
            $end,
            ", queue.head))
    FROM unnest($1::BIGINT[], $2::BIGINT[], $3::BIGINT[], $4::BIGINT[])
        AS ack (group_no, agent_no, queue_no, position)
    JOIN queue ON queue.queue_no = ack.queue_no
    WHERE member.group_no = ack.group_no AND member.agent_no = ack.agent_no
    AND joined = (SELECT max(joined) FROM member AS other
        WHERE other.group_no = ack.group_no AND other.agent_no = ack.agent_no)
    AND member.",
            $column,
            " < least(ack.position, coalesce(",
            $end,
            ", queue.head))"
        )
    };
}
pub(super) const ACK_MESSAGES: &str = ack_members!("acked", "departed_head");
pub(super) const ACK_LOG: &str = ack_members!("log_acked", "departed + 1");
pub(super) const REKEY_POSITION: &str = "SELECT position FROM rekey WHERE group_no = $1 AND epoch = $2";
pub(super) const LEAVES: &str = "SELECT leaves FROM rekey WHERE group_no = $1 AND epoch = $2";
/// Groups of sends, each with whether the sender is a member: what is decided by it is locked with the queue.
pub(super) const GROUPS_OF_SENDS: &str =
    "SELECT asked.group_id, asked.sender_no, message_queue, ended_at IS NOT NULL,
    EXISTS (SELECT 1 FROM member WHERE member.group_no = grp.group_no AND member.agent_no = asked.sender_no
        AND departed IS NULL)
    FROM unnest($1::BYTEA[], $2::BIGINT[]) AS asked (group_id, sender_no)
    JOIN grp ON grp.group_id = asked.group_id";
pub(super) const MESSAGE_QUEUES: &str = "SELECT message_queue FROM grp WHERE group_id = ANY($1)";

pub(super) const RECIPIENTS: &str =
    "SELECT agent_id, agent_no, mail_queue, control_queue, tier, handle IS NULL
    FROM agent JOIN org USING (org_id) WHERE agent_id = ANY($1)";
pub(super) const SENDERS: &str =
    "SELECT agent_no, org_id, tier FROM agent JOIN org USING (org_id) WHERE agent_no = ANY($1)";
/// How far each member of the group with this queue has acknowledged.
pub(super) const MEMBERS_ACKS: &str = "SELECT agent_id, acked FROM grp
    JOIN member ON member.group_no = grp.group_no AND departed IS NULL
    JOIN agent ON agent.agent_no = member.agent_no WHERE message_queue = $1";
pub(super) const SENT: &str = "SELECT sent.sender_no, sent.mid, envelope_id, hash
    FROM unnest($1::BIGINT[], $2::BYTEA[]) AS asked (sender_no, mid)
    JOIN sent ON sent.sender_no = asked.sender_no AND sent.mid = asked.mid";
pub(super) const INSERT_SENT: &str = "INSERT INTO sent (sender_no, mid, envelope_id, hash)
    SELECT * FROM unnest($1::BIGINT[], $2::BYTEA[], $3::BIGINT[], $4::BYTEA[])";
pub(super) const INSERT_ENVELOPES: &str =
    "INSERT INTO envelope (queue_no, position, envelope_id, stored_at, bytes)
    SELECT queue_no, position, envelope_id, $4, bytes
    FROM unnest($1::BIGINT[], $2::BIGINT[], $3::BIGINT[], $5::BYTEA[])
        AS stored (queue_no, position, envelope_id, bytes)";
pub(super) const ENVELOPES: &str = "SELECT position, envelope_id, stored_at, bytes FROM envelope
    WHERE queue_no = $1 AND position > $2 AND position < $3 ORDER BY position LIMIT $4";
/// The same of many queues, each read to its end by whoever asks, and bounded like [`MESSAGES_OF_MANY`].
pub(super) const ENVELOPES_OF_MANY: &str =
    "SELECT place, head, found.position, found.envelope_id, found.stored_at, found.bytes
    FROM unnest($1::BIGINT[], $2::BIGINT[], $3::BIGINT[], $4::BIGINT[], $5::BIGINT[])
        WITH ORDINALITY AS asked (queue_no, after, before, most, most_bytes, place)
    JOIN queue ON queue.queue_no = asked.queue_no
    LEFT JOIN LATERAL (SELECT position, envelope_id, stored_at, bytes,
            row_number() OVER so_far AS nth, sum(octet_length(bytes)) OVER so_far AS total
        FROM envelope WHERE envelope.queue_no = asked.queue_no AND position > asked.after
        AND position < least(asked.before, head + 1)
        WINDOW so_far AS (ORDER BY position ROWS UNBOUNDED PRECEDING)
        ORDER BY position LIMIT asked.most) AS found
        ON nth <= 2 OR found.total - octet_length(found.bytes) <= asked.most_bytes
    ORDER BY place, position";

pub(super) const ACCOUNT_BY_KEY: &str =
    "SELECT agent_no, agent_id, mail_queue, control_queue, suspended_at IS NOT NULL, tier
    FROM agent JOIN org USING (org_id) WHERE api_key_hash = $1";
pub(super) const AGENT: &str =
    "SELECT agent_id, handle, identity, registered_at, suspended_at, api_key_hash, org.name
    FROM agent JOIN org USING (org_id) WHERE agent_no = $1 AND handle IS NOT NULL";
pub(super) const AGENTS: &str =
    "SELECT agent_id, handle, identity, registered_at, suspended_at, api_key_hash, org.name
    FROM agent JOIN org USING (org_id) WHERE handle > $1 ORDER BY handle LIMIT $2";
pub(super) const PING: &str = "SELECT 1";

pub(super) const SENT_AFTER: &str = "SELECT sender_no, mid, envelope_id FROM sent
    WHERE (sender_no, mid) > ($1, $2) ORDER BY sender_no, mid LIMIT $3";
pub(super) const DELETE_SENT: &str = "DELETE FROM sent
    USING unnest($1::BIGINT[], $2::BYTEA[]) AS due (sender_no, mid)
    WHERE sent.sender_no = due.sender_no AND sent.mid = due.mid";
pub(super) const QUEUES_AFTER: &str =
    "SELECT queue_no, acked FROM queue WHERE queue_no > $1 AND kind < $3 ORDER BY queue_no LIMIT $2";
/// Groups with what all their members have acknowledged; everything where nobody is left.
pub(super) const GROUPS_AFTER: &str = "SELECT group_no, message_queue, epoch,
    coalesce((SELECT min(acked) FROM member WHERE member.group_no = grp.group_no AND departed IS NULL), head),
    coalesce((SELECT min(log_acked) FROM member WHERE member.group_no = grp.group_no AND departed IS NULL), $3)
    FROM grp JOIN queue ON queue_no = message_queue WHERE group_no > $1 ORDER BY group_no LIMIT $2";
pub(super) const OLDEST_REKEYS: &str = "SELECT epoch FROM rekey
    WHERE group_no = $1 AND epoch <= $2 AND position < $3 ORDER BY epoch LIMIT $4";
pub(super) const DELETE_REKEYS: &str = "DELETE FROM rekey
    USING unnest($1::BIGINT[], $2::BIGINT[]) AS due (group_no, epoch)
    WHERE rekey.group_no = due.group_no AND rekey.epoch = due.epoch";
pub(super) const OLDEST_ENVELOPES: &str = "SELECT position, stored_at FROM envelope
    WHERE queue_no = $1 AND position <= $2 ORDER BY position LIMIT $3";
pub(super) const DELETE_ENVELOPES: &str = "DELETE FROM envelope
    USING unnest($1::BIGINT[], $2::BIGINT[]) AS due (queue_no, position)
    WHERE envelope.queue_no = due.queue_no AND envelope.position = due.position";
pub(super) const PRUNE_AUTH_EVENTS: &str = "DELETE FROM auth_event WHERE at < $1
    AND event_no < (SELECT max(event_no) FROM auth_event)";

pub(super) const BLOB: &str =
    "SELECT blob_no, owner_no, length, completed_at IS NOT NULL FROM blob WHERE blob_id = $1";
/// What an agent holds, small blobs counted as a share of what a row and a file cost; how many are unfinished.
pub(super) const BLOBS_HELD: &str = "SELECT coalesce(sum(greatest(length, $2)), 0)::BIGINT, count(*) - count(completed_at) FROM blob WHERE owner_no = $1";
pub(super) const INSERT_BLOB: &str =
    "INSERT INTO blob (blob_id, owner_no, length, created_at) VALUES ($1, $2, $3, $4)
    RETURNING blob_no";
pub(super) const COMPLETE_BLOB: &str =
    "UPDATE blob SET completed_at = coalesce(completed_at, $2) WHERE blob_no = $1";
pub(super) const DELETE_BLOB: &str = "DELETE FROM blob WHERE blob_id = $1";
pub(super) const EXPIRED_BLOBS: &str = "SELECT blob_id FROM blob WHERE created_at < $1 AND blob_id > $3
    UNION SELECT blob_id FROM blob WHERE completed_at IS NULL AND created_at < $2 AND blob_id > $3
    ORDER BY blob_id LIMIT $4";
