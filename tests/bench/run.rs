//! Which figures are taken, in which order, and what they are compared with.

use std::{
    env, fs,
    io::{Write as _, stderr, stdout},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use serde::Serialize;
use tempfile::TempDir;
use tokio::{runtime, task::LocalSet};

use crate::{
    load::{closed, open},
    machine::{self, Machine, Versions},
    report::{self, Bound, Row},
    stats::{self, Percentiles},
    target::{
        Target, Transport,
        yardstick::{OneCommit, Yardstick},
    },
};

/// Senders in the three closed loops.
const LEVELS: [usize; 3] = [1, 16, 64];

/// The level of P1, and of the yardstick's check of itself.
const MOST: usize = 64;

/// A yardstick whose group commit gains less than this over one commit a message is broken.
const GROUP_COMMIT: f64 = 10.0;

/// Command line of a run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// 5 longer runs instead of 3.
    #[arg(long)]
    full: bool,
    /// Number of runs; medians are reported.
    #[arg(long)]
    runs: Option<usize>,
    /// Where databases and results go; target/bench by default. Has to be on a real disk: a
    /// file system in memory makes every flush free.
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// How long and how often; part of the result.
#[derive(Debug, Clone, Serialize)]
struct Settings {
    runs: usize,
    warm_up: Duration,
    measure: Duration,
    /// Of the open loop: messages a second, senders, time measured.
    latency_rate: u32,
    latency_senders: usize,
    latency_measure: Duration,
    yardstick_body_bytes: usize,
}

/// All figures of one target in one run.
#[derive(Debug, Serialize)]
struct Figures {
    target: &'static str,
    /// One for each of [`LEVELS`].
    closed: Vec<closed::Outcome>,
    /// From due to received.
    latency: Percentiles,
    /// Resident bytes before the first connection and after the last.
    memory_idle: u64,
    memory_after: u64,
}

/// One run: everything once, in turn.
#[derive(Debug, Serialize)]
struct Round {
    /// Time of one flush of the disk before the run, microseconds.
    flush_micros: f64,
    yardstick: Figures,
    /// Durable messages a second of the yardstick's mode of one commit a message, 64 senders.
    one_commit: f64,
}

/// The result file.
#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    versions: Versions,
    settings: Settings,
    rows: Vec<Row>,
    rounds: Vec<Round>,
}

impl Settings {
    fn new(options: &Options) -> Self {
        let (runs, warm_up, measure, latency_measure) =
            if options.full { (5, 2, 6, 20) } else { (3, 1, 3, 6) };
        Self {
            runs: options.runs.unwrap_or(runs).max(1),
            warm_up: Duration::from_secs(warm_up),
            measure: Duration::from_secs(measure),
            latency_rate: 50,
            latency_senders: 8,
            latency_measure: Duration::from_secs(latency_measure),
            yardstick_body_bytes: crate::target::yardstick::BODY,
        }
    }

    fn closed(&self, senders: usize, transport: Transport) -> closed::Plan {
        closed::Plan {
            senders,
            transport,
            warm_up: self.warm_up,
            measure: self.measure,
        }
    }

    fn open(&self, transport: Transport) -> open::Plan {
        open::Plan {
            rate: self.latency_rate,
            senders: self.latency_senders,
            transport,
            warm_up: self.warm_up,
            measure: self.latency_measure,
        }
    }
}

/// Measures, prints the table, saves the result.
///
/// # Errors
/// A server did not start, refused a message or lost one; the folder cannot be written.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let folder = options.folder.clone().map_or_else(default_folder, Ok)?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let settings = Settings::new(options);
    let machine = Machine::here();
    let mut rounds = Vec::with_capacity(settings.runs);
    for number in 1..=settings.runs {
        writeln!(stderr(), "run {number} of {}", settings.runs)?;
        rounds.push(one_round(&settings, &folder)?);
    }
    let report = Report {
        machine,
        versions: Versions::here(),
        rows: rows(&rounds),
        settings,
        rounds,
    };
    report::print(&report.rows, &mut stdout())?;
    let path = report::save(&folder, &report)?;
    writeln!(stdout(), "\n{}", path.display())?;
    Ok(())
}

