//! P1, P2, P9 and P10: the relay under sends, beside the bare yardstick.

use std::time::Duration;

use anyhow::Context as _;

use crate::{
    figure::Figure,
    load::{
        closed::{Outcome, Slice},
        contest::{self, Contender, Loads, Rate, Results},
        driver::Driver,
    },
    report::Goal,
    run::Bench,
    stats::Percentiles,
    target::{
        Target, Transport,
        relay::Relay,
        yardstick::{OneCommit, Yardstick},
    },
};

/// Senders in the three closed loops.
const LEVELS: [usize; 3] = [1, 16, MOST];
/// The level of P1, and of the yardstick's check of itself.
pub(crate) const MOST: usize = 64;

const YARDSTICK: &str = "yardstick";
/// The yardstick with one commit a message.
const ONE_COMMIT: &str = "yardstick_one_commit";
/// Sends by POST.
const RELAY: &str = "relay";
/// Sends over the senders' sockets.
const RELAY_SOCKET: &str = "relay_socket";

/// A yardstick whose group commit gains less than this over one commit a message is broken.
const GROUP_COMMIT: Goal = Goal::RatioAtLeast(10.0);
/// P1 of the performance goals.
const THROUGHPUT: Goal = Goal::RatioAtLeast(0.66);
/// P2: time from the send to the 201.
const ACK: Goal = Goal::RatioAtMost(1.3);
/// P9: mebibytes of an idle relay.
const IDLE_MEMORY: Goal = Goal::AtMost(12.0);
/// P10: milliseconds from the process to ready.
const STARTUP: Goal = Goal::AtMost(50.0);

/// Bytes in a mebibyte.
pub(crate) const MIB: f64 = 1_048_576.0;

/// Closed loops of so many senders each, and no open one.
pub(crate) const fn loads(bench: &Bench, levels: &'static [usize]) -> Loads {
    let slice = Slice {
        warm_up: Duration::from_millis(200),
        measure: Duration::from_secs(1),
    };
    Loads {
        levels,
        slices: if bench.full { 6 } else { 4 },
        slice,
        open: None,
    }
}

/// 50 messages a second.
pub(crate) const fn calm(bench: &Bench) -> Rate {
    Rate {
        rate: 50,
        senders: 8,
        warm_up: Duration::from_secs(1),
        measure: Duration::from_secs(if bench.full { 20 } else { 6 }),
    }
}

/// Starts a server with a folder of its own.
///
/// # Errors
/// It does not come up.
pub(crate) async fn start<T: Target>(bench: &Bench) -> anyhow::Result<T> {
    T::start(&bench.folder()?, MOST)
        .await
        .with_context(|| format!("cannot start the {}", T::NAME))
}

/// P1 alone.
///
/// # Errors
/// See [`measure`].
pub(crate) async fn throughput(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let loads = loads(bench, &[MOST]);
    let results = hold(bench, &loads).await?;
    let mut figures = vec![self_check(&results)?];
    figures.extend(closed(&results, MOST)?);
    Ok(figures)
}

/// All of it.
///
/// # Errors
/// A server does not come up, refuses a message or loses one.
pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let loads = Loads {
        open: Some(calm(bench)),
        ..loads(bench, &LEVELS)
    };
    let results = hold(bench, &loads).await?;
    let mut figures = vec![self_check(&results)?];
    for senders in LEVELS {
        figures.extend(closed(&results, senders)?);
    }
    figures.extend(latencies(&results)?);
    figures.extend(process(&results)?);
    Ok(figures)
}

async fn hold(bench: &Bench, loads: &Loads) -> anyhow::Result<Results> {
    let yardstick: Yardstick = start(bench).await?;
    let one_commit: OneCommit = start(bench).await?;
    // One for each transport: sessions of both are connected at the same time.
    let (by_post, by_socket): (Relay, Relay) = (start(bench).await?, start(bench).await?);
    let mut contenders = vec![
        Contender::new(YARDSTICK, &yardstick as &dyn Driver, &LEVELS),
        Contender {
            latency: false,
            ..Contender::new(ONE_COMMIT, &one_commit, &[MOST])
        },
        Contender::new(RELAY, &by_post, &LEVELS),
        Contender {
            transport: Transport::Socket,
            ..Contender::new(RELAY_SOCKET, &by_socket, &LEVELS)
        },
    ];
    if bench.is_reversed() {
        contenders.reverse();
    }
    contest::hold(loads, &contenders).await
}

