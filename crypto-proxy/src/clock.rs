//! The one place of the proxy that reads the machine's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::engine::Now;

/// What time it is.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the shell's clock: everything else takes `Now`"
)]
pub fn now() -> Now {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        unix: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
    }
}
