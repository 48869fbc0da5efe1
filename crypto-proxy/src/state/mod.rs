//! The proxy's durable state: SQLite with sealed content columns. All SQL of the proxy is here.
//!
//! [`Store`] is the one writer, owned by the engine; every event is handled inside a transaction
//! that [`Store::begin`] opened and [`Store::commit`] ends. [`Reader`] serves the local API from
//! connections of its own and sees what was committed.

mod alerts;
mod anew;
mod channels;
mod cited;
mod confirmation;
mod contacts;
mod conversations;
mod copy;
mod deadlines;
mod epochs;
mod error;
mod expected;
mod former;
mod group_held;
mod group_log;
mod group_messages;
mod group_views;
mod groups;
mod inbound;
mod invitations;
mod live;
mod messages;
mod mutes;
mod outbox;
mod own_bundle;
mod own_profile;
mod peers;
mod queues;
mod reader;
mod receipts;
mod repair;
#[cfg(test)]
pub(crate) mod scans;
mod schedules;
mod seal;
mod set_back;
mod transparency;
mod uploads;
mod views;
mod webhooks;

#[cfg(test)]
mod tests;

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt as _, path::Path, sync::Arc, time::Duration};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, params};

use deadlines::Deadlines;

pub use contacts::Subject;
pub use conversations::ConversationRow;
pub use copy::{Exported, Import, SCHEMA, export};
pub use deadlines::Waiting;
pub use epochs::{ChainRow, EpochRow, EpochState};
pub use error::StateError;
pub use group_held::{HeldGroupEnvelope, Lacking, NewHeld};
pub use group_log::PendingCommit;
pub use group_messages::GrantedMessage;
pub use groups::{GroupRow, ProfileDue, Standing, Stop, StoredProfile};
pub use inbound::{SessionRow, SessionUpdate};
pub use invitations::InvitationRow;
pub use live::{Beginning, Stretch, VisibleRow};
pub use messages::{Direction, GapOf, Hold, MessageRow, NewMessage, SYSTEM};
pub use outbox::{OutboxRow, to_ranges};
pub use peers::{PeerRow, Pin, Shown};
pub use queues::{HeldEnvelope, HeldReason};
pub use reader::{HistoryRange, InboxFilter, InboxPage, Reader, Since, Stuck};
pub use repair::{MissingOf, Owed, OwnEnvelope};
pub use seal::ColumnKeys;
pub use transparency::{HeadReader, HeadRole, OwnLeaf, ScanRole};
pub use views::StoredEvent;
pub use webhooks::{NewHookEvent, Subscriber};

/// Schema versions, oldest first; the database's `user_version` says how many were applied.
const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    include_str!("attachments.sql"),
    include_str!("channels.sql"),
    include_str!("repeats.sql"),
    include_str!("transparency.sql"),
    include_str!("trust.sql"),
    include_str!("lost_commits.sql"),
    include_str!("fewer_pages.sql"),
    include_str!("unsettled_heads.sql"),
    include_str!("unread.sql"),
    include_str!("inbox.sql"),
    include_str!("refused_commits.sql"),
];

/// The counter of visible messages in `meta`.
const LAST_PLACE: &str = "last_place";

/// How long a statement waits for another connection.
const BUSY: Duration = Duration::from_secs(5);

/// File name inside the state folder.
pub const FILE: &str = "state.db";

/// The one writer of the state.
#[derive(Debug)]
pub struct Store {
    db: Connection,
    keys: Arc<ColumnKeys>,
    /// Names this store in delivery ids.
    tag: [u8; 8],
    deadlines: Deadlines,
}

