//! Groups: the act of appending a commit, and what only groups are asked.

use rusqlite::{Connection, OptionalExtension as _, params};
use waxwire_shared::{
    api::frames::Queue,
    ids::{AgentId, GroupId, Handle, Hash},
};

use super::{SqliteStore, batch::Transaction, sql};
use crate::store::{
    AgentNo, AppendOutcome, Appended, GroupNo, GroupRecord, MembershipChange, Naming, NewCommit, QueueNo,
    Stored, View, WriteError,
    rows::{self, kind},
    writer::admission::Facts as _,
};

fn find_group(connection: &Connection, id: &GroupId) -> rusqlite::Result<Option<GroupRecord>> {
    connection
        .prepare_cached(sql::GROUP)?
        .query_row([id.as_bytes()], |row| {
            Ok(rows::group((row.get(0)?, row.get(1)?, row.get(2)?)))
        })
        .optional()
}

/// Everything is checked before the first write: an append that is refused leaves no trace.
fn append(tx: &mut Transaction<'_>, commit: &NewCommit) -> rusqlite::Result<AppendOutcome> {
    let found = find_group(tx.connection, &commit.group)?;
    if let Some(group) = &found
        && let Some(position) = held_at(tx.connection, group, &commit.hash)?
    {
        return Ok(AppendOutcome::Repeated { position });
    }
    if invites_across_a_block(tx, commit)? {
        return Ok(AppendOutcome::Blocked);
    }
    if takes_a_slug_of_another(tx.connection, commit)? {
        return Ok(AppendOutcome::SlugTaken);
    }
    let group = match (found, commit.position) {
        (Some(group), _) => group,
        (None, 0) if commit.previous.is_none() => make_group(tx, &commit.group)?,
        (None, _) => return Ok(AppendOutcome::Conflict),
    };
    let advanced = tx.connection.prepare_cached(sql::ADVANCE_LOG)?.execute(params![
        group.log.0,
        commit.position.cast_signed(),
        commit.previous.as_ref().map(Hash::as_bytes),
        commit.hash.as_bytes()
    ])?;
    if advanced == 0 {
        return Ok(AppendOutcome::Conflict);
    }
    let stored = insert_commit(tx, &group, commit)?;
    let message_head = head(tx.connection, group.messages)?;
    let changes = change_members(tx.connection, &group, commit, message_head)?;
    change_group(tx, &group, commit)?;
    tx.appended.push(Appended {
        commit: stored,
        id: commit.group,
        group,
        leaves_length: commit.rekey.as_ref().map_or(0, |(_, leaves)| leaves.len()),
        message_head: message_head.cast_unsigned(),
        changes,
    });
    Ok(AppendOutcome::Appended(group))
}

