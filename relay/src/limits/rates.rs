//! How often agents may ask for something dear: so many times a minute and a day.

use std::sync::{Mutex, PoisonError};

use super::{Buckets, Rate, Spent};
use crate::store::AgentNo;

/// How often; 0 is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// In a minute.
    pub per_minute: u64,
    /// In a day.
    pub per_day: u64,
}

#[derive(Debug, Default)]
struct Asked {
    in_minute: Buckets<AgentNo>,
    on_day: Buckets<AgentNo>,
}

/// What every agent has left.
#[derive(Debug, Default)]
pub struct Rates(Mutex<Asked>);

impl Rates {
    /// Whether an agent may ask; nothing is counted.
    ///
    /// # Errors
    /// [`Spent`].
    pub fn look(&self, agent: AgentNo, allowance: Allowance, now_ms: u64) -> Result<(), Spent> {
        let asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let day = Rate::per_day(allowance.per_day);
        asked.on_day.look(&agent, day, now_ms)?;
        let minute = Rate::per_minute(allowance.per_minute);
        asked.in_minute.look(&agent, minute, now_ms).map(drop)
    }

    /// Counts a question of an agent, unless it is one too many.
    ///
    /// # Errors
    /// [`Spent`].
    pub fn ask(&self, agent: AgentNo, allowance: Allowance, now_ms: u64) -> Result<(), Spent> {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let day = Rate::per_day(allowance.per_day);
        asked.on_day.look(&agent, day, now_ms)?;
        asked
            .in_minute
            .take(agent, Rate::per_minute(allowance.per_minute), now_ms)?;
        asked.on_day.take(agent, day, now_ms).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{store::test_agent, testing::NOW};

    #[test]
    fn minute_and_day_are_counted_for_each_agent() {
        let (rates, one, other) = (Rates::default(), test_agent(1), test_agent(2));
        let allowance = Allowance {
            per_minute: 2,
            per_day: 3,
        };
        let ask = |agent, at| rates.ask(agent, allowance, NOW + at);
        assert_eq!((ask(one, 0), ask(one, 0)), (Ok(()), Ok(())));
        assert_eq!(ask(one, 1_000).unwrap_err().seconds(), 29);
        assert_eq!(ask(other, 1_000), Ok(()));
        assert_eq!(ask(one, 30_000), Ok(()), "what was refused did not count");
        assert_eq!(ask(one, 120_000).unwrap_err().seconds(), 8 * 3_600 - 120);
        assert_eq!(rates.look(one, allowance, NOW + 120_000), ask(one, 120_000));
        assert_eq!(rates.look(other, allowance, NOW + 120_000), Ok(()));
        let unlimited = Allowance {
            per_minute: 0,
            per_day: 0,
        };
        assert_eq!(rates.ask(one, unlimited, NOW + 120_000), Ok(()));
    }
}
