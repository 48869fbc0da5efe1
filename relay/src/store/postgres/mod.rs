//! The store for when one machine's file is not enough: one writer with group commit on a connection of its own, a
//! pool of readers. The writer's connection holds the place of this relay: the database alone, or a number of its own
//! beside others. Whoever loses it writes nothing until it has one again.

mod accounts;
mod batch;
mod blobs;
mod directory;
mod engine;
mod facts;
mod gathered;
mod groups;
mod hooks;
mod leases;
mod lineage;
mod many;
mod open;
mod orgs;
mod place;
mod presence;
#[path = "../reads/mod.rs"]
#[expect(
    clippy::duplicate_mod,
    reason = "the folder says why each backend compiles it"
)]
mod reads;
mod relations;
mod retention;
mod sql;
mod successions;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod transparency;

use std::{fmt, sync::Arc, time::Duration};

use sqlx::PgPool;

use self::{
    batch::Transaction,
    engine::{Job, PostgresEngine, set_counter},
    gathered::Gathered,
};
use super::{
    Duty, NewEnvelope, OpenError, PostgresUrl, Reply, StoreContext, View, WriteError,
    writer::{PROBE_COUNTER, WriterHandle},
};
use crate::limits::Tiers;

/// As the shared reads know it.
use PostgresStore as Backend;

/// How long readiness waits for the writer and the readers.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// A database, opened. Clones share it.
#[derive(Clone)]
pub struct PostgresStore {
    readers: PgPool,
    /// Reads of agents' own queues, and of the messages of groups.
    own: Gathered,
    messages: Gathered,
    tiers: Arc<Tiers>,
    /// Whether other processes may serve, too.
    others: bool,
    writer: Arc<WriterHandle<dyn Job>>,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresStore")
    }
}

impl PostgresStore {
    /// Opens a database that exists, and migrates it where needed.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(url: &PostgresUrl, context: StoreContext) -> Result<Self, OpenError> {
        let options = open::options(url)?;
        open::migrate(&options).await?;
        let readers = open::readers(&options);
        let tiers = Arc::clone(&context.tiers);
        let others = context.others;
        let (metrics, listener) = (Arc::clone(&context.metrics), Arc::clone(&context.listener));
        let engine = tokio::task::spawn_blocking(move || PostgresEngine::open(options, &context));
        let engine = engine
            .await
            .map_err(|error| OpenError::Thread(std::io::Error::other(error)))??;
        let writer = WriterHandle::start(engine, metrics, listener)?;
        Ok(Self {
            own: Gathered::own(&readers),
            messages: Gathered::messages(&readers),
            readers,
            tiers,
            others,
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
        self.write(async move |tx| batch::write_acks(tx.connection, &acks).await)
            .await
    }

    pub(super) const fn has_others(&self) -> bool {
        self.others
    }

    pub(super) async fn has_duty(&self, duty: Duty) -> Result<bool, WriteError> {
        if !self.others {
            return Ok(true);
        }
        self.write(async move |tx| place::take_on(tx.connection, duty).await)
            .await
    }

    pub(super) async fn is_ready(&self) -> bool {
        let healthy = self.writer.is_healthy();
        let both = async {
            // Cheap while writes succeed, a real one after one failed.
            let probe = self.write(async move |tx| {
                if healthy {
                    return Ok(());
                }
                set_counter(tx.connection, PROBE_COUNTER, tx.now_ms).await
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
        F: AsyncFnMut(&mut Transaction<'_>) -> sqlx::Result<T> + Send + 'static,
    {
        self.writer.act(act, |act| Box::new(act)).await
    }
}
