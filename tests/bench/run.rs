//! Which measurements are made, how often, and where their results go.

use std::{
    env, fs,
    io::{Write as _, stderr, stdout},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::ValueEnum as _;
use serde::Serialize;
use tokio::{runtime, task::LocalSet};

use crate::{
    boxes, catch_up, connections, end_to_end, fan_out,
    figure::{self, Figure},
    growth,
    machine::{self, Machine, Versions, Watch},
    nodes, peers, postgres, process,
    rekey::{self, Group},
    report::{self, Row},
    sends,
};

/// Command line of a run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// 5 longer runs instead of 3, full sizes.
    #[arg(long)]
    full: bool,
    /// Other people's servers, too.
    #[arg(long)]
    peers: bool,
    /// Number of runs; medians are reported.
    #[arg(long)]
    runs: Option<usize>,
    /// Only these measurements; without any, all but `throughput`, which is a part of `sends`, and those of other people's servers.
    #[arg(long, value_enum)]
    only: Vec<Measurement>,
    /// Where databases and results go; target/bench by default. Has to be on a real disk: a
    /// file system in memory makes every flush free.
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measurement {
    /// P1 alone, to see what a change does.
    Throughput,
    /// P1, P2, P9 and P10 of the relay.
    Sends,
    /// P3: the relay on PostgreSQL.
    Postgres,
    /// P4, P5, P9 and P10 of crypto proxies.
    EndToEnd,
    /// P6: a message to a large group.
    FanOut,
    /// P7: the keys of a large group.
    Rekey,
    /// P8: memory of idle connections.
    Connections,
    /// P11: sealed boxes.
    Boxes,
    /// P12: a relay that holds much.
    Growth,
    /// P13: two nodes of a relay.
    Nodes,
    /// P14: a crypto proxy that was away.
    CatchUp,
    /// P1 beside NATS JetStream.
    Jetstream,
    /// P4 and P5 beside Matrix.
    Matrix,
    /// P4 beside AGNTCY SLIM.
    Slim,
    /// P1 beside nostr-rs-relay.
    Nostr,
}

/// What a measurement is told.
pub(crate) struct Bench {
    /// Where it may put files of this run; they are deleted afterwards.
    pub(crate) files: PathBuf,
    /// Full sizes.
    pub(crate) full: bool,
    /// From 1. Every other run goes the other way round, so that no server is always the first.
    number: usize,
}

impl Bench {
    /// Whether servers take turns the other way round.
    pub(crate) const fn is_reversed(&self) -> bool {
        self.number.is_multiple_of(2)
    }

    /// Whether this run measures what takes too long for every run.
    pub(crate) const fn is_first(&self) -> bool {
        self.number == 1
    }

    /// A new folder.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn folder(&self) -> anyhow::Result<PathBuf> {
        Ok(tempfile::tempdir_in(&self.files)?.keep())
    }
}

impl Measurement {
    async fn measure(self, bench: &Bench, groups: &[Group]) -> anyhow::Result<Vec<Figure>> {
        match self {
            Self::Throughput => sends::throughput(bench).await,
            Self::Sends => sends::measure(bench).await,
            Self::Postgres => postgres::measure(bench).await,
            Self::EndToEnd => end_to_end::measure(bench).await,
            Self::FanOut => fan_out::measure(bench).await,
            Self::Rekey => rekey::measure(groups),
            Self::Connections => connections::measure(bench).await,
            Self::Boxes => boxes::measure(),
            Self::Growth => growth::measure(bench).await,
            Self::Nodes => nodes::measure(bench).await,
            Self::CatchUp => catch_up::measure(bench).await,
            Self::Jetstream => peers::jetstream(bench).await,
            Self::Matrix => peers::matrix(bench).await,
            Self::Slim => peers::slim(bench).await,
            Self::Nostr => peers::nostr(bench).await,
        }
    }

    /// Whether other people's servers are needed, which `scripts/peers` installs.
    const fn has_peer(self) -> bool {
        matches!(self, Self::Jetstream | Self::Matrix | Self::Slim | Self::Nostr)
    }
}

/// One run: everything once.
#[derive(Debug, Serialize)]
struct Round {
    /// Time of one flush of the disk before and after the run, microseconds.
    flush_micros: [f64; 2],
    /// Share of all cores that other processes took during the run, 0 to 1.
    others_cpu: f64,
    figures: Vec<Figure>,
    /// Measurements with other people's servers that failed, and why.
    not_measured: Vec<String>,
}

