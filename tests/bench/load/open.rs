//! Open loop: messages leave at fixed times, whatever became of those before. For latency.
//!
//! Latency counts from the time a message was due, so a server that stalls is charged for all that
//! had to wait meanwhile (no coordinated omission).

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_local},
};

use super::{DRAIN, drain, receive};
use crate::{
    clock,
    stats::Latencies,
    target::{Sender, Target, Transport},
};

/// How long before a message is due the pacing thread stops sleeping and watches the clock: a
/// sleeping thread wakes up late by about this.
const WATCH: Duration = Duration::from_micros(200);

/// From the first connection being ready to the first message: time for the recipient to connect.
const LEAD: Duration = Duration::from_millis(200);

/// One run.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Plan {
    /// Messages a second, evenly spaced.
    pub(crate) rate: u32,
    /// Senders that take turns; enough that a message seldom waits for a connection.
    pub(crate) senders: usize,
    /// How messages are sent.
    pub(crate) transport: Transport,
    /// Not measured.
    pub(crate) warm_up: Duration,
    /// Measured.
    pub(crate) measure: Duration,
}

impl Plan {
    fn messages(&self, time: Duration) -> u32 {
        (time.as_secs_f64() * f64::from(self.rate)).round() as u32
    }
}

/// Sends from all senders to agent 0 and measures from due to received.
///
/// # Errors
/// A send was refused, a connection broke, or a message did not arrive.
pub(crate) async fn run<T: Target>(target: &T, plan: Plan) -> anyhow::Result<Latencies> {
    let (lanes, senders) = connect(target, plan).await?;
    let start = clock::now() + LEAD;
    let warm = plan.messages(plan.warm_up);
    let count = warm + plan.messages(plan.measure);
    let received = Rc::new(Cell::new(0));
    let latencies = Rc::new(RefCell::new(Latencies::new()?));
    let receiver = {
        let (received, latencies) = (Rc::clone(&received), Rc::clone(&latencies));
        receive(target.receiver(0).await?, move |tag| {
            received.set(received.get() + 1);
            if tag >= u64::from(warm) {
                let due = due(start, plan.rate, tag);
                latencies
                    .borrow_mut()
                    .record(clock::now().saturating_duration_since(due));
            }
        })
    };
    let receivers = vec![spawn_local(receiver)];
    let pace = thread::spawn(move || pace(start, plan.rate, count, &lanes));
    for sender in senders {
        sender.await??;
    }
    pace.join()
        .map_err(|_| anyhow::anyhow!("the pacing thread panicked"))?;
    drain(receivers, u64::from(count), &received, DRAIN).await?;
    let all = latencies.replace(Latencies::new()?);
    Ok(all)
}

type Lanes = Vec<mpsc::UnboundedSender<u64>>;
type Senders = Vec<JoinHandle<anyhow::Result<()>>>;

/// Each sender takes the tags of its own lane, one after the other.
async fn connect<T: Target>(target: &T, plan: Plan) -> anyhow::Result<(Lanes, Senders)> {
    let (mut lanes, mut senders) = (Vec::new(), Vec::new());
    for agent in 0..plan.senders {
        let mut sender = target.sender(agent, plan.transport).await?;
        let (lane, mut tags) = mpsc::unbounded_channel();
        lanes.push(lane);
        senders.push(spawn_local(async move {
            while let Some(tag) = tags.recv().await {
                sender.send(0, tag).await?;
            }
            Ok(())
        }));
    }
    Ok((lanes, senders))
}

fn due(start: Instant, rate: u32, tag: u64) -> Instant {
    start + Duration::from_secs_f64(tag as f64 / f64::from(rate))
}

/// Hands tag after tag to the senders in turn when it is due. A thread of its own, because the
/// runtime's timers are good to a millisecond only.
fn pace(start: Instant, rate: u32, count: u32, lanes: &[mpsc::UnboundedSender<u64>]) {
    for (tag, lane) in (0..u64::from(count)).zip(lanes.iter().cycle()) {
        let due = due(start, rate, tag);
        thread::sleep(due.saturating_duration_since(clock::now()).saturating_sub(WATCH));
        while clock::now() < due {
            std::hint::spin_loop();
        }
        if lane.send(tag).is_err() {
            // A sender failed and says so itself.
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_evenly() {
        let start = clock::now();
        assert_eq!(due(start, 50, 0), start);
        assert_eq!(due(start, 50, 100) - start, Duration::from_secs(2));
    }
}
