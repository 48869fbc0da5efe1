//! What goes out: envelopes in order, idempotency of the agent's ids, withdrawn numbers.

use rusqlite::{Row, params};
use waxwire_shared::{
    ids::{Handle, Hash},
    wire::{Kind, NRange},
};

use super::{StateError, Store, from_sql, to_sql};
use crate::model::{SendToken, UnixMs, idempotency_key};

/// An envelope that waits for the relay's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Names it towards the link; order of sending.
    pub token: SendToken,
    /// The message in it; none for control messages.
    pub message_row: Option<i64>,
    /// The envelope.
    pub envelope: Vec<u8>,
    /// Its SHA-256.
    pub hash: Hash,
    /// The group that it goes to.
    pub group_row: Option<i64>,
    /// When it is given up.
    pub deadline: UnixMs,
    /// The session whose receipt it is.
    pub receipt_of: Option<i64>,
}

/// Envelopes of one `client_msg_id` that were given up and are remembered: the first, which a relay that went away
/// has most likely, and the last.
const ABANDONED: usize = 32;

const SELECT: &str = "SELECT token, message_row, envelope, hash, group_row, deadline, receipt_of FROM outbox";

fn outbox_row(row: &Row<'_>) -> Result<OutboxRow, rusqlite::Error> {
    Ok(OutboxRow {
        token: from_sql(row.get(0)?),
        message_row: row.get(1)?,
        envelope: row.get(2)?,
        hash: Hash::from_bytes(row.get(3)?),
        group_row: row.get(4)?,
        deadline: from_sql(row.get(5)?),
        receipt_of: row.get(6)?,
    })
}

