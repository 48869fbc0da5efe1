//! The embedded store: one writer thread with group commit, a pool of readers.

mod accounts;
mod backup;
mod batch;
mod blobs;
mod checkpoint;
mod directory;
mod facts;
mod groups;
mod hooks;
mod leases;
mod lineage;
mod many;
mod open;
mod orgs;
mod presence;
#[path = "../reads/mod.rs"]
mod reads;
mod relations;
mod retention;
mod sql;
mod successions;
#[cfg(test)]
mod tests;
mod transparency;
mod writer;

use std::{fmt, path::Path, sync::Arc, time::Duration};

pub use backup::{CopyError, copy};
use sqlx::SqlitePool;

use self::{
    batch::Transaction,
    writer::{Job, SqliteEngine, set_counter},
};
use super::{
    NewEnvelope, OpenError, Reply, StoreContext, View, WriteError,
    writer::{PROBE_COUNTER, WriterHandle},
};
use crate::limits::Tiers;

/// As the shared reads know it.
use SqliteStore as Backend;

/// How long readiness waits for the writer and the readers.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// A database file, opened. Clones share it.
#[derive(Clone)]
pub struct SqliteStore {
    readers: SqlitePool,
    tiers: Arc<Tiers>,
    writer: Arc<WriterHandle<dyn Job>>,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SqliteStore")
    }
}

impl SqliteStore {
    /// Opens a database file, creates and migrates it where needed.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(path: &Path, context: StoreContext) -> Result<Self, OpenError> {
        open::create(path)?;
        let lock = if context.serving {
            Some(open::lock(path)?)
        } else {
            None
        };
        open::migrate(path).await?;
        let tiers = Arc::clone(&context.tiers);
        let engine = SqliteEngine::open(path, lock, &context)?;
        let writer = WriterHandle::start(engine, context.metrics, context.listener)?;
        Ok(Self {
            readers: open::readers(path),
            tiers,
            writer: Arc::new(writer),
        })
    }

    pub(super) async fn submit(&self, send: NewEnvelope, reply: Reply) {
        self.writer.send(send, reply).await;
    }

    pub(super) fn note_ack(&self, view: View, position: u64) {
        self.writer.note_ack(view, position);
    }

    pub(super) async fn ack(&self, acks: Vec<(View, u64)>) -> Result<(), WriteError> {
        self.write(move |tx| batch::write_acks(tx.connection, tx.memory, acks.iter().copied()))
            .await
    }

    pub(super) async fn is_ready(&self) -> bool {
        let healthy = self.writer.is_healthy();
        let both = async {
            // Cheap while writes succeed, a real one after one failed.
            let probe = self.write(move |tx| {
                if healthy {
                    return Ok(());
                }
                set_counter(tx.connection, PROBE_COUNTER, tx.now_ms)
            });
            let write = probe.await.is_ok();
            let read = sqlx::query(sql::PING).execute(&self.readers).await;
            write && read.is_ok()
        };
        tokio::time::timeout(READY_TIMEOUT, both).await.unwrap_or(false)
    }

    pub(super) async fn close(&self) {
        self.writer.close().await;
        self.readers.close().await;
    }

    /// Runs one act in the next batch's transaction. It may run twice: after a batch that failed for
    /// another act's sake, each runs in a transaction of its own.
    async fn write<T, F>(&self, act: F) -> Result<T, WriteError>
    where
        T: Send + 'static,
        F: FnMut(&mut Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        self.writer.act(act, |act| Box::new(act)).await
    }
}
