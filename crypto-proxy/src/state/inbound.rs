//! A peer's numbering: what arrived, what was withdrawn.

use rusqlite::{Row, params};
use waxwire_shared::{
    ids::{Hash, SessionId},
    wire::NRange,
};

use super::{StateError, Store, from_sql, to_sql};

/// One session of a peer in a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Row.
    pub session_row: i64,
    /// The conversation.
    pub conversation_id: i64,
    /// The peer.
    pub peer_id: i64,
    /// The session.
    pub session: SessionId,
    /// The peer's incarnation.
    pub incarnation: u64,
    /// Everything up to here arrived or was withdrawn.
    pub contiguous: u64,
    /// Hash of the core with that number, unless it was withdrawn.
    pub contiguous_hash: Option<Hash>,
    /// Highest number that became visible.
    pub reported: u64,
    /// Up to here nothing is owed: this agent could not read the group then.
    pub before: u64,
    /// The states that the author is to be told, see [`SessionRow::owes`].
    pub(super) owed: i64,
    /// How far receipts have gone that say delivered.
    pub(super) said_delivered: u64,
    /// How far those that say read.
    pub(super) said_read: u64,
}

/// What [`Store::put_session`] changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionUpdate {
    /// See [`SessionRow::contiguous`].
    pub contiguous: u64,
    /// See [`SessionRow::contiguous_hash`].
    pub contiguous_hash: Option<Hash>,
    /// See [`SessionRow::reported`].
    pub reported: u64,
    /// See [`SessionRow::before`].
    pub before: u64,
}

pub(super) const SELECT: &str = "SELECT session_row, conversation_id, peer_id, session, incarnation, \
     contiguous, contiguous_hash, reported, before, receipt_due, said_delivered, said_read FROM inbound_session";

pub(super) fn session_row(row: &Row<'_>) -> Result<SessionRow, rusqlite::Error> {
    let hash: Option<[u8; 32]> = row.get(6)?;
    Ok(SessionRow {
        session_row: row.get(0)?,
        conversation_id: row.get(1)?,
        peer_id: row.get(2)?,
        session: SessionId::from_bytes(row.get(3)?),
        incarnation: from_sql(row.get(4)?),
        contiguous: from_sql(row.get(5)?),
        contiguous_hash: hash.map(Hash::from_bytes),
        reported: from_sql(row.get(7)?),
        before: from_sql(row.get(8)?),
        owed: row.get(9)?,
        said_delivered: from_sql(row.get(10)?),
        said_read: from_sql(row.get(11)?),
    })
}

impl Store {
    /// The session with an id.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn session(
        &self,
        conversation_id: i64,
        peer_id: i64,
        session: &SessionId,
    ) -> Result<Option<SessionRow>, StateError> {
        let mut statement = self.db.prepare_cached(&format!(
            "{SELECT} WHERE conversation_id = ?1 AND peer_id = ?2 AND session = ?3"
        ))?;
        let mut rows = statement.query(params![conversation_id, peer_id, session.as_bytes()])?;
        Ok(rows.next()?.map(session_row).transpose()?)
    }

    /// The session of a row.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn session_by_row(&self, row: i64) -> Result<SessionRow, StateError> {
        let mut statement = self
            .db
            .prepare_cached(&format!("{SELECT} WHERE session_row = ?1"))?;
        Ok(statement.query_row([row], session_row)?)
    }

    /// The highest incarnation that a peer has shown in a conversation.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn highest_incarnation(&self, conversation_id: i64, peer_id: i64) -> Result<Option<u64>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT max(incarnation) FROM inbound_session WHERE conversation_id = ?1 AND peer_id = ?2",
        )?;
        let highest: Option<i64> =
            statement.query_row(params![conversation_id, peer_id], |row| row.get(0))?;
        Ok(highest.map(from_sql))
    }

    /// Begins a session of which nothing is owed up to `before`.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn insert_session(
        &self,
        conversation_id: i64,
        peer_id: i64,
        session: &SessionId,
        incarnation: u64,
        before: u64,
    ) -> Result<SessionRow, StateError> {
        let mut statement = self.db.prepare_cached(
            "INSERT INTO inbound_session(conversation_id, peer_id, session, incarnation, contiguous, \
             reported, before) VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?5)",
        )?;
        let session_row = statement.insert(params![
            conversation_id,
            peer_id,
            session.as_bytes(),
            to_sql(incarnation),
            to_sql(before)
        ])?;
        Ok(SessionRow {
            session_row,
            conversation_id,
            peer_id,
            session: *session,
            incarnation,
            contiguous: before,
            contiguous_hash: None,
            reported: before,
            before,
            owed: 0,
            said_delivered: 0,
            said_read: 0,
        })
    }

    /// Advances a session.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_session(&self, session_row: i64, update: &SessionUpdate) -> Result<(), StateError> {
        let mut statement = self.db.prepare_cached(
            "UPDATE inbound_session SET contiguous = ?2, contiguous_hash = ?3, reported = ?4, \
             before = ?5 WHERE session_row = ?1",
        )?;
        statement.execute(params![
            session_row,
            to_sql(update.contiguous),
            update.contiguous_hash.as_ref().map(Hash::as_bytes),
            to_sql(update.reported),
            to_sql(update.before)
        ])?;
        Ok(())
    }

    /// Remembers numbers that a peer withdrew: they are not missing any more.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn add_void(&self, session_row: i64, ranges: &[NRange]) -> Result<(), StateError> {
        let mut statement = self.db.prepare_cached(
            "INSERT INTO inbound_void(session_row, first, last) VALUES (?1, ?2, ?3) \
             ON CONFLICT DO UPDATE SET last = max(last, ?3)",
        )?;
        for range in ranges {
            statement.execute(params![session_row, to_sql(range.first), to_sql(range.last)])?;
            self.db
                .prepare_cached("DELETE FROM missing WHERE session_row = ?1 AND n BETWEEN ?2 AND ?3")?
                .execute([session_row, to_sql(range.first), to_sql(range.last)])?;
        }
        Ok(())
    }

    /// The end of the withdrawn range that a number is in.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn void_end(&self, session_row: i64, n: u64) -> Result<Option<u64>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT max(last) FROM inbound_void WHERE session_row = ?1 AND first <= ?2 AND last >= ?2",
        )?;
        let last: Option<i64> = statement.query_row(params![session_row, to_sql(n)], |row| row.get(0))?;
        Ok(last.map(from_sql))
    }
}
