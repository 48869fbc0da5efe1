//! Closed loop: each sender sends the next message when the last one is durable. For throughput.
//!
//! A session stays connected and works in slices. Slices of several servers alternate within a
//! run, so that all of them meet the same moods of a shared machine and its disk.

use std::{
    cell::{Cell, RefCell},
    mem,
    rc::Rc,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::task::{JoinHandle, spawn_local};

use super::{DRAIN, drain, receive};
use crate::{
    clock,
    stats::{Latencies, Percentiles},
    target::{Sender, Target, Transport},
};

/// One slice.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Slice {
    /// Not measured.
    pub(crate) warm_up: Duration,
    /// Measured.
    pub(crate) measure: Duration,
}

/// What came out of all slices.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Outcome {
    /// Durable and acknowledged messages a second.
    pub(crate) rate: f64,
    /// The same of each slice.
    pub(crate) slices: Vec<f64>,
    /// From the send to the server's word that the message is durable.
    pub(crate) ack: Percentiles,
    /// CPU of the server for each message, microseconds, all threads, push and acks included.
    pub(crate) server_cpu: f64,
}

/// Connected senders and recipients: sender `i` sends to all recipients in turn, from `i` on.
pub(crate) struct Session<'a, T: Target> {
    target: &'a T,
    senders: Vec<Turn<T::Sender>>,
    receivers: Vec<JoinHandle<anyhow::Result<()>>>,
    received: Rc<Cell<u64>>,
    tally: Rc<Tally>,
    slices: Vec<f64>,
    measured: Duration,
    cpu: f64,
}

/// A sender and the agent whose turn it is to receive.
struct Turn<S> {
    sender: S,
    to: usize,
}

/// Counted by all senders of a session.
struct Tally {
    recipients: usize,
    sent: Cell<u64>,
    measured: Cell<u64>,
    ack: RefCell<Latencies>,
}

impl<'a, T: Target> Session<'a, T> {
    /// Connects agents `0..senders` as senders and `0..recipients` as recipients.
    ///
    /// # Errors
    /// The target refuses a connection or the transport.
    pub(crate) async fn open(
        target: &'a T,
        senders: usize,
        recipients: usize,
        transport: Transport,
    ) -> anyhow::Result<Self> {
        let received = Rc::new(Cell::new(0));
        let mut receivers = Vec::with_capacity(recipients);
        for agent in 0..recipients {
            let (receiver, count) = (target.receiver(agent).await?, Rc::clone(&received));
            receivers.push(spawn_local(receive(receiver, move |_| {
                count.set(count.get() + 1)
            })));
        }
        let mut turns = Vec::with_capacity(senders);
        for agent in 0..senders {
            let sender = target.sender(agent, transport).await?;
            let to = agent % recipients;
            turns.push(Turn { sender, to });
        }
        let tally = Tally {
            recipients,
            sent: Cell::new(0),
            measured: Cell::new(0),
            ack: RefCell::new(Latencies::new()?),
        };
        Ok(Self {
            target,
            senders: turns,
            receivers,
            received,
            tally: Rc::new(tally),
            slices: Vec::new(),
            measured: Duration::ZERO,
            cpu: 0.0,
        })
    }

    /// Sends from all senders for the time of the slice.
    ///
    /// # Errors
    /// A send was refused or a connection broke.
    pub(crate) async fn slice(&mut self, slice: Slice) -> anyhow::Result<()> {
        let before = self.tally.measured.get();
        let begin = clock::now() + slice.warm_up;
        let end = begin + slice.measure;
        let working: Vec<_> = mem::take(&mut self.senders)
            .into_iter()
            .map(|turn| spawn_local(send(turn, begin, end, Rc::clone(&self.tally))))
            .collect();
        self.cpu += cpu_between(self.target, begin, end).await?;
        for sender in working {
            self.senders.push(sender.await??);
        }
        let count = self.tally.measured.get() - before;
        self.slices.push(count as f64 / slice.measure.as_secs_f64());
        self.measured += slice.measure;
        Ok(())
    }

    /// Checks that every message arrived and sums up.
    ///
    /// # Errors
    /// A message did not arrive.
    pub(crate) async fn close(self) -> anyhow::Result<Outcome> {
        drain(self.receivers, self.tally.sent.get(), &self.received, DRAIN).await?;
        let measured = self.tally.measured.get() as f64;
        Ok(Outcome {
            rate: measured / self.measured.as_secs_f64(),
            slices: self.slices,
            ack: self.tally.ack.borrow().percentiles(),
            server_cpu: self.cpu * 1e6 / measured,
        })
    }
}

/// CPU seconds that the server takes between two times.
async fn cpu_between<T: Target>(target: &T, begin: Instant, end: Instant) -> anyhow::Result<f64> {
    tokio::time::sleep_until(begin.into()).await;
    let before = target.cpu_seconds()?;
    tokio::time::sleep_until(end.into()).await;
    Ok(target.cpu_seconds()? - before)
}

/// Sends until the end. A message counts if its answer came within the measured time.
async fn send<S: Sender>(
    mut turn: Turn<S>,
    begin: Instant,
    end: Instant,
    tally: Rc<Tally>,
) -> anyhow::Result<Turn<S>> {
    let mut start = clock::now();
    while start < end {
        turn.sender.send(turn.to, 0).await?;
        let done = clock::now();
        tally.sent.set(tally.sent.get() + 1);
        if done >= begin && done < end {
            tally.measured.set(tally.measured.get() + 1);
            tally.ack.borrow_mut().record(done - start);
        }
        turn.to = (turn.to + 1) % tally.recipients;
        start = done;
    }
    Ok(turn)
}
