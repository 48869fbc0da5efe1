//! The relay and crypto proxies beside other people's servers, in turn with them.

use std::time::Duration;

use crate::{
    figure::Figure,
    load::contest::{self, Contender, Loads, Rate},
    report::Goal,
    run::Bench,
    sends::{self, MOST, latency, outcome},
    slim,
    stats::Percentiles,
    target::{
        Target, Transport, jetstream::Jetstream, matrix::Matrix, nostr::Nostr, pair::Pair, relay::Relay,
    },
};

const OURS: &str = "ours";
const PEERS: &str = "peer's";
/// P1.
const OVER_JETSTREAM: Goal = Goal::RatioAtLeast(6.0);
const OVER_NOSTR: Goal = Goal::RatioAtLeast(12.0);
/// P4: 12 times as fast.
const P50_OF_MATRIX: Goal = Goal::RatioAtMost(1.0 / 12.0);
const P50_OF_SLIM: Goal = Goal::RatioAtMost(1.5);
/// P5.
const OVER_MATRIX: Goal = Goal::RatioAtLeast(100.0);

/// P1 beside NATS JetStream, which stores as durably: each message is on the disk before it is acknowledged.
///
/// # Errors
/// A server does not come up, refuses a message or loses one.
pub(crate) async fn jetstream(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    durable_sends::<Jetstream>(bench, OVER_JETSTREAM).await
}

/// P1 beside nostr-rs-relay, which loses the last messages when the power fails.
///
/// # Errors
/// See [`jetstream`].
pub(crate) async fn nostr(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    durable_sends::<Nostr>(bench, OVER_NOSTR).await
}

async fn durable_sends<T: Target>(bench: &Bench, goal: Goal) -> anyhow::Result<Vec<Figure>> {
    let peer: T = sends::start(bench).await?;
    let relay: Relay = sends::start(bench).await?;
    let loads = sends::loads(bench, &[MOST]);
    let contenders = [
        Contender::new(OURS, &relay, &[MOST]),
        Contender {
            transport: Transport::Socket,
            ..Contender::new(PEERS, &peer, &[MOST])
        },
    ];
    let results = contest::hold(&loads, &contenders).await?;
    let (ours, theirs) = (outcome(&results, OURS, MOST)?, outcome(&results, PEERS, MOST)?);
    let sends = Figure::new(format!("durable sends, {MOST}; {}", T::NAME), ours.rate, "/s");
    Ok(vec![sends.beside(theirs.rate).wants("P1", goal)])
}

/// P4 and P5 beside Matrix, from plaintext to plaintext, latencies at a rate that it can hold.
///
/// # Errors
/// See [`jetstream`].
pub(crate) async fn matrix(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let matrix: Matrix = sends::start(bench).await?;
    let pair: Pair = sends::start(bench).await?;
    let contenders = [
        Contender::new(OURS, &pair, &[MOST]),
        Contender::new(PEERS, &matrix, &[MOST]),
    ]
    .map(|contender| Contender {
        recipients: Some(1),
        ..contender
    });
    let slow = Rate {
        rate: 10,
        measure: Duration::from_secs(if bench.full { 40 } else { 15 }),
        ..sends::calm(bench)
    };
    let loads = Loads {
        open: Some(slow),
        ..sends::loads(bench, &[MOST])
    };
    let results = contest::hold(&loads, &contenders).await?;
    let (ours, theirs) = (latency(&results, OURS)?, latency(&results, PEERS)?);
    let rate = |key: &str| anyhow::Ok(outcome(&results, key, MOST)?.rate);
    let [p50, p99] = percentiles("10/s", "Matrix", &ours, &theirs);
    Ok(vec![
        p50.wants("P4", P50_OF_MATRIX),
        p99,
        Figure::new(format!("messages, {MOST} in flight; Matrix"), rate(OURS)?, "/s")
            .beside(rate(PEERS)?)
            .wants("P5", OVER_MATRIX),
    ])
}

/// P4 beside AGNTCY SLIM, which stores nothing, at the same rate.
///
/// # Errors
/// See [`jetstream`].
pub(crate) async fn slim(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let rate = sends::calm(bench);
    let theirs = slim::latency(&bench.folder()?, rate).await?;
    let pair: Pair = sends::start(bench).await?;
    let loads = Loads {
        open: Some(rate),
        ..sends::loads(bench, &[])
    };
    let results = contest::hold(&loads, &[Contender::new(OURS, &pair, &[])]).await?;
    let ours = latency(&results, OURS)?;
    let [p50, p99] = percentiles("50/s", "SLIM", &ours, &theirs);
    Ok(vec![p50.wants("P4", P50_OF_SLIM), p99])
}

/// Latencies from plaintext to plaintext, each beside the peer's.
fn percentiles(rate: &str, peer: &str, ours: &Percentiles, theirs: &Percentiles) -> [Figure; 2] {
    [("p50", ours.p50, theirs.p50), ("p99", ours.p99, theirs.p99)].map(|(percentile, ours, theirs)| {
        let what = format!("plaintext to plaintext, {rate}, {percentile}; {peer}");
        Figure::new(what, ours, "us").beside(theirs)
    })
}
