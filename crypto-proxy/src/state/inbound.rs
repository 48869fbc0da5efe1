//! A peer's numbering: what arrived, what was withdrawn, what is owed.

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

const SELECT: &str = "SELECT session_row, conversation_id, peer_id, session, incarnation, contiguous, \
                      contiguous_hash, reported, before FROM inbound_session";

fn session_row(row: &Row<'_>) -> Result<SessionRow, rusqlite::Error> {
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

    /// Remembers numbers that a peer withdrew.
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

    /// Marks that the author of these messages is owed a receipt.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn owe_receipts(&self, message_rows: &[i64]) -> Result<(), StateError> {
        let mut statement = self.db.prepare_cached(
            "UPDATE inbound_session SET receipt_due = 1 FROM message AS m WHERE m.message_row = ?1 \
             AND m.own = 0 AND inbound_session.conversation_id = m.conversation_id \
             AND inbound_session.peer_id = m.peer_id AND inbound_session.session = m.session",
        )?;
        for row in message_rows {
            statement.execute([row])?;
        }
        Ok(())
    }

    /// Sessions whose authors are owed a receipt.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn owed_receipts(&self, limit: usize) -> Result<Vec<SessionRow>, StateError> {
        let mut statement = self
            .db
            .prepare_cached(&format!("{SELECT} WHERE receipt_due != 0 LIMIT ?1"))?;
        let rows = statement.query_map([to_sql(limit as u64)], session_row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Marks a receipt as made.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn receipt_made(&self, session_row: i64) -> Result<(), StateError> {
        let mut statement = self
            .db
            .prepare_cached("UPDATE inbound_session SET receipt_due = 0 WHERE session_row = ?1")?;
        statement.execute([session_row])?;
        Ok(())
    }

    /// The number up to which everything of a session is settled (or read); numbers that were
    /// withdrawn count as settled. 0 for none. The number itself is always one that arrived.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn settled_end(&self, session: &SessionRow, read: bool) -> Result<u64, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT coalesce(max(n), 0) FROM message WHERE conversation_id = ?1 AND peer_id = ?2 AND own = 0 \
             AND session = ?3 AND n <= ?4 AND n < coalesce((SELECT min(n) FROM message \
             WHERE conversation_id = ?1 AND peer_id = ?2 AND own = 0 AND session = ?3 \
             AND CASE WHEN ?5 THEN read_at ELSE delivered_at END IS NULL), ?4 + 1)",
        )?;
        let end: i64 = statement.query_row(
            params![
                session.conversation_id,
                session.peer_id,
                session.session.as_bytes(),
                to_sql(session.contiguous),
                read
            ],
            |row| row.get(0),
        )?;
        Ok(from_sql(end))
    }

    /// Numbers of a session with at least a status, ascending: what a receipt can say.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn settled_numbers(
        &self,
        session: &SessionRow,
        read: bool,
        after: u64,
        limit: usize,
    ) -> Result<Vec<u64>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT n FROM message WHERE conversation_id = ?1 AND peer_id = ?2 AND own = 0 AND session = ?3 \
             AND n > ?4 AND CASE WHEN ?5 THEN read_at ELSE delivered_at END IS NOT NULL ORDER BY n LIMIT ?6",
        )?;
        let rows = statement.query_map(
            params![
                session.conversation_id,
                session.peer_id,
                session.session.as_bytes(),
                to_sql(after),
                read,
                to_sql(limit as u64)
            ],
            |row| row.get::<_, i64>(0),
        )?;
        rows.map(|n| Ok(from_sql(n?))).collect()
    }
}