fn invites_across_a_block(tx: &mut Transaction<'_>, commit: &NewCommit) -> rusqlite::Result<bool> {
    for id in &commit.effect.invited {
        if let Some(invited) = find_agent(tx.connection, id)?
            && tx.blocks()?.between(commit.by, invited)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn takes_a_slug_of_another(connection: &Connection, commit: &NewCommit) -> rusqlite::Result<bool> {
    let naming = commit.effect.naming.as_ref();
    let Some(slug) = naming.and_then(|naming| naming.slug.as_ref()) else {
        return Ok(false);
    };
    let holder: Option<Vec<u8>> = connection
        .prepare_cached(sql::GROUP_BY_SLUG)?
        .query_row([slug.as_str()], |row| row.get(0))
        .optional()?;
    Ok(holder.is_some_and(|holder| holder != commit.group.as_bytes()))
}

fn held_at(connection: &Connection, group: &GroupRecord, hash: &Hash) -> rusqlite::Result<Option<u64>> {
    connection
        .prepare_cached(sql::COMMIT_POSITION)?
        .query_row(params![group.no.0, hash.as_bytes()], |row| {
            row.get::<_, i64>(0).map(i64::cast_unsigned)
        })
        .optional()
}

fn head(connection: &Connection, queue: QueueNo) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(sql::QUEUE_HEAD)?
        .query_row([queue.0], |row| row.get(0))
}

fn make_group(tx: &Transaction<'_>, id: &GroupId) -> rusqlite::Result<GroupRecord> {
    let mut insert_queue = tx.connection.prepare_cached(sql::INSERT_QUEUE)?;
    let messages = QueueNo(insert_queue.insert([kind::MESSAGES])?);
    let log = QueueNo(insert_queue.insert([kind::LOG])?);
    let no = tx.connection.prepare_cached(sql::INSERT_GROUP)?.insert(params![
        id.as_bytes(),
        messages.0,
        log.0,
        tx.now_ms.cast_signed()
    ])?;
    Ok(GroupRecord {
        no: GroupNo(no),
        messages,
        log,
    })
}

fn insert_commit(
    tx: &mut Transaction<'_>,
    group: &GroupRecord,
    commit: &NewCommit,
) -> rusqlite::Result<Stored> {
    let envelope_id = tx.memory.ids.next(tx.now_ms);
    let stored = Stored {
        queue_no: group.log,
        queue: Queue::Log(commit.group),
        position: commit.position + 1,
        envelope_id,
        stored_at: tx.now_ms,
        bytes: commit.bytes.clone(),
    };
    tx.connection
        .prepare_cached(sql::INSERT_ENVELOPE)?
        .execute(params![
            envelope_id.cast_signed(),
            group.log.0,
            stored.position.cast_signed(),
            tx.now_ms.cast_signed(),
            commit.bytes.as_ref()
        ])?;
    let position = commit.position.cast_signed();
    tx.connection
        .prepare_cached(sql::INSERT_COMMIT)?
        .execute(params![group.no.0, commit.hash.as_bytes(), position])?;
    if let Some((epoch, leaves)) = &commit.rekey {
        let epoch = epoch.cast_signed();
        tx.connection.prepare_cached(sql::INSERT_REKEY)?.execute(params![
            group.no.0,
            epoch,
            position,
            leaves.as_ref()
        ])?;
        tx.connection
            .prepare_cached(sql::SET_EPOCH)?
            .execute([group.messages.0, epoch])?;
    }
    Ok(stored)
}

/// Identities that are not registered here have no membership.
fn change_members(
    connection: &Connection,
    group: &GroupRecord,
    commit: &NewCommit,
    message_head: i64,
) -> rusqlite::Result<Vec<(AgentNo, MembershipChange)>> {
    let position = commit.position.cast_signed();
    let mut changes = Vec::new();
    let departed = commit
        .effect
        .departed
        .iter()
        .map(|id| (id, MembershipChange::Departed));
    let joined = commit
        .effect
        .joined
        .iter()
        .map(|id| (id, MembershipChange::Joined));
    for (id, change) in departed.chain(joined) {
        let Some(agent) = find_agent(connection, id)? else {
            continue;
        };
        let statement = match change {
            MembershipChange::Departed => sql::DEPART,
            MembershipChange::Joined => sql::JOIN,
        };
        connection
            .prepare_cached(statement)?
            .execute([group.no.0, agent.0, position, message_head])?;
        changes.push((agent, change));
    }
    for id in &commit.effect.uninvited {
        connection
            .prepare_cached(sql::UNINVITE)?
            .execute(params![group.no.0, id.as_bytes()])?;
    }
    for id in &commit.effect.invited {
        connection.prepare_cached(sql::INVITE_TO_GROUP)?.execute(params![
            group.no.0,
            id.as_bytes(),
            position
        ])?;
    }
    Ok(changes)
}

fn find_agent(connection: &Connection, id: &AgentId) -> rusqlite::Result<Option<AgentNo>> {
    connection
        .prepare_cached(sql::AGENT_BY_ID)?
        .query_row([id.as_bytes()], |row| Ok(AgentNo(row.get(0)?)))
        .optional()
}

fn change_group(tx: &Transaction<'_>, group: &GroupRecord, commit: &NewCommit) -> rusqlite::Result<()> {
    let closed = i64::from(commit.effect.closed);
    tx.connection
        .prepare_cached(sql::SET_CLOSED)?
        .execute([group.messages.0, closed])?;
    if let Some(Naming { slug, open }) = &commit.effect.naming {
        let slug = slug.as_ref().map(Handle::as_str);
        tx.connection
            .prepare_cached(sql::NAME_GROUP)?
            .execute(params![group.no.0, slug, open])?;
    }
    if commit.effect.ended {
        tx.connection
            .prepare_cached(sql::END_GROUP)?
            .execute([group.no.0, tx.now_ms.cast_signed()])?;
    }
    Ok(())
}

/// Moves the acks of a member forward, never back and never beyond what it may see.
pub(super) fn write_ack(connection: &Connection, view: &View, position: i64) -> rusqlite::Result<()> {
    let (statement, seat) = match view {
        View::Whole(queue) => {
            let mut statement = connection.prepare_cached(sql::ACK)?;
            return statement.execute([queue.0, position]).map(drop);
        }
        View::Messages(seat) => (sql::ACK_MESSAGES, seat),
        View::Log(seat) => (sql::ACK_LOG, seat),
    };
    connection
        .prepare_cached(statement)?
        .execute([seat.group.0, seat.agent.0, seat.queue.0, position])
        .map(drop)
}

impl SqliteStore {
    pub(in crate::store) async fn append(&self, commit: NewCommit) -> Result<AppendOutcome, WriteError> {
        self.write(move |tx| append(tx, &commit)).await
    }
}
