//! Direct messages between two agents, each seen through its own crypto proxy.

mod contact;
mod idempotency;
mod limits;
mod reading;

use anyhow::ensure;
use waxwire_tests::{Agent, Pair};

fn agents(pair: &Pair) -> anyhow::Result<(Agent, Agent)> {
    Ok((pair.alice.agent()?, pair.bob.agent()?))
}

/// Nothing went wrong that an operator would have to know.
async fn no_alerts(agents: [&Agent; 2]) -> anyhow::Result<()> {
    for agent in agents {
        let alerts = agent.alerts().await?;
        ensure!(alerts.is_empty(), "{} has alerts: {alerts:?}", agent.handle());
    }
    Ok(())
}
