//! Runs the targets by hand: the seeds, one input, or as long as wanted.

#![expect(clippy::print_stdout, reason = "a program for people")]
#![expect(clippy::unwrap_used, reason = "a harness of tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::{Parser, Subcommand};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use waxwire_fuzz::{Target, mutate::mutate, seeds::seeds, target, targets};

/// Everything that reads foreign bytes, driven by hand.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists the targets.
    List,
    /// Writes the seeds into the corpus.
    Seeds,
    /// Runs one input.
    One {
        /// The target.
        target: String,
        /// The input.
        file: PathBuf,
    },
    /// Mutates the corpus; an input that breaks a rule is left in `TARGET-last-input`.
    Run {
        /// The target, or `all`.
        target: String,
        /// Seconds for each target.
        #[arg(default_value_t = 10)]
        seconds: u64,
        /// Where chance begins.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::List => targets().iter().for_each(|target| println!("{}", target.name)),
        Command::Seeds => write_seeds()?,
        Command::One { target: name, file } => {
            let target = target(&name).ok_or_else(|| anyhow::anyhow!("no target {name}"))?;
            println!("accepted: {}", (target.run)(&fs::read(file)?));
        }
        Command::Run {
            target: name,
            seconds,
            seed,
        } => {
            let chosen: Vec<Target> = targets()
                .into_iter()
                .filter(|target| name == "all" || target.name == name)
                .collect();
            anyhow::ensure!(!chosen.is_empty(), "no target {name}");
            for target in chosen {
                run(target, Duration::from_secs(seconds), seed)?;
            }
        }
    }
    Ok(())
}

fn write_seeds() -> anyhow::Result<()> {
    for (target, inputs) in seeds() {
        fs::create_dir_all(corpus(&target))?;
        for (number, input) in inputs.iter().enumerate() {
            fs::write(corpus(&target).join(format!("seed-{:02}", number + 1)), input)?;
        }
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "how long it ran is for people")]
fn run(target: Target, time: Duration, seed: u64) -> anyhow::Result<()> {
    let mut inputs = Vec::new();
    for entry in fs::read_dir(corpus(target.name))? {
        inputs.push(fs::read(entry?.path())?);
    }
    let last = PathBuf::from(format!("{}-last-input", target.name));
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let (begin, mut runs, mut accepted, mut slowest) = (Instant::now(), 0_u64, 0_u64, Duration::ZERO);
    while begin.elapsed() < time {
        let at = usize::try_from(runs).unwrap() % inputs.len();
        let other = inputs[(at + 1) % inputs.len()].clone();
        let mut input = inputs[at].clone();
        mutate(&mut rng, &mut input, &other);
        let start = Instant::now();
        let outcome = std::panic::catch_unwind(|| (target.run)(&input));
        slowest = slowest.max(start.elapsed());
        let Ok(taken) = outcome else {
            fs::write(&last, &input)?;
            anyhow::bail!("{}: see {}", target.name, last.display());
        };
        runs += 1;
        accepted += u64::from(taken);
        // What was accepted is a better beginning than what was not; few, so that the old ones keep their share.
        if taken && runs % 64 == 0 && inputs.len() < 512 {
            inputs.push(input);
        }
    }
    println!(
        "{:24} {runs:>10} runs {accepted:>9} accepted, slowest {} ms",
        target.name,
        slowest.as_millis()
    );
    Ok(())
}
