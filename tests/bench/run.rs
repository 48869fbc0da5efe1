//! Which servers are driven, in which order, and for how long.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{Write as _, stderr, stdout},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use serde::Serialize;
use tokio::{runtime, task::LocalSet};

use crate::{
    load::{
        closed::{self, Slice},
        driver::Driver,
        open,
    },
    machine::{self, Machine, Versions, Watch},
    process,
    rekey::{self, Rekeyed},
    report::{self, Row},
    rows,
    stats::Percentiles,
    target::{
        Target, Transport, relay,
        relay::Relay,
        yardstick,
        yardstick::{OneCommit, Yardstick},
    },
};

/// Senders in the three closed loops.
pub(crate) const LEVELS: [usize; 3] = [1, 16, MOST];

/// The level of P1, and of the yardstick's check of itself.
pub(crate) const MOST: usize = 64;

/// Keys of [`Round::figures`].
pub(crate) const YARDSTICK: &str = "yardstick";
/// The yardstick with one commit a message.
pub(crate) const ONE_COMMIT: &str = "yardstick_one_commit";
/// The relay, sends by POST.
pub(crate) const RELAY: &str = "relay";
/// The relay, sends over the senders' sockets.
pub(crate) const RELAY_SOCKET: &str = "relay_socket";

/// Command line of a run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// 5 longer runs instead of 3.
    #[arg(long)]
    full: bool,
    /// Number of runs; medians are reported.
    #[arg(long)]
    runs: Option<usize>,
    /// Only the yardstick, without a relay.
    #[arg(long)]
    yardstick_only: bool,
    /// Only the closed loops with 64 senders (P1), to see what a change does.
    #[arg(long)]
    only_throughput: bool,
    /// Where databases and results go; target/bench by default. Has to be on a real disk: a
    /// file system in memory makes every flush free.
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// How long and how often; part of the result.
#[derive(Debug, Clone, Serialize)]
struct Settings {
    runs: usize,
    yardstick_only: bool,
    only_throughput: bool,
    /// Of each closed loop: slices, and the length of each.
    slices: usize,
    slice: Slice,
    /// Of the open loop: messages a second, senders that take turns, times.
    latency_rate: u32,
    latency_senders: usize,
    latency_warm_up: Duration,
    latency_measure: Duration,
    yardstick_body_bytes: usize,
    relay_ciphertext_bytes: usize,
}

/// All figures of one server in one run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Figures {
    /// By number of senders.
    pub(crate) closed: BTreeMap<usize, closed::Outcome>,
    /// From due to received.
    pub(crate) latency: Option<Percentiles>,
    /// From the start of the process to ready, milliseconds.
    pub(crate) startup_millis: f64,
    /// Resident bytes before the first load and after the last.
    pub(crate) memory_idle: u64,
    pub(crate) memory_after: u64,
}

/// One run: everything once, the servers in turn.
#[derive(Debug, Serialize)]
pub(crate) struct Round {
    /// Time of one flush of the disk before and after the run, microseconds.
    pub(crate) flush_micros: [f64; 2],
    /// Share of all cores that other processes took during the run, 0 to 1.
    pub(crate) others_cpu: f64,
    /// Rekeys by number of members; none with the yardstick alone.
    pub(crate) rekeys: BTreeMap<usize, Rekeyed>,
    /// By server and transport.
    pub(crate) figures: BTreeMap<&'static str, Figures>,
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

/// A server and what is asked of it.
struct Contender<'a> {
    key: &'static str,
    driver: &'a dyn Driver,
    transport: Transport,
    levels: &'static [usize],
    latency: bool,
}

impl Settings {
    fn new(options: &Options) -> Self {
        let (runs, slices, latency) = if options.full { (5, 6, 20) } else { (3, 4, 6) };
        Self {
            runs: options.runs.unwrap_or(runs).max(1),
            yardstick_only: options.yardstick_only,
            only_throughput: options.only_throughput,
            slices,
            slice: Slice {
                warm_up: Duration::from_millis(200),
                measure: Duration::from_secs(1),
            },
            latency_rate: 50,
            latency_senders: 8,
            latency_warm_up: Duration::from_secs(1),
            latency_measure: Duration::from_secs(latency),
            yardstick_body_bytes: yardstick::BODY,
            relay_ciphertext_bytes: relay::CIPHERTEXT,
        }
    }

