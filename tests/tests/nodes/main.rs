//! Several relay processes on one PostgreSQL database (docs/operations/nodes.md).

mod files;
mod redis;
mod rules;
mod start;
mod talk;
mod trouble;
mod wakeups;

use std::time::Duration;

use waxwire_tests::{Answer, Ask, Circle, Relay, World};

const SHORT: Duration = Duration::from_secs(30);

/// A relay of two nodes that run.
async fn two(world: &World) -> anyhow::Result<Relay> {
    let mut relay = world.new_nodes(2, None)?;
    relay.start().await?;
    Ok(relay)
}

/// Agents at two nodes, one after the other.
async fn spread<const N: usize>(world: &World, handles: [&str; N]) -> anyhow::Result<Circle> {
    world.circle_around(two(world).await?, handles).await
}

async fn readiness(relay: &Relay, node: usize) -> anyhow::Result<Answer> {
    relay.http_of(node).ask(Ask::new("GET", "/readyz")).await
}
