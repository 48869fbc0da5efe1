//! What is logged, and how its lines look.

use clap::Args;
use waxwire_outbound::{
    logs::{self, LogFilter, LogFormat},
    traces::Traces,
};

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
    log: LogFilter,
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
        logs::start(&self.log, self.log_format, traces);
    }
}
