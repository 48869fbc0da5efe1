//! Where this proxy stands in the relay's queues, and envelopes that wait.

use rusqlite::{Row, params};
use waxwire_shared::{
    api::frames::{Cursor, Queue},
    ids::Handle,
};

use super::{StateError, Store, from_sql, to_sql};
use crate::model::UnixMs;

/// Why an envelope waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldReason {
    /// The claimed sender has to be looked up.
    UnknownKey,
    /// The claimed sender's identity is not the pinned one.
    IdentityChanged,
}

/// An envelope that waits, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldEnvelope {
    /// Row.
    pub held_id: i64,
    /// The claimed sender.
    pub handle: Handle,
    /// The envelope.
    pub envelope: Vec<u8>,
}

/// Most envelopes that one claimed sender may have waiting.
const HELD_PER_HANDLE: i64 = 1_000;
/// Most envelopes that may wait in all.
const HELD: i64 = 10_000;

impl Store {
    /// Up to where a queue was durably taken.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn cursor(&self, queue: &Queue) -> Result<u64, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT position FROM cursor WHERE queue = ?1")?;
        let mut rows = statement.query([queue.to_string()])?;
        Ok(rows
            .next()?
            .map(|row| row.get(0))
            .transpose()?
            .map_or(0, from_sql))
    }

    /// All cursors.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn cursors(&self) -> Result<Vec<Cursor>, StateError> {
        let mut statement = self.db.prepare_cached("SELECT queue, position FROM cursor")?;
        let mut rows = statement.query([])?;
        let mut cursors = Vec::new();
        while let Some(row) = rows.next()? {
            let queue: String = row.get(0)?;
            let queue = queue.parse().map_err(|_| StateError::Damaged {
                table: "cursor",
                row: 0,
            })?;
            cursors.push(Cursor {
                queue,
                position: from_sql(row.get(1)?),
            });
        }
        Ok(cursors)
    }

    /// Moves a cursor forward; never back.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_cursor(&self, cursor: &Cursor) -> Result<(), StateError> {
        let mut statement = self.db.prepare_cached(
            "INSERT INTO cursor(queue, position) VALUES (?1, ?2) \
             ON CONFLICT(queue) DO UPDATE SET position = max(position, ?2)",
        )?;
        statement.execute(params![cursor.queue.to_string(), to_sql(cursor.position)])?;
        Ok(())
    }

    /// Keeps an envelope until its sender is known or decided on; false when too many wait.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn hold_envelope(
        &self,
        handle: &Handle,
        reason: HeldReason,
        envelope: &[u8],
        now: UnixMs,
    ) -> Result<bool, StateError> {
        let mut counts = self
            .db
            .prepare_cached("SELECT count(*) FILTER (WHERE handle = ?1), count(*) FROM held")?;
        let (of_handle, all): (i64, i64) =
            counts.query_row([handle.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if of_handle >= HELD_PER_HANDLE || all >= HELD {
            return Ok(false);
        }
        let reason = match reason {
            HeldReason::UnknownKey => 1,
            HeldReason::IdentityChanged => 2,
        };
        let mut statement = self
            .db
            .prepare_cached("INSERT INTO held(handle, reason, held_at, envelope) VALUES (?1, ?2, ?3, ?4)")?;
        statement.execute(params![handle.as_str(), reason, to_sql(now), envelope])?;
        Ok(true)
    }

    /// Drops what has waited since before a point in time for a sender whom nobody knows.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn drop_held_before(&self, at: UnixMs) -> Result<(), StateError> {
        self.db
            .prepare_cached("DELETE FROM held WHERE reason = 1 AND held_at < ?1")?
            .execute([to_sql(at)])?;
        Ok(())
    }

    /// Takes everything out that waits for a sender, oldest first.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn take_held(&self, handle: &Handle) -> Result<Vec<HeldEnvelope>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT held_id, handle, envelope FROM held WHERE handle = ?1 ORDER BY held_id",
        )?;
        let mut rows = statement.query([handle.as_str()])?;
        let mut held = Vec::new();
        while let Some(row) = rows.next()? {
            held.push(held_row(row)?);
        }
        let mut delete = self.db.prepare_cached("DELETE FROM held WHERE handle = ?1")?;
        delete.execute([handle.as_str()])?;
        Ok(held)
    }

    /// Whether envelopes wait for a sender to become known.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn is_waited_for(&self, handle: &Handle) -> Result<bool, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT 1 FROM held WHERE handle = ?1 AND reason = 1 LIMIT 1")?;
        Ok(statement.exists([handle.as_str()])?)
    }

    /// Senders that have to be looked up because something of theirs waits.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn unknown_senders(&self) -> Result<Vec<Handle>, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT DISTINCT handle FROM held WHERE reason = 1")?;
        let mut rows = statement.query([])?;
        let mut handles = Vec::new();
        while let Some(row) = rows.next()? {
            let handle: String = row.get(0)?;
            handles.push(handle.parse().map_err(|_| StateError::Damaged {
                table: "held",
                row: 0,
            })?);
        }
        Ok(handles)
    }
}

fn held_row(row: &Row<'_>) -> Result<HeldEnvelope, StateError> {
    let held_id = row.get(0)?;
    let handle: String = row.get(1)?;
    Ok(HeldEnvelope {
        held_id,
        handle: handle.parse().map_err(|_| StateError::Damaged {
            table: "held",
            row: held_id,
        })?,
        envelope: row.get(2)?,
    })
}
