//! How often an agent may change one group: quotas of this relay, no rules of the log. They are in memory, for
//! what they hold off is bursts; a restart begins them anew.

use std::sync::{Mutex, PoisonError};

use waxwire_shared::{
    ids::{AgentId, GroupId},
    wire::Change,
};

use super::recent::Recent;
use crate::config::Limits;

/// Agents and groups that are remembered; who was quiet longest is forgotten first.
const REMEMBERED: usize = 100_000;
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Counted {
    Commits,
    Moves,
}

/// A quota that is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the quota {quota} of {max} is used up")]
pub struct TooOften {
    /// Its key in the configuration.
    pub quota: &'static str,
    /// The limit.
    pub max: u64,
    /// Seconds until another try makes sense.
    pub retry_after: u64,
}

/// What a commit costs its signer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost {
    /// The signer comes into the group.
    joins: bool,
    /// The signer leaves it.
    leaves: bool,
}

impl Cost {
    pub(super) fn of(changes: &[Change]) -> Self {
        let joins = |change: &Change| matches!(change, Change::Accept { .. } | Change::Join { .. });
        let leaves = |change: &Change| matches!(change, Change::Leave { .. });
        Self {
            joins: changes.iter().any(joins),
            leaves: changes.iter().any(leaves),
        }
    }
}

/// Until when the quotas of an agent in a group are spoken for: each act speaks for its share of the
/// period, and a whole period may be spoken for at once.
#[derive(Debug)]
pub(super) struct Pace {
    limits: Limits,
    spoken_for: Mutex<Recent<(GroupId, AgentId, Counted), u64>>,
}

impl Pace {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            spoken_for: Mutex::new(Recent::new(REMEMBERED)),
        }
    }

    /// Whether an agent may append now. Nobody is kept from leaving.
    pub(super) fn check(&self, group: GroupId, agent: AgentId, cost: Cost, now: u64) -> Result<(), TooOften> {
        let counted = [(Counted::Commits, !cost.leaves), (Counted::Moves, cost.joins)];
        for (counted, _) in counted.into_iter().filter(|(_, asked)| *asked) {
            self.with((group, agent, counted), now, |until, quota| {
                quota.check(*until, now)
            })?;
        }
        Ok(())
    }

    /// Notes what was appended.
    pub(super) fn count(&self, group: GroupId, agent: AgentId, cost: Cost, now: u64) {
        let counted = [
            (Counted::Commits, true),
            (Counted::Moves, cost.joins || cost.leaves),
        ];
        for (counted, _) in counted.into_iter().filter(|(_, happened)| *happened) {
            self.with((group, agent, counted), now, |until, quota| {
                *until += quota.share()
            });
        }
    }

    fn with<T>(
        &self,
        key: (GroupId, AgentId, Counted),
        now: u64,
        act: impl FnOnce(&mut u64, Quota) -> T,
    ) -> T {
        let mut spoken_for = self.spoken_for.lock().unwrap_or_else(PoisonError::into_inner);
        // The clock may have gone back: nobody waits for longer than the period for that.
        let quota = self.quota(key.2);
        let mut until = spoken_for.get(key, 1, || now).clamp(now, now + quota.period_ms);
        let done = act(&mut until, quota);
        spoken_for.put(key, 1, until);
        done
    }

    const fn quota(&self, counted: Counted) -> Quota {
        match counted {
            Counted::Commits => Quota {
                name: "commits_per_minute",
                max: self.limits.commits_per_minute,
                period_ms: MINUTE_MS,
            },
            Counted::Moves => Quota {
                name: "joins_and_leaves_per_hour",
                max: self.limits.joins_and_leaves_per_hour,
                period_ms: HOUR_MS,
            },
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Quota {
    name: &'static str,
    /// 0 is unlimited.
    max: u64,
    period_ms: u64,
}

impl Quota {
    fn share(self) -> u64 {
        self.period_ms.checked_div(self.max).unwrap_or(0)
    }

    fn check(self, until: u64, now: u64) -> Result<(), TooOften> {
        let over = (until + self.share()).saturating_sub(now + self.period_ms);
        if over == 0 || self.max == 0 {
            return Ok(());
        }
        Err(TooOften {
            quota: self.name,
            max: self.max,
            retry_after: over.div_ceil(1_000),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;
    const JOIN: Cost = Cost {
        joins: true,
        leaves: false,
    };
    const LEAVE: Cost = Cost {
        joins: false,
        leaves: true,
    };

    fn pace(joins_and_leaves_per_hour: u64) -> Pace {
        Pace::new(Limits {
            joins_and_leaves_per_hour,
            commits_per_minute: 3,
            ..Limits::default()
        })
    }

    fn act(pace: &Pace, agent: u8, cost: Cost, now: u64) -> Result<(), TooOften> {
        let (group, agent) = (GroupId::from_bytes([1; 32]), AgentId::from_bytes([agent; 16]));
        pace.check(group, agent, cost, now)?;
        pace.count(group, agent, cost, now);
        Ok(())
    }

    #[test]
    fn joins_are_refused_once_the_hour_is_used_up_and_leaves_never() {
        let pace = pace(2);
        act(&pace, 1, JOIN, NOW).unwrap();
        act(&pace, 1, LEAVE, NOW + 1_000).unwrap();
        let refused = act(&pace, 1, JOIN, NOW + 2_000).unwrap_err();
        assert_eq!((refused.quota, refused.max), ("joins_and_leaves_per_hour", 2));
        assert_eq!(refused.retry_after, 1_798);
        act(&pace, 2, JOIN, NOW + 2_000).unwrap();
        act(&pace, 1, LEAVE, NOW + 3_000).unwrap();
        let later = NOW + 2_000 + refused.retry_after * 1_000;
        assert!(act(&pace, 1, JOIN, later - 1_000).is_err());
        assert!(
            act(&pace, 1, JOIN, later).is_err(),
            "the leave counts though it is not refused"
        );
        act(&pace, 1, JOIN, later + HOUR_MS / 2).unwrap();
    }

    #[test]
    fn commits_come_back_share_by_share() {
        let pace = pace(0);
        for _ in 0..3 {
            act(&pace, 1, JOIN, NOW).unwrap();
        }
        let refused = act(&pace, 1, JOIN, NOW).unwrap_err();
        assert_eq!((refused.quota, refused.retry_after), ("commits_per_minute", 20));
        act(&pace, 1, JOIN, NOW + 20_000).unwrap();
        assert!(act(&pace, 1, JOIN, NOW + 20_000).is_err());
    }

    #[test]
    fn clock_that_goes_back_keeps_nobody_out_for_longer_than_the_period() {
        let pace = pace(0);
        for _ in 0..3 {
            act(&pace, 1, JOIN, NOW).unwrap();
        }
        let earlier = NOW - 30 * HOUR_MS;
        let refused = act(&pace, 1, JOIN, earlier).unwrap_err();
        assert!(refused.retry_after <= 60, "{refused:?}");
        act(&pace, 1, JOIN, earlier + MINUTE_MS).unwrap();
    }
}
