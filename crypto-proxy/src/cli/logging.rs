//! Structured logs on standard error. No content, key or token is ever a field.

use clap::{Args, ValueEnum};
use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    fmt as format,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};
use waxwire_outbound::traces::{self, Traces};

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
    pub(super) fn start(&self, traces: Option<&Traces>) {
        let registry = tracing_subscriber::registry().with(traces.map(Traces::layer));
        let filter = self.log.clone().with_target(traces::TARGET, LevelFilter::OFF);
        let lines = format::layer().with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Text => registry.with(lines.with_ansi(false).with_filter(filter)).init(),
            LogFormat::Json => {
                let lines = lines.json().flatten_event(true);
                let lines = lines.with_current_span(false).with_span_list(false);
                registry.with(lines.with_filter(filter)).init();
            }
        }
    }
}
