//! The one module of the benchmark that reads the machine's clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The monotonic clock: what every duration in a result is taken from.
#[expect(
    clippy::disallowed_methods,
    reason = "the benchmark measures real time; this is its one place that reads it"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since the Unix epoch, 0 on a machine whose clock is before it.
#[expect(
    clippy::disallowed_methods,
    reason = "stored rows and result files carry the date; this is the one place that reads it"
)]
pub(crate) fn unix_millis() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