/// `bench` below the target folder that this program was built into.
fn default_folder() -> anyhow::Result<PathBuf> {
    let program = env::current_exe().context("the path of this program")?;
    let target = program
        .ancestors()
        .nth(2)
        .context("the program is in no target folder")?;
    Ok(target.join("bench"))
}

fn one_round(settings: &Settings, folder: &Path) -> anyhow::Result<Round> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let flush_micros = machine::flush_micros(folder)?;
    runtime.block_on(LocalSet::new().run_until(async {
        let one_commit = rate::<OneCommit>(settings, folder).await?;
        let yardstick = figures::<Yardstick>(settings, folder).await?;
        Ok(Round {
            flush_micros,
            yardstick,
            one_commit,
        })
    }))
}

/// Starts the target on an empty database that is deleted with the folder returned.
async fn start<T: Target>(folder: &Path) -> anyhow::Result<(T, TempDir)> {
    let files = tempfile::Builder::new().prefix("run-").tempdir_in(folder)?;
    let target = T::start(files.path(), MOST)
        .await
        .with_context(|| format!("cannot start the {}", T::NAME))?;
    Ok((target, files))
}

async fn rate<T: Target>(settings: &Settings, folder: &Path) -> anyhow::Result<f64> {
    let (target, _files) = start::<T>(folder).await?;
    let plan = settings.closed(MOST, Transport::Http);
    Ok(closed::run(&target, plan).await?.rate)
}

async fn figures<T: Target>(settings: &Settings, folder: &Path) -> anyhow::Result<Figures> {
    let (target, _files) = start::<T>(folder).await?;
    let memory_idle = target.server().memory()?;
    let latency = open::run(&target, settings.open(Transport::Http)).await?;
    let mut outcomes = Vec::with_capacity(LEVELS.len());
    for senders in LEVELS {
        let plan = settings.closed(senders, Transport::Http);
        outcomes.push(closed::run(&target, plan).await?);
    }
    Ok(Figures {
        target: T::NAME,
        closed: outcomes,
        latency,
        memory_idle,
        memory_after: target.server().memory()?,
    })
}

fn rows(rounds: &[Round]) -> Vec<Row> {
    let mut rows = vec![self_check(rounds)];
    for (index, senders) in LEVELS.into_iter().enumerate() {
        let closed = |round: &Round| round.yardstick.closed.get(index).copied();
        let scale = |what: &str, unit, value: fn(closed::Outcome) -> f64| {
            let what = format!("{what}, {senders} senders");
            scale(
                what,
                unit,
                rounds.iter().filter_map(|round| closed(round).map(value)),
            )
        };
        rows.push(scale("durable sends", "/s", |outcome| outcome.rate));
        rows.push(scale("send to 201, p50", "us", |outcome| outcome.ack.p50));
        rows.push(scale("server CPU a send", "us", |outcome| outcome.server_cpu));
    }
    let latency = |what: &str, value: fn(&Percentiles) -> f64| {
        let values = rounds.iter().map(|round| value(&round.yardstick.latency));
        scale(format!("send to receive at 50/s, {what}"), "us", values)
    };
    rows.push(latency("p50", |latency| latency.p50));
    rows.push(latency("p99", |latency| latency.p99));
    rows
}

/// A figure of the yardstick alone.
fn scale(what: String, unit: &'static str, values: impl Iterator<Item = f64>) -> Row {
    Row {
        goal: "-",
        what,
        unit,
        measured: None,
        yardstick: stats::median(values),
        ratio: None,
        bound: None,
    }
}

fn self_check(rounds: &[Round]) -> Row {
    // `LEVELS` ends with `MOST`, the level of the other mode's run.
    let batched = |round: &Round| round.yardstick.closed.last().map_or(0.0, |outcome| outcome.rate);
    Row {
        goal: "check",
        what: "yardstick: group commit over one commit each, 64".into(),
        unit: "/s",
        measured: stats::median(rounds.iter().map(batched)),
        yardstick: stats::median(rounds.iter().map(|round| round.one_commit)),
        ratio: stats::median(rounds.iter().map(|round| batched(round) / round.one_commit)),
        bound: Some(Bound::AtLeast(GROUP_COMMIT)),
    }
}
