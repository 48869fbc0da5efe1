//! Envelopes that are passed on from memory and stored nowhere: typing, presence text.
//!
//! Nobody is told what became of one. Whoever sends them learns nothing about whether somebody is
//! there, or has blocked the sender.

use std::sync::Arc;

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
    limits::{Common, Rate},
    metrics::Passed,
    nodes::{Bucket, Nodes, Word},
    store::{Account, AgentNo, ReadError},
};

/// How many each sender may still send.
#[derive(Debug)]
pub struct Allowances {
    rate: Rate,
    /// Times are counted from here.
    start: Instant,
    senders: Common,
}

impl Allowances {
    /// Allowances of so many envelopes in a minute, on all nodes together.
    #[must_use]
    pub fn new(per_minute: u64, nodes: Option<Arc<Nodes>>) -> Self {
        Self {
            rate: Rate::per_minute(per_minute),
            start: Instant::now(),
            senders: Common::new(nodes),
        }
    }

    /// Takes one envelope off a sender's allowance, if there is one.
    async fn take(&self, sender: AgentNo, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.start).as_millis();
        let now_ms = u64::try_from(since).unwrap_or(u64::MAX / 2_000);
        let wanted = [(Bucket::Transients(sender), self.rate)];
        self.senders.take(1, &wanted, now_ms).await.is_ok()
    }
}

/// Whom an envelope is for that may be passed on: a small direct one of the lane control.
pub(crate) fn recipient(envelope: &[u8]) -> Option<AgentId> {
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
        if !self.allowances.take(sender.agent, Instant::now()).await {
            return Passed::Limited;
        }
        let Some(to) = recipient(envelope).filter(|to| *to != sender.id) else {
            return Passed::Malformed;
        };
        let here = self.hub.connected(&to);
        let to = match self.find(&to, here).await {
            Ok(Some(to)) => to,
            Ok(None) => return Passed::Absent,
            Err(_) => return Passed::Failed,
        };
        match self.store.has_block(sender.agent, to).await {
            Ok(false) => {}
            Ok(true) => return Passed::Blocked,
            Err(_) => return Passed::Failed,
        }
        let elsewhere = match &self.nodes {
            Some(nodes) => {
                let word = Word::Transient(Bytes::copy_from_slice(envelope));
                let heard = nodes.say_now(to, &word).await.unwrap_or_default();
                heard > u64::from(here.is_some())
            }
            None => false,
        };
        let frame: Bytes = RelayFrame::Transient(envelope).encode().into();
        match here {
            Some(_) if self.hub.pass_on(to, &frame) => Passed::On,
            _ if elsewhere => Passed::On,
            Some(_) => Passed::Full,
            None => Passed::Absent,
        }
    }

    /// The number of an agent that may have a socket somewhere.
    async fn find(&self, id: &AgentId, here: Option<AgentNo>) -> Result<Option<AgentNo>, ReadError> {
        match here {
            None if self.nodes.is_some() => self.store.agent_no(id).await,
            here => Ok(here),
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
        let allowances = Allowances::new(60, None);
        let taken = async |agent| {
            let (now, mut taken) = (Instant::now(), 0);
            while allowances.take(test_agent(agent), now).await {
                taken += 1;
            }
            taken
        };
        assert_eq!(taken(1).await, 60);
        assert_eq!(taken(2).await, 60, "everybody has an own one");
        tokio::time::advance(Duration::from_millis(1_500)).await;
        assert_eq!(taken(1).await, 1);
    }
}
