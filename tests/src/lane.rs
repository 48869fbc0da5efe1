//! Load that can be repeated: random numbers from a seed, and senders that go on over restarts.

use std::time::Duration;

use anyhow::{bail, ensure};
use tokio::{sync::watch, time::sleep};

use crate::{
    agent::{Agent, Message, text_to},
    canary::random,
    clock::within,
    group::text_in,
    history::{History, Lane},
};

/// Pause before a program that may be down is asked again.
const AGAIN: Duration = Duration::from_millis(20);

/// Random numbers from a seed, by SplitMix64.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// The numbers that follow from a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed in the environment variable `SEED`, or a fresh one.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn seed() -> anyhow::Result<u64> {
        number("SEED").map_or_else(|| random().map(u64::from_le_bytes), Ok)
    }

    /// The next number below `sides`.
    pub const fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// A number in the environment.
#[must_use]
pub fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

impl Lane {
    /// Sends messages one after the other until the end.
    ///
    /// # Errors
    /// The outcome of one is not known in time, or it is refused.
    pub async fn run(
        self,
        agent: Agent,
        history: History,
        pause: Duration,
        ended: watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        let mut index = 0;
        while !*ended.borrow() {
            let text = self.text(index);
            history.tries(&self, index);
            let what = format!("the outcome of {}", self.id(index));
            let sent = self.send(&agent, &history, index, &text);
            let message = within(&what, Duration::from_secs(90), sent).await??;
            history.accepted(&self, index, &message.id);
            index += 1;
            sleep(pause).await;
        }
        Ok(())
    }

    /// Sends one message until its outcome is known.
    async fn send(
        &self,
        agent: &Agent,
        history: &History,
        index: usize,
        text: &str,
    ) -> anyhow::Result<Message> {
        let body = match self.to.strip_prefix("grp_") {
            Some(_) => text_in(&self.to, &self.id(index), text),
            None => text_to(&self.to, &self.id(index), text),
        };
        loop {
            let ask = agent.request("POST", "/v1/messages").json(&body);
            match agent.ask(ask.limit(Duration::from_secs(15))).await {
                Ok(answer) if matches!(answer.status, 200 | 201) => {
                    let message: Message = answer.parse()?;
                    ensure!(
                        message.text() == text,
                        "{} became another: {message:?}",
                        self.id(index)
                    );
                    return Ok(message);
                }
                // Later, and too often: also of clocks that were set back.
                Ok(answer) if matches!(answer.status, 429 | 503) => {}
                Ok(answer) => bail!("{}: {} {}", self.id(index), answer.status, answer.text()),
                // Killed while it worked on it, or not up again.
                Err(_) => {}
            }
            history.failed();
            sleep(AGAIN).await;
        }
    }
}

/// Takes and settles, now and then a part or nothing, until the end and until there is nothing left to come.
///
/// # Errors
/// There are none: what is not answered is asked for again.
pub async fn read(
    agent: Agent,
    history: History,
    ended: watch::Receiver<bool>,
    seed: u64,
) -> anyhow::Result<()> {
    let mut dice = Dice::new(seed);
    let mut quiet = 0;
    while quiet < 2 {
        let asked = history.now();
        let Ok(rows) = agent.sync_after(None, 1).await else {
            sleep(AGAIN).await;
            continue;
        };
        history.synced(agent.handle(), asked, &rows);
        let missing = history.missing(agent.handle());
        quiet = if *ended.borrow() && rows.is_empty() && missing == 0 {
            quiet + 1
        } else {
            0
        };
        let part = &rows[..rows.len().min(dice.roll(60) as usize)];
        let Some(last) = part.last().and_then(|row| row.delivery_id.as_deref()) else {
            continue;
        };
        if agent.ack(last).await.is_ok() {
            history.acked(agent.handle(), part);
        }
    }
    Ok(())
}
