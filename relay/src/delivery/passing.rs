//! Envelopes that are passed on from memory and stored nowhere: typing, presence text.
//!
//! Nobody is told what became of one. Whoever sends them learns nothing about whether somebody is
//! there, or has blocked the sender.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::time::Instant;
use waxwire_shared::{
    api::frames::RelayFrame,
    ids::AgentId,
    limits,
    wire::{DirectHeader, Document as _, Envelope, Lane},
};

use super::Delivery;
use crate::{
    limits::{Buckets, Rate},
    metrics::Passed,
    store::{Account, AgentNo},
};

/// How many each sender may still send.
#[derive(Debug)]
pub struct Allowances {
    rate: Rate,
    /// Times are counted from here.
    start: Instant,
    senders: Mutex<Buckets<AgentNo>>,
}

impl Allowances {
    /// Allowances of so many envelopes in a minute.
    #[must_use]
    pub fn new(per_minute: u64) -> Self {
        Self {
            rate: Rate::per_minute(per_minute),
            start: Instant::now(),
            senders: Mutex::default(),
        }
    }

    /// Takes one envelope off a sender's allowance, if there is one.
    fn take(&self, sender: AgentNo, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.start).as_millis();
        let now_ms = u64::try_from(since).unwrap_or(u64::MAX / 2_000);
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        senders.take(sender, self.rate, now_ms).is_ok()
    }
}

/// Whom an envelope is for that may be passed on: a small direct one of the lane control.
fn recipient(envelope: &[u8]) -> Option<AgentId> {
    if envelope.len() > limits::TRANSIENT {
        return None;
    }
    let header = DirectHeader::decode(Envelope::split(envelope).ok()?.header).ok()?;
    (header.lane == Lane::Control).then_some(header.to)
}

impl Delivery {
    /// Passes an envelope on to the sockets that its recipient has now.
    pub async fn pass_on(&self, sender: &Account, envelope: &[u8]) {
        self.metrics
            .count_passed(self.try_pass_on(sender, envelope).await);
    }

    async fn try_pass_on(&self, sender: &Account, envelope: &[u8]) -> Passed {
        if !self.allowances.take(sender.agent, Instant::now()) {
            return Passed::Limited;
        }
        let Some(to) = recipient(envelope).filter(|to| *to != sender.id) else {
            return Passed::Malformed;
        };
        let Some(to) = self.hub.connected(&to) else {
            return Passed::Absent;
        };
        match self.store.has_block(sender.agent, to).await {
            Ok(false) => {}
            Ok(true) => return Passed::Blocked,
            Err(_) => return Passed::Failed,
        }
        let frame: Bytes = RelayFrame::Transient(envelope).encode().into();
        if self.hub.pass_on(to, &frame) {
            Passed::On
        } else {
            Passed::Full
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::test_agent;

    #[tokio::test(start_paused = true)]
    async fn allowance_is_a_minutes_worth_and_grows_back_evenly() {
        let allowances = Allowances::new(60);
        let taken = |agent| {
            let now = Instant::now();
            (0..1_000)
                .filter(|_| allowances.take(test_agent(agent), now))
                .count()
        };
        assert_eq!(taken(1), 60);
        assert_eq!(taken(2), 60, "everybody has an own one");
        tokio::time::advance(Duration::from_millis(1_500)).await;
        assert_eq!(taken(1), 1);
    }
}
