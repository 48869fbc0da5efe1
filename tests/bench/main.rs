//! The benchmark: a load generator, the bare yardstick, and a report of both.
//!
//! `waxwire-bench run` starts every server as a process of its own, drives them in turn within the
//! same run, rekeys large groups as the proxy does, and prints each figure with its yardstick; results go to `target/bench/` as JSON.

mod boxes;
mod catch_up;
mod clock;
mod connections;
mod end_to_end;
mod fan_out;
mod figure;
mod growth;
mod http_client;
mod load;
mod machine;
mod nodes;
mod peers;
mod postgres;
mod process;
mod programs;
mod quota;
mod rekey;
mod report;
mod run;
mod sends;
mod slim;
mod socket;
mod stats;
mod target;
mod yardstick;

use clap::Parser;

/// Measures the relay and what it is compared with.
#[derive(Debug, Parser)]
#[command(version)]
enum Command {
    /// Measures everything, prints a table, writes target/bench/latest.json.
    Run(run::Options),
    /// Serves the bare yardstick until killed.
    Yardstick(yardstick::Options),
    /// Serves a bare sidecar of the yardstick until killed.
    Sidecar(yardstick::sidecar::Options),
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Run(options) => run::run(&options),
        Command::Yardstick(options) => yardstick::serve(&options),
        Command::Sidecar(options) => yardstick::sidecar::serve(&options),
    }
}
