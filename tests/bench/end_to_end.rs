//! P4, P5, P9 and P10: from plaintext at one crypto proxy to plaintext at another, every hop durable, beside bare sidecars
//! at the bare yardstick.

use std::time::Duration;

use anyhow::Context as _;

use crate::{
    figure::Figure,
    load::contest::{self, Contender, Loads},
    process::Server,
    report::Goal,
    run::Bench,
    sends::{self, MIB, outcome},
    target::{bare::Bare, pair::Pair},
};

/// Sends that wait for their answers at the same time.
const LEVELS: [usize; 3] = [1, 16, MOST];
const MOST: usize = 64;

const BARE: &str = "bare";
const PAIR: &str = "proxies";

/// P4: microseconds.
const P50: Goal = Goal::AtMost(2_000.0);
const P50_RATIO: Goal = Goal::RatioAtMost(1.6);
const P99: Goal = Goal::AtMost(5_000.0);
/// P5.
const RATE: Goal = Goal::AtLeast(4_500.0);
const RATE_RATIO: Goal = Goal::RatioAtLeast(0.72);
/// P9: mebibytes of a crypto proxy at rest.
const IDLE_MEMORY: Goal = Goal::AtMost(12.0);
/// P10: milliseconds from the process to ready.
const STARTUP: Goal = Goal::AtMost(100.0);
/// How long a proxy is left alone before it counts as idle.
const REST: Duration = Duration::from_secs(2);

/// All of it.
///
/// # Errors
/// A program does not come up, refuses a message or loses one.
pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let bare: Bare = sends::start(bench).await?;
    let pair: Pair = sends::start(bench).await?;
    tokio::time::sleep(REST).await;
    let idle = mebibytes(&pair.alice.server)?;
    let mut contenders = [
        Contender::new(BARE, &bare, &LEVELS),
        Contender::new(PAIR, &pair, &LEVELS),
    ]
    .map(|contender| Contender {
        recipients: Some(1),
        ..contender
    });
    if bench.is_reversed() {
        contenders.reverse();
    }
    let (slices, slice) = sends::slices(bench);
    let loads = Loads {
        levels: &LEVELS,
        slices,
        slice,
        open: Some(sends::calm(bench)),
    };
    let results = contest::hold(&loads, &contenders).await?;
    let mut figures = Vec::new();
    let latency = |key: &str| {
        let latency = results.get(key).and_then(|figures| figures.latency);
        latency.context("no open loop")
    };
    let (proxies, sidecars) = (latency(PAIR)?, latency(BARE)?);
    let p50 = || Figure::new("plaintext to plaintext, 50/s, p50", proxies.p50, "us");
    figures.push(p50().wants("P4", P50));
    let what = "the same, and what bare sidecars take";
    let beside = Figure {
        what: what.into(),
        ..p50()
    }
    .beside(sidecars.p50);
    figures.push(beside.wants("P4", P50_RATIO));
    let p99 = Figure::new("plaintext to plaintext, 50/s, p99", proxies.p99, "us");
    figures.push(p99.beside(sidecars.p99).wants("P4", P99));
    for senders in LEVELS {
        let (proxies, sidecars) = (
            outcome(&results, PAIR, senders)?,
            outcome(&results, BARE, senders)?,
        );
        let what = format!("messages through two proxies, {senders} in flight");
        let rate = Figure::new(what, proxies.rate, "/s").beside(sidecars.rate);
        figures.push(if senders == MOST {
            rate.wants("P5", RATE_RATIO)
        } else {
            rate
        });
        if senders == MOST {
            let what = "the same, absolute";
            figures.push(Figure::new(what, proxies.rate, "/s").wants("P5", RATE));
            let what = "CPU of the sending proxy a message";
            figures.push(Figure::new(what, proxies.server_cpu, "us").beside(sidecars.server_cpu));
        }
    }
    let startup = pair.bob.server.startup.as_secs_f64() * 1e3;
    figures.extend([
        Figure::new("crypto proxy, idle", idle, "MiB").wants("P9", IDLE_MEMORY),
        Figure::new(
            "crypto proxy, after it has sent all these",
            mebibytes(&pair.alice.server)?,
            "MiB",
        ),
        Figure::new(
            "crypto proxy, after it has received them",
            mebibytes(&pair.bob.server)?,
            "MiB",
        ),
        Figure::new("relay between them", mebibytes(&pair.relay)?, "MiB"),
        Figure::new("crypto proxy, process to ready", startup, "ms").wants("P10", STARTUP),
    ]);
    Ok(figures)
}

fn mebibytes(server: &Server) -> anyhow::Result<f64> {
    Ok(server.memory()? as f64 / MIB)
}
