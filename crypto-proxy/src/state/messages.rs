//! Messages: from queued or held to visible, settled and read.

use rand_core::CryptoRng;
use rusqlite::{OptionalExtension as _, Row, params};
use waxwire_shared::{
    ids::{Hash, Mid, SessionId},
    wire::{Core, Document as _, Kind, MessageBytes},
};
use zeroize::Zeroizing;

use super::{LAST_PLACE, StateError, Store, from_sql, to_sql};
use crate::model::{Gap, MessageId, Status, UnixMs};

/// Table name in associated data.
pub(super) const TABLE: &str = "message";

/// The message type of events that the proxy makes from what it verified.
pub const SYSTEM: &str = "system";

/// Why a message is not visible yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It is.
    None,
    /// Numbers before it are missing.
    Gap,
    /// Its author is a stranger whom the agent has not let in.
    Request,
}

impl Hold {
    const fn number(self) -> i64 {
        match self {
            Self::None => 0,
            Self::Gap => 1,
            Self::Request => 2,
        }
    }
}

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The peer.
    In,
    /// This agent.
    Out,
}

pub(super) const fn status_number(status: Status) -> i64 {
    match status {
        Status::Queued => 1,
        Status::Stored => 2,
        Status::Delivered => 3,
        Status::Read => 4,
        Status::Failed => 5,
    }
}

pub(super) const fn status_from_number(number: i64) -> Status {
    match number {
        1 => Status::Queued,
        3 => Status::Delivered,
        4 => Status::Read,
        5 => Status::Failed,
        _ => Status::Stored,
    }
}

/// A message to be written.
#[derive(Debug)]
pub struct NewMessage<'a> {
    /// Its conversation.
    pub conversation_id: i64,
    /// The other side: the peer, or the author in a group; none for own ones in a group.
    pub peer_id: Option<i64>,
    /// Who wrote it.
    pub direction: Direction,
    /// Its core, decoded.
    pub core: &'a Core,
    /// The signed message, verbatim.
    pub signed: &'a MessageBytes,
    /// What it waits for before it is visible. Own ones, which wait for the relay, have [`Hold::None`].
    pub hold: Hold,
    /// The epoch of a group under which it was sealed.
    pub epoch: Option<u64>,
    /// Its author had left; it is from before the cut-off.
    pub late: bool,
    /// How often its content had come before, if it is inbound.
    pub repeats: u64,
    /// Of an own one: its envelope's `mid` and hash.
    pub envelope: Option<(Mid, Hash)>,
}

/// Whose messages wait for a hole, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GapOf {
    /// The author.
    pub peer_id: i64,
    /// The conversation.
    pub conversation_id: i64,
}

/// A message, as the engine needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRow {
    /// Row.
    pub message_row: i64,
    /// Its conversation.
    pub conversation_id: i64,
    /// The other side: the peer, or the author in a group; none for own ones and events in a group.
    pub peer_id: Option<i64>,
    /// Whether this agent wrote it.
    pub own: bool,
    /// The author's session.
    pub session: SessionId,
    /// The author's number.
    pub n: u64,
    /// Hash of its core.
    pub core_hash: Hash,
    /// How far it got.
    pub status: Status,
    /// Whether it is visible.
    pub visible: bool,
    /// Whether it was read.
    pub read: bool,
}

const SELECT: &str = "SELECT message_row, conversation_id, peer_id, own, session, n, core_hash, status, \
                      seq IS NOT NULL, read_at IS NOT NULL FROM message";

fn message_row(row: &Row<'_>) -> Result<MessageRow, rusqlite::Error> {
    Ok(MessageRow {
        message_row: row.get(0)?,
        conversation_id: row.get(1)?,
        peer_id: row.get(2)?,
        own: row.get(3)?,
        session: SessionId::from_bytes(row.get(4)?),
        n: from_sql(row.get(5)?),
        core_hash: Hash::from_bytes(row.get(6)?),
        status: status_from_number(row.get(7)?),
        visible: row.get(8)?,
        read: row.get(9)?,
    })
}

