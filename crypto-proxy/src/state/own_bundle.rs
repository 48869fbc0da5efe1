//! The agent's own bundles and the clock by which its keys are rotated and erased
//! (docs/protocol.md, 4.3). Secret halves are in the key store; nothing here is secret.

use rusqlite::OptionalExtension as _;

use super::{StateError, Store};

const PUBLISHED: &str = "own_bundle";
const OFFERED: &str = "own_bundle_offered";
const RUNNING: &str = "running_ms";
const ROTATED: &str = "rotated_running_ms";

impl Store {
    /// The newest own bundle that the relay is known to have, as signed.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn own_bundle(&self) -> Result<Option<Vec<u8>>, StateError> {
        self.meta_bytes(PUBLISHED)
    }

    /// Remembers a bundle that the relay has; whatever was offered is settled by it.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_own_bundle(&self, signed: &[u8]) -> Result<(), StateError> {
        self.put_meta(PUBLISHED, signed)?;
        self.note_own_bundle(signed)?;
        self.drop_offered_bundle()
    }

    /// An own bundle that the relay may have: the same bytes are offered until it answers.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn offered_bundle(&self) -> Result<Option<Vec<u8>>, StateError> {
        self.meta_bytes(OFFERED)
    }

    /// Remembers a bundle before it is offered.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_offered_bundle(&self, signed: &[u8]) -> Result<(), StateError> {
        self.note_own_bundle(signed)?;
        self.put_meta(OFFERED, signed)
    }

    /// Forgets what was offered.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn drop_offered_bundle(&self) -> Result<(), StateError> {
        let mut statement = self.db.prepare_cached("DELETE FROM meta WHERE key = ?1")?;
        statement.execute([OFFERED])?;
        Ok(())
    }

    /// How long the proxy has run in all, in milliseconds, when it was last noted.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn running_time(&self) -> Result<u64, StateError> {
        Ok(self.meta(RUNNING)?.map_or(0, u64::from_be_bytes))
    }

    /// Notes how long the proxy has run in all.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_running_time(&self, running: u64) -> Result<(), StateError> {
        self.put_meta(RUNNING, &running.to_be_bytes())
    }

    /// The running time at which the encryption key in use was published.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn rotated_at(&self) -> Result<u64, StateError> {
        Ok(self.meta(ROTATED)?.map_or(0, u64::from_be_bytes))
    }

    /// Notes that a new encryption key was published.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_rotated_at(&self, running: u64) -> Result<(), StateError> {
        self.put_meta(ROTATED, &running.to_be_bytes())
    }

    fn meta_bytes(&self, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        let mut statement = self.db.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
        Ok(statement.query_row([key], |row| row.get(0)).optional()?)
    }
}
