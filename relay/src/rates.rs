//! How often agents may ask for something dear: so many times a minute and a day. Counted in memory;
//! a relay that starts again begins anew.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::store::AgentNo;

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
/// Agents whose counts are kept before those of other days are thrown away.
const AGENTS: usize = 65_536;

/// How often; 0 is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// In a minute of the clock.
    pub per_minute: u64,
    /// In a day of the clock, UTC.
    pub per_day: u64,
}

/// Too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOften {
    /// Seconds until the next try may succeed.
    pub retry_after: u64,
}

/// What an agent has asked for in the minute and on the day of its last question.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    minute: u64,
    in_minute: u64,
    day: u64,
    on_day: u64,
}

/// Counts of every agent.
#[derive(Debug, Default)]
pub struct Rates(Mutex<HashMap<AgentNo, Asked>>);

impl Rates {
    /// Counts a question of an agent, unless it is one too many.
    ///
    /// # Errors
    /// [`TooOften`].
    pub fn ask(&self, agent: AgentNo, allowance: Allowance, now_ms: u64) -> Result<(), TooOften> {
        let (minute, day) = (now_ms / MINUTE_MS, now_ms / DAY_MS);
        let mut agents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if agents.len() >= AGENTS && !agents.contains_key(&agent) {
            agents.retain(|_, asked| asked.day == day);
        }
        let asked = agents.entry(agent).or_default();
        if asked.day != day {
            (asked.day, asked.on_day) = (day, 0);
        }
        if asked.minute != minute {
            (asked.minute, asked.in_minute) = (minute, 0);
        }
        let rest = |window: u64| TooOften {
            retry_after: (window - now_ms % window).div_ceil(1_000),
        };
        let is_spent = |count: u64, limit: u64| limit > 0 && count >= limit;
        if is_spent(asked.on_day, allowance.per_day) {
            return Err(rest(DAY_MS));
        }
        if is_spent(asked.in_minute, allowance.per_minute) {
            return Err(rest(MINUTE_MS));
        }
        asked.in_minute += 1;
        asked.on_day += 1;
        Ok(())
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
        assert_eq!((ask(one, 0), ask(one, 1)), (Ok(()), Ok(())));
        assert_eq!(ask(one, 1_000), Err(TooOften { retry_after: 59 }));
        assert_eq!(ask(other, 1_000), Ok(()));
        assert_eq!(ask(one, MINUTE_MS), Ok(()));
        let spent = ask(one, 2 * MINUTE_MS);
        assert_eq!(
            spent,
            Err(TooOften {
                retry_after: 24 * 3_600 - 120
            })
        );
        assert_eq!(ask(one, DAY_MS), Ok(()));
        // What was refused did not count.
        assert_eq!(ask(one, DAY_MS), Ok(()));
        let unlimited = Allowance {
            per_minute: 0,
            per_day: 0,
        };
        assert_eq!(rates.ask(one, unlimited, NOW + DAY_MS), Ok(()));
    }
}
