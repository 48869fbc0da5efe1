//! The program `waxwire-proxy`.

use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "the one place where an error is told")]
fn main() -> ExitCode {
    match waxwire_proxy::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("waxwire-proxy: {error:#}");
            ExitCode::FAILURE
        }
    }
}
