//! Backups: one sealed file with what a proxy needs on a new host (docs/protocol.md, 8.3).
//!
//! The file is written and read in chunks, so that a long history needs no more memory than a short
//! one. Its header commits to the key-encryption key and is compared before anything is opened; each
//! chunk is bound to the header, to its place and to whether it is the last. It holds no private half of
//! an encryption key, no key of a group and nothing that was not sent: whoever restores gets new ones.
//!
//! - `chunks`: header and sealed chunks; `records`: what is in them

mod chunks;
mod records;

#[cfg(test)]
mod tests;

use std::{
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
};

use rand_core::CryptoRng;

use self::{
    chunks::{ChunkReader, ChunkWriter},
    records::{Record, RecordReader, RecordWriter},
};
use crate::{
    crypto::secret::StoreKek,
    keystore::{Argon2Cost, KeyStoreError, Keys, Unlock},
    state::{self, Import, StateError},
};

/// What a backup says of itself before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manifest {
    /// When it was made, Unix milliseconds.
    pub made_at: u64,
    /// Whether it holds the messages that the agent has taken already.
    pub history: bool,
    /// Migrations of the database that its rows are from.
    pub schema: u32,
}

/// What was written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Rows of the database.
    pub rows: u64,
    /// Messages among them.
    pub messages: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Why a backup cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file does not begin as a backup does.
    #[error("not a backup")]
    NotABackup,
    /// The file was written by a later version, or the field was altered.
    #[error("backup has the unknown version {version}")]
    UnknownVersion {
        /// The version found.
        version: u16,
    },
    /// The secret cannot be had, is of the other kind or wrong, or the header was altered.
    #[error("the backup cannot be unlocked")]
    Unlock(#[source] KeyStoreError),
    /// The passphrase or key is wrong, or the header was altered.
    #[error("wrong passphrase or key, or altered header")]
    WrongSecret,
    /// The secret is right and a chunk does not open: altered, cut, doubled or moved.
    #[error("the backup was altered or is cut off")]
    Altered,
    /// It opens and does not hold what it should: a fault of whoever wrote it.
    #[error("the backup is malformed: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// It is of a later version of the database.
    #[error(
        "the backup is of a later version: it knows {found} migrations of the database, this program {known}"
    )]
    TooNew {
        /// What it says.
        found: u32,
        /// What this program knows.
        known: u32,
    },
    /// The database.
    #[error("the database cannot be copied")]
    State(#[from] StateError),
    /// The system refused.
    #[error("the backup cannot be read or written")]
    Io(#[from] std::io::Error),
}

/// Writes a backup of `keys` and of the database in `folder` to `file`, which is empty. The database may
/// be in use: its rows are those of one moment.
///
/// `rng` gives a salt and a nonce for each chunk. `progress` is told how much is written, now and then.
///
/// # Errors
/// [`BackupError`]; the file is of no use then.
pub fn write(
    file: impl Write,
    folder: &Path,
    keys: &Keys,
    secret: (&Unlock, Argon2Cost),
    manifest: (u64, bool),
    rng: &mut (impl CryptoRng + ?Sized),
    mut progress: impl FnMut(&Totals),
) -> Result<Totals, BackupError> {
    let (made_at, history) = manifest;
    let chunks = ChunkWriter::begin(file, secret.0, secret.1, rng)?;
    let mut records = RecordWriter::new(chunks);
    let manifest = Manifest {
        made_at,
        history,
        schema: state::SCHEMA,
    };
    records.write(&Record::Manifest(manifest), rng)?;
    let slots = crate::keystore::portable(keys).map_err(|_| malformed("keys"))?;
    for (number, content) in slots {
        records.write(&Record::Slot { number, content }, rng)?;
    }
    let mut totals = Totals::default();
    state::export(folder, history, |item| {
        if let state::Exported::Row { table, .. } = &item {
            totals.rows += 1;
            totals.messages += u64::from(*table == "message");
        }
        records.write(&item.into(), rng)?;
        totals.bytes = records.written();
        progress(&totals);
        Ok::<(), BackupError>(())
    })?;
    records.write(&Record::End { rows: totals.rows }, rng)?;
    totals.bytes = records.finish(rng)?;
    Ok(totals)
}

/// The plaintext of a backup that is small enough to be in memory, for test vectors.
///
/// # Errors
/// [`BackupError`].
pub fn plaintext(mut file: &[u8], kek: StoreKek) -> Result<Vec<u8>, BackupError> {
    let key = chunks::open(&mut file, |unlocking| unlocking.confirm(kek))?;
    let mut chunks = ChunkReader::new(file, &key);
    let mut plaintext = Vec::new();
    while let Some(part) = chunks.next()? {
        plaintext.extend_from_slice(&part);
    }
    Ok(plaintext)
}

/// A backup whose secret is right.
pub struct Backup<F> {
    file: F,
    key: chunks::Opened,
    /// What it says of itself.
    pub manifest: Manifest,
    /// The keys in it: without an API key and without encryption keys.
    pub keys: Keys,
    /// What is in the rest of it.
    pub totals: Totals,
}

impl<F> std::fmt::Debug for Backup<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Backup({:?})", self.manifest)
    }
}

