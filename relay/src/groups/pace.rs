//! How often an agent may found and join groups, and change one: quotas of this relay, no rules of the log. They are in
//! memory, or among several nodes in Redis, for what they hold off is bursts; a restart begins them anew.

use std::sync::Arc;

use waxwire_shared::wire::Change;

use crate::{
    config::Limits,
    limits::{Common, Rate, Short},
    nodes::{Bucket, Nodes},
    store::{AgentNo, GroupNo},
};

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
    /// Of a group's first commit.
    pub(super) const FOUNDING: Self = Self {
        joins: true,
        leaves: false,
    };

    /// Whether there is another group in which its signer is.
    pub(super) const fn joins(self) -> bool {
        self.joins
    }

    pub(super) fn of(changes: &[Change]) -> Self {
        let joins = |change: &Change| matches!(change, Change::Accept { .. } | Change::Join { .. });
        let leaves = |change: &Change| matches!(change, Change::Leave { .. });
        Self {
            joins: changes.iter().any(joins),
            leaves: changes.iter().any(leaves),
        }
    }
}

/// What each agent has left of its quotas, by itself and in each group.
#[derive(Debug)]
pub(super) struct Pace {
    limits: Limits,
    buckets: Common,
}

impl Pace {
    pub(super) fn new(limits: Limits, nodes: Option<Arc<Nodes>>) -> Self {
        Self {
            limits,
            buckets: Common::new(nodes),
        }
    }

    /// Whether an agent may append now, to a group or to found one. Nobody is kept from leaving.
    pub(super) async fn check(
        &self,
        group: Option<GroupNo>,
        agent: AgentNo,
        cost: Cost,
        now: u64,
    ) -> Result<(), TooOften> {
        let mut asked = Vec::new();
        if let Some(group) = group {
            if !cost.leaves {
                asked.push(self.commits(group, agent));
            }
            if cost.joins {
                asked.push(self.moves(group, agent));
            }
        }
        if cost.joins {
            asked.push(self.groups(agent));
        }
        let looked = self.buckets.look(&asked, now).await;
        looked.map_err(|Short { bucket, spent }| {
            let (quota, max) = match bucket {
                Bucket::Groups(_) => ("groups_per_hour", self.limits.groups_per_hour),
                Bucket::Moves(..) => ("joins_and_leaves_per_hour", self.limits.joins_and_leaves_per_hour),
                _ => ("commits_per_minute", self.limits.commits_per_minute),
            };
            TooOften {
                quota,
                max,
                retry_after: spent.seconds(),
            }
        })
    }

    /// Notes what was appended.
    pub(super) async fn count(&self, group: Option<GroupNo>, agent: AgentNo, cost: Cost, now: u64) {
        let mut happened = Vec::new();
        if let Some(group) = group {
            happened.push(self.commits(group, agent));
            if cost.joins || cost.leaves {
                happened.push(self.moves(group, agent));
            }
        }
        if cost.joins {
            happened.push(self.groups(agent));
        }
        self.buckets.force(1, &happened, now).await;
    }

    const fn commits(&self, group: GroupNo, agent: AgentNo) -> (Bucket, Rate) {
        let rate = Rate::per_minute(self.limits.commits_per_minute);
        (Bucket::Commits(group, agent), rate)
    }

    const fn groups(&self, agent: AgentNo) -> (Bucket, Rate) {
        (Bucket::Groups(agent), Rate::per_hour(self.limits.groups_per_hour))
    }

    const fn moves(&self, group: GroupNo, agent: AgentNo) -> (Bucket, Rate) {
        let rate = Rate::per_hour(self.limits.joins_and_leaves_per_hour);
        (Bucket::Moves(group, agent), rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{test_agent, test_group};

    const NOW: u64 = 1_800_000_000_000;
    const HOUR_MS: u64 = 3_600_000;
    const JOIN: Cost = Cost::FOUNDING;
    const LEAVE: Cost = Cost {
        joins: false,
        leaves: true,
    };

    fn pace(joins_and_leaves_per_hour: u64) -> Pace {
        let limits = Limits {
            joins_and_leaves_per_hour,
            commits_per_minute: 3,
            ..Limits::default()
        };
        Pace::new(limits, None)
    }

    async fn act(pace: &Pace, agent: i64, cost: Cost, now: u64) -> Result<(), TooOften> {
        let (group, agent) = (Some(test_group(1).no), test_agent(agent));
        pace.check(group, agent, cost, now).await?;
        pace.count(group, agent, cost, now).await;
        Ok(())
    }

    #[tokio::test]
    async fn joins_are_refused_once_the_hour_is_used_up_and_leaves_never() {
        let pace = pace(2);
        act(&pace, 1, JOIN, NOW).await.unwrap();
        act(&pace, 1, LEAVE, NOW + 1_000).await.unwrap();
        let refused = act(&pace, 1, JOIN, NOW + 2_000).await.unwrap_err();
        assert_eq!((refused.quota, refused.max), ("joins_and_leaves_per_hour", 2));
        assert_eq!(refused.retry_after, 1_798);
        act(&pace, 2, JOIN, NOW + 2_000).await.unwrap();
        act(&pace, 1, LEAVE, NOW + 3_000).await.unwrap();
        let later = NOW + 2_000 + refused.retry_after * 1_000;
        assert!(act(&pace, 1, JOIN, later - 1_000).await.is_err());
        assert!(
            act(&pace, 1, JOIN, later).await.is_err(),
            "the leave counts though it is not refused"
        );
        act(&pace, 1, JOIN, later + HOUR_MS / 2).await.unwrap();
    }

    #[tokio::test]
    async fn commits_come_back_share_by_share() {
        let pace = pace(0);
        for _ in 0..3 {
            act(&pace, 1, JOIN, NOW).await.unwrap();
        }
        let refused = act(&pace, 1, JOIN, NOW).await.unwrap_err();
        assert_eq!((refused.quota, refused.retry_after), ("commits_per_minute", 20));
        act(&pace, 1, JOIN, NOW + 20_000).await.unwrap();
        assert!(act(&pace, 1, JOIN, NOW + 20_000).await.is_err());
    }

    #[tokio::test]
    async fn clock_that_goes_back_keeps_nobody_out_for_long() {
        let pace = pace(0);
        for _ in 0..3 {
            act(&pace, 1, JOIN, NOW).await.unwrap();
        }
        let refused = act(&pace, 1, JOIN, NOW - 1_000).await.unwrap_err();
        assert!(refused.retry_after <= 60, "{refused:?}");
        act(&pace, 1, JOIN, NOW - 30 * HOUR_MS).await.unwrap();
    }
}
