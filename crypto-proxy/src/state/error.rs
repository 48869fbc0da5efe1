//! Why the state cannot be read or written.

use std::path::PathBuf;

/// Why the state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// SQLite refuses: disk full, locked, damaged.
    #[error("the state database does not answer")]
    Database(#[from] rusqlite::Error),
    /// A row does not open or is not what this version writes.
    #[error("row {row} of {table} is damaged")]
    Damaged {
        /// The table.
        table: &'static str,
        /// The row.
        row: i64,
    },
    /// There is no database where one should be.
    #[error("there is no state database at {}: restore a backup, or recover the handle by its recovery key", .0.display())]
    Missing(PathBuf),
    /// There is a database where a new one should be made.
    #[error("a state database exists at {}", .0.display())]
    AlreadyExists(PathBuf),
    /// The file of a new database cannot be made.
    #[error("cannot make {}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The database was written by a later version.
    #[error("the state database has schema version {found}, this program knows up to {known}")]
    TooNew {
        /// Version found.
        found: i64,
        /// Highest known version.
        known: i64,
    },
    /// The database belongs to other keys.
    #[error("the state database does not belong to this key store")]
    Foreign,
}

impl StateError {
    /// Whether the database as a whole does not take writes now, whatever is written.
    #[must_use]
    pub fn is_of_the_database(&self) -> bool {
        use rusqlite::ErrorCode as Code;
        match self {
            Self::Database(rusqlite::Error::SqliteFailure(failure, _)) => matches!(
                failure.code,
                Code::DatabaseBusy
                    | Code::DatabaseLocked
                    | Code::OutOfMemory
                    | Code::ReadOnly
                    | Code::PermissionDenied
                    | Code::SystemIoFailure
                    | Code::DatabaseCorrupt
                    | Code::DiskFull
                    | Code::CannotOpen
                    | Code::FileLockingProtocolFailed
                    | Code::NotADatabase
            ),
            Self::Database(_) | Self::Damaged { .. } => false,
            _ => true,
        }
    }
}
