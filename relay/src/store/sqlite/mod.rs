//! The embedded store: one writer thread with group commit, a pool of readers.

mod accounts;
mod admission;
mod batch;
mod blobs;
mod checkpoint;
mod directory;
mod groups;
mod hooks;
mod leases;
mod memory;
mod open;
mod ops;
mod orgs;
mod presence;
mod reads;
mod relations;
mod retention;
mod sql;
mod successions;
#[cfg(test)]
mod tests;
mod writer;

use std::{fmt, path::Path, sync::Arc, time::Duration};

use sqlx::SqlitePool;
use tokio::sync::oneshot;

use self::{
    batch::Transaction,
    ops::{Act, Op, SendOp},
    writer::WriterHandle,
};
use super::{NewEnvelope, OpenError, Reply, StoreContext, View, WriteError};
use crate::clock::Stopwatch;

/// How long readiness waits for the writer and the readers.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// A database file, opened. Clones share it.
#[derive(Clone)]
pub struct SqliteStore {
    readers: SqlitePool,
    writer: Arc<WriterHandle>,
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
        let writer = WriterHandle::start(path, lock, context)?;
        Ok(Self {
            readers: open::readers(path),
            writer: Arc::new(writer),
        })
    }

    pub(super) async fn submit(&self, send: NewEnvelope, reply: Reply) {
        let op = SendOp {
            send,
            reply,
            queued: Stopwatch::start(),
        };
        self.writer.submit(Op::Send(op)).await;
    }

    pub(super) fn note_ack(&self, view: View, position: u64) {
        self.writer.note_ack(view, position);
    }

    pub(super) async fn ack(&self, acks: Vec<(View, u64)>) -> Result<(), WriteError> {
        self.write(move |tx| batch::write_acks(tx.connection, tx.memory, acks.iter().copied()))
            .await
    }

    pub(super) async fn is_ready(&self) -> bool {
        let both = async {
            let write = self.writer.probe().await;
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
        let (reply, answer) = oneshot::channel();
        self.writer.submit(Op::Job(Box::new(Act::new(act, reply)))).await;
        answer.await.unwrap_or(Err(WriteError::Unavailable))
    }
}
