//! `[transparency]` of the configuration file, and `--transparency`.

use std::{ops::RangeInclusive, time::Duration};

use serde::Deserialize;

const DEFAULT_SECONDS: u64 = 10;
const SECONDS: RangeInclusive<u64> = 1..=3_600;

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// What the file says.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransparencyTable {
    enabled: Option<bool>,
    head_interval_seconds: Option<u64>,
}

/// An interval out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("head_interval_seconds is a number from {} to {}", SECONDS.start(), SECONDS.end())]
pub struct HeadIntervalError;

impl TransparencyTable {
    /// How often heads are signed at most; none if there is no log.
    ///
    /// # Errors
    /// [`HeadIntervalError`].
    pub fn resolve(self, flag: Option<Switch>) -> Result<Option<Duration>, HeadIntervalError> {
        let seconds = self.head_interval_seconds.unwrap_or(DEFAULT_SECONDS);
        if !SECONDS.contains(&seconds) {
            return Err(HeadIntervalError);
        }
        let enabled = flag.map_or(self.enabled.unwrap_or(true), |flag| flag == Switch::On);
        Ok(enabled.then_some(Duration::from_secs(seconds)))
    }
}
