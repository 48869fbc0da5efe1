//! Fingerprints that were given for agents whose key nobody here has relied on yet.

use rusqlite::{OptionalExtension as _, params};
use waxwire_shared::{fingerprint::Fingerprint, ids::Handle};

use super::{Pin, Reader, StateError, Store, from_sql, peers::identity_of};
use crate::model::PinEntry;

impl Store {
    /// What a handle's first bundle has to be of. While there is one, a key that only a lookup has shown counts for
    /// nothing, see [`Self::peer`].
    ///
    /// # Errors
    /// [`StateError`].
    pub fn expected(&self, handle: &Handle) -> Result<Option<PinEntry>, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT fingerprint, verified FROM expected WHERE handle = ?1")?;
        let row = statement.query_row([handle.as_str()], |row| {
            Ok(PinEntry {
                handle: handle.clone(),
                fingerprint: Fingerprint::from_bytes(row.get(0)?),
                verified: row.get(1)?,
            })
        });
        Ok(row.optional()?)
    }

    /// Remembers it, in place of what was given before.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_expected(&self, pin: &PinEntry) -> Result<(), StateError> {
        self.db
            .prepare_cached(
                "INSERT INTO expected(handle, fingerprint, verified) VALUES (?1, ?2, ?3) \
                 ON CONFLICT(handle) DO UPDATE SET fingerprint = ?2, verified = ?3",
            )?
            .execute(params![
                pin.handle.as_str(),
                pin.fingerprint.as_bytes(),
                pin.verified
            ])?;
        Ok(())
    }

    /// The agent is pinned now.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn drop_expected(&self, handle: &Handle) -> Result<(), StateError> {
        self.db
            .prepare_cached("DELETE FROM expected WHERE handle = ?1")?
            .execute([handle.as_str()])?;
        Ok(())
    }

    /// How many agents are expected.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn count_expected(&self) -> Result<u64, StateError> {
        let mut statement = self.db.prepare_cached("SELECT count(*) FROM expected")?;
        Ok(from_sql(statement.query_row([], |row| row.get(0))?))
    }
}

impl Reader {
    /// Pins that somebody has compared, or given a fingerprint for: by handle. Blocked peers, and those that are
    /// shown under another identity now, are left out.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn pins(&self, verified_only: bool) -> Result<Vec<PinEntry>, StateError> {
        let db = self.db();
        let mut statement = db.prepare_cached(
            "SELECT peer_id, handle, identity, trust FROM peer \
             WHERE trust IN (2, 3) AND trust >= ?1 AND changed IS NULL ORDER BY handle",
        )?;
        let least = if verified_only {
            Pin::Verified
        } else {
            Pin::Fingerprint
        };
        let mut rows = statement.query([least.number()])?;
        let mut pins = Vec::new();
        while let Some(row) = rows.next()? {
            let peer_id = row.get(0)?;
            let handle: String = row.get(1)?;
            pins.push(PinEntry {
                handle: handle.parse().map_err(|_| StateError::Damaged {
                    table: "peer",
                    row: peer_id,
                })?,
                fingerprint: Fingerprint::of(&identity_of(peer_id, row.get(2)?)?),
                verified: Pin::from_number(row.get(3)?) == Pin::Verified,
            });
        }
        Ok(pins)
    }
}
