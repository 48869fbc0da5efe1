//! Sealing of content columns, bound to table, row and column (docs/protocol.md, 8).

use rand_core::CryptoRng;
use waxwire_shared::labels::Label;
use zeroize::Zeroizing;

use super::StateError;
use crate::crypto::{
    aead, kdf,
    secret::{StateKey, StateMasterKey},
};

/// The keys of the local database: sub-keys by generation, a new one every week.
#[derive(Debug)]
pub struct ColumnKeys {
    master: StateMasterKey,
    tags: StateKey,
}

/// Milliseconds of one generation of the sub-key.
const GENERATION_MS: u64 = 7 * 24 * 3_600 * 1_000;
/// The generation whose key makes keyed hashes; no box is ever sealed under it.
const TAG_GENERATION: u64 = u64::MAX;

impl ColumnKeys {
    /// Derives from the key store's master key.
    #[must_use]
    pub fn new(master: StateMasterKey) -> Self {
        let tags = kdf::state_key(&master, TAG_GENERATION);
        Self { master, tags }
    }

    /// `generation u64 big-endian || sealed`.
    pub(super) fn seal(
        &self,
        rng: &mut dyn CryptoRng,
        table: &'static str,
        row: i64,
        now: u64,
        plaintext: &[u8],
    ) -> Vec<u8> {
        let generation = now / GENERATION_MS;
        let key = kdf::state_key(&self.master, generation);
        let sealed = aead::seal(
            rng,
            &key,
            Label::AadStateColumn,
            &place(table, &row.to_be_bytes()),
            plaintext,
        );
        [&generation.to_be_bytes(), sealed.as_slice()].concat()
    }

    /// Opens what [`Self::seal`] sealed for the same place.
    pub(super) fn open(
        &self,
        table: &'static str,
        row: i64,
        bytes: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, StateError> {
        let damaged = || StateError::Damaged { table, row };
        let (generation, sealed) = bytes.split_first_chunk().ok_or_else(damaged)?;
        let key = kdf::state_key(&self.master, u64::from_be_bytes(*generation));
        aead::open(
            &key,
            Label::AadStateColumn,
            &place(table, &row.to_be_bytes()),
            sealed,
        )
        .map_err(|_| damaged())
    }

    /// A keyed hash of 16 bytes, to look a value up that must not lie there in clear.
    pub(super) fn tag(&self, what: &'static str, value: &[u8]) -> [u8; 16] {
        kdf::column_tag(&self.tags, what, value)
    }
}

/// Table, row and column; every table has one sealed column.
const fn place<'a>(table: &'static str, row: &'a [u8; 8]) -> [&'a [u8]; 3] {
    [table.as_bytes(), row, b"sealed"]
}
