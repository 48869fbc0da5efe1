//! Groups between agents, each seen through its own crypto proxy (docs/protocol.md, 6).

mod history;
mod leaves;
mod lifecycle;
mod members;
mod messages;
mod offline;
mod races;
mod refusals;
mod secrecy;

use anyhow::ensure;
use waxwire_tests::Agent;

/// An id of the right form that names no group.
const NO_GROUP: &str = "grp_00000000000000000000000000000000";

/// Nothing went wrong that an operator would have to know.
async fn no_alerts(agents: &[&Agent]) -> anyhow::Result<()> {
    for agent in agents {
        let alerts = agent.alerts().await?;
        ensure!(alerts.is_empty(), "{} has alerts: {alerts:?}", agent.handle());
    }
    Ok(())
}
