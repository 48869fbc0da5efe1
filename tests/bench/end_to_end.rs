//! P4, P5, P9 and P10: from plaintext at one crypto proxy to plaintext at another, every hop durable, beside bare sidecars
//! at the bare yardstick.

use std::time::Duration;

use crate::{
    figure::Figure,
    load::contest::{self, Contender, Loads, Results},
    process::Server,
    report::Goal,
    run::Bench,
    sends::{self, MIB, latency, outcome},
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
    let loads = Loads {
        open: Some(sends::calm(bench)),
        ..sends::loads(bench, &LEVELS)
    };
    let results = contest::hold(&loads, &contenders).await?;
    let mut figures = latencies(&results)?;
    for senders in LEVELS {
        figures.extend(rates(&results, senders)?);
    }
    let startup = pair.bob.server.startup.as_secs_f64() * 1e3;
    let memory = |what: &str, server| anyhow::Ok(Figure::new(what, mebibytes(server)?, "MiB"));
    figures.extend([
        Figure::new("crypto proxy, idle", idle, "MiB").wants("P9", IDLE_MEMORY),
        memory("crypto proxy, after it has sent all these", &pair.alice.server)?,
        memory("crypto proxy, after it has received them", &pair.bob.server)?,
        memory("relay between them", &pair.relay)?,
        Figure::new("crypto proxy, process to ready", startup, "ms").wants("P10", STARTUP),
    ]);
    Ok(figures)
}

fn latencies(results: &Results) -> anyhow::Result<Vec<Figure>> {
    let (proxies, sidecars) = (latency(results, PAIR)?, latency(results, BARE)?);
    let p50 = |what: &str| Figure::new(what, proxies.p50, "us");
    let p99 = Figure::new("plaintext to plaintext, 50/s, p99", proxies.p99, "us");
    Ok(vec![
        p50("plaintext to plaintext, 50/s, p50").wants("P4", P50),
        p50("the same, and what bare sidecars take")
            .beside(sidecars.p50)
            .wants("P4", P50_RATIO),
        p99.beside(sidecars.p99).wants("P4", P99),
    ])
}

fn rates(results: &Results, senders: usize) -> anyhow::Result<Vec<Figure>> {
    let (proxies, sidecars) = (outcome(results, PAIR, senders)?, outcome(results, BARE, senders)?);
    let what = format!("messages through two proxies, {senders} in flight");
    let rate = Figure::new(what, proxies.rate, "/s").beside(sidecars.rate);
    if senders != MOST {
        return Ok(vec![rate]);
    }
    let cpu = Figure::new("CPU of the sending proxy a message", proxies.server_cpu, "us");
    Ok(vec![
        rate.wants("P5", RATE_RATIO),
        Figure::new("the same, absolute", proxies.rate, "/s").wants("P5", RATE),
        cpu.beside(sidecars.server_cpu),
    ])
}

fn mebibytes(server: &Server) -> anyhow::Result<f64> {
    Ok(server.memory()? as f64 / MIB)
}
