//! The relay's transparency log, as proxies check it (docs/protocol.md, 10): around an honest relay, and around
//! relays that lie about it. Sends go on in all cases.

mod honest;
mod hostile;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use waxwire_tests::{
    Agent, Circle, Proxy, Stranger, eventually,
    program::{Finished, run},
    unique,
    world::World,
};

/// What no honest relay raises.
const ALARMS: [&str; 5] = [
    "log_fork",
    "log_replaced",
    "log_proof_false",
    "log_withheld",
    "rogue_bundle",
];

/// Agents around a relay that signs a head every second. Each looks its peers up whenever it writes.
async fn logged<const N: usize>(world: &World, handles: [&str; N]) -> anyhow::Result<Circle> {
    let mut relay = world.new_relay("relay")?;
    relay.transparency(1);
    relay.start().await?;
    let prepare = |proxy: &mut Proxy| proxy.arguments(["--bundle-age", "0"]);
    world.circle_prepared(relay, handles, prepare).await
}

/// Somebody without a proxy, who reads the log as it is.
async fn reader(world: &World, circle: &Circle) -> anyhow::Result<Stranger> {
    Stranger::registered(circle.relay.http(), "reader", world.canaries()).await
}

/// What a proxy knows of the log.
async fn known(agent: &Agent) -> anyhow::Result<Value> {
    agent.get("/v1/audit").await?.expect(200)
}

/// How many leaves the highest head covers that a proxy has verified.
async fn size(agent: &Agent) -> anyhow::Result<u64> {
    Ok(known(agent).await?["head"]["size"].as_u64().unwrap_or(0))
}

/// Has an agent look another up until a proof has shown it a head over so many leaves.
async fn until_proved(agent: &Agent, peer: &str, least: u64) -> anyhow::Result<u64> {
    let what = format!("{} has a proof about {peer}", agent.handle());
    eventually(&what, Duration::from_secs(30), async || {
        agent.identity(peer).await?;
        Ok(Some(size(agent).await?).filter(|size| *size >= least))
    })
    .await
}

/// Runs the audit command to its end.
async fn audit(proxy: &Proxy, arguments: &[&str]) -> anyhow::Result<Finished> {
    run(proxy.tool("audit", arguments)?, Duration::from_secs(60)).await
}

/// What it prints for scripts.
async fn report(proxy: &Proxy, arguments: &[&str]) -> anyhow::Result<(bool, Value)> {
    let arguments = [&["--json"], arguments].concat();
    let finished = audit(proxy, &arguments).await?;
    let line = finished.stdout.lines().next().context("nothing printed")?;
    Ok((finished.status.success(), serde_json::from_str(line)?))
}

/// One writes to the other, who reads it.
async fn write(from: &Agent, to: &Agent) -> anyhow::Result<()> {
    write_text(from, to, "on we go").await
}

/// The same with so much text at least.
async fn write_text(from: &Agent, to: &Agent, text: &str) -> anyhow::Result<()> {
    let text = unique(text)?;
    from.send_text(to.handle(), &unique("id")?, &text).await?;
    let what = format!("{} hears {}", to.handle(), from.handle());
    eventually(&what, Duration::from_secs(30), async || {
        let taken = to.take(0).await?;
        Ok(taken.iter().any(|message| message.text() == text).then_some(()))
    })
    .await
}

/// Nothing was told of the log.
async fn unalarmed(agent: &Agent) -> anyhow::Result<()> {
    for alert in agent.alerts().await? {
        ensure!(!ALARMS.iter().any(|kind| alert["type"] == *kind), "{alert}");
    }
    Ok(())
}
