//! Why a store cannot be opened, written or read.

use std::path::PathBuf;

use sqlx::migrate::MigrateError;

use crate::snowflake::WorkerId;

/// Text that is no database URL. There may be a password in it, so no error repeats it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseUrlError {
    /// Of no database that there is.
    #[error("a database is sqlite://PATH or postgres://...")]
    Kind,
    /// Not one of PostgreSQL.
    #[error(
        "the URL of PostgreSQL cannot be parsed: {0}; special characters in a name or password are percent-encoded, @ is %40"
    )]
    Postgres(String),
    /// Asks for something that would not be done.
    #[error("the URL of PostgreSQL has the unknown parameter {0}")]
    Parameter(String),
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL of the database.
    #[error(transparent)]
    Url(#[from] DatabaseUrlError),
    /// There is no server, no such database, or it does not let this program in.
    #[error("the database cannot be reached")]
    Connect(#[source] sqlx::Error),
    /// The server is of an old version.
    #[error("PostgreSQL 15 or later is needed")]
    TooOld,
    /// Another relay serves this database.
    #[error("the database is in use by another relay")]
    InUse,
    /// A relay that serves this database wants no other beside it.
    #[error("the database is in use by a relay without --redis, beside which no other goes")]
    InUseAlone,
    /// The number that this process is to have in ids.
    #[error("another relay on the database has the number {0}: choose another --worker-id, or none")]
    WorkerTaken(WorkerId),
    /// All numbers.
    #[error("other relays on the database have all numbers")]
    WorkersTaken,
    /// The file cannot be created or locked.
    #[error("the database file {path} cannot be opened")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Tables, and none of a relay.
    #[error("the database is another program's: the relay needs one of its own")]
    Foreign,
    /// It knows a migration that this program lacks.
    #[error("the database was migrated by a later version of the relay; this one cannot serve it")]
    Later,
    /// A migration failed.
    #[error("the database cannot be migrated")]
    Migrate(#[source] MigrateError),
    /// The pool of readers.
    #[error("the database cannot be read")]
    Read(#[from] sqlx::Error),
    /// The writer.
    #[error("the database cannot be written")]
    Write(#[from] rusqlite::Error),
    /// The writer's thread cannot be started.
    #[error("the writer cannot be started")]
    Thread(#[source] std::io::Error),
}

impl From<MigrateError> for OpenError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::VersionMissing(_) => Self::Later,
            error => Self::Migrate(error),
        }
    }
}

/// Why nothing was written, as far as anybody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The database cannot be written now, or the relay is stopping; the outcome is unknown.
    #[error("the database cannot be written now")]
    Unavailable,
    /// This write alone failed, for a reason that repeating it will not mend.
    #[error("the write failed")]
    Failed,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database did not answer.
    #[error("the database cannot be read")]
    Database(#[from] sqlx::Error),
    /// A row that this program would not have written.
    #[error("column {column} of {table} is not valid")]
    Row {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
}
