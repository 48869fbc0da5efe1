//! The secrets of a running proxy, read beside it from its state folder with its own key file: so a test
//! knows the bytes that must be gone later.

use std::sync::Arc;

use anyhow::Context as _;
use rusqlite::Connection;
use tempfile::TempDir;
use waxwire_proxy::{
    crypto::secret::EncryptionSecret,
    group::Chain,
    keystore::{KEY_FILE, KeyStore, Keys, Unlock},
    state::{self, ColumnKeys, Store},
};
use waxwire_shared::ids::{AgentId, GroupId};

use crate::proxy::{Proxy, Route};

/// Key store and state of a proxy as they were at one moment.
#[derive(Debug)]
pub struct Vault {
    keys: Keys,
    store: Store,
    copy: TempDir,
}

impl Vault {
    /// Reads the key store of a proxy and a copy of its state. The copy is not below the folder that the
    /// test searches.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn of<R: Route>(proxy: &Proxy<R>) -> anyhow::Result<Self> {
        let folder = proxy.state();
        let keys = KeyStore::read(&folder, &Unlock::KeyFile(folder.join(KEY_FILE)))?;
        // Once more: its master key goes into the keys of the database.
        let again = KeyStore::read(&folder, &Unlock::KeyFile(folder.join(KEY_FILE)))?;
        let copy = tempfile::Builder::new().prefix("waxwire-vault-").tempdir()?;
        // A snapshot, whatever the proxy writes meanwhile.
        let snapshot = copy.path().join(state::FILE);
        Connection::open(folder.join(state::FILE))?
            .execute("VACUUM INTO ?1", [snapshot.to_string_lossy()])
            .context("the state cannot be copied")?;
        let store = Store::open(copy.path(), Arc::new(ColumnKeys::new(again.state_master)))?;
        Ok(Self { keys, store, copy })
    }

    /// The number of the newest encryption key, and the key.
    ///
    /// # Errors
    /// There is none.
    pub fn newest_key(&self) -> anyhow::Result<(u64, &EncryptionSecret)> {
        let newest = self.keys.encryption.iter().max_by_key(|record| record.number);
        newest
            .map(|record| (record.number, &record.secret))
            .context("no encryption key")
    }

    /// Numbers of the encryption keys that are held.
    #[must_use]
    pub fn key_numbers(&self) -> Vec<u64> {
        self.keys.encryption.iter().map(|record| record.number).collect()
    }

    /// The id of the agent at its relay.
    #[must_use]
    pub fn agent_id(&self) -> AgentId {
        self.keys.agent_id()
    }

    /// The chain of a member in an epoch of a group.
    ///
    /// # Errors
    /// There is none.
    pub fn chain(&self, group: &GroupId, epoch: u64, member: &AgentId) -> anyhow::Result<Chain> {
        let row = self.store.group(group)?.context("no such group")?;
        let epoch = self.store.epoch(row.group_row, epoch)?.context("no such epoch")?;
        let chain = self.store.chain(epoch.epoch_row, member)?;
        Ok(chain.context("no chain of this member")?.chain)
    }

    /// The keys of groups as they lie in the database, sealed.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn sealed_chains(&self) -> anyhow::Result<Vec<Vec<u8>>> {
        let database = Connection::open(self.copy.path().join(state::FILE))?;
        let mut statement =
            database.prepare("SELECT sealed FROM chain UNION ALL SELECT sealed FROM skipped_key")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
