//! What every store's writer has in common: one thread that takes whatever waits, up to a limit, and commits it at
//! once. A backend is an [`Engine`] that writes a batch; what is decided about a send is in [`admission`].

mod acks;
pub(super) mod admission;
pub(super) mod memory;
pub(super) mod ops;
mod streams;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use tokio::sync::{mpsc, oneshot};

use self::{
    acks::{Shared, flush_acks},
    ops::{Act, Answer, Batch, Op, Over, SendOp, Sends, tell},
    streams::Streams,
};
use super::{CommitListener, NewEnvelope, OpenError, Reply, View, WriteError};
use waxwire_outbound::traces;

use crate::{clock::Stopwatch, metrics::Metrics};

/// Most writes in one transaction, and most that wait for the next.
pub(super) const BATCH: usize = 1_000;
/// Name of the counter that holds the end of the reserve of ids.
pub(super) const ID_COUNTER: &str = "ids_reserved_until_ms";
/// Name of the counter that a readiness probe writes.
pub(super) const PROBE_COUNTER: &str = "probed_at_ms";

/// A backend as its writer uses it, on the writer's own thread.
pub(super) trait Engine: Send + 'static {
    /// An act other than a send.
    type Job: ?Sized + Answer + 'static;
    /// Why a batch was not written.
    type Error: std::fmt::Display;

    /// Writes a batch in one transaction: acts first, then sends, then acks. After a failure nothing of it is
    /// written, as far as anybody knows.
    fn transact(&mut self, batch: &mut Batch<Self::Job>) -> Result<Sends, Self::Error>;

    /// Whether the database as a whole cannot be written now, whatever is written.
    fn is_fault(error: &Self::Error) -> bool;

    /// Whether other processes write at the same time as a rule. Acts then have transactions of their own, for what
    /// several of them lock together has no order.
    fn has_others(&self) -> bool {
        false
    }

    /// Hears of a batch that is written, before anybody else.
    fn note(&mut self, _batch: &Batch<Self::Job>, _sends: &Sends) {}

    /// Called between two transactions, when those who wait are being told.
    fn rest(&mut self) {}

    /// Nothing more will be written.
    fn end(&mut self) {}
}

/// The writer as the rest of a store sees it.
pub(super) struct WriterHandle<J: ?Sized> {
    ops: mpsc::Sender<Op<J>>,
    shared: Arc<Shared>,
    ends: Mutex<Option<(JoinHandle<()>, tokio::task::JoinHandle<()>)>>,
}

