//! How often agents may ask for something dear: so many times a minute and a day.

use std::sync::Arc;

use super::{Common, Rate, Short, Spent};
use crate::{
    nodes::{Bucket, Nodes},
    store::AgentNo,
};

/// How often; 0 is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// In a minute.
    pub per_minute: u64,
    /// In a day.
    pub per_day: u64,
}

/// What every agent has left.
#[derive(Debug)]
pub struct Rates {
    what: &'static str,
    buckets: Common,
}

impl Rates {
    /// Of something that other nodes know by the name `what`.
    #[must_use]
    pub fn new(what: &'static str, nodes: Option<Arc<Nodes>>) -> Self {
        Self {
            what,
            buckets: Common::new(nodes),
        }
    }

    fn buckets(&self, agent: AgentNo, allowance: Allowance) -> [(Bucket, Rate); 2] {
        [
            (Bucket::Day(self.what, agent), Rate::per_day(allowance.per_day)),
            (
                Bucket::Minute(self.what, agent),
                Rate::per_minute(allowance.per_minute),
            ),
        ]
    }

    /// Whether an agent may ask; nothing is counted.
    ///
    /// # Errors
    /// [`Spent`].
    pub async fn look(&self, agent: AgentNo, allowance: Allowance, now_ms: u64) -> Result<(), Spent> {
        let looked = self.buckets.look(&self.buckets(agent, allowance), now_ms).await;
        looked.map_err(|Short { spent, .. }| spent)
    }

    /// Counts a question of an agent, unless it is one too many.
    ///
    /// # Errors
    /// [`Spent`].
    pub async fn ask(&self, agent: AgentNo, allowance: Allowance, now_ms: u64) -> Result<(), Spent> {
        let taken = self
            .buckets
            .take(1, &self.buckets(agent, allowance), now_ms)
            .await;
        taken.map_err(|Short { spent, .. }| spent)
    }

    /// Counts so many questions that were asked and not answered yet. If that is more than the agent has left, it has
    /// nothing left: what it asked at once it would otherwise not pay for.
    ///
    /// # Errors
    /// [`Spent`]: nothing is to be answered.
    pub async fn pay(
        &self,
        agent: AgentNo,
        questions: u64,
        allowance: Allowance,
        now_ms: u64,
    ) -> Result<(), Spent> {
        let buckets = self.buckets(agent, allowance);
        let Err(short) = self.buckets.take(questions, &buckets, now_ms).await else {
            return Ok(());
        };
        self.buckets.force(questions, &buckets, now_ms).await;
        let looked = self.buckets.look(&buckets, now_ms).await;
        Err(looked.err().unwrap_or(short).spent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{store::test_agent, testing::NOW};

    #[tokio::test]
    async fn minute_and_day_are_counted_for_each_agent() {
        let (rates, one, other) = (Rates::new("searches", None), test_agent(1), test_agent(2));
        let allowance = Allowance {
            per_minute: 2,
            per_day: 3,
        };
        let ask = async |agent, at| rates.ask(agent, allowance, NOW + at).await;
        assert_eq!((ask(one, 0).await, ask(one, 0).await), (Ok(()), Ok(())));
        assert_eq!(ask(one, 1_000).await.unwrap_err().seconds(), 29);
        assert_eq!(ask(other, 1_000).await, Ok(()));
        assert_eq!(ask(one, 30_000).await, Ok(()), "what was refused did not count");
        assert_eq!(ask(one, 120_000).await.unwrap_err().seconds(), 8 * 3_600 - 120);
        assert_eq!(
            rates.look(one, allowance, NOW + 120_000).await,
            ask(one, 120_000).await
        );
        assert_eq!(rates.look(other, allowance, NOW + 120_000).await, Ok(()));
        assert_eq!(rates.pay(other, 2, allowance, NOW + 120_000).await, Ok(()));
        let many = rates.pay(other, 1_000, allowance, NOW + 150_000).await;
        assert_eq!(many.unwrap_err().seconds(), 8 * 3_600, "nothing is left");
        let unlimited = Allowance {
            per_minute: 0,
            per_day: 0,
        };
        assert_eq!(rates.ask(one, unlimited, NOW + 120_000).await, Ok(()));
    }
}
