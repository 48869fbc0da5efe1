//! Several servers under the same loads, in turn, so that all of them meet the same moods of the machine.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use serde::Serialize;

use super::{
    closed::{self, Slice},
    driver::Driver,
    open,
};
use crate::{
    stats::{Latencies, Percentiles},
    target::Transport,
};

/// Turns of each server's open loop.
const TURNS: u32 = 3;

/// The loads.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Loads {
    /// Senders of the closed loops.
    pub(crate) levels: &'static [usize],
    /// Slices of each closed loop.
    pub(crate) slices: usize,
    /// Each of them.
    pub(crate) slice: Slice,
    /// The open loop, if there is one.
    pub(crate) open: Option<Rate>,
}

/// The open loop.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Rate {
    /// Messages a second.
    pub(crate) rate: u32,
    /// Senders that take turns.
    pub(crate) senders: usize,
    /// Not measured, in each turn.
    pub(crate) warm_up: Duration,
    /// Measured, in all turns together.
    pub(crate) measure: Duration,
}

/// A server and what is asked of it.
pub(crate) struct Contender<'a> {
    /// Names it among the others.
    pub(crate) key: &'static str,
    /// The server.
    pub(crate) driver: &'a dyn Driver,
    /// How it is sent to.
    pub(crate) transport: Transport,
    /// Those of the loads' levels that it is driven at.
    pub(crate) levels: &'static [usize],
    /// Agents that receive; else as many as there are senders.
    pub(crate) recipients: Option<usize>,
    /// Whether it takes part in the open loop.
    pub(crate) latency: bool,
}

impl<'a> Contender<'a> {
    /// One that takes part in all of it, sent to by POST.
    pub(crate) fn new(key: &'static str, driver: &'a dyn Driver, levels: &'static [usize]) -> Self {
        Self {
            key,
            driver,
            transport: Transport::Http,
            levels,
            recipients: None,
            latency: true,
        }
    }
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

/// By the keys of the contenders.
pub(crate) type Results = BTreeMap<&'static str, Figures>;

/// Drives all of them under all loads.
///
/// # Errors
/// A server refused a message or lost one.
pub(crate) async fn hold(loads: &Loads, contenders: &[Contender<'_>]) -> anyhow::Result<Results> {
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
    if let Some(rate) = loads.open {
        for (key, latency) in open_loops(rate, contenders).await? {
            all.entry(key).or_default().latency = Some(latency);
        }
    }
    for senders in loads.levels.iter().copied() {
        for (key, outcome) in closed_loops(loads, contenders, senders).await? {
            all.entry(key).or_default().closed.insert(senders, outcome);
        }
    }
    for contender in contenders {
        all.entry(contender.key).or_default().memory_after = contender.driver.server().memory()?;
    }
    Ok(all)
}

/// One turn.
fn plan(rate: Rate, transport: Transport) -> open::Plan {
    open::Plan {
        rate: rate.rate,
        senders: rate.senders,
        transport,
        warm_up: rate.warm_up,
        measure: rate.measure / TURNS,
    }
}

/// All servers at a fixed rate, turn after turn.
async fn open_loops(
    rate: Rate,
    contenders: &[Contender<'_>],
) -> anyhow::Result<BTreeMap<&'static str, Percentiles>> {
    let mut latencies = BTreeMap::new();
    for _ in 0..TURNS {
        for contender in contenders.iter().filter(|contender| contender.latency) {
            let turn = contender.driver.open(plan(rate, contender.transport)).await;
            let turn = turn.with_context(|| format!("{} at a fixed rate", contender.key))?;
            latencies
                .entry(contender.key)
                .or_insert(Latencies::new()?)
                .add(&turn)?;
        }
    }
    let summary = |(key, all): (_, Latencies)| (key, all.percentiles());
    Ok(latencies.into_iter().map(summary).collect())
}

/// One level of senders: all servers connected, slice after slice in turn.
async fn closed_loops(
    loads: &Loads,
    contenders: &[Contender<'_>],
    senders: usize,
) -> anyhow::Result<Vec<(&'static str, closed::Outcome)>> {
    let mut sessions = Vec::new();
    let taking_part = |contender: &&Contender<'_>| contender.levels.contains(&senders);
    for contender in contenders.iter().filter(taking_part) {
        let recipients = contender.recipients.unwrap_or(senders);
        let session = contender
            .driver
            .closed(senders, recipients, contender.transport)
            .await;
        sessions.push((contender.key, session.with_context(|| contender.key)?));
    }
    for _ in 0..loads.slices {
        for (key, session) in &mut sessions {
            let slice = session.slice(loads.slice).await;
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
