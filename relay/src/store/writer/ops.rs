//! What waits for the writer, and telling those who wait what became of it.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::{mpsc, oneshot};

use crate::{
    clock::Stopwatch,
    store::{
        Appended, CommitListener, NewEnvelope, Reply, SendOutcome, SendResult, Stored, View, WriteError,
    },
};

/// A waiting write.
pub(in crate::store) enum Op<J: ?Sized> {
    Send(SendOp),
    Job(Box<J>),
    /// Nothing but a reason to write the acks that were noted.
    Acks,
    /// Write what is waiting, then end.
    Close,
}

pub(in crate::store) struct SendOp {
    pub(in crate::store) send: NewEnvelope,
    pub(in crate::store) reply: Reply,
    pub(in crate::store) queued: Stopwatch,
}

impl SendOp {
    pub(in crate::store) fn answer(self, result: SendResult) {
        match self.reply {
            // Who has gone away does not need an answer.
            Reply::Once(reply) => drop(reply.send(result)),
            Reply::Stream { sink, request } => sink.answer(request, self.send.hash, result),
        }
    }
}

/// An act other than a send, once it is over.
pub(in crate::store) trait Answer: Send {
    fn answer(self: Box<Self>, committed: Result<(), WriteError>);
}

/// A job made of a function and of who waits for its value. Each backend says how to run it.
pub(in crate::store) struct Act<T, F> {
    pub(in crate::store) act: F,
    pub(in crate::store) value: Option<T>,
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

impl<T: Send, F: Send> Answer for Act<T, F> {
    fn answer(self: Box<Self>, committed: Result<(), WriteError>) {
        let Self { value, reply, .. } = *self;
        let answer = committed.and_then(|()| value.ok_or(WriteError::Failed));
        // Who has gone away does not need an answer.
        drop(reply.send(answer));
    }
}

/// What became of a batch.
#[derive(Default)]
pub(in crate::store) struct Sends {
    /// One for each send, in order.
    pub(in crate::store) outcomes: Vec<SendOutcome>,
    /// What was stored, in order.
    pub(in crate::store) stored: Vec<Stored>,
    /// What was appended to logs before, in order.
    pub(in crate::store) appended: Vec<Appended>,
}

/// A batch that is over and that nobody has been told of.
pub(super) struct Over<J: ?Sized> {
    pub(super) batch: Batch<J>,
    pub(super) result: Result<Sends, WriteError>,
}

/// Answers batches and pushes what they stored, in the order of the commits. Beside the writer, which
/// goes on with the next batch meanwhile.
pub(super) async fn tell<J: ?Sized + Answer>(
    mut batches: mpsc::UnboundedReceiver<Over<J>>,
    listener: Arc<dyn CommitListener>,
) {
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
pub(in crate::store) struct Batch<J: ?Sized> {
    pub(in crate::store) jobs: Vec<Box<J>>,
    pub(in crate::store) sends: Vec<SendOp>,
    pub(in crate::store) acks: HashMap<View, u64>,
}

impl<J: ?Sized> Default for Batch<J> {
    fn default() -> Self {
        Self {
            jobs: Vec::new(),
            sends: Vec::new(),
            acks: HashMap::new(),
        }
    }
}

impl<J: ?Sized> Batch<J> {
    pub(super) fn of_job(job: Box<J>) -> Self {
        Self {
            jobs: vec![job],
            ..Self::default()
        }
    }

    pub(in crate::store) fn len(&self) -> usize {
        self.jobs.len() + self.sends.len() + usize::from(!self.acks.is_empty())
    }
}

impl<J: ?Sized + Answer> Batch<J> {
    fn refuse(self, error: WriteError) {
        for op in self.sends {
            op.answer(Err(error));
        }
        for job in self.jobs {
            job.answer(Err(error));
        }
    }
}
