//! Structured logs on standard error; docs/operations/logging.md lists the events. No content, key,
//! token or challenge is ever a field.

use std::{error::Error, fmt, str::FromStr};

use serde::Deserialize;
use tracing_subscriber::{
    filter::Targets, fmt as format, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

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
    "a log filter is a level (error, warn, info, debug, trace) or target=level pairs separated by commas"
)]
pub struct LogFilterError;

impl FromStr for LogFilter {
    type Err = LogFilterError;

    fn from_str(text: &str) -> Result<Self, LogFilterError> {
        text.parse().map(Self).map_err(|_| LogFilterError)
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self(Targets::new().with_default(tracing::Level::INFO))
    }
}

/// Starts logging for the whole process. A second call changes nothing.
pub fn start(filter: &LogFilter, log_format: LogFormat) {
    let registry = tracing_subscriber::registry().with(filter.0.clone());
    let started = match log_format {
        LogFormat::Text => registry
            .with(format::layer().with_writer(std::io::stderr).with_ansi(false))
            .try_init(),
        LogFormat::Json => registry
            .with(
                format::layer()
                    .json()
                    .flatten_event(true)
                    .with_current_span(false)
                    .with_span_list(false)
                    .with_writer(std::io::stderr),
            )
            .try_init(),
    };
    // Only tests start more than once in a process.
    drop(started);
}

/// An error with its causes, for one log line.
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl fmt::Display + use<'a> {
    Chain(error)
}

struct Chain<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
