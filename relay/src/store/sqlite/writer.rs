//! Writing batches: the one connection that writes, and what becomes of it after a fault.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::{Connection, ErrorCode, OptionalExtension as _};

use super::{
    batch::{self, Transaction},
    checkpoint::Checkpointer,
    open, sql,
};
use waxwire_outbound::traces;

use crate::{
    clock::{Clock, Stopwatch},
    limits::Meter,
    metrics::Metrics,
    snowflake::Snowflakes,
    store::{
        NewEnvelope, OpenError, StoreContext,
        writer::{
            Engine, ID_COUNTER,
            memory::Memory,
            ops::{Act, Answer, Batch, Sends},
        },
    },
};

/// An act other than a send.
pub(super) trait Job: Answer {
    fn run(&mut self, tx: &mut Transaction<'_>) -> rusqlite::Result<()>;
}

impl<T, F> Job for Act<T, F>
where
    T: Send,
    F: FnMut(&mut Transaction<'_>) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, tx: &mut Transaction<'_>) -> rusqlite::Result<()> {
        self.value = Some((self.act)(tx)?);
        Ok(())
    }
}

pub(super) fn set_counter(connection: &Connection, name: &str, value: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(sql::SET_COUNTER)?
        .execute(rusqlite::params![name, value.cast_signed()])
        .map(drop)
}

fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row(sql::CHECKPOINT, [], |_| Ok(()))
}

pub(super) struct SqliteEngine {
    path: PathBuf,
    /// None after a fault, until it can be opened again.
    connection: Option<Connection>,
    memory: Memory,
    checkpointer: Checkpointer,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// Held for as long as anything may be written.
    _lock: Option<File>,
}

impl SqliteEngine {
    /// Opens the writer's connection.
    pub(super) fn open(path: &Path, lock: Option<File>, context: &StoreContext) -> Result<Self, OpenError> {
        let connection = open::writer(path)?;
        if context.serving {
            checkpoint(&connection)?;
        }
        let floor: Option<i64> = connection
            .query_row(sql::COUNTER, [ID_COUNTER], |row| row.get(0))
            .optional()?;
        let floor = floor.unwrap_or_default().cast_unsigned();
        let ids = Snowflakes::new(context.worker.unwrap_or_default(), floor);
        Ok(Self {
            path: path.to_path_buf(),
            connection: Some(connection),
            memory: Memory::new(ids, floor, Arc::clone(&context.tiers), Meter::default()),
            checkpointer: Checkpointer::start(path).map_err(OpenError::Thread)?,
            clock: context.clock.clone(),
            metrics: Arc::clone(&context.metrics),
            _lock: lock,
        })
    }

    fn reopen(&mut self) -> rusqlite::Result<Connection> {
        let connection = open::writer(&self.path)?;
        checkpoint(&connection)?;
        Ok(connection)
    }

    fn transact_on(
        &mut self,
        connection: &Connection,
        batch: &mut Batch<dyn Job>,
    ) -> rusqlite::Result<Sends> {
        let start = Stopwatch::start();
        connection.prepare_cached(sql::BEGIN)?.execute([])?;
        let mut tx = Transaction {
            connection,
            memory: &mut self.memory,
            now_ms: self.clock.now_ms(),
            appended: Vec::new(),
        };
        for job in &mut batch.jobs {
            job.run(&mut tx)?;
        }
        let sends: Vec<&NewEnvelope> = batch.sends.iter().map(|op| &op.send).collect();
        let mut done = if sends.is_empty() {
            Sends::default()
        } else {
            batch::write_sends(&mut tx, &sends)?
        };
        done.appended = tx.appended;
        batch::write_acks(
            connection,
            &mut self.memory,
            batch.acks.iter().map(|(view, position)| (*view, *position)),
        )?;
        let reserve = self.memory.ids_to_reserve(&done);
        if let Some(until) = reserve {
            set_counter(connection, ID_COUNTER, until)?;
        }
        let written = Stopwatch::start();
        self.metrics.transaction.observe(start.until(&written));
        let span = tracing::info_span!(target: traces::TARGET, "commit");
        span.in_scope(|| connection.prepare_cached(sql::COMMIT)?.execute([]))?;
        self.metrics.commit.observe(written.elapsed());
        if let Some(until) = reserve {
            self.memory.reserve_ids(until);
        }
        Ok(done)
    }
}

impl Engine for SqliteEngine {
    type Job = dyn Job;
    type Error = rusqlite::Error;

    fn transact(&mut self, batch: &mut Batch<dyn Job>) -> rusqlite::Result<Sends> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.reopen()?,
        };
        let result = self.transact_on(&connection, batch);
        match &result {
            Ok(_) => self.connection = Some(connection),
            Err(error) => {
                self.memory.forget();
                // The state of a connection after a fault of the disk is nobody's to guess.
                if (is_busy(error) || !Self::is_fault(error)) && roll_back(&connection).is_ok() {
                    self.connection = Some(connection);
                }
            }
        }
        result
    }

    fn is_fault(error: &rusqlite::Error) -> bool {
        matches!(
            code(error),
            Some(
                ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::OutOfMemory
                    | ErrorCode::ReadOnly
                    | ErrorCode::PermissionDenied
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::DatabaseCorrupt
                    | ErrorCode::DiskFull
                    | ErrorCode::CannotOpen
                    | ErrorCode::FileLockingProtocolFailed
                    | ErrorCode::NotADatabase
            )
        )
    }

    fn note(&mut self, batch: &Batch<dyn Job>, sends: &Sends) {
        self.checkpointer.note_others(batch.jobs.len(), batch.acks.len());
        for envelope in &sends.stored {
            self.checkpointer.note_envelope(envelope.bytes.len());
        }
        for appended in &sends.appended {
            self.checkpointer
                .note_envelope(appended.commit.bytes.len() + appended.leaves_length);
        }
    }

    fn rest(&mut self) {
        if let Some(connection) = &self.connection {
            self.checkpointer.turn(connection);
        }
    }

    fn end(&mut self) {
        if let Some(connection) = self.connection.take()
            && let Err(error) = checkpoint(&connection)
        {
            tracing::warn!(%error, "the write-ahead log was left for the next start");
        }
    }
}

fn roll_back(connection: &Connection) -> rusqlite::Result<()> {
    if connection.is_autocommit() {
        return Ok(());
    }
    connection.prepare_cached(sql::ROLLBACK)?.execute([]).map(drop)
}

fn code(error: &rusqlite::Error) -> Option<ErrorCode> {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => Some(failure.code),
        _ => None,
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        code(error),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}
