//! Completions and manual pages, made from the command line itself.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Command, Subcommand};
use clap_complete::Shell;

#[derive(Debug, Subcommand)]
pub(super) enum PagesCommand {
    /// Print the completions of a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Write the manual pages into a folder.
    Man {
        /// The folder, which is made if it is missing.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}

pub(super) fn run(command: PagesCommand, mut program: Command) -> anyhow::Result<()> {
    match command {
        PagesCommand::Completions { shell } => {
            let name = program.get_name().to_owned();
            clap_complete::generate(shell, &mut program, name, &mut std::io::stdout());
            Ok(())
        }
        PagesCommand::Man { dir } => {
            std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
            clap_mangen::generate_to(program, &dir)
                .with_context(|| format!("cannot write to {}", dir.display()))
        }
    }
}
