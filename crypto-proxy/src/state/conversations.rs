//! Conversations and the numbers that they give out.

use rusqlite::{Row, params};
use waxwire_shared::ids::{ConversationId, Hash};

use super::{StateError, Store, from_sql, to_sql};
use crate::model::{ConversationKind, LocalConversation, UnixMs};

/// A conversation, as the engine needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationRow {
    /// Row.
    pub conversation_id: i64,
    /// Local id.
    pub local: LocalConversation,
    /// Id inside messages.
    pub protocol_id: ConversationId,
    /// The peer of a direct conversation.
    pub peer_id: Option<i64>,
    /// Last number given out in the own session.
    pub out_n: u64,
    /// Hash of the core with that number.
    pub out_hash: Option<Hash>,
}

pub(super) const DIRECT: i64 = 1;
pub(super) const GROUP: i64 = 2;

pub(super) const fn kind_from_number(number: i64) -> ConversationKind {
    if number == GROUP {
        ConversationKind::Group
    } else {
        ConversationKind::Direct
    }
}

const SELECT: &str =
    "SELECT conversation_id, local, kind, protocol_id, peer_id, out_n, out_hash FROM conversation";

fn conversation_row(row: &Row<'_>) -> Result<ConversationRow, rusqlite::Error> {
    let hash: Option<[u8; 32]> = row.get(6)?;
    Ok(ConversationRow {
        conversation_id: row.get(0)?,
        local: LocalConversation {
            id: row.get(1)?,
            kind: kind_from_number(row.get(2)?),
        },
        protocol_id: ConversationId::from_bytes(row.get(3)?),
        peer_id: row.get(4)?,
        out_n: from_sql(row.get(5)?),
        out_hash: hash.map(Hash::from_bytes),
    })
}

impl Store {
    /// The direct conversation with a peer, made if there is none.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn direct_conversation(
        &self,
        protocol_id: &ConversationId,
        peer_id: i64,
        now: UnixMs,
    ) -> Result<ConversationRow, StateError> {
        if let Some(row) = self.conversation_by_protocol(protocol_id)? {
            return Ok(row);
        }
        let mut statement = self.db.prepare_cached(
            "INSERT INTO conversation(local, kind, protocol_id, peer_id, updated_at) \
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
        )?;
        let local = LocalConversation::direct(protocol_id);
        statement.execute(params![
            local.id,
            DIRECT,
            protocol_id.as_bytes(),
            peer_id,
            to_sql(now)
        ])?;
        let mut statement = self
            .db
            .prepare_cached(&format!("{SELECT} WHERE protocol_id = ?1"))?;
        Ok(statement.query_row([protocol_id.as_bytes()], conversation_row)?)
    }

    /// The conversation with a local id.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn conversation(&self, local: &LocalConversation) -> Result<Option<ConversationRow>, StateError> {
        let mut statement = self.db.prepare_cached(&format!("{SELECT} WHERE local = ?1"))?;
        let mut rows = statement.query([local.id])?;
        let row = rows.next()?.map(conversation_row).transpose()?;
        Ok(row.filter(|row| row.local == *local))
    }

    /// The conversation of a row.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn conversation_by_id(&self, conversation_id: i64) -> Result<ConversationRow, StateError> {
        let mut statement = self
            .db
            .prepare_cached(&format!("{SELECT} WHERE conversation_id = ?1"))?;
        Ok(statement.query_row([conversation_id], conversation_row)?)
    }

    /// The conversation with an id as messages name it.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn conversation_by_protocol(
        &self,
        protocol_id: &ConversationId,
    ) -> Result<Option<ConversationRow>, StateError> {
        let mut statement = self
            .db
            .prepare_cached(&format!("{SELECT} WHERE protocol_id = ?1"))?;
        let mut rows = statement.query([protocol_id.as_bytes()])?;
        Ok(rows.next()?.map(conversation_row).transpose()?)
    }

    /// Records the last number that the own session gave out, with its core's hash.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_out_number(&self, conversation_id: i64, n: u64, hash: &Hash) -> Result<(), StateError> {
        let mut statement = self
            .db
            .prepare_cached("UPDATE conversation SET out_n = ?2, out_hash = ?3 WHERE conversation_id = ?1")?;
        statement.execute(params![conversation_id, to_sql(n), hash.as_bytes()])?;
        Ok(())
    }

    /// Takes the next local number because a message becomes visible now.
    pub(super) fn take_seq(&self, conversation_id: i64, now: UnixMs) -> Result<u64, StateError> {
        let mut statement = self.db.prepare_cached(
            "UPDATE conversation SET next_seq = next_seq + 1, updated_at = ?2, last_message_at = ?2, \
             hidden = 0 WHERE conversation_id = ?1 RETURNING next_seq - 1",
        )?;
        let seq = statement.query_row(params![conversation_id, to_sql(now)], |row| row.get(0))?;
        Ok(from_sql(seq))
    }

    /// Hides a conversation until something becomes visible in it.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn hide_conversation(&self, conversation_id: i64) -> Result<(), StateError> {
        let mut statement = self
            .db
            .prepare_cached("UPDATE conversation SET hidden = 1 WHERE conversation_id = ?1")?;
        statement.execute([conversation_id])?;
        Ok(())
    }
}
