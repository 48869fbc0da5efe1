//! P13: two nodes of a relay on PostgreSQL and Redis, beside one.

use std::{
    io::{Write as _, stderr},
    sync::Arc,
};

use waxwire_tests::{Database, postgres::Server, redis};

use crate::{
    figure::Figure,
    load::contest::{self, Contender, Loads, Results},
    programs,
    quota::Quota,
    report::Goal,
    run::Bench,
    sends::{self, MOST, latency, outcome},
    target::relay::{Entry, Relay},
};

/// Sender and recipient at the same node, and at two.
const SAME: &str = "same";
const CROSS: &str = "cross";
/// Relays of one and of two nodes.
const ONE: &str = "one";
const TWO: &str = "two";
/// Of a core, that each node may take while rates are compared. Else the database, which both share, is what is measured.
const SHARE: f64 = 0.25;

/// P13: microseconds that the way to the other node takes.
const CROSSING: Goal = Goal::AtMost(2_000.0);
const RATE: Goal = Goal::RatioAtLeast(1.7);
const CPU: Goal = Goal::RatioAtMost(1.15);

/// All of it.
///
/// # Errors
/// A server does not come up, or the relay refuses a message or loses one.
pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let postgres = Arc::new(Server::start_durable()?);
    let (redis_of_one, redis_of_two) = (redis::Server::start()?, redis::Server::start()?);
    let one = relay(bench, &postgres, &redis_of_one, 1).await?;
    let two = relay(bench, &postgres, &redis_of_two, 2).await?;
    let mut figures = crossing(bench, &two).await?;
    figures.extend(rates(bench, &one, &two).await?);
    Ok(figures)
}

async fn relay(
    bench: &Bench,
    postgres: &Arc<Server>,
    redis: &redis::Server,
    nodes: usize,
) -> anyhow::Result<Relay> {
    let database = Database::on(postgres);
    database.create()?;
    let folder = bench.folder()?;
    let node = |_| programs::node(&folder, &database.url()?, redis.url());
    let nodes: Vec<_> = (0..nodes).map(node).collect::<anyhow::Result<_>>()?;
    Ok(Relay::of(nodes, MOST).await?.entered(Entry::Around))
}

/// How much longer a message takes to an agent at the other node.
async fn crossing(bench: &Bench, two: &Relay) -> anyhow::Result<Vec<Figure>> {
    let (same, cross) = (two.entered(Entry::First), two.entered(Entry::Apart));
    let mut contenders = [
        Contender::new(SAME, &same, &[]),
        Contender::new(CROSS, &cross, &[]),
    ];
    if bench.is_reversed() {
        contenders.reverse();
    }
    let loads = Loads {
        open: Some(sends::calm(bench)),
        ..sends::loads(bench, &[])
    };
    let results = contest::hold(&loads, &contenders).await?;
    let (same, cross) = (latency(&results, SAME)?.p50, latency(&results, CROSS)?.p50);
    let crossing = Figure::new("what the way to the other node adds, p50", cross - same, "us");
    Ok(vec![
        Figure::new("to the other node, 50/s, p50; same node", cross, "us").beside(same),
        crossing.wants("P13", CROSSING),
    ])
}

/// What two nodes carry that may each take a quarter of a core.
async fn rates(bench: &Bench, one: &Relay, two: &Relay) -> anyhow::Result<Vec<Figure>> {
    let nodes = one.nodes().iter().chain(two.nodes());
    let quotas: anyhow::Result<Vec<_>> = nodes.map(|node| Quota::of(node, SHARE)).collect();
    let _quotas = match quotas {
        Ok(quotas) => quotas,
        Err(error) => {
            writeln!(
                stderr(),
                "  P13 without rates, for which nodes are held to {SHARE} of a core: {error:#}"
            )?;
            return Ok(Vec::new());
        }
    };
    let loads = sends::loads(bench, &[MOST]);
    let contenders = [
        Contender::new(ONE, one, &[MOST]),
        Contender::new(TWO, two, &[MOST]),
    ];
    figures(&contest::hold(&loads, &contenders).await?)
}

fn figures(results: &Results) -> anyhow::Result<Vec<Figure>> {
    let (one, two) = (outcome(results, ONE, MOST)?, outcome(results, TWO, MOST)?);
    let rate = Figure::new("sends of 2 nodes of 1/4 core each; 1 node", two.rate, "/s");
    let cpu = Figure::new("CPU of 2 nodes a send; 1 node", two.server_cpu, "us");
    Ok(vec![
        rate.beside(one.rate).wants("P13", RATE),
        cpu.beside(one.server_cpu).wants("P13", CPU),
    ])
}