/// The outcome of a closed loop.
///
/// # Errors
/// It was not held.
pub(crate) fn outcome<'a>(results: &'a Results, key: &str, senders: usize) -> anyhow::Result<&'a Outcome> {
    let figures = results.get(key).context("no such server")?;
    figures.closed.get(&senders).context("no such loop")
}

/// What was found in the open loop.
///
/// # Errors
/// It was not held.
pub(crate) fn latency(results: &Results, key: &str) -> anyhow::Result<Percentiles> {
    let latency = results.get(key).and_then(|figures| figures.latency);
    latency.context("no open loop")
}

fn self_check(results: &Results) -> anyhow::Result<Figure> {
    let rate = |key: &str| anyhow::Ok(outcome(results, key, MOST)?.rate);
    let what = format!("yardstick: batches over one commit each, {MOST}");
    let figure = Figure::new(what, rate(YARDSTICK)?, "/s").beside(rate(ONE_COMMIT)?);
    Ok(figure.wants("check", GROUP_COMMIT))
}

fn closed(results: &Results, senders: usize) -> anyhow::Result<Vec<Figure>> {
    let yardstick = outcome(results, YARDSTICK, senders)?;
    let mut figures = Vec::new();
    for (key, name) in [(RELAY, "POST"), (RELAY_SOCKET, "socket")] {
        let relay = outcome(results, key, senders)?;
        let mut line = |what: &str, unit, value: fn(&Outcome) -> f64| {
            let what = format!("{what}, {senders} by {name}");
            figures.push(Figure::new(what, value(relay), unit).beside(value(yardstick)));
        };
        line("durable sends", "/s", |outcome| outcome.rate);
        line("send to 201, p50", "us", |outcome| outcome.ack.p50);
        line("CPU of the server a send", "us", |outcome| outcome.server_cpu);
    }
    if let [rate, ack, ..] = &mut figures[..] {
        match senders {
            1 => (ack.id, ack.goal) = ("P2", Some(ACK)),
            MOST => (rate.id, rate.goal) = ("P1", Some(THROUGHPUT)),
            _ => {}
        }
    }
    Ok(figures)
}

fn latencies(results: &Results) -> anyhow::Result<Vec<Figure>> {
    let yardstick = latency(results, YARDSTICK)?;
    let mut figures = Vec::new();
    for (key, name) in [(RELAY, "POST"), (RELAY_SOCKET, "socket")] {
        let relay = latency(results, key)?;
        let what = |percentile: &str| format!("send to receive, 50/s by {name}, {percentile}");
        figures.push(Figure::new(what("p50"), relay.p50, "us").beside(yardstick.p50));
        figures.push(Figure::new(what("p99"), relay.p99, "us").beside(yardstick.p99));
    }
    Ok(figures)
}

fn process(results: &Results) -> anyhow::Result<[Figure; 3]> {
    let of = |key: &str| results.get(key).context("no such server");
    let (relay, yardstick) = (of(RELAY)?, of(YARDSTICK)?);
    let memory = |what: &str, relay: u64, yardstick: u64| {
        Figure::new(what, relay as f64 / MIB, "MiB").beside(yardstick as f64 / MIB)
    };
    let idle = memory(
        "relay, accounts made, idle",
        relay.memory_idle,
        yardstick.memory_idle,
    );
    let after = memory(
        "relay, after the load",
        relay.memory_after,
        yardstick.memory_after,
    );
    let startup = Figure::new("relay, process to ready", relay.startup_millis, "ms");
    Ok([
        idle.wants("P9", IDLE_MEMORY),
        after,
        startup.beside(yardstick.startup_millis).wants("P10", STARTUP),
    ])
}
