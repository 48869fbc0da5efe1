//! The load generator: one thread, generic over what it drives.

pub(crate) mod closed;
pub(crate) mod contest;
pub(crate) mod driver;
pub(crate) mod open;
#[cfg(test)]
mod tests;

use std::{cell::Cell, rc::Rc, time::Duration};

use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use crate::target::Receiver;

/// Messages after which a recipient acks.
const ACK_EVERY: u32 = 32;

/// How long a recipient holds an ack back at most.
const ACK_AFTER: Duration = Duration::from_millis(100);

/// How long the last messages may take to arrive after the last send.
const DRAIN: Duration = Duration::from_secs(20);

/// A recipient at work: hands each tag to `seen` and acks in bundles, until its task is aborted.
async fn receive<R: Receiver>(mut receiver: R, mut seen: impl FnMut(u64)) -> anyhow::Result<()> {
    let mut ticks = interval(ACK_AFTER);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut unacked = 0;
    loop {
        tokio::select! {
            tag = receiver.next() => {
                seen(tag?);
                unacked += 1;
            }
            _ = ticks.tick(), if unacked > 0 => unacked = ACK_EVERY,
        }
        if unacked >= ACK_EVERY {
            receiver.ack().await?;
            unacked = 0;
        }
    }
}

/// Waits until every message that was sent has been received, but not longer than `patience`, then
/// ends the recipients.
///
/// # Errors
/// A recipient failed, or messages are missing: the result would be worth nothing.
async fn drain(
    receivers: Vec<JoinHandle<anyhow::Result<()>>>,
    sent: u64,
    received: &Rc<Cell<u64>>,
    patience: Duration,
) -> anyhow::Result<()> {
    let arrived = async {
        while received.get() < sent && receivers.iter().all(|receiver| !receiver.is_finished()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // Whether it was in time shows in the count below.
    let _ = tokio::time::timeout(patience, arrived).await;
    for receiver in receivers {
        receiver.abort();
        if let Ok(ended) = receiver.await {
            ended?;
        }
    }
    anyhow::ensure!(
        received.get() == sent,
        "sent {sent} messages, received {}",
        received.get()
    );
    Ok(())
}
