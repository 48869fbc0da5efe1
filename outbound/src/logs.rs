//! Structured logs on standard error; docs/operations/logging.md lists the events. No content, key,
//! token or challenge is ever a field.

use std::str::FromStr;

use serde::Deserialize;
use tracing::{Level, Metadata};
use tracing_subscriber::{
    Layer as _,
    filter::{FilterFn, LevelFilter, Targets},
    fmt as format,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::traces::{self, Traces};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Which events are logged: a level, or `target=level` pairs separated by commas.
#[derive(Debug, Clone)]
pub struct LogFilter(Targets);

/// Text that is no log filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a log filter is a level (off, error, warn, info, debug, trace) or target=level pairs separated by commas"
)]
pub struct LogFilterError;

impl FromStr for LogFilter {
    type Err = LogFilterError;

    fn from_str(text: &str) -> Result<Self, LogFilterError> {
        // A word alone would be a target of which everything is logged, and nothing of all others.
        let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
        if !text.split(',').all(|part| part.contains('=') || is_level(part)) {
            return Err(LogFilterError);
        }
        text.parse().map(Self).map_err(|_| LogFilterError)
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self(Targets::new().with_default(Level::INFO))
    }
}

impl LogFilter {
    /// Whether an event is logged. What libraries say below `info` never is, whatever was asked for:
    /// it may hold bytes of requests.
    #[must_use]
    pub fn allows(&self, metadata: &Metadata<'_>) -> bool {
        if traces::is_span(metadata) {
            return false;
        }
        let ours = metadata.target().starts_with("waxwire");
        (ours || *metadata.level() <= Level::INFO) && self.0.would_enable(metadata.target(), metadata.level())
    }

    /// Nothing beyond this level is logged. Without knowing it, every event that a library mentions would
    /// be asked about, several for each frame of a socket.
    fn max_level(&self) -> LevelFilter {
        let targets = self.0.iter().map(|(_, level)| level);
        let levels = targets.chain(self.0.default_level());
        levels.max().unwrap_or(LevelFilter::OFF)
    }
}

/// Starts logging for the whole process, and takes spans for traces. A second call changes nothing.
pub fn start(filter: &LogFilter, log_format: LogFormat, traces: Option<&Traces>) {
    let (filter, max_level) = (filter.clone(), filter.max_level());
    let filter = FilterFn::new(move |metadata| filter.allows(metadata)).with_max_level_hint(max_level);
    let registry = tracing_subscriber::registry().with(traces.map(Traces::layer));
    let lines = format::layer().with_writer(std::io::stderr);
    let started = match log_format {
        LogFormat::Text => registry
            .with(lines.with_ansi(false).with_filter(filter))
            .try_init(),
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            let lines = lines.with_current_span(false).with_span_list(false);
            registry.with(lines.with_filter(filter)).try_init()
        }
    };
    // Only tests start more than once in a process.
    drop(started);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_detailed_level_of_a_filter_is_known() {
        for (text, level) in [
            ("warn", LevelFilter::WARN),
            ("warn,waxwire_relay::store=trace", LevelFilter::TRACE),
            ("waxwire_relay=info,waxwire_shared=error", LevelFilter::INFO),
            ("off", LevelFilter::OFF),
        ] {
            assert_eq!(text.parse::<LogFilter>().unwrap().max_level(), level, "{text}");
        }
    }

    #[test]
    fn filter_is_a_level_or_pairs() {
        for good in [
            "info",
            "waxwire_relay=debug",
            "warn,waxwire_relay::store=trace",
            "off",
        ] {
            assert!(good.parse::<LogFilter>().is_ok(), "{good}");
        }
        for bad in [
            "a=b=c",
            "waxwire_relay=loud",
            "shout",
            "info,loud",
            "waxwire_relay",
            "",
        ] {
            assert!(bad.parse::<LogFilter>().is_err(), "{bad}");
        }
    }
}
