//! Fault points: named steps at which a test build kills its own process.
//!
//! Compiled in with the feature `fault-points` only; otherwise nothing. `WAXWIRE_FAULT=name` dies
//! at the first passage, `WAXWIRE_FAULT=name:3` at the third.

/// Dies here if the environment says so.
#[cfg(not(feature = "fault-points"))]
pub const fn point(_name: &'static str) {}

/// Dies here if the environment says so.
#[cfg(feature = "fault-points")]
pub fn point(name: &'static str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };

    static ARMED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);

    let armed = ARMED.get_or_init(|| {
        let text = std::env::var("WAXWIRE_FAULT").ok()?;
        match text.split_once(':') {
            Some((name, nth)) => Some((name.to_owned(), nth.parse().ok()?)),
            None => Some((text, 1)),
        }
    });
    if let Some((armed, nth)) = armed
        && armed == name
        && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *nth
    {
        // Like kill -9: no destructor runs, nothing is flushed.
        std::process::abort();
    }
}
