//! Creating, locking, migrating and opening the database file.

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};
use sqlx::{
    ConnectOptions as _, Connection as _, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

use super::sql;
use crate::store::OpenError;

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Whether there are tables, and never were migrations.
const IS_FOREIGN: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_schema)
    AND NOT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations')";

/// How long a connection waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(5);
/// Connections that read at the same time.
const READERS: u32 = 4;

/// Creates the file where it is missing, for its owner only: it holds the relay's secret key.
pub(super) fn create(path: &Path) -> Result<(), OpenError> {
    let made = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path);
    made.map(drop).map_err(|source| OpenError::File {
        path: path.to_path_buf(),
        source,
    })
}

/// Makes this process the only one that serves the database, for as long as the file is held. The
/// lock is on a file of its own: SQLite gives its locks up when anybody closes the database file.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push("-lock");
    let path = PathBuf::from(name);
    let failed = |source| OpenError::File {
        path: path.clone(),
        source,
    };
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Brings the schema up to date.
pub(super) async fn migrate(path: &Path) -> Result<(), OpenError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY)
        .disable_statement_logging();
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await?;
    let (foreign,): (bool,) = sqlx::query_as(IS_FOREIGN).fetch_one(&mut connection).await?;
    if foreign {
        return Err(OpenError::Foreign);
    }
    MIGRATIONS.run(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// The writer's connection.
pub(super) fn writer(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch(sql::PRAGMAS)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// The readers' connections, opened when they are needed.
pub(super) fn readers(path: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(BUSY)
        .pragma("cache_size", "-2000")
        .disable_statement_logging();
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(Duration::from_secs(10))
        .test_before_acquire(false)
        .connect_lazy_with(options)
}
