//! Envelopes of groups that wait: for a commit, for a key, or for their turn.

use rusqlite::{OptionalExtension as _, Row, params};
use waxwire_shared::wire::GroupHeader;

use super::{StateError, Store, from_sql, to_sql};
use crate::model::UnixMs;

/// Why a group envelope waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lacking {
    /// The commit that its header cites.
    Head,
    /// The key of its epoch.
    Epoch,
    /// Nothing but its turn: something before it in the group's queue waits.
    Turn,
}

impl Lacking {
    const fn number(self) -> i64 {
        match self {
            Self::Head => 1,
            Self::Epoch => 2,
            Self::Turn => 3,
        }
    }
}

/// A group envelope that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldGroupEnvelope {
    /// Row.
    pub held_id: i64,
    /// When it came.
    pub held_at: UnixMs,
    /// The envelope.
    pub envelope: Vec<u8>,
}

/// A group envelope that is to wait.
#[derive(Debug, Clone, Copy)]
pub struct NewHeld<'a> {
    /// Why.
    pub lacking: Lacking,
    /// Whether what comes after it waits behind it.
    pub in_line: bool,
    /// Its header, decoded.
    pub header: &'a GroupHeader,
    /// The envelope.
    pub envelope: &'a [u8],
    /// When it came.
    pub held_at: UnixMs,
}

/// Most group envelopes that wait for one group.
const HELD: i64 = if cfg!(test) { 80 } else { 10_000 };

pub(super) fn held_row(row: &Row<'_>) -> Result<HeldGroupEnvelope, rusqlite::Error> {
    Ok(HeldGroupEnvelope {
        held_id: row.get(0)?,
        held_at: from_sql(row.get(1)?),
        envelope: row.get(2)?,
    })
}

impl Store {
    /// Keeps a group envelope, behind all that wait in its group; false when too many do.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn hold_group_envelope(&self, group_row: i64, held: &NewHeld<'_>) -> Result<bool, StateError> {
        let waiting: i64 = self
            .db
            .prepare_cached("SELECT count(*) FROM grp_held WHERE group_row = ?1")?
            .query_row([group_row], |row| row.get(0))?;
        if waiting >= HELD {
            return Ok(false);
        }
        let NewHeld {
            lacking,
            in_line,
            header,
            envelope,
            held_at,
        } = held;
        self.db
            .prepare_cached(
                "INSERT INTO grp_held(group_row, epoch, roster_head, reason, in_line, held_at, mid, sender, \
                 envelope) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                group_row,
                to_sql(header.epoch),
                header.roster_head.as_bytes(),
                lacking.number(),
                in_line,
                to_sql(*held_at),
                header.mid.as_bytes(),
                header.sender.as_bytes(),
                envelope
            ])?;
        Ok(true)
    }

    /// Whether what comes for a group now has to wait for its turn.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn has_line(&self, group_row: i64) -> Result<bool, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT 1 FROM grp_held WHERE group_row = ?1 AND in_line = 1 LIMIT 1")?;
        Ok(statement.exists([group_row])?)
    }

    /// Groups in which envelopes wait for their turn.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn groups_with_line(&self) -> Result<Vec<i64>, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT DISTINCT group_row FROM grp_held WHERE in_line = 1")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The envelope of a group whose turn it is.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn first_in_line(&self, group_row: i64) -> Result<Option<HeldGroupEnvelope>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT held_id, held_at, envelope FROM grp_held WHERE group_row = ?1 AND in_line = 1 \
             ORDER BY held_id LIMIT 1",
        )?;
        Ok(statement.query_row([group_row], held_row).optional()?)
    }

    /// Notes what an envelope lacks, and whether what comes after it waits for that.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_held(&self, held_id: i64, lacking: Lacking, in_line: bool) -> Result<(), StateError> {
        self.db
            .prepare_cached("UPDATE grp_held SET reason = ?2, in_line = ?3 WHERE held_id = ?1")?
            .execute(params![held_id, lacking.number(), in_line])?;
        Ok(())
    }

    /// Waits no more.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn remove_held(&self, held_id: i64) -> Result<(), StateError> {
        self.db
            .prepare_cached("DELETE FROM grp_held WHERE held_id = ?1")?
            .execute([held_id])?;
        Ok(())
    }

    /// Takes out, of what nothing waits behind, what waits in a group for a commit, or for epochs that
    /// are adopted now; oldest first.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn take_group_held(
        &self,
        group_row: i64,
        lacking: Lacking,
    ) -> Result<Vec<HeldGroupEnvelope>, StateError> {
        let condition = "group_row = ?1 AND in_line = 0 AND reason = ?2 AND (?2 = 1 OR EXISTS(SELECT 1 \
                         FROM epoch e WHERE e.group_row = ?1 AND e.epoch = grp_held.epoch AND e.state != 1 \
                         AND e.state != 3))";
        let mut statement = self.db.prepare_cached(&format!(
            "SELECT held_id, held_at, envelope FROM grp_held WHERE {condition} ORDER BY held_id"
        ))?;
        let rows = statement.query_map([group_row, lacking.number()], held_row)?;
        let held: Vec<_> = rows.collect::<Result<_, _>>()?;
        self.db
            .prepare_cached(&format!("DELETE FROM grp_held WHERE {condition}"))?
            .execute([group_row, lacking.number()])?;
        Ok(held)
    }

    /// Marks that the agent knows of the commits that envelopes wait for since then.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn tell_unknown_heads(&self, group_row: i64, since: UnixMs) -> Result<(), StateError> {
        let mut statement = self.db.prepare_cached(
            "UPDATE grp_held SET told = 1 WHERE group_row = ?1 AND reason = 1 AND told = 0 AND held_at <= ?2",
        )?;
        statement.execute([group_row, to_sql(since)])?;
        Ok(())
    }

    /// Envelopes that wait for a commit under an epoch that is adopted, so that they may open; if `told`, only
    /// those that the agent was told of.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn citing_unknown_heads(&self, group_row: i64, told: bool) -> Result<Vec<Vec<u8>>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT envelope FROM grp_held h WHERE group_row = ?1 AND reason = 1 AND told >= ?2 \
             AND EXISTS(SELECT 1 FROM epoch e WHERE e.group_row = ?1 AND e.epoch = h.epoch AND e.state = 2) \
             ORDER BY held_id LIMIT 256",
        )?;
        let rows = statement.query_map(params![group_row, told], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether an envelope of a group waits for a commit.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn waits_for_head(&self, group_row: i64) -> Result<bool, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT 1 FROM grp_held WHERE group_row = ?1 AND reason = 1 LIMIT 1")?;
        Ok(statement.exists([group_row])?)
    }

    /// Since when the oldest envelope waits for a commit, and in which group; those that the agent was
    /// told of do not count.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn oldest_unknown_head(&self) -> Result<Option<(UnixMs, i64)>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT held_at, group_row FROM grp_held WHERE reason = 1 AND told = 0 ORDER BY held_at LIMIT 1",
        )?;
        let mut rows = statement.query([])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some((from_sql(row.get(0)?), row.get(1)?)))
    }

    /// How many group envelopes wait, of all groups.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn group_held_count(&self) -> Result<u64, StateError> {
        let count = self
            .db
            .prepare_cached("SELECT count(*) FROM grp_held")?
            .query_row([], |row| row.get(0))?;
        Ok(from_sql(count))
    }
}
