//! What the writer counts of every send.

use waxwire_shared::wire::Lane;

use super::{Buckets, Rate, SendLimits, Spent};
use crate::store::{AgentNo, OrgNo};

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
    mail: Buckets<AgentNo>,
    control: Buckets<AgentNo>,
    orgs: Buckets<OrgNo>,
}

impl Meter {
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
        let due = |limit, rate: Rate| {
            move |Spent { retry_after_ms }| Due {
                limit,
                max: rate.max,
                retry_after_ms,
            }
        };
        let (own, rate, name) = self.own(lane, limits);
        own.look(&agent, rate, now_ms).map_err(due(name, rate))?;
        let rate = Rate::per_hour(limits.org_sends_per_hour);
        self.orgs
            .look(&org, rate, now_ms)
            .map_err(due("org_sends_per_hour", rate))?;
        Ok(())
    }

    const fn own(&self, lane: Lane, limits: &SendLimits) -> (&Buckets<AgentNo>, Rate, &'static str) {
        match lane {
            Lane::Mail => (
                &self.mail,
                Rate::per_minute(limits.sends_per_minute),
                "sends_per_minute",
            ),
            Lane::Control => (
                &self.control,
                Rate::per_minute(limits.control_per_minute),
                "control_per_minute",
            ),
        }
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
        let (_, rate, _) = self.own(lane, limits);
        let own = match lane {
            Lane::Mail => &mut self.mail,
            Lane::Control => &mut self.control,
        };
        let left = own.take(agent, rate, now_ms).ok();
        let org_rate = Rate::per_hour(limits.org_sends_per_hour);
        // It was checked before.
        let _left = self.orgs.take(org, org_rate, now_ms);
        left.filter(|left| lane == Lane::Mail && left.saturating_mul(WARN_BELOW) < rate.max)
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
