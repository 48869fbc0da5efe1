//! A group's verified log, and the own commit on its way into it.

use rusqlite::{OptionalExtension as _, params};
use waxwire_shared::ids::Hash;

use super::{StateError, Store, from_sql, to_sql};
use crate::model::UnixMs;

/// The own commit on its way into a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingCommit {
    /// Hash of the signed commit.
    pub hash: Hash,
    /// Its position.
    pub position: u64,
    /// The signed commit.
    pub signed: Vec<u8>,
    /// Encoded leaves; empty without a rekey.
    pub leaves: Vec<u8>,
}

/// Own rekeys of a group whose leaves are kept.
const LEAVES: i64 = 8;
/// Refused commits that are remembered, of all groups.
const REFUSED: i64 = 256;

impl Store {
    /// Keeps the next verified commit.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn push_commit(&self, row: i64, position: u64, signed: &[u8]) -> Result<(), StateError> {
        self.db
            .prepare_cached("INSERT INTO grp_commit(group_row, position, signed) VALUES (?1, ?2, ?3)")?
            .execute(params![row, to_sql(position), signed])?;
        self.db
            .prepare_cached("UPDATE grp SET length = ?2 WHERE group_row = ?1")?
            .execute(params![row, to_sql(position + 1)])?;
        Ok(())
    }

    /// The verified commit at a position.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn commit_at(&self, row: i64, position: u64) -> Result<Option<Vec<u8>>, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT signed FROM grp_commit WHERE group_row = ?1 AND position = ?2")?;
        Ok(statement
            .query_row([row, to_sql(position)], |row| row.get(0))
            .optional()?)
    }

    /// Verified commits from a position on, in order.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn commits_from(&self, row: i64, position: u64, limit: usize) -> Result<Vec<Vec<u8>>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT signed FROM grp_commit WHERE group_row = ?1 AND position >= ?2 ORDER BY position LIMIT ?3",
        )?;
        let rows = statement.query_map([row, to_sql(position), to_sql(limit as u64)], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The own commit on its way.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn pending_commit(&self, row: i64) -> Result<Option<PendingCommit>, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT hash, position, signed, leaves FROM grp_pending WHERE group_row = ?1")?;
        let found = statement.query_row([row], |row| {
            Ok(PendingCommit {
                hash: Hash::from_bytes(row.get(0)?),
                position: from_sql(row.get(1)?),
                signed: row.get(2)?,
                leaves: row.get(3)?,
            })
        });
        Ok(found.optional()?)
    }

    /// Puts an own commit on its way.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_pending_commit(
        &self,
        row: i64,
        pending: &PendingCommit,
        now: UnixMs,
    ) -> Result<(), StateError> {
        self.db
            .prepare_cached(
                "INSERT INTO grp_pending(group_row, hash, position, signed, leaves, made_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                row,
                pending.hash.as_bytes(),
                to_sql(pending.position),
                pending.signed,
                pending.leaves,
                to_sql(now)
            ])?;
        Ok(())
    }

    /// Takes the own commit off its way.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn drop_pending_commit(&self, row: i64) -> Result<(), StateError> {
        self.db
            .prepare_cached("DELETE FROM grp_pending WHERE group_row = ?1")?
            .execute([row])?;
        Ok(())
    }

    /// Remembers an own commit that the relay refuses; it may have it all the same.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn note_refused_commit(&self, commit: &Hash) -> Result<(), StateError> {
        self.db
            .prepare_cached("INSERT INTO grp_refused(hash) VALUES (?1) ON CONFLICT DO NOTHING")?
            .execute([commit.as_bytes()])?;
        self.db
            .prepare_cached(
                "DELETE FROM grp_refused WHERE place <= (SELECT max(place) FROM grp_refused) - ?1",
            )?
            .execute([REFUSED])?;
        Ok(())
    }

    /// Whether an own commit is known from when it was refused.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn knows_refused_commit(&self, commit: &Hash) -> Result<bool, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT 1 FROM grp_refused WHERE hash = ?1")?;
        Ok(statement.exists([commit.as_bytes()])?)
    }

    /// Keeps the leaves of an own rekey that stands in the log, and of the latest before it.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn keep_leaves(&self, row: i64, position: u64, leaves: &[u8]) -> Result<(), StateError> {
        self.db
            .prepare_cached("INSERT INTO grp_leaves(group_row, position, leaves) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?
            .execute(params![row, to_sql(position), leaves])?;
        self.db
            .prepare_cached(
                "DELETE FROM grp_leaves WHERE group_row = ?1 AND position <= \
                 (SELECT position FROM grp_leaves WHERE group_row = ?1 ORDER BY position DESC LIMIT 1 OFFSET ?2)",
            )?
            .execute(params![row, LEAVES])?;
        Ok(())
    }

    /// The leaves of an own rekey that stood at a position, if they are kept.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn kept_leaves(&self, row: i64, position: u64) -> Result<Option<Vec<u8>>, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT leaves FROM grp_leaves WHERE group_row = ?1 AND position = ?2")?;
        Ok(statement
            .query_row([row, to_sql(position)], |row| row.get(0))
            .optional()?)
    }

    /// Keeps what the relay showed instead of a commit that is kept.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn keep_evidence(&self, row: i64, position: u64, signed: &[u8]) -> Result<(), StateError> {
        self.db
            .prepare_cached(
                "INSERT INTO grp_evidence(group_row, position, signed) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            )?
            .execute(params![row, to_sql(position), signed])?;
        Ok(())
    }
}
