//! The one module of the harness that reads the machine's clock, and everything that waits.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use tokio::time::{Instant, sleep};

/// How often something that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Milliseconds since the Unix epoch.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "tests compare with the programs' real clocks; this is the one place that reads it"
)]
pub fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A time limit for two idle cores, stretched by the environment variable `SLOW` on a busier machine.
#[must_use]
pub fn patience(limit: Duration) -> Duration {
    limit * slow()
}

/// The factor in `SLOW`, 1 without it.
#[must_use]
pub fn slow() -> u32 {
    let factor = std::env::var("SLOW").ok().and_then(|text| text.parse().ok());
    factor.unwrap_or(1).clamp(1, 99)
}

/// Looks again and again until there is something, for at most `limit` (see [`patience`]).
///
/// # Errors
/// The look itself fails, or nothing came in time.
pub async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let until = Instant::now() + patience(limit);
    loop {
        if let Some(found) = look().await.with_context(|| format!("waiting until {what}"))? {
            return Ok(found);
        }
        if Instant::now() >= until {
            bail!("{what}: not within {:?}", patience(limit));
        }
        sleep(LOOK).await;
    }
}

/// Waits for a future, for at most `limit` (see [`patience`]).
///
/// # Errors
/// It was not ready in time.
pub async fn within<T>(what: &str, limit: Duration, future: impl Future<Output = T>) -> anyhow::Result<T> {
    let limit = patience(limit);
    match tokio::time::timeout(limit, future).await {
        Ok(done) => Ok(done),
        Err(_) => bail!("{what}: not within {limit:?}"),
    }
}
