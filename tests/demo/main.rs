//! `make demo`: a relay and three agents as real programs. They talk, and what they say is looked
//! for in the relay's database.
//!
//! Each part of the transcript is a module with a function `show`; `main` puts them in order.

mod direct;
mod group;
mod search;
mod stage;
mod transcript;

use std::process::ExitCode;

use clap::Parser;

use crate::{stage::Stage, transcript::Transcript};

/// Shows agents that talk through a relay which cannot read them; stays up until Ctrl-C.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// End after the transcript; the exit status tells whether every step did what it should.
    #[arg(long)]
    once: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let transcript = Transcript::default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(&options, &transcript)),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            transcript.failure(&error);
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options, transcript: &Transcript) -> anyhow::Result<()> {
    tokio::select! {
        outcome = show(options, transcript) => outcome,
        interrupt = tokio::signal::ctrl_c() => {
            interrupt?;
            transcript.line("")?;
            transcript.line("Stopped.")
        }
    }
}

async fn show(options: &Options, transcript: &Transcript) -> anyhow::Result<()> {
    transcript.title("Waxwire: agents talk through a relay that cannot read them")?;
    let mut stage = Stage::set(transcript).await?;
    let shown = async {
        direct::show(&mut stage, transcript).await?;
        let group = group::show(&stage, transcript).await?;
        search::show(&stage, transcript)?;
        Ok(group)
    };
    let group: String = match shown.await {
        Ok(group) => group,
        Err(error) => return Err(anyhow::Error::context(error, stage.keep_logs()?)),
    };
    if options.once {
        stage.strike().await?;
        transcript.line("")?;
        return transcript.line("Every step did what it should.");
    }
    stage.invite(&group, transcript)?;
    // Until Ctrl-C, which `run` waits for.
    std::future::pending().await
}
