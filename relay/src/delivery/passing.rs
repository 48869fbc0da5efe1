//! Envelopes that are passed on from memory and stored nowhere: typing, presence text.
//!
//! Nobody is told what became of one. Whoever sends them learns nothing about whether somebody is
//! there, or has blocked the sender.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

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
    metrics::Passed,
    store::{Account, AgentNo},
};

/// Senders that are remembered before those who have been quiet for a minute are forgotten.
const SENDERS: usize = 4_096;

/// How many each sender may still send.
#[derive(Debug)]
pub struct Allowances {
    /// In a minute, and at once after a minute of silence; 0 is unlimited.
    per_minute: u64,
    senders: Mutex<HashMap<AgentNo, Allowance>>,
}

#[derive(Debug, Clone, Copy)]
struct Allowance {
    /// Thousandths of an envelope.
    left: u64,
    at: Instant,
}

impl Allowances {
    /// Allowances of so many envelopes in a minute.
    #[must_use]
    pub fn new(per_minute: u64) -> Self {
        Self {
            per_minute,
            senders: Mutex::default(),
        }
    }

    /// Takes one envelope off a sender's allowance, if there is one.
    fn take(&self, sender: AgentNo, now: Instant) -> bool {
        if self.per_minute == 0 {
            return true;
        }
        let full = self.per_minute.saturating_mul(1_000);
        let refilled = |allowance: &Allowance| {
            let elapsed = now.saturating_duration_since(allowance.at).as_millis();
            let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
            let grown = self.per_minute.saturating_mul(elapsed) / 60;
            allowance.left.saturating_add(grown).min(full)
        };
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        if senders.len() >= SENDERS {
            senders.retain(|_, allowance| refilled(allowance) < full);
        }
        let allowance = senders.entry(sender).or_insert(Allowance { left: full, at: now });
        // One that is refused changes nothing, or those who ask all the time would never get more.
        let Some(left) = refilled(allowance).checked_sub(1_000) else {
            return false;
        };
        *allowance = Allowance { left, at: now };
        true
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
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(taken(1), 1, "half an envelope was left over");
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!(taken(1), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn senders_who_were_quiet_are_forgotten() {
        let allowances = Allowances::new(60);
        for agent in 0..SENDERS {
            allowances.take(test_agent(i64::try_from(agent).unwrap()), Instant::now());
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        allowances.take(test_agent(-1), Instant::now());
        assert_eq!(allowances.senders.lock().unwrap().len(), 1);
    }

    #[test]
    fn no_limit_is_no_limit() {
        let allowances = Allowances::new(0);
        let now = Instant::now();
        assert!((0..10_000).all(|_| allowances.take(test_agent(1), now)));
    }
}
