//! A copy of the database as it is at one moment, also while a relay serves it.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt as _, path::Path};

use rusqlite::{Connection, OpenFlags};

use super::lineage::end_in;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The file.
    #[error("the copy cannot be written")]
    File(#[from] std::io::Error),
    /// The database.
    #[error("the database cannot be copied")]
    Database(#[from] rusqlite::Error),
}

/// Copies the database at `from` into a new file for its owner only. A relay that serves the copy begins another
/// lineage. Blocks until all of it is on disk.
///
/// # Errors
/// [`CopyError`], among others if the file is there.
pub fn copy(from: &Path, to: &Path) -> Result<(), CopyError> {
    // SQLite takes an empty file; made here, it is nobody else's at any moment.
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(from, flags)?;
    let name = to.to_str().ok_or(std::io::ErrorKind::InvalidFilename);
    let name = name.map_err(std::io::Error::from)?;
    source.execute("VACUUM INTO ?1", [name])?;
    let copied = Connection::open(to)?;
    end_in(&copied)?;
    copied.close().map_err(|(_, error)| error)?;
    Ok(file.sync_all()?)
}
