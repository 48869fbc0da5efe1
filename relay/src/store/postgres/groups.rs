//! Groups: the act of appending a commit, and what only groups are asked.

use std::collections::BTreeSet;

use sqlx::PgConnection;
use waxwire_shared::{
    api::frames::Queue,
    ids::{AgentId, GroupId, Handle, Hash},
};

use super::{PostgresStore, accounts::insert_queue, batch::Transaction, facts::lock_queues, sql};
use crate::store::{
    AgentNo, AppendOutcome, Appended, GroupRecord, MembershipChange, Naming, NewCommit, QueueNo, Stored,
    WriteError,
    rows::{self, GroupRow, kind},
};

async fn find_group(connection: &mut PgConnection, id: &GroupId) -> sqlx::Result<Option<GroupRecord>> {
    let row: Option<GroupRow> = sqlx::query_as(sql::GROUP)
        .bind(id.as_bytes().as_slice())
        .fetch_optional(connection)
        .await?;
    Ok(row.map(rows::group))
}

/// Everything is checked before the first write: an append that is refused leaves no trace.
async fn append(tx: &mut Transaction<'_>, commit: &NewCommit) -> sqlx::Result<AppendOutcome> {
    let found = find_group(tx.connection, &commit.group).await?;
    if let Some(group) = &found {
        // Whoever sends to the group or appends to its log waits from here on.
        lock_queues(tx.connection, &BTreeSet::from([group.messages, group.log])).await?;
        if let Some(position) = held_at(tx.connection, group, &commit.hash).await? {
            return Ok(AppendOutcome::Repeated { position });
        }
    }
    if invites_across_a_block(tx, commit).await? {
        return Ok(AppendOutcome::Blocked);
    }
    if takes_a_slug_of_another(tx.connection, commit).await? {
        return Ok(AppendOutcome::SlugTaken);
    }
    let group = match (found, commit.position) {
        (Some(group), _) => group,
        (None, 0) if commit.previous.is_none() => make_group(tx, &commit.group).await?,
        (None, _) => return Ok(AppendOutcome::Conflict),
    };
    if !advance_log(tx.connection, &group, commit).await? {
        return Ok(AppendOutcome::Conflict);
    }
    let stored = insert_commit(tx, &group, commit).await?;
    let message_head = head(tx.connection, group.messages).await?;
    let changes = change_members(tx.connection, &group, commit, message_head).await?;
    change_invites(tx.connection, &group, commit).await?;
    change_group(tx, &group, commit).await?;
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

async fn invites_across_a_block(tx: &mut Transaction<'_>, commit: &NewCommit) -> sqlx::Result<bool> {
    for id in &commit.effect.invited {
        if let Some(invited) = find_agent(tx.connection, id).await?
            && is_blocked(tx.connection, commit.by, invited).await?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn is_blocked(connection: &mut PgConnection, one: AgentNo, other: AgentNo) -> sqlx::Result<bool> {
    let (blocked,): (bool,) = sqlx::query_as(sql::BLOCK_BETWEEN)
        .bind(one.0)
        .bind(other.0)
        .fetch_one(connection)
        .await?;
    Ok(blocked)
}

async fn takes_a_slug_of_another(connection: &mut PgConnection, commit: &NewCommit) -> sqlx::Result<bool> {
    let naming = commit.effect.naming.as_ref();
    let Some(slug) = naming.and_then(|naming| naming.slug.as_ref()) else {
        return Ok(false);
    };
    let holder: Option<(Vec<u8>,)> = sqlx::query_as(sql::GROUP_BY_SLUG)
        .bind(slug.as_str())
        .fetch_optional(connection)
        .await?;
    Ok(holder.is_some_and(|(holder,)| holder != commit.group.as_bytes()))
}

async fn held_at(
    connection: &mut PgConnection,
    group: &GroupRecord,
    hash: &Hash,
) -> sqlx::Result<Option<u64>> {
    let row: Option<(i64,)> = sqlx::query_as(sql::COMMIT_POSITION)
        .bind(group.no.0)
        .bind(hash.as_bytes().as_slice())
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|(position,)| position.cast_unsigned()))
}

async fn head(connection: &mut PgConnection, queue: QueueNo) -> sqlx::Result<i64> {
    let (head, _): (i64, i64) = sqlx::query_as(sql::QUEUE_HEAD)
        .bind(queue.0)
        .fetch_one(connection)
        .await?;
    Ok(head)
}

async fn make_group(tx: &mut Transaction<'_>, id: &GroupId) -> sqlx::Result<GroupRecord> {
    let messages = insert_queue(tx.connection, kind::MESSAGES).await?;
    let log = insert_queue(tx.connection, kind::LOG).await?;
    let (no,): (i64,) = sqlx::query_as(sql::INSERT_GROUP)
        .bind(id.as_bytes().as_slice())
        .bind(messages)
        .bind(log)
        .bind(tx.now_ms.cast_signed())
        .fetch_one(&mut *tx.connection)
        .await?;
    Ok(rows::group((no, messages, log)))
}

/// Whether the commit continues the log's head, which it is from now on.
async fn advance_log(
    connection: &mut PgConnection,
    group: &GroupRecord,
    commit: &NewCommit,
) -> sqlx::Result<bool> {
    let advanced = sqlx::query(sql::ADVANCE_LOG)
        .bind(group.log.0)
        .bind(commit.position.cast_signed())
        .bind(commit.previous.as_ref().map(|hash| hash.as_bytes().as_slice()))
        .bind(commit.hash.as_bytes().as_slice())
        .execute(connection)
        .await?;
    Ok(advanced.rows_affected() == 1)
}

async fn insert_commit(
    tx: &mut Transaction<'_>,
    group: &GroupRecord,
    commit: &NewCommit,
) -> sqlx::Result<Stored> {
    let stored = Stored {
        queue_no: group.log,
        queue: Queue::Log(commit.group),
        position: commit.position + 1,
        envelope_id: tx.memory.ids.next(tx.now_ms),
        stored_at: tx.now_ms,
        bytes: commit.bytes.clone(),
    };
    sqlx::query(sql::INSERT_ENVELOPES)
        .bind(vec![group.log.0])
        .bind(vec![stored.position.cast_signed()])
        .bind(vec![stored.envelope_id.cast_signed()])
        .bind(tx.now_ms.cast_signed())
        .bind(vec![commit.bytes.as_ref()])
        .execute(&mut *tx.connection)
        .await?;
    let position = commit.position.cast_signed();
    sqlx::query(sql::INSERT_COMMIT)
        .bind(group.no.0)
        .bind(commit.hash.as_bytes().as_slice())
        .bind(position)
        .execute(&mut *tx.connection)
        .await?;
    if let Some((epoch, leaves)) = &commit.rekey {
        let epoch = epoch.cast_signed();
        sqlx::query(sql::INSERT_REKEY)
            .bind(group.no.0)
            .bind(epoch)
            .bind(position)
            .bind(leaves.as_ref())
            .execute(&mut *tx.connection)
            .await?;
        sqlx::query(sql::SET_EPOCH)
            .bind(group.messages.0)
            .bind(epoch)
            .execute(&mut *tx.connection)
            .await?;
    }
    Ok(stored)
}

/// Identities that are not registered here have no membership.
async fn change_members(
    connection: &mut PgConnection,
    group: &GroupRecord,
    commit: &NewCommit,
    message_head: i64,
) -> sqlx::Result<Vec<(AgentNo, MembershipChange)>> {
    let effect = &commit.effect;
    let departed = effect.departed.iter().map(|id| (id, MembershipChange::Departed));
    let joined = effect.joined.iter().map(|id| (id, MembershipChange::Joined));
    let mut changes = Vec::new();
    for (id, change) in departed.chain(joined) {
        let Some(agent) = find_agent(connection, id).await? else {
            continue;
        };
        let statement = match change {
            MembershipChange::Departed => sql::DEPART,
            MembershipChange::Joined => sql::JOIN,
        };
        sqlx::query(statement)
            .bind(group.no.0)
            .bind(agent.0)
            .bind(commit.position.cast_signed())
            .bind(message_head)
            .execute(&mut *connection)
            .await?;
        changes.push((agent, change));
    }
    Ok(changes)
}

async fn change_invites(
    connection: &mut PgConnection,
    group: &GroupRecord,
    commit: &NewCommit,
) -> sqlx::Result<()> {
    for id in &commit.effect.uninvited {
        sqlx::query(sql::UNINVITE)
            .bind(group.no.0)
            .bind(id.as_bytes().as_slice())
            .execute(&mut *connection)
            .await?;
    }
    for id in &commit.effect.invited {
        sqlx::query(sql::INVITE_TO_GROUP)
            .bind(group.no.0)
            .bind(id.as_bytes().as_slice())
            .bind(commit.position.cast_signed())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn find_agent(connection: &mut PgConnection, id: &AgentId) -> sqlx::Result<Option<AgentNo>> {
    let row: Option<(i64,)> = sqlx::query_as(sql::AGENT_BY_ID)
        .bind(id.as_bytes().as_slice())
        .fetch_optional(connection)
        .await?;
    Ok(row.map(rows::agent_no))
}

async fn change_group(tx: &mut Transaction<'_>, group: &GroupRecord, commit: &NewCommit) -> sqlx::Result<()> {
    sqlx::query(sql::SET_CLOSED)
        .bind(group.messages.0)
        .bind(commit.effect.closed)
        .execute(&mut *tx.connection)
        .await?;
    if let Some(Naming { slug, open }) = &commit.effect.naming {
        sqlx::query(sql::NAME_GROUP)
            .bind(group.no.0)
            .bind(slug.as_ref().map(Handle::as_str))
            .bind(open)
            .execute(&mut *tx.connection)
            .await?;
    }
    if commit.effect.ended {
        sqlx::query(sql::END_GROUP)
            .bind(group.no.0)
            .bind(tx.now_ms.cast_signed())
            .execute(&mut *tx.connection)
            .await?;
    }
    Ok(())
}

impl PostgresStore {
    pub(in crate::store) async fn append(&self, commit: NewCommit) -> Result<AppendOutcome, WriteError> {
        self.write(async move |tx| append(tx, &commit).await).await
    }
}