impl Store {
    /// Writes a message; gives its row. An inbound one that waits for nothing is visible with this.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn insert_message(
        &self,
        rng: &mut dyn CryptoRng,
        new: &NewMessage<'_>,
        now: UnixMs,
    ) -> Result<i64, StateError> {
        // The row's number is part of the associated data, so it is taken first.
        let row = self.next_message_row()?;
        let object = Zeroizing::new(new.signed.encode());
        let sealed = self.keys.seal(rng, TABLE, row, now, &object);
        let own = new.direction == Direction::Out;
        let status = if own { Status::Queued } else { Status::Stored };
        let position = match new.hold {
            Hold::None if !own => Some(self.take_position(new.conversation_id, now)?),
            _ => None,
        };
        let mut statement = self.db.prepare_cached(
            "INSERT INTO message(message_row, message_id, conversation_id, peer_id, own, session, n, \
             core_hash, hold, status, type_tag, broadcast, created_at, visible_at, sealed, epoch, late, mid, \
             envelope_hash, repeats, seq, place, delivery, era) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, \
             ?22, ?22, (SELECT era FROM conversation WHERE conversation_id = ?3))",
        )?;
        statement.execute(params![
            row,
            MessageId::from(Core::message_id(&new.signed.core)).0,
            new.conversation_id,
            new.peer_id,
            own,
            new.core.session.as_bytes(),
            to_sql(new.core.n),
            waxwire_shared::hash::sha256(&new.signed.core).as_bytes(),
            new.hold.number(),
            status_number(status),
            self.keys.tag(
                "message_type",
                shown_type(own, new.core.message_type.clone()).as_bytes()
            ),
            new.core.kind == Kind::Broadcast,
            to_sql(new.core.time),
            to_sql(now),
            sealed,
            new.epoch.map(to_sql),
            new.late,
            new.envelope.as_ref().map(|(mid, _)| *mid.as_bytes()),
            new.envelope.as_ref().map(|(_, hash)| *hash.as_bytes()),
            to_sql(new.repeats),
            position.map(|(seq, _)| to_sql(seq)),
            position.map(|(_, place)| to_sql(place)),
        ])?;
        Ok(row)
    }

    pub(super) fn next_message_row(&self) -> Result<i64, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT coalesce(max(message_row), 0) + 1 FROM message")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    /// The next local number of a conversation, and the next place in the order of all messages.
    fn take_position(&self, conversation_id: i64, now: UnixMs) -> Result<(u64, u64), StateError> {
        Ok((
            self.take_seq(conversation_id, now)?,
            self.next_number(LAST_PLACE)?,
        ))
    }

    /// Makes a message visible: gives it the next local number and the next place in the order of all
    /// messages, which is the position of its delivery if it is inbound. An own one is stored with this.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn make_visible(
        &self,
        row: i64,
        conversation_id: i64,
        gap: Option<Gap>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let (seq, place) = self.take_position(conversation_id, now)?;
        let mut statement = self.db.prepare_cached(
            "UPDATE message SET hold = 0, status = max(status, 2), seq = ?2, place = ?3, \
             delivery = CASE WHEN own THEN NULL ELSE ?3 END, visible_at = ?4, gap_after = ?5, gap_missing = ?6 \
             WHERE message_row = ?1",
        )?;
        statement.execute(params![
            row,
            to_sql(seq),
            to_sql(place),
            to_sql(now),
            gap.map(|gap| to_sql(gap.after)),
            gap.map(|gap| to_sql(gap.missing)),
        ])?;
        Ok(())
    }

    /// The message of a row.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn message_by_row(&self, row: i64) -> Result<MessageRow, StateError> {
        let mut statement = self
            .db
            .prepare_cached(&format!("{SELECT} WHERE message_row = ?1"))?;
        Ok(statement.query_row([row], message_row)?)
    }

    /// The message with an end-to-end id.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn message_by_id(&self, id: &MessageId) -> Result<Option<MessageRow>, StateError> {
        let mut statement = self
            .db
            .prepare_cached(&format!("{SELECT} WHERE message_id = ?1"))?;
        let mut rows = statement.query([id.0])?;
        Ok(rows.next()?.map(message_row).transpose()?)
    }

    /// The message with an author's number.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn message_by_n(
        &self,
        conversation_id: i64,
        peer_id: Option<i64>,
        direction: Direction,
        session: &SessionId,
        n: u64,
    ) -> Result<Option<MessageRow>, StateError> {
        let mut statement = self.db.prepare_cached(&format!(
            "{SELECT} WHERE conversation_id = ?1 AND peer_id IS ?2 AND own = ?3 AND session = ?4 AND n = ?5 \
             AND era = (SELECT era FROM conversation WHERE conversation_id = ?1)"
        ))?;
        let own = direction == Direction::Out;
        let mut rows = statement.query(params![
            conversation_id,
            peer_id,
            own,
            session.as_bytes(),
            to_sql(n)
        ])?;
        Ok(rows.next()?.map(message_row).transpose()?)
    }

    /// Messages that wait for a reason, oldest number first: `(row, n)` of one author's session, or
    /// of a whole peer.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn held_messages(&self, hold: Hold, peer_id: i64) -> Result<Vec<MessageRow>, StateError> {
        let mut statement = self.db.prepare_cached(&format!(
            "{SELECT} WHERE hold = ?1 AND hold != 0 AND peer_id = ?2 ORDER BY conversation_id, session, n"
        ))?;
        let rows = statement.query_map(params![hold.number(), peer_id], message_row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// A stranger was let in: its messages wait for nothing but numbers that are missing, from now on.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn let_in(&self, peer_id: i64, now: UnixMs) -> Result<(), StateError> {
        self.db
            .prepare_cached(
                "UPDATE message SET hold = 1, visible_at = ?2 WHERE hold = 2 AND hold != 0 AND peer_id = ?1",
            )?
            .execute([peer_id, to_sql(now)])?;
        Ok(())
    }

    /// How many messages wait for their author to be let in: of a peer, and of all.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn count_requests(&self, peer_id: i64) -> Result<(u64, u64), StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT count(*) FILTER (WHERE peer_id = ?1), count(*) FROM message WHERE hold = 2 AND hold != 0",
        )?;
        Ok(statement.query_row([peer_id], |row| {
            Ok((from_sql(row.get(0)?), from_sql(row.get(1)?)))
        })?)
    }

    /// Messages that wait for a hole in their author's numbers: since when, whose, and where.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn oldest_gap(&self) -> Result<Option<(UnixMs, GapOf)>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT visible_at, peer_id, conversation_id FROM message WHERE hold = 1 AND hold != 0 \
             ORDER BY visible_at LIMIT 1",
        )?;
        let mut rows = statement.query([])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let gap = GapOf {
            peer_id: row.get(1)?,
            conversation_id: row.get(2)?,
        };
        Ok(Some((from_sql(row.get(0)?), gap)))
    }

    /// One of those in a conversation, or in any direct one.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn gap_in(&self, conversation_id: Option<i64>) -> Result<Option<GapOf>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT m.peer_id, m.conversation_id FROM message m JOIN conversation c USING (conversation_id) \
             WHERE m.hold = 1 AND m.hold != 0 AND CASE WHEN ?1 IS NULL THEN c.kind = 1 ELSE c.conversation_id = ?1 END LIMIT 1",
        )?;
        let mut rows = statement.query([conversation_id])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some(GapOf {
            peer_id: row.get(0)?,
            conversation_id: row.get(1)?,
        }))
    }

    /// Raises the status of a message; never lowers it.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn raise_status(&self, row: i64, status: Status) -> Result<(), StateError> {
        let mut statement = self
            .db
            .prepare_cached("UPDATE message SET status = max(status, ?2) WHERE message_row = ?1")?;
        statement.execute(params![row, status_number(status)])?;
        Ok(())
    }

    /// Raises the status of own messages up to a number, by the peer's signed receipt.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn raise_own_status(
        &self,
        conversation_id: i64,
        session: &SessionId,
        range: (u64, u64),
        status: Status,
        now: UnixMs,
    ) -> Result<Vec<i64>, StateError> {
        let mut statement = self.db.prepare_cached(
            "UPDATE message SET status = ?5, delivered_at = coalesce(delivered_at, ?6), \
             read_at = CASE WHEN ?5 = 4 THEN coalesce(read_at, ?6) ELSE read_at END \
             WHERE conversation_id = ?1 AND own = 1 AND session = ?2 AND n BETWEEN ?3 AND ?4 \
             AND status < ?5 AND era = (SELECT era FROM conversation WHERE conversation_id = ?1) \
             RETURNING message_row",
        )?;
        let rows = statement.query_map(
            params![
                conversation_id,
                session.as_bytes(),
                to_sql(range.0),
                to_sql(range.1),
                status_number(status),
                to_sql(now)
            ],
            |row| row.get(0),
        )?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Settles inbound messages up to a delivery position; gives their rows.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn settle_up_to(&self, position: u64, now: UnixMs) -> Result<Vec<i64>, StateError> {
        let mut statement = self.db.prepare_cached(
            "UPDATE message SET delivered_at = ?2, status = max(status, 3) \
             WHERE delivered_at IS NULL AND delivery IS NOT NULL AND delivery <= ?1 RETURNING message_row",
        )?;
        let rows = statement.query_map(params![to_sql(position), to_sql(now)], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Settles one inbound message; whether it was unsettled.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn settle_one(&self, position: u64, now: UnixMs) -> Result<Option<i64>, StateError> {
        let mut statement = self.db.prepare_cached(
            "UPDATE message SET delivered_at = ?2, status = max(status, 3) \
             WHERE delivered_at IS NULL AND delivery = ?1 RETURNING message_row",
        )?;
        let mut rows = statement.query(params![to_sql(position), to_sql(now)])?;
        Ok(rows.next()?.map(|row| row.get(0)).transpose()?)
    }

    /// Settles the inbound message with an id; its row if it was unsettled.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn settle_message(&self, id: &MessageId, now: UnixMs) -> Result<Option<i64>, StateError> {
        let mut statement = self.db.prepare_cached(
            "UPDATE message SET delivered_at = ?2, status = max(status, 3) \
             WHERE message_id = ?1 AND delivered_at IS NULL AND delivery IS NOT NULL RETURNING message_row",
        )?;
        let mut rows = statement.query(params![id.0, to_sql(now)])?;
        Ok(rows.next()?.map(|row| row.get(0)).transpose()?)
    }

    /// Settles the inbound messages of a conversation up to a local number; gives the rows of those that
    /// were not.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn settle_up_to_seq(
        &self,
        conversation_id: i64,
        seq: u64,
        now: UnixMs,
    ) -> Result<Vec<i64>, StateError> {
        let mut statement = self.db.prepare_cached(
            "UPDATE message SET delivered_at = ?3, status = max(status, 3) WHERE conversation_id = ?1 \
             AND delivered_at IS NULL AND delivery IS NOT NULL AND seq <= ?2 RETURNING message_row",
        )?;
        let rows = statement.query_map(params![conversation_id, to_sql(seq), to_sql(now)], |row| {
            row.get(0)
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Marks the inbound messages of a conversation read up to a local number; gives the rows of those
    /// that were not.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn mark_read_up_to(
        &self,
        conversation_id: i64,
        seq: u64,
        now: UnixMs,
    ) -> Result<Vec<i64>, StateError> {
        let mut statement = self.db.prepare_cached(
            "UPDATE message SET read_at = ?3, delivered_at = coalesce(delivered_at, ?3), \
             status = max(status, 4) WHERE conversation_id = ?1 AND read_at IS NULL \
             AND delivery IS NOT NULL AND seq <= ?2 RETURNING message_row",
        )?;
        let rows = statement.query_map(params![conversation_id, to_sql(seq), to_sql(now)], |row| {
            row.get(0)
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The newest own message with a number in a range.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn newest_own(
        &self,
        conversation_id: i64,
        session: &SessionId,
        range: (u64, u64),
    ) -> Result<Option<i64>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT message_row FROM message WHERE conversation_id = ?1 AND own = 1 AND session = ?2 \
             AND n BETWEEN ?3 AND ?4 AND era = (SELECT era FROM conversation WHERE conversation_id = ?1) \
             ORDER BY n DESC LIMIT 1",
        )?;
        let (first, last) = (to_sql(range.0), to_sql(range.1));
        let key = params![conversation_id, session.as_bytes(), first, last];
        Ok(statement.query_row(key, |row| row.get(0)).optional()?)
    }

    /// Which of these messages has the highest local number.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn newest_of(&self, rows: &[i64]) -> Result<Option<(MessageId, u64)>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT message_id, seq FROM message WHERE message_row = ?1 AND seq IS NOT NULL",
        )?;
        let mut newest: Option<(MessageId, u64)> = None;
        for row in rows {
            let found = statement
                .query_row([row], |row| Ok((MessageId(row.get(0)?), from_sql(row.get(1)?))))
                .optional()?;
            newest = newest.into_iter().chain(found).max_by_key(|(_, seq)| *seq);
        }
        Ok(newest)
    }

    /// Marks an inbound message read, which settles it.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn mark_read(&self, row: i64, now: UnixMs) -> Result<(), StateError> {
        let mut statement = self.db.prepare_cached(
            "UPDATE message SET read_at = coalesce(read_at, ?2), delivered_at = coalesce(delivered_at, ?2), \
             status = max(status, 4) WHERE message_row = ?1",
        )?;
        statement.execute(params![row, to_sql(now)])?;
        Ok(())
    }

    /// Hides a message from the agent, which settles it.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn hide_message(&self, row: i64, now: UnixMs) -> Result<(), StateError> {
        let mut statement = self.db.prepare_cached(
            "UPDATE message SET deleted = 1, delivered_at = coalesce(delivered_at, ?2) WHERE message_row = ?1",
        )?;
        statement.execute(params![row, to_sql(now)])?;
        Ok(())
    }

    /// Erases a message that was never visible: refused for good, or a stranger's that was rejected.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn erase_message(&self, row: i64) -> Result<(), StateError> {
        let mut statement = self
            .db
            .prepare_cached("DELETE FROM message WHERE message_row = ?1 AND seq IS NULL")?;
        statement.execute([row])?;
        Ok(())
    }
}

/// System events are made by the proxy alone: what a peer calls so is shown as text.
pub(super) fn shown_type(own: bool, message_type: String) -> String {
    if !own && message_type == SYSTEM {
        "text".into()
    } else {
        message_type
    }
}
