//! What is needed to repair: own envelopes by their `mid`, numbers of others that did not come.

use rusqlite::{OptionalExtension as _, params};
use waxwire_shared::ids::{Hash, Mid};

use super::{HeldGroupEnvelope, StateError, Store, from_sql, group_held::held_row, to_sql};
use crate::model::UnixMs;

/// An own message that is to be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owed {
    /// The message.
    pub message_row: i64,
    /// To the peer's newest key, if it is a direct one.
    pub anew: bool,
}

/// An own message and the envelope that it travelled in last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnEnvelope {
    /// The message.
    pub message_row: i64,
    /// SHA-256 of the envelope.
    pub hash: Hash,
    /// How often it was sealed to another key.
    pub attempt: u32,
    /// When it was sent.
    pub created_at: UnixMs,
    /// Whether the recipient has proved that it has it.
    pub arrived: bool,
    /// Names it at the relay.
    pub mid: Mid,
}

/// Numbers of one author that did not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingOf {
    /// The author's session.
    pub session_row: i64,
    /// The numbers that are due to be asked for, ascending.
    pub numbers: Vec<u64>,
    /// How often they were asked for.
    pub tries: u32,
}

/// Most numbers that are remembered as missing, of one session.
const MISSING: u64 = 1_000;
/// How long missing numbers are asked for, in milliseconds.
const FOR_MS: u64 = 30 * 24 * 3_600 * 1_000;

