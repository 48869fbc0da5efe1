//! The one thread that writes: it takes whatever waits, up to a limit, and commits it at once.

use std::{
    collections::HashMap,
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OptionalExtension as _};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    batch::{self, Sends, Transaction},
    checkpoint::Checkpointer,
    memory::Memory,
    open,
    ops::{Act, Batch, Op, Over, tell},
    sql,
};
use crate::{
    clock::{Clock, Stopwatch},
    metrics::Metrics,
    snowflake::Snowflakes,
    store::{NewEnvelope, OpenError, StoreContext, View, WriteError},
};

/// Most writes in one transaction, and most that wait for the next.
const BATCH: usize = 1_000;
/// How long an ack waits for company. Nobody waits for it.
const ACK_DELAY: Duration = Duration::from_millis(50);
/// The same after a failure, so that acks do not hammer a database that is at fault.
const ACK_RETRY: Duration = Duration::from_secs(1);
/// Ids of an earlier run lie at most this far ahead of its last commit.
const ID_RESERVE_MS: u64 = 5_000;
/// Name of the counter that holds the end of the reserve.
const ID_COUNTER: &str = "ids_reserved_until_ms";
/// Name of the counter that a readiness probe writes.
const PROBE_COUNTER: &str = "probed_at_ms";

/// What the writer shares with those who submit.
struct Shared {
    acks: Mutex<HashMap<View, u64>>,
    acks_noted: Notify,
    /// Whether the last transaction that had to be written was.
    healthy: AtomicBool,
}

impl Shared {
    fn note_ack(&self, view: View, position: u64) {
        let first = {
            let mut acks = self.acks.lock().unwrap_or_else(PoisonError::into_inner);
            let first = acks.is_empty();
            let held = acks.entry(view).or_default();
            *held = position.max(*held);
            first
        };
        if first {
            self.acks_noted.notify_one();
        }
    }

    fn take_acks(&self) -> HashMap<View, u64> {
        std::mem::take(&mut *self.acks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The writer as the rest of the store sees it.
pub(super) struct WriterHandle {
    ops: mpsc::Sender<Op>,
    shared: Arc<Shared>,
    ends: Mutex<Option<(JoinHandle<()>, tokio::task::JoinHandle<()>)>>,
}

impl WriterHandle {
    /// Opens the writer's connection and starts its thread, which keeps `lock` until it ends.
    pub(super) fn start(path: &Path, lock: Option<File>, context: StoreContext) -> Result<Self, OpenError> {
        let connection = open::writer(path)?;
        if context.serving {
            checkpoint(&connection)?;
        }
        let floor: Option<i64> = connection
            .query_row(sql::COUNTER, [ID_COUNTER], |row| row.get(0))
            .optional()?;
        let floor = floor.unwrap_or_default().cast_unsigned();
        let (ops, queue) = mpsc::channel(BATCH);
        // Bounded by those who wait: nobody submits a second write before the first is answered,
        // sockets no more than their share.
        let (over, batches) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            acks: Mutex::default(),
            acks_noted: Notify::new(),
            healthy: AtomicBool::new(true),
        });
        let mut writer = Writer {
            path: path.to_path_buf(),
            connection: Some(connection),
            memory: Memory::new(Snowflakes::new(context.worker, floor), context.tiers),
            ids_reserved_until: floor,
            checkpointer: Checkpointer::start(path).map_err(OpenError::Thread)?,
            queue,
            shared: Arc::clone(&shared),
            clock: context.clock,
            metrics: context.metrics,
            over,
        };
        let teller = tokio::spawn(tell(batches, context.listener));
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || {
                writer.run();
                drop(lock);
            })
            .map_err(OpenError::Thread)?;
        tokio::spawn(flush_acks(ops.clone(), Arc::clone(&shared)));
        Ok(Self {
            ops,
            shared,
            ends: Mutex::new(Some((thread, teller))),
        })
    }

