//! What waits for the writer, and telling those who wait what became of it.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::{mpsc, oneshot};

use super::batch::{Sends, Transaction};
use crate::{
    clock::Stopwatch,
    store::{CommitListener, NewEnvelope, Reply, SendResult, View, WriteError},
};

/// A waiting write.
pub(super) enum Op {
    Send(SendOp),
    Job(Box<dyn Job>),
    /// Nothing but a reason to write the acks that were noted.
    Acks,
    /// Write what is waiting, then end.
    Close,
}

pub(super) struct SendOp {
    pub(super) send: NewEnvelope,
    pub(super) reply: Reply,
    pub(super) queued: Stopwatch,
}

impl SendOp {
    pub(super) fn answer(self, result: SendResult) {
        match self.reply {
            // Who has gone away does not need an answer.
            Reply::Once(reply) => drop(reply.send(result)),
            Reply::Stream { sink, request } => sink.answer(request, self.send.hash, result),
        }
    }
}

/// An act other than a send.
pub(super) trait Job: Send {
    fn run(&mut self, tx: &mut Transaction<'_>) -> rusqlite::Result<()>;
    fn answer(self: Box<Self>, committed: Result<(), WriteError>);
}

/// A job made of a function and of who waits for its value.
pub(super) struct Act<T, F> {
    act: F,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, WriteError>>,
}

impl<T, F> Act<T, F> {
    pub(super) const fn new(act: F, reply: oneshot::Sender<Result<T, WriteError>>) -> Self {
        Self {
            act,
            value: None,
            reply,
        }
    }
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

    fn answer(self: Box<Self>, committed: Result<(), WriteError>) {
        let Self { value, reply, .. } = *self;
        let answer = committed.and_then(|()| value.ok_or(WriteError::Failed));
        // Who has gone away does not need an answer.
        drop(reply.send(answer));
    }
}

/// A batch that is over and that nobody has been told of.
pub(super) struct Over {
    pub(super) batch: Batch,
    pub(super) result: Result<Sends, WriteError>,
}

/// Answers batches and pushes what they stored, in the order of the commits. Beside the writer, which
/// goes on with the next batch meanwhile.
pub(super) async fn tell(mut batches: mpsc::UnboundedReceiver<Over>, listener: Arc<dyn CommitListener>) {
    while let Some(Over { batch, result }) = batches.recv().await {
        match result {
            Ok(sends) => {
                for (op, outcome) in batch.sends.into_iter().zip(sends.outcomes) {
                    op.answer(Ok(outcome));
                }
                for job in batch.jobs {
                    job.answer(Ok(()));
                }
                if !sends.stored.is_empty() || !sends.appended.is_empty() {
                    listener.stored(&sends.appended, &sends.stored);
                }
            }
            Err(error) => batch.refuse(error),
        }
    }
}

/// What is written in one transaction.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) jobs: Vec<Box<dyn Job>>,
    pub(super) sends: Vec<SendOp>,
    pub(super) acks: HashMap<View, u64>,
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.jobs.len() + self.sends.len() + usize::from(!self.acks.is_empty())
    }

    fn refuse(self, error: WriteError) {
        for op in self.sends {
            op.answer(Err(error));
        }
        for job in self.jobs {
            job.answer(Err(error));
        }
    }
}