impl Store {
    /// Puts an envelope at the end of the outbox.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn push_outbox(
        &self,
        message_row: Option<i64>,
        group_row: Option<i64>,
        envelope: &[u8],
        hash: &Hash,
        deadline: UnixMs,
    ) -> Result<SendToken, StateError> {
        let token = self.next_token()?;
        let mut statement = self.db.prepare_cached(
            "INSERT INTO outbox(token, message_row, group_row, envelope, hash, deadline) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        statement.execute(params![
            to_sql(token),
            message_row,
            group_row,
            envelope,
            hash.as_bytes(),
            to_sql(deadline)
        ])?;
        self.note_deadline(token, deadline)?;
        Ok(token)
    }

    /// Envelopes after a token, in order.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn outbox_after(&self, token: SendToken, limit: usize) -> Result<Vec<OutboxRow>, StateError> {
        // A bound LIMIT would have the statement compiled anew each time.
        let mut statement = self.db.prepare_cached(&format!(
            "{SELECT} WHERE token > ?1 AND parked = 0 ORDER BY token"
        ))?;
        let rows = statement.query_map([to_sql(token)], outbox_row)?;
        Ok(rows.take(limit).collect::<Result<_, _>>()?)
    }

    /// The envelope with a token.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn outbox(&self, token: SendToken) -> Result<Option<OutboxRow>, StateError> {
        let mut statement = self.db.prepare_cached(&format!("{SELECT} WHERE token = ?1"))?;
        let mut rows = statement.query([to_sql(token)])?;
        Ok(rows.next()?.map(outbox_row).transpose()?)
    }

    /// The token under which a message waits.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn outbox_of(&self, message_row: i64) -> Result<Option<SendToken>, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT token FROM outbox WHERE message_row = ?1")?;
        let mut rows = statement.query([message_row])?;
        Ok(rows.next()?.map(|row| row.get(0)).transpose()?.map(from_sql))
    }

    /// Keeps an envelope back until it is sealed again.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn park_outbox(&self, token: SendToken) -> Result<(), StateError> {
        let mut statement = self
            .db
            .prepare_cached("UPDATE outbox SET parked = 1 WHERE token = ?1")?;
        statement.execute([to_sql(token)])?;
        Ok(())
    }

    /// Envelopes of a group that have to be sealed again, in order.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn parked_of_group(&self, group_row: i64) -> Result<Vec<OutboxRow>, StateError> {
        self.group_outbox("group_row = ?1 AND parked = 1", group_row)
    }

    /// Everything that waits for a group, in order.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn outbox_of_group(&self, group_row: i64) -> Result<Vec<OutboxRow>, StateError> {
        self.group_outbox("group_row = ?1", group_row)
    }

    fn group_outbox(&self, condition: &str, group_row: i64) -> Result<Vec<OutboxRow>, StateError> {
        let mut statement = self
            .db
            .prepare_cached(&format!("{SELECT} WHERE {condition} ORDER BY token"))?;
        let rows = statement.query_map([group_row], outbox_row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whose direct messages are kept back until their bundle was looked up.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn postponed_recipients(&self) -> Result<Vec<Handle>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT DISTINCT p.handle FROM outbox o JOIN message m USING (message_row) JOIN peer p USING (peer_id) \
             WHERE o.parked = 1 AND o.group_row IS NULL",
        )?;
        let handles = statement.query_map([], |row| row.get::<_, String>(0))?;
        let damaged = |_| StateError::Damaged {
            table: "peer",
            row: 0,
        };
        handles.map(|handle| handle?.parse().map_err(damaged)).collect()
    }

    /// Direct messages to a peer that are kept back, in order.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn postponed(&self, peer_id: i64) -> Result<Vec<OutboxRow>, StateError> {
        let mut statement = self.db.prepare_cached(&format!(
            "{SELECT} WHERE parked = 1 AND group_row IS NULL \
             AND message_row IN (SELECT message_row FROM message WHERE peer_id = ?1) ORDER BY token"
        ))?;
        let rows = statement.query_map([peer_id], outbox_row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Takes an envelope out.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn remove_outbox(&self, row: &OutboxRow) -> Result<(), StateError> {
        let mut statement = self.db.prepare_cached("DELETE FROM outbox WHERE token = ?1")?;
        statement.execute([to_sql(row.token)])?;
        self.drop_deadline(row.token, row.deadline)
    }

    /// The message that a `client_msg_id` stands for; none if it was given up.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn sent_id(&self, client_msg_id: &str) -> Result<Option<i64>, StateError> {
        let tag = self.keys.tag("client_msg_id", client_msg_id.as_bytes());
        let mut statement = self
            .db
            .prepare_cached("SELECT message_row FROM sent_id WHERE tag = ?1 AND message_row != 0")?;
        let mut rows = statement.query([tag])?;
        Ok(rows.next()?.map(|row| row.get(0)).transpose()?)
    }

    /// Records what a `client_msg_id` stands for.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_sent_id(&self, client_msg_id: &str, message_row: i64) -> Result<(), StateError> {
        let tag = self.keys.tag("client_msg_id", client_msg_id.as_bytes());
        let mut statement = self.db.prepare_cached(
            "INSERT INTO sent_id(tag, message_row) VALUES (?1, ?2) \
             ON CONFLICT(tag) DO UPDATE SET message_row = ?2",
        )?;
        statement.execute(params![tag, message_row])?;
        Ok(())
    }

    /// Forgets that a `client_msg_id` stands for a message; `abandoned` is the hash of an envelope
    /// that may lie at the relay under its `mid` all the same.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn forget_sent(&self, message_row: i64, abandoned: Option<&Hash>) -> Result<(), StateError> {
        let tag = self.sent_tag(message_row)?;
        let mut hashes = self.abandoned(&tag, message_row)?;
        if let Some(hash) = abandoned {
            if hashes.len() == ABANDONED * Hash::LENGTH {
                hashes.drain(Hash::LENGTH..2 * Hash::LENGTH);
            }
            hashes.extend_from_slice(hash.as_bytes());
        }
        let mut statement = self.db.prepare_cached(
            "UPDATE sent_id SET message_row = 0, abandoned = ?3 WHERE tag = ?1 AND message_row = ?2",
        )?;
        statement.execute(params![tag, message_row, hashes])?;
        Ok(())
    }

    /// Whether an envelope was given up earlier under the `client_msg_id` of a message.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn was_abandoned(&self, message_row: i64, envelope: &Hash) -> Result<bool, StateError> {
        let hashes = self.abandoned(&self.sent_tag(message_row)?, message_row)?;
        Ok(hashes
            .chunks_exact(Hash::LENGTH)
            .any(|hash| hash == envelope.as_bytes()))
    }

    /// Hashes, one behind the other.
    fn abandoned(&self, tag: &[u8; 16], message_row: i64) -> Result<Vec<u8>, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT abandoned FROM sent_id WHERE tag = ?1 AND message_row = ?2")?;
        let mut rows = statement.query(params![tag, message_row])?;
        let hashes: Option<Vec<u8>> = rows.next()?.map(|row| row.get(0)).transpose()?.flatten();
        Ok(hashes.unwrap_or_default())
    }

    /// The tag of the id that an own message was sent under.
    fn sent_tag(&self, message_row: i64) -> Result<[u8; 16], StateError> {
        let core = self.core(message_row)?;
        let reader = match core.kind {
            Kind::Broadcast => Some(self.recipient_of(message_row)?),
            _ => None,
        };
        let key = idempotency_key(&core.client_msg_id, reader.as_deref());
        Ok(self.keys.tag("client_msg_id", key.as_bytes()))
    }

    fn recipient_of(&self, message_row: i64) -> Result<String, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT p.handle FROM message m JOIN peer p USING (peer_id) WHERE m.message_row = ?1",
        )?;
        Ok(statement.query_row([message_row], |row| row.get(0))?)
    }

    /// Withdraws an own number: later messages tell the peer not to wait for it.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn withdraw(&self, conversation_id: i64, n: u64) -> Result<(), StateError> {
        let mut statement = self.db.prepare_cached(
            "INSERT INTO withdrawn(conversation_id, n) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        )?;
        statement.execute([conversation_id, to_sql(n)])?;
        Ok(())
    }

    /// Whether a conversation has withdrawn numbers to announce.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn has_withdrawn(&self, conversation_id: i64) -> Result<bool, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT 1 FROM withdrawn WHERE conversation_id = ?1 LIMIT 1")?;
        Ok(statement.exists([conversation_id])?)
    }

    /// Withdrawn numbers that no stored message has announced, as ranges, oldest first.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn withdrawn(&self, conversation_id: i64, limit: usize) -> Result<Vec<NRange>, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT n FROM withdrawn WHERE conversation_id = ?1 ORDER BY n")?;
        let numbers = statement.query_map([conversation_id], |row| row.get::<_, i64>(0))?;
        let numbers = numbers.map(|n| n.map(from_sql)).collect::<Result<Vec<_>, _>>()?;
        Ok(to_ranges(&numbers, limit))
    }

    /// Forgets withdrawn numbers that a stored message has announced.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn announced(&self, conversation_id: i64, ranges: &[NRange]) -> Result<(), StateError> {
        let mut statement = self
            .db
            .prepare_cached("DELETE FROM withdrawn WHERE conversation_id = ?1 AND n BETWEEN ?2 AND ?3")?;
        for range in ranges {
            statement.execute([conversation_id, to_sql(range.first), to_sql(range.last)])?;
        }
        Ok(())
    }
}

/// Ascending numbers as ranges, at most `limit`.
#[must_use]
pub fn to_ranges(numbers: &[u64], limit: usize) -> Vec<NRange> {
    let mut ranges: Vec<NRange> = Vec::new();
    for &n in numbers {
        let follows = ranges.last().is_some_and(|last| last.last + 1 == n);
        match ranges.last_mut() {
            Some(last) if follows => last.last = n,
            _ => ranges.push(NRange { first: n, last: n }),
        }
    }
    ranges.truncate(limit);
    ranges
}
