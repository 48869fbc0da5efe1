//! Several relay processes on one PostgreSQL database (docs/operations/nodes.md).

mod files;
mod redis;
mod rules;
mod start;
mod wakeups;

use std::time::Duration;

use waxwire_tests::{Answer, Ask, Relay, World};

const SHORT: Duration = Duration::from_secs(30);

/// A relay of two nodes that run.
async fn two(world: &World) -> anyhow::Result<Relay> {
    let mut relay = world.new_nodes(2, None)?;
    relay.start().await?;
    Ok(relay)
}

async fn readiness(relay: &Relay, node: usize) -> anyhow::Result<Answer> {
    relay.http_of(node).ask(Ask::new("GET", "/readyz")).await
}
