//! `waxwire-proxy vectors`: the test vectors, replayed with this very program.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::vectors::{Report, VectorsError, check};

#[derive(Debug, Args)]
pub(super) struct VectorsArgs {
    #[command(subcommand)]
    command: VectorsCommand,
}

#[derive(Debug, Subcommand)]
enum VectorsCommand {
    /// Replay every case of a folder; exit status 1 and the first case that does not hold, if any.
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Folder with the files, such as `vectors` of the source tree.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &VectorsArgs) -> anyhow::Result<()> {
    let VectorsCommand::Check(CheckArgs { dir, json }) = &args.command;
    let result = check(dir);
    if *json {
        report_json(&result);
    }
    let report = result?;
    if !*json {
        report_text(&report);
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the command's result")]
fn report_json(result: &Result<Report, VectorsError>) {
    let report = match result {
        Ok(Report { files, cases }) => json!({ "ok": true, "files": files, "cases": cases }),
        Err(error) => json!({ "ok": false, "error": error.to_string() }),
    };
    println!("{report}");
}

#[expect(clippy::print_stdout, reason = "the command's result")]
fn report_text(Report { files, cases }: &Report) {
    println!("{files} files, {cases} cases: all hold");
}