/// The rows of a backup that was read once.
pub struct Rows<F> {
    file: F,
    key: chunks::Opened,
    /// What the backup says of itself.
    pub manifest: Manifest,
}

impl<F: Read + Seek> Backup<F> {
    /// Takes the keys out.
    #[must_use]
    pub fn into_keys(self) -> (Keys, Rows<F>) {
        let rows = Rows {
            file: self.file,
            key: self.key,
            manifest: self.manifest,
        };
        (self.keys, rows)
    }

    /// Opens a backup and reads all of it once: nothing is made of one that is cut off or altered.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn open(mut file: F, unlock: &Unlock) -> Result<Self, BackupError> {
        let key = chunks::open(&mut file, |unlocking| unlocking.open(unlock))?;
        let mut records = RecordReader::new(ChunkReader::new(&mut file, &key));
        let manifest = match records.next()? {
            Some(Record::Manifest(manifest)) => manifest,
            _ => return Err(malformed("it does not begin with a manifest")),
        };
        if manifest.schema > state::SCHEMA || manifest.schema == 0 {
            return Err(BackupError::TooNew {
                found: manifest.schema,
                known: state::SCHEMA,
            });
        }
        let mut slots = Vec::new();
        let (mut totals, mut end, mut message) = (Totals::default(), None, false);
        while let Some(record) = records.next()? {
            match record {
                Record::Slot { number, content } if totals.rows == 0 => slots.push((number, content)),
                Record::Table { name, .. } if end.is_none() => message = name == "message",
                Record::Row { .. } if end.is_none() => {
                    totals.rows += 1;
                    totals.messages += u64::from(message);
                }
                Record::End { rows } if end.is_none() => end = Some(rows),
                _ => return Err(malformed("records out of place")),
            }
        }
        if end != Some(totals.rows) {
            return Err(malformed("rows are missing"));
        }
        let keys = crate::keystore::from_portable(slots).map_err(|_| malformed("keys"))?;
        totals.bytes = file.seek(SeekFrom::End(0))?;
        Ok(Self {
            file,
            key,
            manifest,
            keys,
            totals,
        })
    }
}

impl<F> std::fmt::Debug for Rows<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rows({:?})", self.manifest)
    }
}

impl<F: Read + Seek> Rows<F> {
    /// Writes the rows into a database that [`Import`] has begun.
    ///
    /// # Errors
    /// [`BackupError`]; the database is of no use then.
    pub fn unpack(&mut self, into: &mut Import, mut progress: impl FnMut(u64)) -> Result<(), BackupError> {
        self.file.seek(SeekFrom::Start(chunks::HEADER as u64))?;
        let mut records = RecordReader::new(ChunkReader::new(&mut self.file, &self.key));
        let mut rows = 0;
        while let Some(record) = records.next()? {
            match record {
                Record::Table { name, columns } => into.table(&name, &columns)?,
                Record::Row { values } => {
                    into.row(&values)?;
                    rows += 1;
                    progress(rows);
                }
                Record::Manifest(_) | Record::Slot { .. } | Record::End { .. } => {}
            }
        }
        Ok(())
    }
}

const fn malformed(what: &'static str) -> BackupError {
    BackupError::Malformed { what }
}
