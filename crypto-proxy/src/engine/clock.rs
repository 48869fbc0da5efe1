//! A machine's clock that is set while the proxy runs, or while it does not.
//!
//! What waits for a time waits by the machine's clock. Whenever that clock cannot be trusted to have gone on evenly, at
//! a start and when it was set or the machine was suspended, waiting begins anew: nothing is given up, and nobody accused,
//! for a time in which nothing was tried, and nothing waits for an hour that the clock has left again.

use super::{Effect, Engine, Now, send::CONTROL_DEADLINE_MS};
use crate::{
    model::{Refusal, UnixMs},
    state::StateError,
};

/// By how many milliseconds a clock was set if it was not just drifting.
const STEP_MS: u64 = 5_000;
/// How long an envelope is tried at least before it is given up, in milliseconds.
const GRACE_MS: u64 = 60_000;

impl Now {
    /// By how many milliseconds the machine's clock was set since.
    fn moved_since(self, before: Self) -> i64 {
        let passed = self.running.saturating_sub(before.running);
        let expected = before.unix.saturating_add(passed);
        self.unix.cast_signed().saturating_sub(expected.cast_signed())
    }
}

impl Engine {
    /// Compares the machine's clock with the time that has passed since the last events.
    pub(super) fn follow_clock(&mut self, now: Now) -> Result<Vec<Effect>, StateError> {
        let moved = self.clock.map(|before| now.moved_since(before));
        if moved.is_some_and(|by| by.unsigned_abs() < STEP_MS) {
            self.clock = Some(now);
            return Ok(Vec::new());
        }
        self.wait_anew(now.unix)?;
        self.clock = Some(now);
        // At a start there is nothing volatile.
        let Some(by) = moved else {
            return Ok(Vec::new());
        };
        tracing::warn!(milliseconds = by, "the machine's clock was set");
        self.resting.0 = 0;
        let refusal = |queued| Refusal::RelayUnreachable { queued };
        Ok(self.start_over(Vec::new(), refusal, now.unix))
    }

    fn wait_anew(&mut self, now: UnixMs) -> Result<(), StateError> {
        let grace = GRACE_MS.min(self.settings.send_deadline);
        self.store.begin()?;
        self.store
            .wait_anew(now, now + grace..=now + CONTROL_DEADLINE_MS)?;
        self.store.commit()
    }
}