impl Store {
    /// Makes the database of a new state folder; `tag` is random and names it for ever.
    ///
    /// # Errors
    /// [`StateError::AlreadyExists`] or the database's own.
    pub fn create(folder: &Path, keys: Arc<ColumnKeys>, tag: [u8; 8], now: u64) -> Result<(), StateError> {
        let path = folder.join(FILE);
        if path.exists() {
            return Err(StateError::AlreadyExists(path));
        }
        // SQLite gives its journal and log the mode of the database.
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| StateError::Create {
                path: path.clone(),
                source,
            })?;
        let mut db = Connection::open(path)?;
        configure(&db)?;
        migrate(&mut db)?;
        let mut store = Self::new(db, keys, tag);
        store.begin()?;
        store.put_meta("tag", &tag)?;
        store.put_meta("owner", &store.keys.tag("owner", &[]))?;
        store.put_meta("created_at", &now.to_be_bytes())?;
        store.commit()
    }

    /// Opens the database of a state folder and migrates it; never makes one.
    ///
    /// # Errors
    /// [`StateError::Missing`], [`StateError::Foreign`], [`StateError::TooNew`] or the database's own.
    pub fn open(folder: &Path, keys: Arc<ColumnKeys>) -> Result<Self, StateError> {
        let path = folder.join(FILE);
        if !path.is_file() {
            return Err(StateError::Missing(path));
        }
        // One thread uses it: its owner.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Self::adopt(Connection::open_with_flags(&path, flags)?, keys)
    }

    /// An empty state in memory, for tests and the simulation.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn in_memory(keys: Arc<ColumnKeys>, tag: [u8; 8]) -> Result<Self, StateError> {
        let mut db = Connection::open_in_memory()?;
        migrate(&mut db)?;
        Ok(Self::new(db, keys, tag))
    }

    fn new(db: Connection, keys: Arc<ColumnKeys>, tag: [u8; 8]) -> Self {
        let deadlines = Deadlines::default();
        Self {
            db,
            keys,
            tag,
            deadlines,
        }
    }

    fn adopt(mut db: Connection, keys: Arc<ColumnKeys>) -> Result<Self, StateError> {
        configure(&db)?;
        migrate(&mut db)?;
        let mut store = Self::new(db, keys, [0; 8]);
        if store.meta::<16>("owner")? != Some(store.keys.tag("owner", &[])) {
            return Err(StateError::Foreign);
        }
        store.tag = store.meta("tag")?.ok_or(StateError::Foreign)?;
        Ok(store)
    }

    /// Opens a transaction.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub fn begin(&mut self) -> Result<(), StateError> {
        self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(())
    }

    /// Makes everything since [`Self::begin`] durable.
    ///
    /// # Errors
    /// [`StateError::Database`]; then nothing of it is.
    pub fn commit(&mut self) -> Result<(), StateError> {
        self.db.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// Drops everything since [`Self::begin`], also after a failed commit.
    pub fn rollback(&mut self) {
        self.deadlines.forget();
        if !self.db.is_autocommit()
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "rollback failed");
        }
    }

    /// Writes everything into the database file and empties the write-ahead log, in which what was overwritten
    /// or deleted would stand on (docs/protocol.md, 8.2). False if a reader is in the way.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub fn fold(&self) -> Result<bool, StateError> {
        self.db.busy_timeout(Duration::ZERO)?;
        let busy = self
            .db
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
        self.db.busy_timeout(BUSY)?;
        match busy {
            Err(rusqlite::Error::SqliteFailure(error, _)) if error.code == ErrorCode::DatabaseBusy => {
                Ok(false)
            }
            busy => Ok(!busy?),
        }
    }

    /// Damages the state, for tests.
    #[cfg(test)]
    pub(crate) fn execute(&self, sql: &str) {
        self.db.execute_batch(sql).unwrap();
        self.deadlines.forget();
    }

    /// The random name of this store in delivery ids.
    #[must_use]
    pub const fn tag(&self) -> [u8; 8] {
        self.tag
    }

    /// The last place that was given out in the order in which messages become visible.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn last_place(&self) -> Result<u64, StateError> {
        Ok(self.meta(LAST_PLACE)?.map_or(0, u64::from_be_bytes))
    }

    fn meta<const N: usize>(&self, key: &str) -> Result<Option<[u8; N]>, StateError> {
        meta(&self.db, key)
    }

    fn put_meta(&self, key: &str, value: &[u8]) -> Result<(), StateError> {
        let mut statement = self.db.prepare_cached(
            "INSERT INTO meta(key, value) VALUES (?1, ?2) ON CONFLICT(key) DO UPDATE SET value = ?2",
        )?;
        statement.execute(params![key, value])?;
        Ok(())
    }

    /// The next number of a counter kept in `meta`, from 1.
    fn next_number(&self, key: &str) -> Result<u64, StateError> {
        let next = self.meta(key)?.map_or(0, u64::from_be_bytes) + 1;
        self.put_meta(key, &next.to_be_bytes())?;
        Ok(next)
    }
}

fn meta<const N: usize>(db: &Connection, key: &str) -> Result<Option<[u8; N]>, StateError> {
    let mut statement = db.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    Ok(statement.query_row([key], |row| row.get(0)).optional()?)
}

/// Durable on power loss, deleted rows overwritten, small caches: a sidecar is one of many.
fn configure(db: &Connection) -> Result<(), StateError> {
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", "full")?;
    db.pragma_update(None, "secure_delete", "on")?;
    db.pragma_update(None, "foreign_keys", "on")?;
    db.pragma_update(None, "cache_size", -2_048)?;
    db.busy_timeout(BUSY)?;
    db.set_prepared_statement_cache_capacity(128);
    Ok(())
}

fn migrate(db: &mut Connection) -> Result<(), StateError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > known {
        return Err(StateError::TooNew { found, known });
    }
    let transaction = db.transaction()?;
    for migration in &MIGRATIONS[usize::try_from(found).unwrap_or(0)..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    Ok(transaction.commit()?)
}

/// Numbers travel through SQLite as `i64`; ours stay far below its limit.
fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn from_sql(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