    /// Hands a write over; waits while the queue is full. What is submitted after the end is dropped
    /// and with it the sender of its answer.
    pub(super) async fn submit(&self, op: Op) {
        if let Err(mpsc::error::SendError(Op::Send(op))) = self.ops.send(op).await {
            op.answer(Err(WriteError::Unavailable));
        }
    }

    pub(super) fn note_ack(&self, view: View, position: u64) {
        self.shared.note_ack(view, position);
    }

    /// Whether writes succeed: cheap while they did, a real write after one failed.
    pub(super) async fn probe(&self) -> bool {
        let healthy = self.shared.healthy.load(Ordering::Acquire);
        let (reply, answer) = oneshot::channel();
        let act = move |tx: &mut Transaction<'_>| {
            if !healthy {
                set_counter(tx.connection, PROBE_COUNTER, tx.now_ms)?;
            }
            Ok(())
        };
        self.submit(Op::Job(Box::new(Act::new(act, reply)))).await;
        matches!(answer.await, Ok(Ok(())))
    }

    /// Lets the writer finish what it has and waits for it.
    pub(super) async fn close(&self) {
        // A writer that has ended already takes nothing.
        drop(self.ops.send(Op::Close).await);
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((thread, teller)) = ends {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) || teller.await.is_err() {
                tracing::error!("the writer ended in a panic");
            }
        }
    }
}

/// Gives the writer a reason to write acks when nothing else does.
async fn flush_acks(ops: mpsc::Sender<Op>, shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.acks_noted.notified() => {}
            () = ops.closed() => return,
        }
        let healthy = shared.healthy.load(Ordering::Acquire);
        tokio::time::sleep(if healthy { ACK_DELAY } else { ACK_RETRY }).await;
        let waiting = !shared
            .acks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty();
        if waiting && ops.send(Op::Acks).await.is_err() {
            return;
        }
    }
}

fn set_counter(connection: &Connection, name: &str, value: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(sql::SET_COUNTER)?
        .execute(rusqlite::params![name, value.cast_signed()])
        .map(drop)
}

fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row(sql::CHECKPOINT, [], |_| Ok(()))
}

struct Writer {
    path: PathBuf,
    /// None after a fault, until it can be opened again.
    connection: Option<Connection>,
    memory: Memory,
    ids_reserved_until: u64,
    checkpointer: Checkpointer,
    queue: mpsc::Receiver<Op>,
    shared: Arc<Shared>,
    clock: Clock,
    metrics: Arc<Metrics>,
    over: mpsc::UnboundedSender<Over>,
}

impl Writer {
    fn run(&mut self) {
        let mut ops = Vec::with_capacity(BATCH);
        let mut open = true;
        while open && self.queue.blocking_recv_many(&mut ops, BATCH) > 0 {
            let mut batch = Batch::default();
            for op in ops.drain(..) {
                match op {
                    Op::Send(send) => batch.sends.push(send),
                    Op::Job(job) => batch.jobs.push(job),
                    Op::Acks => {}
                    Op::Close => open = false,
                }
            }
            batch.acks = self.shared.take_acks();
            if batch.len() > 0 {
                self.write(batch);
            }
        }
        self.queue.close();
        while let Ok(op) = self.queue.try_recv() {
            match op {
                Op::Send(send) => send.answer(Err(WriteError::Unavailable)),
                Op::Job(job) => job.answer(Err(WriteError::Unavailable)),
                Op::Acks | Op::Close => {}
            }
        }
        if let Some(connection) = self.connection.take()
            && let Err(error) = checkpoint(&connection)
        {
            tracing::warn!(%error, "the write-ahead log was left for the next start");
        }
    }

