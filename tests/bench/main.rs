//! The benchmark: a load generator, the bare yardstick, and a report of both.
//!
//! `waxwire-bench run` starts every server as a process of its own, drives them in turn within the
//! same run, rekeys large groups as the proxy does, and prints each figure with its yardstick; results go to `target/bench/` as JSON.

mod clock;
mod http_client;
mod load;
mod machine;
mod process;
mod rekey;
mod report;
mod rows;
mod run;
mod sidecars;
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
    /// Measures the memory of crypto proxies, prints it.
    Sidecars(sidecars::Options),
    /// Serves the bare yardstick until killed.
    Yardstick(yardstick::Options),
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Run(options) => run::run(&options),
        Command::Sidecars(options) => sidecars::run(&options),
        Command::Yardstick(options) => yardstick::serve(&options),
    }
}
