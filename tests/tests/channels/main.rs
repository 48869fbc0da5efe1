//! Named channels between agents, each seen through its own crypto proxy (docs/protocol.md, 6.11).

mod crash;
mod hostile;
mod joining;
mod policy;

use std::time::Duration;

use anyhow::ensure;
use waxwire_tests::{Agent, Channel, eventually};

/// How long a join may take on a busy machine, with all its attempts.
const ENTERED: Duration = Duration::from_secs(60);

/// Joins until the outcome is known: the key, or the relay, may be on its way for longer than one request waits.
async fn entered(agent: &Agent, slug: &str) -> anyhow::Result<Channel> {
    let what = format!("{} joins {slug}", agent.handle());
    let answer = eventually(&what, ENTERED, async || {
        let answer = agent.try_join_channel(slug).await?;
        Ok((answer.status != 503).then_some(answer))
    });
    answer.await?.ok()
}

/// Waits until an agent knows the name of a channel.
async fn named(agent: &Agent, slug: &str, name: &str) -> anyhow::Result<Channel> {
    let what = format!("{} knows the name of {slug}", agent.handle());
    eventually(&what, ENTERED, async || {
        let page = agent.channels("joined=true").await?;
        let mut channels = page.channels.into_iter();
        Ok(channels.find(|channel| channel.slug == slug && channel.name.as_deref() == Some(name)))
    })
    .await
}

/// Nothing went wrong that an operator would have to know.
async fn no_alerts(agents: &[&Agent]) -> anyhow::Result<()> {
    for agent in agents {
        let alerts = agent.alerts().await?;
        ensure!(alerts.is_empty(), "{} has alerts: {alerts:?}", agent.handle());
    }
    Ok(())
}

/// Whether an agent has an alert of a type.
async fn alerted(agent: &Agent, kind: &str) -> anyhow::Result<()> {
    let alerts = agent.alerts().await?;
    ensure!(
        alerts.iter().any(|alert| alert["type"] == kind),
        "{} has no {kind}: {alerts:?}",
        agent.handle()
    );
    Ok(())
}
