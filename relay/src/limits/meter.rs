//! What the writer counts of every send.

use std::{collections::HashMap, sync::Arc};

use waxwire_shared::wire::Lane;

use super::{Buckets, Rate, SendLimits, Spent, meter_common::Hands};
use crate::{
    nodes::{Bucket, Nodes},
    store::{AgentNo, OrgNo},
};

/// Whoever has less than this part of its bucket left is warned.
const WARN_BELOW: u64 = 5;

/// A limit that a send would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Its key in the configuration.
    pub limit: &'static str,
    /// Its value.
    pub max: u64,
    /// Milliseconds until the send may pass.
    pub retry_after_ms: u64,
}

/// Buckets of agents and organisations.
#[derive(Debug, Default)]
pub struct Meter {
    local: Buckets<Bucket>,
    /// Out of the buckets of all nodes.
    hands: Option<Hands>,
}

/// A bucket that a send takes from.
type Taken = (Bucket, Rate, &'static str);

/// The agent's own bucket and that of its organisation.
const fn buckets(agent: AgentNo, org: OrgNo, lane: Lane, limits: &SendLimits) -> [Taken; 2] {
    let own = match lane {
        Lane::Mail => (
            Bucket::Mail(agent),
            Rate::per_minute(limits.sends_per_minute),
            "sends_per_minute",
        ),
        Lane::Control => (
            Bucket::Control(agent),
            Rate::per_minute(limits.control_per_minute),
            "control_per_minute",
        ),
    };
    let org = (
        Bucket::Org(org),
        Rate::per_hour(limits.org_sends_per_hour),
        "org_sends_per_hour",
    );
    [own, org]
}

impl Meter {
    /// Counts for this node alone, or out of the buckets of all.
    #[must_use]
    pub fn new(nodes: Option<Arc<Nodes>>) -> Self {
        Self {
            local: Buckets::default(),
            hands: nodes.map(Hands::new),
        }
    }

    /// Takes what sends may need out of the buckets of all nodes, before they are checked.
    pub async fn provide(
        &mut self,
        sends: impl IntoIterator<Item = (AgentNo, OrgNo, Lane, SendLimits)>,
        now_ms: u64,
    ) {
        let Some(hands) = &mut self.hands else { return };
        let mut needs = HashMap::new();
        for (agent, org, lane, limits) in sends {
            for (bucket, rate, _) in buckets(agent, org, lane, &limits) {
                if rate.max > 0 {
                    needs.entry(bucket).or_insert((rate, 0)).1 += 1;
                }
            }
        }
        // Should they be lost, this node goes on from here.
        for (bucket, rate, left) in hands.provide(&needs).await {
            self.local.set_left(bucket, rate, left, now_ms);
        }
    }

    /// Who counts for all nodes, if anybody does now.
    fn common(&self) -> Option<&Hands> {
        self.hands.as_ref().filter(|hands| hands.count)
    }

    /// A limit as this node counts it by itself.
    fn own(&self, rate: Rate) -> Rate {
        self.hands.as_ref().map_or(rate, |hands| hands.nodes.share(rate))
    }

    /// Whether an agent may send another envelope now; nothing is counted.
    ///
    /// # Errors
    /// [`Due`].
    pub fn check(
        &self,
        agent: AgentNo,
        org: OrgNo,
        lane: Lane,
        limits: &SendLimits,
        now_ms: u64,
    ) -> Result<(), Due> {
        for (bucket, rate, limit) in buckets(agent, org, lane, limits) {
            let looked = match self.common() {
                _ if rate.max == 0 => Ok(()),
                Some(hands) => hands.look(&bucket),
                None => self.local.look(&bucket, self.own(rate), now_ms).map(drop),
            };
            looked.map_err(|Spent { retry_after_ms }| Due {
                limit,
                max: rate.max,
                retry_after_ms,
            })?;
        }
        Ok(())
    }

    /// Counts an envelope that was checked and is stored: how many messages are left in the minute, if
    /// that is few.
    pub fn count(
        &mut self,
        agent: AgentNo,
        org: OrgNo,
        lane: Lane,
        limits: &SendLimits,
        now_ms: u64,
    ) -> Option<u64> {
        let [own, org] = buckets(agent, org, lane, limits);
        let left = self.take(own, now_ms);
        // It was checked before.
        let _left = self.take(org, now_ms);
        let max = own.1.max;
        left.filter(|left| lane == Lane::Mail && left.saturating_mul(WARN_BELOW) < max)
    }

    /// A batch that was counted is not written. What this node counts by itself makes nobody wait for long.
    pub fn undo(&mut self) {
        if let Some(hands) = &mut self.hands {
            hands.undo();
        }
    }

    fn take(&mut self, (bucket, rate, _): Taken, now_ms: u64) -> Option<u64> {
        let own = self.own(rate);
        match self.hands.as_mut().filter(|hands| hands.count) {
            _ if rate.max == 0 => None,
            Some(hands) => hands.take(&bucket),
            None => self.local.take(bucket, own, now_ms).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        store::{test_agent, test_org},
        testing::NOW,
    };

    fn limits() -> SendLimits {
        SendLimits {
            sends_per_minute: 10,
            control_per_minute: 3,
            org_sends_per_hour: 0,
            ..SendLimits::default()
        }
    }

    /// Sends that pass at one time.
    fn passed(meter: &mut Meter, agent: i64, lane: Lane, limits: &SendLimits, now: u64) -> usize {
        let (agent, org) = (test_agent(agent), test_org(1));
        let mut passed = 0;
        while passed < 1_000 && meter.check(agent, org, lane, limits, now).is_ok() {
            meter.count(agent, org, lane, limits, now);
            passed += 1;
        }
        passed
    }

    #[test]
    fn lanes_and_agents_are_counted_apart() {
        let mut meter = Meter::default();
        let limits = limits();
        assert_eq!(passed(&mut meter, 1, Lane::Mail, &limits, NOW), 10);
        assert_eq!(passed(&mut meter, 1, Lane::Control, &limits, NOW), 3);
        assert_eq!(passed(&mut meter, 2, Lane::Mail, &limits, NOW), 10);
        let due = meter
            .check(test_agent(1), test_org(1), Lane::Mail, &limits, NOW)
            .unwrap_err();
        assert_eq!(
            (due.limit, due.max, due.retry_after_ms),
            ("sends_per_minute", 10, 6_000)
        );
        assert_eq!(passed(&mut meter, 1, Lane::Mail, &limits, NOW + 6_000), 1);
    }

    #[test]
    fn organisation_is_counted_over_its_agents_and_lanes() {
        let mut meter = Meter::default();
        let limits = SendLimits {
            org_sends_per_hour: 12,
            ..limits()
        };
        assert_eq!(passed(&mut meter, 1, Lane::Mail, &limits, NOW), 10);
        assert_eq!(passed(&mut meter, 2, Lane::Control, &limits, NOW), 2);
        let due = meter
            .check(test_agent(3), test_org(1), Lane::Mail, &limits, NOW)
            .unwrap_err();
        assert_eq!((due.limit, due.retry_after_ms), ("org_sends_per_hour", 300_000));
        let other = meter.check(test_agent(3), test_org(2), Lane::Mail, &limits, NOW);
        assert_eq!(other, Ok(()));
    }

    #[test]
    fn warning_comes_with_the_last_fifth() {
        let mut meter = Meter::default();
        let limits = limits();
        let mut warned = Vec::new();
        for _ in 0..10 {
            warned.push(meter.count(test_agent(1), test_org(1), Lane::Mail, &limits, NOW));
        }
        assert!(warned[..8].iter().all(Option::is_none));
        assert_eq!(warned[8..], [Some(1), Some(0)]);
    }
}
