//! Structured logs on standard error. No content, key or token is ever a field.

use clap::{Args, ValueEnum};
use tracing_subscriber::{
    filter::Targets, fmt as format, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// What is logged: a level, or target=level pairs separated by commas.
    #[arg(
        long,
        global = true,
        env = "WAXWIRE_PROXY_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    log: Targets,
    /// How log lines look.
    #[arg(
        long,
        global = true,
        env = "WAXWIRE_PROXY_LOG_FORMAT",
        default_value = "text",
        value_enum
    )]
    log_format: LogFormat,
}

impl LogArgs {
    pub(super) fn start(&self) {
        let registry = tracing_subscriber::registry().with(self.log.clone());
        match self.log_format {
            LogFormat::Text => {
                registry
                    .with(format::layer().with_writer(std::io::stderr).with_ansi(false))
                    .init();
            }
            LogFormat::Json => {
                let layer = format::layer()
                    .json()
                    .flatten_event(true)
                    .with_current_span(false);
                registry
                    .with(layer.with_span_list(false).with_writer(std::io::stderr))
                    .init();
            }
        }
    }
}
