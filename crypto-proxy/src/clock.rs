//! The one place of the proxy that reads the machine's clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::{engine::Now, model::UnixMs};

/// What time it is, Unix milliseconds.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the shell's clock: everything else takes the time"
)]
pub fn unix() -> UnixMs {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// Tells the engine both times: the machine's, which others can set, and how long this proxy has
/// run in all, which only grows while it runs.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// How long the proxy had run before this process, in milliseconds.
    earlier: u64,
    started: Instant,
}

impl Clock {
    /// A clock that goes on from the running time of earlier processes.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "see `unix`")]
    pub fn resume(earlier: u64) -> Self {
        Self {
            earlier,
            started: Instant::now(),
        }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Now {
        let here = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now {
            unix: unix(),
            running: self.earlier.saturating_add(here),
        }
    }
}