    /// Writes a batch and answers all of it.
    fn write(&mut self, mut batch: Batch) {
        let start = Stopwatch::start();
        for op in &batch.sends {
            self.metrics.queue_wait.observe(op.queued.until(&start));
        }
        match self.transact(&mut batch) {
            Ok(sends) => self.succeed(batch, sends),
            Err(error) if is_fault(&error) => self.fail(batch, &error),
            Err(error) if batch.len() == 1 => {
                tracing::error!(%error, "a write failed");
                self.tell(batch, Err(WriteError::Failed));
            }
            Err(error) => {
                tracing::error!(%error, writes = batch.len(), "a batch failed; writing it one by one");
                self.write_singly(batch);
            }
        }
    }

    /// One bad write must not fail those that came with it.
    fn write_singly(&mut self, batch: Batch) {
        let jobs = batch.jobs.into_iter().map(|job| Batch {
            jobs: vec![job],
            ..Batch::default()
        });
        let sends = batch.sends.into_iter().map(|send| Batch {
            sends: vec![send],
            ..Batch::default()
        });
        let acks = batch.acks.into_iter().map(|ack| Batch {
            acks: HashMap::from([ack]),
            ..Batch::default()
        });
        let singles: Vec<Batch> = jobs.chain(sends).chain(acks).collect();
        for single in singles {
            self.write(single);
        }
    }

    fn succeed(&mut self, batch: Batch, sends: Sends) {
        if !self.shared.healthy.swap(true, Ordering::AcqRel) {
            tracing::info!("the database takes writes again");
        }
        self.metrics.batch_size.observe_count(batch.len());
        self.checkpointer.note_others(batch.jobs.len(), batch.acks.len());
        for envelope in &sends.stored {
            self.checkpointer.note_envelope(envelope.bytes.len());
        }
        for appended in &sends.appended {
            self.checkpointer
                .note_envelope(appended.commit.bytes.len() + appended.leaves_length);
        }
        self.tell(batch, Ok(sends));
        if let Some(connection) = &self.connection {
            self.checkpointer.turn(connection);
        }
    }

    fn tell(&self, batch: Batch, result: Result<Sends, WriteError>) {
        // Whoever would tell has ended with the relay.
        drop(self.over.send(Over { batch, result }));
    }

    /// The database is at fault: nothing of the batch may be taken for written.
    fn fail(&mut self, mut batch: Batch, error: &rusqlite::Error) {
        self.metrics.failed_batches.add(1);
        if self.shared.healthy.swap(false, Ordering::AcqRel) {
            tracing::error!(%error, "the database does not take writes");
        }
        for (view, position) in batch.acks.drain() {
            self.shared.note_ack(view, position);
        }
        self.tell(batch, Err(WriteError::Unavailable));
    }

    fn transact(&mut self, batch: &mut Batch) -> rusqlite::Result<Sends> {
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
                if (is_busy(error) || !is_fault(error)) && roll_back(&connection).is_ok() {
                    self.connection = Some(connection);
                }
            }
        }
        result
    }

    fn reopen(&mut self) -> rusqlite::Result<Connection> {
        let connection = open::writer(&self.path)?;
        checkpoint(&connection)?;
        Ok(connection)
    }

    fn transact_on(&mut self, connection: &Connection, batch: &mut Batch) -> rusqlite::Result<Sends> {
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
        let reserve = self.memory.ids.last_ms() + ID_RESERVE_MS;
        let made_ids = !done.stored.is_empty() || !done.appended.is_empty();
        let must_reserve = made_ids && self.memory.ids.last_ms() >= self.ids_reserved_until;
        if must_reserve {
            set_counter(connection, ID_COUNTER, reserve)?;
        }
        let written = Stopwatch::start();
        self.metrics.transaction.observe(start.until(&written));
        connection.prepare_cached(sql::COMMIT)?.execute([])?;
        self.metrics.commit.observe(written.elapsed());
        if must_reserve {
            self.ids_reserved_until = reserve;
        }
        Ok(done)
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

/// Whether the database as a whole cannot be written now, whatever is written.
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

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        code(error),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}
