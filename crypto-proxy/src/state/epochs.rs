//! Epochs of groups: chains, and keys that were stepped over.

use rand_core::CryptoRng;
use rusqlite::{OptionalExtension as _, Row, params};
use waxwire_shared::ids::AgentId;

use super::{StateError, Store, from_sql, to_sql};
use crate::{
    crypto::secret::{ChainKey, MessageKey},
    group::Chain,
    model::UnixMs,
};

/// What this agent has of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochState {
    /// Its leaf has to be fetched.
    Wanted,
    /// Its chains are here.
    Adopted,
    /// There is no leaf that this agent could use.
    Unusable,
    /// Its chains were erased.
    Erased,
}

impl EpochState {
    const fn number(self) -> i64 {
        match self {
            Self::Wanted => 1,
            Self::Adopted => 2,
            Self::Unusable => 3,
            Self::Erased => 4,
        }
    }

    const fn from_number(number: i64) -> Self {
        match number {
            1 => Self::Wanted,
            2 => Self::Adopted,
            3 => Self::Unusable,
            _ => Self::Erased,
        }
    }
}

/// An epoch that has, had or should have a leaf for this agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochRow {
    /// Row.
    pub epoch_row: i64,
    /// Number.
    pub epoch: u64,
    /// Position of its commit.
    pub position: u64,
    /// Place of this agent's leaf.
    pub leaf_index: u32,
    /// What this agent has of it.
    pub state: EpochState,
    /// Ciphertexts under it that this agent has seen, own ones included.
    pub messages: u64,
    /// When its chains were derived.
    pub adopted_at: Option<UnixMs>,
}

/// A sender's chain in an epoch.
#[derive(Debug)]
pub struct ChainRow {
    /// Row.
    pub chain_row: i64,
    /// The chain.
    pub chain: Chain,
}

/// Most keys that were stepped over, of all chains.
const SKIPPED: i64 = 65_536;

const SELECT: &str = "SELECT epoch_row, epoch, position, leaf_index, state, sealed_own + opened, adopted_at \
                      FROM epoch";

fn epoch_row(row: &Row<'_>) -> Result<EpochRow, rusqlite::Error> {
    Ok(EpochRow {
        epoch_row: row.get(0)?,
        epoch: from_sql(row.get(1)?),
        position: from_sql(row.get(2)?),
        leaf_index: row.get(3)?,
        state: EpochState::from_number(row.get(4)?),
        messages: from_sql(row.get(5)?),
        adopted_at: row.get::<_, Option<i64>>(6)?.map(from_sql),
    })
}