impl<J: ?Sized + Answer + 'static> WriterHandle<J> {
    /// Starts the thread, which owns the engine until it ends.
    pub(super) fn start<E: Engine<Job = J>>(
        engine: E,
        metrics: Arc<Metrics>,
        listener: Arc<dyn CommitListener>,
    ) -> Result<Self, OpenError> {
        let (ops, queue) = mpsc::channel(BATCH);
        // Bounded by those who wait: nobody submits a second write before the first is answered,
        // sockets no more than their share.
        let (over, batches) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::default());
        let mut writer = Writer {
            engine,
            queue,
            shared: Arc::clone(&shared),
            metrics,
            streams: Streams::default(),
            over,
        };
        let teller = tokio::spawn(tell(batches, listener));
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || writer.run())
            .map_err(OpenError::Thread)?;
        tokio::spawn(flush_acks(ops.clone(), Arc::clone(&shared)));
        Ok(Self {
            ops,
            shared,
            ends: Mutex::new(Some((thread, teller))),
        })
    }

    /// Submits a send; whoever `reply` names is answered.
    pub(super) async fn send(&self, send: NewEnvelope, reply: Reply) {
        let op = SendOp {
            send,
            reply,
            queued: Stopwatch::start(),
        };
        self.submit(Op::Send(op)).await;
    }

    /// Submits an act that `job` makes of what it is answered through, and waits for the answer.
    pub(super) async fn act<T, F>(
        &self,
        act: F,
        job: impl FnOnce(Act<T, F>) -> Box<J>,
    ) -> Result<T, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.submit(Op::Job(job(Act::new(act, reply)))).await;
        answer.await.unwrap_or(Err(WriteError::Unavailable))
    }

    /// Hands a write over; waits while the queue is full. What is submitted after the end is dropped
    /// and with it the sender of its answer.
    async fn submit(&self, op: Op<J>) {
        if let Err(mpsc::error::SendError(Op::Send(op))) = self.ops.send(op).await {
            op.answer(Err(WriteError::Unavailable));
        }
    }

    pub(super) fn note_ack(&self, view: View, position: u64) {
        self.shared.note_ack(view, position);
    }

    /// Whether the last transaction that had to be written was.
    pub(super) fn is_healthy(&self) -> bool {
        self.shared.is_healthy()
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

struct Writer<E: Engine> {
    engine: E,
    queue: mpsc::Receiver<Op<E::Job>>,
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    streams: Streams,
    over: mpsc::UnboundedSender<Over<E::Job>>,
}

impl<E: Engine> Writer<E> {
    fn run(&mut self) {
        let mut ops = Vec::with_capacity(BATCH);
        let mut open = true;
        while open && self.queue.blocking_recv_many(&mut ops, BATCH) > 0 {
            let (mut batch, mut early) = (Batch::default(), Batch::default());
            for op in ops.drain(..) {
                match op {
                    Op::Send(send) if self.streams.is_early(&send) => early.sends.push(send),
                    Op::Send(send) => batch.sends.push(send),
                    Op::Job(job) => batch.jobs.push(job),
                    Op::Acks => {}
                    Op::Close => open = false,
                }
            }
            if early.len() > 0 {
                self.tell(early, Err(WriteError::Unavailable));
            }
            batch.acks = self.shared.take_acks();
            if self.engine.has_others() {
                let jobs: Vec<_> = batch.jobs.drain(..).map(Batch::of_job).collect();
                self.write_each(jobs.into_iter().chain([batch]));
            } else {
                self.write_each([batch]);
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
        self.engine.end();
    }

    /// Writes batches one after the other. After a fault of the database the others are not tried.
    fn write_each(&mut self, batches: impl IntoIterator<Item = Batch<E::Job>>) {
        let mut fault = None;
        for batch in batches.into_iter().filter(|batch| batch.len() > 0) {
            match &fault {
                None => fault = self.write(batch).err(),
                Some(error) => self.fail(batch, error),
            }
        }
    }

    /// Writes a batch and answers all of it. Fails if the database is at fault.
    fn write(&mut self, mut batch: Batch<E::Job>) -> Result<(), E::Error> {
        let _span = tracing::info_span!(
            target: traces::TARGET,
            "batch",
            sends = batch.sends.len(),
            acts = batch.jobs.len(),
            acks = batch.acks.len(),
        )
        .entered();
        let start = Stopwatch::start();
        for op in &batch.sends {
            self.metrics.queue_wait.observe(op.queued.until(&start));
        }
        match self.engine.transact(&mut batch) {
            Ok(sends) => self.succeed(batch, sends),
            Err(error) if E::is_fault(&error) => {
                self.fail(batch, &error);
                return Err(error);
            }
            Err(error) if batch.len() == 1 => {
                tracing::error!(%error, "a write failed");
                self.tell(batch, Err(WriteError::Failed));
            }
            Err(error) => {
                tracing::error!(%error, writes = batch.len(), "a batch failed; writing it one by one");
                self.write_singly(batch);
            }
        }
        Ok(())
    }

    /// One bad write must not fail those that came with it.
    fn write_singly(&mut self, batch: Batch<E::Job>) {
        let jobs = batch.jobs.into_iter().map(Batch::of_job);
        let sends = batch.sends.into_iter().map(|send| Batch {
            sends: vec![send],
            ..Batch::default()
        });
        let acks = batch.acks.into_iter().map(|ack| Batch {
            acks: HashMap::from([ack]),
            ..Batch::default()
        });
        self.write_each(jobs.chain(sends).chain(acks));
    }

    fn succeed(&mut self, batch: Batch<E::Job>, sends: Sends) {
        if self.shared.turn_healthy(true) {
            tracing::info!("the database takes writes again");
        }
        self.metrics.batch_size.observe_count(batch.len());
        self.engine.note(&batch, &sends);
        self.tell(batch, Ok(sends));
        self.engine.rest();
    }

    fn tell(&self, batch: Batch<E::Job>, result: Result<Sends, WriteError>) {
        // Whoever would tell has ended with the relay.
        drop(self.over.send(Over { batch, result }));
    }

    /// The database is at fault: nothing of the batch may be taken for written.
    fn fail(&mut self, mut batch: Batch<E::Job>, error: &E::Error) {
        self.metrics.failed_batches.add(1);
        if self.shared.turn_healthy(false) {
            tracing::error!(%error, "the database does not take writes");
        }
        for (view, position) in batch.acks.drain() {
            self.shared.note_ack(view, position);
        }
        self.streams.note(&batch.sends);
        self.tell(batch, Err(WriteError::Unavailable));
    }
}