impl Store {
    /// The own message in an envelope.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn own_by_mid(&self, mid: &Mid) -> Result<Option<OwnEnvelope>, StateError> {
        self.own_where("mid = ?1", mid.as_bytes().as_slice())
    }

    /// The envelope of an own message.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn own_envelope(&self, message_row: i64) -> Result<Option<OwnEnvelope>, StateError> {
        self.own_where("message_row = ?1", message_row)
    }

    fn own_where(
        &self,
        condition: &str,
        key: impl rusqlite::ToSql,
    ) -> Result<Option<OwnEnvelope>, StateError> {
        let mut statement = self.db.prepare_cached(&format!(
            "SELECT message_row, envelope_hash, attempt, created_at, status >= 3, mid FROM message \
             WHERE {condition} AND own = 1 AND mid IS NOT NULL"
        ))?;
        let found = statement.query_row([key], |row| {
            Ok(OwnEnvelope {
                message_row: row.get(0)?,
                hash: Hash::from_bytes(row.get(1)?),
                attempt: row.get(2)?,
                created_at: from_sql(row.get(3)?),
                arrived: row.get(4)?,
                mid: Mid::from_bytes(row.get(5)?),
            })
        });
        Ok(found.optional()?)
    }

    /// Records the envelope that an own message travels in now.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_envelope(&self, row: i64, mid: &Mid, hash: &Hash, attempt: u32) -> Result<(), StateError> {
        self.db
            .prepare_cached(
                "UPDATE message SET mid = ?2, envelope_hash = ?3, attempt = ?4 WHERE message_row = ?1",
            )?
            .execute(params![row, mid.as_bytes(), hash.as_bytes(), attempt])?;
        Ok(())
    }

    /// The own message of a session with a number, whatever became of it.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn own_by_number(
        &self,
        conversation_id: i64,
        session: &[u8; 16],
        n: u64,
    ) -> Result<Option<(i64, UnixMs)>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT message_row, created_at FROM message WHERE conversation_id = ?1 AND own = 1 \
             AND session = ?2 AND n = ?3 AND seq IS NOT NULL \
             AND era = (SELECT era FROM conversation WHERE conversation_id = ?1)",
        )?;
        let found = statement.query_row(params![conversation_id, session, to_sql(n)], |row| {
            Ok((row.get(0)?, from_sql(row.get(1)?)))
        });
        Ok(found.optional()?)
    }

    /// Notes numbers that did not come; of a long hole the newest.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn note_missing(
        &self,
        session_row: i64,
        (first, last): (u64, u64),
        now: UnixMs,
    ) -> Result<(), StateError> {
        let mut statement = self.db.prepare_cached(
            "INSERT INTO missing(session_row, n, since, ask_at) VALUES (?1, ?2, ?3, ?3) ON CONFLICT DO NOTHING",
        )?;
        for n in first.max((last + 1).saturating_sub(MISSING))..=last {
            statement.execute(params![session_row, to_sql(n), to_sql(now)])?;
        }
        Ok(())
    }

    /// Notes that a number has come.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn found_missing(&self, session_row: i64, n: u64) -> Result<(), StateError> {
        self.db
            .prepare_cached("DELETE FROM missing WHERE session_row = ?1 AND n = ?2")?
            .execute([session_row, to_sql(n)])?;
        Ok(())
    }

    /// The missing numbers of one session that are due; those that were asked for too long are given up.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn due_missing(&self, now: UnixMs) -> Result<Option<MissingOf>, StateError> {
        self.db
            .prepare_cached("DELETE FROM missing WHERE since < ?1")?
            .execute([to_sql(now.saturating_sub(FOR_MS))])?;
        let session_row: Option<i64> = self
            .db
            .prepare_cached("SELECT session_row FROM missing WHERE ask_at <= ?1 LIMIT 1")?
            .query_row([to_sql(now)], |row| row.get(0))
            .optional()?;
        let Some(session_row) = session_row else {
            return Ok(None);
        };
        let mut statement = self.db.prepare_cached(
            "SELECT n, tries FROM missing WHERE session_row = ?1 AND ask_at <= ?2 ORDER BY n",
        )?;
        let mut rows = statement.query([session_row, to_sql(now)])?;
        let mut due = MissingOf {
            session_row,
            numbers: Vec::new(),
            tries: 0,
        };
        while let Some(row) = rows.next()? {
            due.numbers.push(from_sql(row.get(0)?));
            due.tries = due.tries.max(row.get(1)?);
        }
        Ok(Some(due))
    }

    /// Asks for the due numbers of a session again at `ask_at`.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn asked_missing(&self, session_row: i64, now: UnixMs, ask_at: UnixMs) -> Result<(), StateError> {
        self.db
            .prepare_cached(
                "UPDATE missing SET ask_at = ?3, tries = tries + 1 WHERE session_row = ?1 AND ask_at <= ?2",
            )?
            .execute([session_row, to_sql(now), to_sql(ask_at)])?;
        Ok(())
    }

    /// Forgets what was missing of a session.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn drop_missing(&self, session_row: i64) -> Result<(), StateError> {
        self.db
            .prepare_cached("DELETE FROM missing WHERE session_row = ?1")?
            .execute([session_row])?;
        Ok(())
    }

    /// Notes that an own message is to be sent to a peer again; what is owed already keeps its time.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn owe_answer(
        &self,
        peer_id: i64,
        message_row: i64,
        anew: bool,
        due_at: UnixMs,
    ) -> Result<(), StateError> {
        self.db
            .prepare_cached(
                "INSERT INTO answer(peer_id, message_row, anew, due_at) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT DO UPDATE SET anew = max(anew, excluded.anew)",
            )?
            .execute(params![peer_id, message_row, anew, to_sql(due_at)])?;
        Ok(())
    }

    /// A peer to whom answers are due, and some of them in the order of the messages.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn due_answers(&self, now: UnixMs, limit: usize) -> Result<Option<(i64, Vec<Owed>)>, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT peer_id FROM answer WHERE due_at <= ?1 ORDER BY due_at LIMIT 1")?;
        let peer: Option<i64> = statement.query_row([to_sql(now)], |row| row.get(0)).optional()?;
        let Some(peer_id) = peer else {
            return Ok(None);
        };
        let mut statement = self.db.prepare_cached(
            "SELECT message_row, anew FROM answer WHERE peer_id = ?1 AND due_at <= ?2 \
             ORDER BY message_row LIMIT ?3",
        )?;
        let rows = statement.query_map(params![peer_id, to_sql(now), to_sql(limit as u64)], |row| {
            Ok(Owed {
                message_row: row.get(0)?,
                anew: row.get(1)?,
            })
        })?;
        Ok(Some((peer_id, rows.collect::<Result<_, _>>()?)))
    }

    /// An answer waits for its peer's bundle, which is asked for again then.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn answer_later(&self, peer_id: i64, message_row: i64, due_at: UnixMs) -> Result<(), StateError> {
        self.db
            .prepare_cached(
                "UPDATE answer SET asked = 1, due_at = ?3 WHERE peer_id = ?1 AND message_row = ?2",
            )?
            .execute(params![peer_id, message_row, to_sql(due_at)])?;
        Ok(())
    }

    /// Messages that wait for a bundle of a peer.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn answers_for_bundle(&self, peer_id: i64) -> Result<Vec<i64>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT message_row FROM answer WHERE peer_id = ?1 AND asked = 1 ORDER BY message_row",
        )?;
        let rows = statement.query_map([peer_id], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// A message is owed to a peer no more.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn answered(&self, peer_id: i64, message_row: i64) -> Result<(), StateError> {
        self.db
            .prepare_cached("DELETE FROM answer WHERE peer_id = ?1 AND message_row = ?2")?
            .execute([peer_id, message_row])?;
        Ok(())
    }

    /// Drops a held group envelope whose message has come otherwise.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn drop_group_held(&self, group_row: i64, mid: &Mid) -> Result<(), StateError> {
        self.db
            .prepare_cached("DELETE FROM grp_held WHERE group_row = ?1 AND mid = ?2")?
            .execute(params![group_row, mid.as_bytes()])?;
        Ok(())
    }

    /// Peers that may have sent something that does not open: pinned, with a direct conversation; latest first.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn correspondents(&self, strangers: bool, limit: usize) -> Result<Vec<i64>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT p.peer_id FROM peer p JOIN conversation c ON c.peer_id = p.peer_id AND c.kind = 1 \
             WHERE p.trust BETWEEN 1 AND 3 AND p.changed IS NULL AND (p.accepted != 0 OR ?1) \
             ORDER BY c.updated_at DESC LIMIT ?2",
        )?;
        let rows = statement.query_map(params![strangers, to_sql(limit as u64)], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Envelopes that wait for epochs without a key for this agent and whose authors were not asked yet,
    /// oldest first.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn unreported(&self, group_row: i64, limit: u32) -> Result<Vec<HeldGroupEnvelope>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT held_id, held_at, envelope FROM grp_held h WHERE group_row = ?1 AND reason = 2 AND told = 0 \
             AND EXISTS(SELECT 1 FROM epoch e WHERE e.group_row = ?1 AND e.epoch = h.epoch AND e.state = 3) \
             ORDER BY held_id LIMIT ?2",
        )?;
        let rows = statement.query_map(params![group_row, limit], held_row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Notes that the author of a held envelope was asked for it.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn reported(&self, held_id: i64) -> Result<(), StateError> {
        self.db
            .prepare_cached("UPDATE grp_held SET told = 1 WHERE held_id = ?1")?
            .execute([held_id])?;
        Ok(())
    }
}
