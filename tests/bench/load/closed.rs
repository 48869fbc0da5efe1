//! Closed loop: each sender sends the next message when the last one is durable. For throughput.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::task::spawn_local;

use super::{drain, receive};
use crate::{
    clock,
    stats::{Latencies, Percentiles},
    target::{Sender, Target, Transport},
};

/// One run.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Plan {
    /// Senders, and as many recipients: sender `i` sends to all of them in turn, from `i` on.
    pub(crate) senders: usize,
    /// How messages are sent.
    pub(crate) transport: Transport,
    /// Not measured.
    pub(crate) warm_up: Duration,
    /// Measured.
    pub(crate) measure: Duration,
}

/// What came out of one run.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Outcome {
    /// Durable and acknowledged messages a second.
    pub(crate) rate: f64,
    /// From the send to the server's word that the message is durable.
    pub(crate) ack: Percentiles,
    /// CPU of the server for each message, microseconds, all threads, push and acks included.
    pub(crate) server_cpu: f64,
}

/// Shared by the senders of a run.
struct Tally {
    begin: Instant,
    end: Instant,
    measured: Cell<u64>,
    sent: Cell<u64>,
    ack: RefCell<Latencies>,
}

/// Connects, warms up, measures, and checks that every message arrived.
///
/// # Errors
/// A send was refused, a connection broke, or a message did not arrive.
pub(crate) async fn run<T: Target>(target: &T, plan: Plan) -> anyhow::Result<Outcome> {
    let received = Rc::new(Cell::new(0));
    let mut receivers = Vec::with_capacity(plan.senders);
    let mut senders = Vec::with_capacity(plan.senders);
    for agent in 0..plan.senders {
        let (receiver, count) = (target.receiver(agent).await?, Rc::clone(&received));
        receivers.push(spawn_local(receive(receiver, move |_| {
            count.set(count.get() + 1)
        })));
        senders.push(target.sender(agent, plan.transport).await?);
    }

    let begin = clock::now() + plan.warm_up;
    let tally = Rc::new(Tally {
        begin,
        end: begin + plan.measure,
        measured: Cell::new(0),
        sent: Cell::new(0),
        ack: RefCell::new(Latencies::new()?),
    });
    let working: Vec<_> = senders
        .into_iter()
        .enumerate()
        .map(|(agent, sender)| spawn_local(send(sender, agent, plan.senders, Rc::clone(&tally))))
        .collect();

    let cpu = server_cpu(target, &tally).await?;
    for sender in working {
        sender.await??;
    }
    drain(receivers, tally.sent.get(), &received).await?;
    let measured = tally.measured.get() as f64;
    Ok(Outcome {
        rate: measured / plan.measure.as_secs_f64(),
        ack: tally.ack.borrow().percentiles(),
        server_cpu: cpu * 1e6 / measured,
    })
}

/// CPU seconds of the server between the beginning and the end of what is measured.
async fn server_cpu<T: Target>(target: &T, tally: &Tally) -> anyhow::Result<f64> {
    tokio::time::sleep_until(tally.begin.into()).await;
    let before = target.server().cpu_seconds()?;
    tokio::time::sleep_until(tally.end.into()).await;
    Ok(target.server().cpu_seconds()? - before)
}

/// Sends until the end. A message counts if its answer came within the measured time.
async fn send<S: Sender>(mut sender: S, first: usize, agents: usize, tally: Rc<Tally>) -> anyhow::Result<()> {
    let mut to = first;
    let mut start = clock::now();
    while start < tally.end {
        sender.send(to, 0).await?;
        let done = clock::now();
        tally.sent.set(tally.sent.get() + 1);
        if done >= tally.begin && done < tally.end {
            tally.measured.set(tally.measured.get() + 1);
            tally.ack.borrow_mut().record(done - start);
        }
        to = (to + 1) % agents;
        start = done;
    }
    Ok(())
}