impl Store {
    /// Notes an epoch that has a leaf for this agent.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn insert_epoch(
        &self,
        group_row: i64,
        epoch: u64,
        position: u64,
        leaf_index: u32,
        now: UnixMs,
    ) -> Result<(), StateError> {
        self.db
            .prepare_cached(
                "INSERT INTO epoch(group_row, epoch, position, leaf_index, state, noted_at) \
                 VALUES (?1, ?2, ?3, ?4, 1, ?5)",
            )?
            .execute(params![
                group_row,
                to_sql(epoch),
                to_sql(position),
                leaf_index,
                to_sql(now),
            ])?;
        Ok(())
    }

    /// An epoch of a group.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn epoch(&self, group_row: i64, epoch: u64) -> Result<Option<EpochRow>, StateError> {
        let mut statement = self
            .db
            .prepare_cached(&format!("{SELECT} WHERE group_row = ?1 AND epoch = ?2"))?;
        Ok(statement
            .query_row([group_row, to_sql(epoch)], epoch_row)
            .optional()?)
    }

    /// Epochs of a group in a state, oldest first.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn epochs_in(&self, group_row: i64, state: EpochState) -> Result<Vec<EpochRow>, StateError> {
        let mut statement = self.db.prepare_cached(&format!(
            "{SELECT} WHERE group_row = ?1 AND state = ?2 ORDER BY epoch"
        ))?;
        let rows = statement.query_map([group_row, state.number()], epoch_row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Changes the state of an epoch.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_epoch_state(&self, row: i64, state: EpochState) -> Result<(), StateError> {
        self.db
            .prepare_cached("UPDATE epoch SET state = ?2 WHERE epoch_row = ?1")?
            .execute([row, state.number()])?;
        Ok(())
    }

    /// Keeps the chains of an epoch, which is adopted from now on.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn adopt_epoch(
        &self,
        rng: &mut dyn CryptoRng,
        row: i64,
        chains: &[(AgentId, Chain)],
        now: UnixMs,
    ) -> Result<(), StateError> {
        self.db
            .prepare_cached("UPDATE epoch SET state = 2, adopted_at = ?2 WHERE epoch_row = ?1")?
            .execute([row, to_sql(now)])?;
        let first: i64 = self
            .db
            .prepare_cached("SELECT coalesce(max(chain_row), 0) + 1 FROM chain")?
            .query_row([], |row| row.get(0))?;
        let mut statement = self.db.prepare_cached(
            "INSERT INTO chain(chain_row, epoch_row, agent, next, sealed) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for (next, (agent, chain)) in (first..).zip(chains) {
            let sealed = self
                .keys
                .seal(rng, "chain", next, now, chain.key().expose_bytes());
            statement.execute(params![next, row, agent.as_bytes(), to_sql(chain.next()), sealed])?;
        }
        Ok(())
    }

    /// A sender's chain in an epoch.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn chain(&self, epoch_row: i64, agent: &AgentId) -> Result<Option<ChainRow>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT chain_row, next, sealed FROM chain WHERE epoch_row = ?1 AND agent = ?2",
        )?;
        let mut rows = statement.query(params![epoch_row, agent.as_bytes()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let chain_row: i64 = row.get(0)?;
        let next = from_sql(row.get(1)?);
        let sealed: Vec<u8> = row.get(2)?;
        let key = self.keys.open("chain", chain_row, &sealed)?;
        let key = ChainKey::from_slice(&key).map_err(|_| StateError::Damaged {
            table: "chain",
            row: chain_row,
        })?;
        Ok(Some(ChainRow {
            chain_row,
            chain: Chain::from_parts(key, next),
        }))
    }

    /// Replaces a chain by a later state of it. The earlier key is gone.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_chain(
        &self,
        rng: &mut dyn CryptoRng,
        chain_row: i64,
        chain: &Chain,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let sealed = self
            .keys
            .seal(rng, "chain", chain_row, now, chain.key().expose_bytes());
        self.db
            .prepare_cached("UPDATE chain SET next = ?2, sealed = ?3 WHERE chain_row = ?1")?
            .execute(params![chain_row, to_sql(chain.next()), sealed])?;
        Ok(())
    }

    /// Keeps keys that were stepped over; the oldest of all go if there are too many.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_skipped(
        &self,
        rng: &mut dyn CryptoRng,
        chain_row: i64,
        keys: &[(u64, MessageKey)],
        now: UnixMs,
    ) -> Result<(), StateError> {
        if keys.is_empty() {
            return Ok(());
        }
        let first: i64 = self
            .db
            .prepare_cached("SELECT coalesce(max(key_row), 0) + 1 FROM skipped_key")?
            .query_row([], |row| row.get(0))?;
        let mut statement = self.db.prepare_cached(
            "INSERT INTO skipped_key(key_row, chain_row, i, sealed) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        )?;
        for (next, (i, key)) in (first..).zip(keys) {
            let sealed = self.keys.seal(rng, "skipped_key", next, now, key.expose_bytes());
            statement.execute(params![next, chain_row, to_sql(*i), sealed])?;
        }
        self.db
            .prepare_cached(
                "DELETE FROM skipped_key WHERE chain_row = ?1 AND key_row NOT IN \
                 (SELECT key_row FROM skipped_key WHERE chain_row = ?1 ORDER BY i DESC LIMIT ?2)",
            )?
            .execute([chain_row, to_sql(waxwire_shared::limits::SKIPPED_KEYS as u64)])?;
        self.db
            .prepare_cached(
                "DELETE FROM skipped_key WHERE key_row <= \
                 (SELECT key_row FROM skipped_key ORDER BY key_row DESC LIMIT 1 OFFSET ?1)",
            )?
            .execute([SKIPPED])?;
        Ok(())
    }

    /// A key that was stepped over.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn skipped(&self, chain_row: i64, i: u64) -> Result<Option<MessageKey>, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT key_row, sealed FROM skipped_key WHERE chain_row = ?1 AND i = ?2")?;
        let mut rows = statement.query([chain_row, to_sql(i)])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let key_row: i64 = row.get(0)?;
        let sealed: Vec<u8> = row.get(1)?;
        let key = self.keys.open("skipped_key", key_row, &sealed)?;
        let key = MessageKey::from_slice(&key).map_err(|_| StateError::Damaged {
            table: "skipped_key",
            row: key_row,
        })?;
        Ok(Some(key))
    }

    /// Erases a key that was used.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn erase_skipped(&self, chain_row: i64, i: u64) -> Result<(), StateError> {
        self.db
            .prepare_cached("DELETE FROM skipped_key WHERE chain_row = ?1 AND i = ?2")?
            .execute([chain_row, to_sql(i)])?;
        Ok(())
    }

    /// Counts a ciphertext under an epoch.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn count_ciphertext(&self, epoch_row: i64, own: bool) -> Result<(), StateError> {
        let column = if own { "sealed_own" } else { "opened" };
        self.db
            .prepare_cached(&format!(
                "UPDATE epoch SET {column} = {column} + 1 WHERE epoch_row = ?1"
            ))?
            .execute([epoch_row])?;
        Ok(())
    }

    /// Closes every adopted epoch before one, at a running time: their chains are erased later.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn close_epochs(&self, group_row: i64, before: u64, run: u64) -> Result<(), StateError> {
        self.db
            .prepare_cached(
                "UPDATE epoch SET closed_run = ?3 WHERE group_row = ?1 AND epoch < ?2 AND state = 2 \
                 AND closed_run IS NULL",
            )?
            .execute([group_row, to_sql(before), to_sql(run)])?;
        Ok(())
    }

    /// Notes that a group's queue was emptied at a running time: what was closed by then may be erased in time.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn drained_epochs(&self, group_row: i64, run: u64) -> Result<(), StateError> {
        self.db
            .prepare_cached(
                "UPDATE epoch SET drained = 1 WHERE group_row = ?1 AND closed_run <= ?2 AND drained = 0",
            )?
            .execute([group_row, to_sql(run)])?;
        Ok(())
    }

    /// Erases the chains of epochs that were closed at or before a running time and drained since;
    /// gives how many epochs.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn erase_closed_epochs(&self, run: u64) -> Result<usize, StateError> {
        let due = "SELECT epoch_row FROM epoch WHERE state = 2 AND drained = 1 AND closed_run <= ?1";
        self.erase_chains(due, to_sql(run))?;
        let erased = self
            .db
            .prepare_cached(
                "UPDATE epoch SET state = 4 WHERE state = 2 AND drained = 1 AND closed_run <= ?1",
            )?
            .execute([to_sql(run)])?;
        Ok(erased)
    }

    /// Erases everything that could open a group's messages.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn erase_epochs(&self, group_row: i64) -> Result<(), StateError> {
        self.erase_chains("SELECT epoch_row FROM epoch WHERE group_row = ?1", group_row)?;
        for erase in [
            "UPDATE epoch SET state = 4 WHERE group_row = ?1",
            "DELETE FROM grp_held WHERE group_row = ?1",
        ] {
            self.db.prepare_cached(erase)?.execute([group_row])?;
        }
        Ok(())
    }

    fn erase_chains(&self, epochs: &str, key: i64) -> Result<(), StateError> {
        self.db
            .prepare_cached(&format!(
                "DELETE FROM skipped_key WHERE chain_row IN (SELECT chain_row FROM chain WHERE epoch_row IN ({epochs}))"
            ))?
            .execute([key])?;
        self.db
            .prepare_cached(&format!("DELETE FROM chain WHERE epoch_row IN ({epochs})"))?
            .execute([key])?;
        Ok(())
    }
}