/// The result file.
#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    versions: Versions,
    full: bool,
    measurements: Vec<Measurement>,
    rows: Vec<Row>,
    rounds: Vec<Round>,
}

/// Measures, prints the table, saves the result.
///
/// # Errors
/// A server did not start, refused a message or lost one; the folder cannot be written.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let folder = options.folder.clone().map_or_else(default_folder, Ok)?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let machine = Machine::here();
    let measurements = match &options.only[..] {
        [] => {
            let all = Measurement::value_variants().iter().copied();
            all.filter(|each| match each {
                Measurement::Throughput => false,
                each => options.peers || !each.has_peer(),
            })
            .collect()
        }
        some => some.to_vec(),
    };
    let runs = options.runs.unwrap_or(if options.full { 5 } else { 3 }).max(1);
    // They take longer to make than to rekey.
    let groups = match measurements.contains(&Measurement::Rekey) {
        true => rekey::groups()?,
        false => Vec::new(),
    };
    let mut rounds = Vec::with_capacity(runs);
    for number in 1..=runs {
        writeln!(stderr(), "run {number} of {runs}")?;
        rounds.push(round(options.full, &measurements, &folder, &groups, number)?);
    }
    let figures: Vec<&[Figure]> = rounds.iter().map(|round| &round.figures[..]).collect();
    let report = Report {
        machine,
        versions: Versions::here(),
        full: options.full,
        measurements,
        rows: figure::rows(&figures),
        rounds,
    };
    report::print(&report.rows, &mut stdout())?;
    conditions(&report.rounds)?;
    let path = report::save(&folder, &report)?;
    writeln!(stdout(), "{}", path.display())?;
    Ok(())
}

/// Says under which conditions the runs were made: where a flush takes milliseconds, or others had
/// the cores, ratios say little.
fn conditions(rounds: &[Round]) -> anyhow::Result<()> {
    let mut out = stdout();
    writeln!(
        out,
        "\nrun  CPU taken by others  one flush of the disk before, after (us)"
    )?;
    for (number, round) in (1..).zip(rounds) {
        let [before, after] = round.flush_micros;
        let others = round.others_cpu * 100.0;
        writeln!(out, "{number:<4} {others:>18.0} %  {before:.0}, {after:.0}")?;
    }
    for (number, round) in (1..).zip(rounds) {
        for what in &round.not_measured {
            writeln!(out, "run {number}: not measured: {what}")?;
        }
    }
    Ok(())
}

fn default_folder() -> anyhow::Result<PathBuf> {
    Ok(target_folder()?.join("bench"))
}

/// The target folder that this program was built into.
///
/// # Errors
/// It is in none.
pub(crate) fn target_folder() -> anyhow::Result<PathBuf> {
    let program = env::current_exe().context("the path of this program")?;
    let target = program.ancestors().nth(2);
    Ok(target.context("the program is in no target folder")?.to_owned())
}

fn round(
    full: bool,
    measurements: &[Measurement],
    folder: &Path,
    groups: &[Group],
    number: usize,
) -> anyhow::Result<Round> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let files = tempfile::Builder::new().prefix("run-").tempdir_in(folder)?;
    let bench = Bench {
        files: files.path().to_owned(),
        full,
        number,
    };
    let before = machine::flush_micros(folder)?;
    let (watch, cpu) = (Watch::start()?, process::own_cpu_seconds()?);
    let (mut figures, mut not_measured) = (Vec::new(), Vec::new());
    for each in measurements {
        let name = each.to_possible_value().context("a hidden measurement")?;
        writeln!(stderr(), "  {}", name.get_name())?;
        let measured = runtime.block_on(LocalSet::new().run_until(each.measure(&bench, groups)));
        match measured.with_context(|| name.get_name().to_owned()) {
            Ok(found) => figures.extend(found),
            // What is ours is measured without them, too.
            Err(error) if each.has_peer() => not_measured.push(format!("{error:#}")),
            Err(error) => return Err(error),
        }
    }
    // All servers have ended by now, and count as this process's children.
    let others_cpu = watch.others(process::own_cpu_seconds()? - cpu)?;
    Ok(Round {
        flush_micros: [before, machine::flush_micros(folder)?],
        others_cpu,
        figures,
        not_measured,
    })
}
