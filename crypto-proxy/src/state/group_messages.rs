//! Messages in groups: events, granted history, sealing again, and where their authors stand.

use rand_core::CryptoRng;
use rusqlite::{OptionalExtension as _, params};
use waxwire_shared::{
    hash::sha256,
    ids::SessionId,
    wire::{Core, Document as _, MessageBytes},
};
use zeroize::Zeroizing;

use super::{
    GroupRow, StateError, Store, StoredEvent, from_sql,
    messages::{SYSTEM, TABLE, shown_type},
    to_sql,
};
use crate::model::{MessageId, UnixMs};

/// A message of the group's past that a member granted.
#[derive(Debug)]
pub struct GrantedMessage<'a> {
    /// The group's conversation.
    pub conversation_id: i64,
    /// Who granted it.
    pub granted_by: i64,
    /// Its core, decoded.
    pub core: &'a Core,
    /// The signed message, verbatim.
    pub signed: &'a MessageBytes,
}

impl Store {
    /// Writes an event that is not visible yet; `None` if it is known.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn insert_event(
        &self,
        rng: &mut dyn CryptoRng,
        conversation_id: i64,
        event: &StoredEvent,
        now: UnixMs,
    ) -> Result<Option<i64>, StateError> {
        let row = self.next_message_row()?;
        let sealed = self.keys.seal(rng, TABLE, row, now, &event.to_bytes());
        let mut statement = self.db.prepare_cached(
            "INSERT INTO message(message_row, message_id, conversation_id, own, form, era, session, n, \
             core_hash, hold, status, type_tag, broadcast, created_at, visible_at, sealed) \
             VALUES (?1, ?2, ?3, 0, 1, 0, zeroblob(16), 0, zeroblob(32), 0, 2, ?4, 0, ?5, ?6, ?7) \
             ON CONFLICT DO NOTHING",
        )?;
        let made = statement.execute(params![
            row,
            event.id.0,
            conversation_id,
            self.keys.tag("message_type", SYSTEM.as_bytes()),
            to_sql(event.at),
            to_sql(now),
            sealed,
        ])?;
        Ok((made == 1).then_some(row))
    }

    /// Writes a granted message that is not visible yet; `None` if it is known. It has no place in its
    /// author's numbering here.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn insert_granted(
        &self,
        rng: &mut dyn CryptoRng,
        granted: &GrantedMessage<'_>,
        now: UnixMs,
    ) -> Result<Option<i64>, StateError> {
        let row = self.next_message_row()?;
        let object = Zeroizing::new(granted.signed.encode());
        let sealed = self.keys.seal(rng, TABLE, row, now, &object);
        let core = granted.core;
        let mut statement = self.db.prepare_cached(
            "INSERT INTO message(message_row, message_id, conversation_id, own, era, session, n, core_hash, \
             hold, status, type_tag, broadcast, created_at, visible_at, sealed, granted_by) \
             VALUES (?1, ?2, ?3, 0, 0, ?4, ?5, ?6, 0, 2, ?7, 0, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING",
        )?;
        let shown = shown_type(false, core.message_type.clone());
        let made = statement.execute(params![
            row,
            MessageId::from(Core::message_id(&granted.signed.core)).0,
            granted.conversation_id,
            core.session.as_bytes(),
            to_sql(core.n),
            sha256(&granted.signed.core).as_bytes(),
            self.keys.tag("message_type", shown.as_bytes()),
            to_sql(core.time),
            to_sql(now),
            sealed,
            granted.granted_by,
        ])?;
        Ok((made == 1).then_some(row))
    }

    /// A granted message has come from its author itself: it takes its place in the author's numbering, unless another
    /// one stands there.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn adopt_granted(&self, id: &MessageId, author: i64, epoch: Option<u64>) -> Result<(), StateError> {
        self.db
            .prepare_cached(
                "UPDATE OR IGNORE message SET peer_id = ?2, granted_by = NULL, epoch = ?3, \
                 era = (SELECT era FROM conversation c WHERE c.conversation_id = message.conversation_id) \
                 WHERE message_id = ?1 AND granted_by IS NOT NULL",
            )?
            .execute(params![id.0, author, epoch.map(to_sql)])?;
        Ok(())
    }

    /// Replaces context and signature of a message that was sealed again; its core stays.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_signed(
        &self,
        rng: &mut dyn CryptoRng,
        row: i64,
        signed: &MessageBytes,
        epoch: Option<u64>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let object = Zeroizing::new(signed.encode());
        let sealed = self.keys.seal(rng, TABLE, row, now, &object);
        self.db
            .prepare_cached("UPDATE message SET sealed = ?2, epoch = ?3 WHERE message_row = ?1")?
            .execute(params![row, sealed, epoch.map(to_sql)])?;
        Ok(())
    }

    /// Visible signed messages of a conversation above a local number, in order; none that was granted.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn signed_after(
        &self,
        conversation_id: i64,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT message_row FROM message WHERE conversation_id = ?1 AND seq > ?2 AND form = 0 \
             AND granted_by IS NULL AND deleted = 0 ORDER BY seq LIMIT ?3",
        )?;
        let rows = statement.query_map(
            [conversation_id, to_sql(after_seq), to_sql(limit as u64)],
            |row| row.get::<_, i64>(0),
        )?;
        rows.map(|row| Ok(self.signed(row?)?.encode())).collect()
    }

    /// The last local number before the first message of an epoch.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn seq_before_epoch(&self, conversation_id: i64, epoch: u64) -> Result<u64, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT coalesce((SELECT min(seq) - 1 FROM message WHERE conversation_id = ?1 AND epoch = ?2 \
             AND seq IS NOT NULL), (SELECT next_seq - 1 FROM conversation WHERE conversation_id = ?1))",
        )?;
        let seq = statement.query_row([conversation_id, to_sql(epoch)], |row| row.get(0))?;
        Ok(from_sql(seq))
    }

    /// The last message of an author that was verified: incarnation, session, number.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn last_number(
        &self,
        conversation_id: i64,
        peer_id: i64,
    ) -> Result<Option<(u64, SessionId, u64)>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT s.incarnation, s.session, max(m.n) FROM inbound_session s JOIN message m \
             ON m.conversation_id = s.conversation_id AND m.peer_id = s.peer_id AND m.own = 0 \
             AND m.session = s.session WHERE s.conversation_id = ?1 AND s.peer_id = ?2 \
             GROUP BY s.session_row ORDER BY s.incarnation DESC LIMIT 1",
        )?;
        let found = statement.query_row([conversation_id, peer_id], |row| {
            Ok((
                from_sql(row.get(0)?),
                SessionId::from_bytes(row.get(1)?),
                from_sql(row.get(2)?),
            ))
        });
        Ok(found.optional()?)
    }

    /// Whether anything of an author's session has come under an epoch that began at a position of the
    /// log or later; `None` stands for its beginning.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn heard_since(
        &self,
        group: &GroupRow,
        peer_id: i64,
        session: &SessionId,
        position: Option<u64>,
    ) -> Result<bool, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM message m JOIN epoch e ON e.group_row = ?1 AND e.epoch = m.epoch \
             WHERE m.conversation_id = ?2 AND m.peer_id = ?3 AND m.own = 0 AND m.session = ?4 \
             AND m.granted_by IS NULL AND e.position >= ?5)",
        )?;
        let key = params![
            group.group_row,
            group.conversation_id,
            peer_id,
            session.as_bytes(),
            to_sql(position.unwrap_or(0))
        ];
        Ok(statement.query_row(key, |row| row.get(0))?)
    }
}