    /// Senders of the closed loops.
    fn levels(&self) -> &'static [usize] {
        if self.only_throughput { &[MOST] } else { &LEVELS }
    }

    fn open(&self, transport: Transport) -> open::Plan {
        open::Plan {
            rate: self.latency_rate,
            senders: self.latency_senders,
            transport,
            warm_up: self.latency_warm_up,
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
    let groups = match settings.yardstick_only || settings.only_throughput {
        true => Vec::new(),
        false => rekey::groups()?,
    };
    for number in 1..=settings.runs {
        writeln!(stderr(), "run {number} of {}", settings.runs)?;
        // Every other run the other way round, so that no server is always the first.
        rounds.push(round(&settings, &folder, &groups, number % 2 == 0)?);
    }
    let report = Report {
        machine,
        versions: Versions::here(),
        rows: rows::rows(&rounds),
        settings,
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

/// Starts fresh servers on empty databases, which are deleted afterwards, and drives them.
fn round(
    settings: &Settings,
    folder: &Path,
    groups: &[rekey::Group],
    reversed: bool,
) -> anyhow::Result<Round> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let files = tempfile::Builder::new().prefix("run-").tempdir_in(folder)?;
    let before = machine::flush_micros(folder)?;
    let rekeys = rekey::measure(groups)?;
    let (figures, others_cpu) = runtime.block_on(LocalSet::new().run_until(async {
        let yardstick = start::<Yardstick>(files.path()).await?;
        let one_commit = start::<OneCommit>(files.path()).await?;
        // One for each transport: sessions of both are connected at the same time.
        let relays = match settings.yardstick_only {
            true => None,
            false => Some((
                start::<Relay>(files.path()).await?,
                start::<Relay>(files.path()).await?,
            )),
        };
        let mut contenders = contenders(&yardstick, &one_commit, relays.as_ref());
        if reversed {
            contenders.reverse();
        }
        let (watch, before) = (Watch::start()?, own_cpu(&contenders)?);
        let figures = drive(settings, &contenders).await?;
        let own = own_cpu(&contenders)? - before;
        anyhow::Ok((figures, watch.others(own)?))
    }))?;
    Ok(Round {
        flush_micros: [before, machine::flush_micros(folder)?],
        others_cpu,
        rekeys,
        figures,
    })
}

/// CPU seconds of the load generator and all servers.
fn own_cpu(contenders: &[Contender<'_>]) -> anyhow::Result<f64> {
    let mut seconds = process::own_cpu_seconds()?;
    for contender in contenders {
        seconds += contender.driver.server().cpu_seconds()?;
    }
    Ok(seconds)
}

/// Starts a server with a folder of its own below `files`.
async fn start<T: Target>(files: &Path) -> anyhow::Result<T> {
    let folder = tempfile::tempdir_in(files)?.keep();
    T::start(&folder, MOST)
        .await
        .with_context(|| format!("cannot start the {}", T::NAME))
}

fn contenders<'a>(
    yardstick: &'a Yardstick,
    one_commit: &'a OneCommit,
    relays: Option<&'a (Relay, Relay)>,
) -> Vec<Contender<'a>> {
    let contender = |key, driver, transport, levels, latency| Contender {
        key,
        driver,
        transport,
        levels,
        latency,
    };
    let mut contenders = vec![
        contender(
            YARDSTICK,
            yardstick as &dyn Driver,
            Transport::Http,
            &LEVELS[..],
            true,
        ),
        contender(ONE_COMMIT, one_commit, Transport::Http, &[MOST], false),
    ];
    if let Some((by_post, by_socket)) = relays {
        contenders.push(contender(RELAY, by_post, Transport::Http, &LEVELS, true));
        contenders.push(contender(
            RELAY_SOCKET,
            by_socket,
            Transport::Socket,
            &LEVELS,
            true,
        ));
    }
    contenders
}

async fn drive(
    settings: &Settings,
    contenders: &[Contender<'_>],
) -> anyhow::Result<BTreeMap<&'static str, Figures>> {
    let mut all = BTreeMap::new();
    for contender in contenders {
        let server = contender.driver.server();
        let figures = Figures {
            startup_millis: server.startup.as_secs_f64() * 1e3,
            memory_idle: server.memory()?,
            ..Figures::default()
        };
        all.insert(contender.key, figures);
    }
    let measures_latency = |contender: &&Contender<'_>| contender.latency && !settings.only_throughput;
    for contender in contenders.iter().filter(measures_latency) {
        let latency = contender.driver.open(settings.open(contender.transport)).await;
        let latency = latency.with_context(|| format!("{} at a fixed rate", contender.key))?;
        all.entry(contender.key).or_default().latency = Some(latency);
    }
    for senders in settings.levels().iter().copied() {
        for (key, outcome) in closed_loops(settings, contenders, senders).await? {
            all.entry(key).or_default().closed.insert(senders, outcome);
        }
    }
    for contender in contenders {
        all.entry(contender.key).or_default().memory_after = contender.driver.server().memory()?;
    }
    Ok(all)
}

/// One level of senders: all servers connected, slice after slice in turn.
async fn closed_loops(
    settings: &Settings,
    contenders: &[Contender<'_>],
    senders: usize,
) -> anyhow::Result<Vec<(&'static str, closed::Outcome)>> {
    let mut sessions = Vec::new();
    for contender in contenders
        .iter()
        .filter(|contender| contender.levels.contains(&senders))
    {
        let session = contender.driver.closed(senders, contender.transport).await;
        sessions.push((contender.key, session.with_context(|| contender.key)?));
    }
    for _ in 0..settings.slices {
        for (key, session) in &mut sessions {
            let slice = session.slice(settings.slice).await;
            slice.with_context(|| format!("{key}, {senders} senders"))?;
        }
    }
    let mut outcomes = Vec::with_capacity(sessions.len());
    for (key, session) in sessions {
        let outcome = session.close().await;
        outcomes.push((key, outcome.with_context(|| format!("{key}, {senders} senders"))?));
    }
    Ok(outcomes)
}
