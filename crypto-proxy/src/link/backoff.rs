//! When to try again.

use std::time::Duration;

use rand_core::Rng;

/// Waits after failures in a row; the last one stays.
const STEPS: [u64; 5] = [1_000, 2_000, 5_000, 10_000, 30_000];
/// Wait after the relay refused our API key.
const REFUSED: u64 = 5 * 60 * 1_000;
/// Longest wait after a connection that worked.
const HEALTHY: u64 = 1_000;

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: usize,
}

impl Backoff {
    /// After an attempt that came to nothing: 1, 2, 5, 10, 30, 30 ... seconds.
    pub(super) fn after_failure(&mut self, rng: &mut impl Rng) -> Duration {
        let step = STEPS[self.failures.min(STEPS.len() - 1)];
        self.failures += 1;
        jitter(step, rng)
    }

    /// After a connection that worked: less than a second, so that all agents of a relay that
    /// restarts do not come at once.
    pub(super) fn after_success(&mut self, rng: &mut impl Rng) -> Duration {
        self.failures = 0;
        Duration::from_millis(rng.next_u64() % HEALTHY)
    }

    /// After a refusal that no quick repetition will change: five minutes.
    pub(super) fn after_refusal(&mut self, rng: &mut impl Rng) -> Duration {
        self.failures = STEPS.len();
        jitter(REFUSED, rng)
    }
}

/// Plus or minus a quarter.
fn jitter(milliseconds: u64, rng: &mut impl Rng) -> Duration {
    Duration::from_millis(milliseconds * (750 + rng.next_u64() % 501) / 1_000)
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

    use super::*;

    #[test]
    fn waits_follow_the_schedule_within_a_quarter() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..200 {
            let mut backoff = Backoff::default();
            for step in [1_000, 2_000, 5_000, 10_000, 30_000, 30_000, 30_000] {
                let wait = backoff.after_failure(&mut rng);
                let bounds = Duration::from_millis(step * 3 / 4)..=Duration::from_millis(step * 5 / 4);
                assert!(bounds.contains(&wait), "{step}: {wait:?}");
            }
            assert!(backoff.after_success(&mut rng) < Duration::from_secs(1));
            assert!(backoff.after_failure(&mut rng) <= Duration::from_millis(1_250));
            assert!(backoff.after_refusal(&mut rng) >= Duration::from_secs(225));
        }
    }
}
