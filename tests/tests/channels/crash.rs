//! `kill -9` in the middle of founding and joining a channel: after a restart it goes on or is asked for again,
//! and ends in one membership.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::json;
use waxwire_tests::{
    Agent, Answer, Circle,
    circle::{all_talk, settled},
    eventually, scenario_within, unique,
};

use super::{ENTERED, entered, named, no_alerts};

/// Before and after each durable step of an own commit, the log of a stranger included: its first commit, its
/// second, the own one.
const STEPS: [&str; 8] = [
    "log.before_commit",
    "log.before_commit:2",
    "commit.before_commit",
    "commit.committed",
    "commit.answered",
    "log.before_commit:3",
    "epoch.before_commit",
    "change.reported",
];
/// Several kills in one world.
const LONG: Duration = Duration::from_secs(300);

/// A request that dies with its proxy, or is answered in its last moment.
fn died(answer: anyhow::Result<Answer>) -> anyhow::Result<()> {
    match answer {
        Ok(answer) if answer.status >= 300 => bail!("refused: {} {}", answer.status, answer.text()),
        // That it has died is seen by whoever starts it again.
        _ => Ok(()),
    }
}

/// Starts a proxy again so that it dies at a fault point.
async fn arm(circle: &mut Circle, handle: &str, fault: &str) -> anyhow::Result<Agent> {
    let proxy = circle.proxy(handle)?;
    ensure!(proxy.terminate().await?.success());
    proxy.start_with_fault(fault).await?;
    let agent = proxy.agent()?;
    agent.until_ready().await?;
    Ok(agent)
}

/// Waits for the death, and starts the proxy without it.
async fn revive(circle: &mut Circle, handle: &str) -> anyhow::Result<()> {
    let proxy = circle.proxy(handle)?;
    proxy.aborted().await?;
    proxy.start().await?;
    proxy.agent()?.until_ready().await
}

#[test]
fn joiner_dies_at_every_step() {
    scenario_within(LONG, async |world| {
        let mut circle = world.unlimited_circle(["alice", "bob", "carol"]).await?;
        let [alice, carol] = circle.agents(["alice", "carol"])?;
        for (number, fault) in STEPS.into_iter().enumerate() {
            let (slug, name) = (format!("channel-{number}"), unique("crash")?);
            let id = alice.create_channel(&slug, &name, "open").await?.id;
            entered(&carol, &slug).await?;
            settled(&[&alice, &carol], &id).await?;
            let bob = arm(&mut circle, "bob", fault).await?;
            died(bob.try_join_channel(&slug).await).context(fault)?;
            revive(&mut circle, "bob").await.context(fault)?;
            assert_eq!(entered(&bob, &slug).await.context(fault)?.id, id, "{fault}");
            let members = [&alice, &carol, &bob];
            let security = settled(&members, &id).await.context(fault)?;
            assert_eq!(security.members.len(), 3, "{fault}");
            all_talk(&members, &id, fault).await.context(fault)?;
            named(&bob, &slug, &name).await.context(fault)?;
            no_alerts(&members).await.context(fault)?;
        }
        Ok(())
    });
}

/// The group may stand or not; a repeat says which, and in the end it does, once.
#[test]
fn founder_dies_at_every_step() {
    let faults = [
        "commit.before_commit",
        "commit.committed",
        "commit.answered",
        "log.before_commit",
        "epoch.before_commit",
        "change.reported",
    ];
    scenario_within(LONG, async |world| {
        let mut circle = world.unlimited_circle(["alice", "bob"]).await?;
        let [bob] = circle.agents(["bob"])?;
        for (number, fault) in faults.into_iter().enumerate() {
            let (slug, name) = (format!("channel-{number}"), unique("crash")?);
            let alice = arm(&mut circle, "alice", fault).await?;
            died(alice.try_create_channel(&slug, &name, "open").await).context(fault)?;
            revive(&mut circle, "alice").await.context(fault)?;
            let again = eventually("the outcome is known", ENTERED, async || {
                let answer = alice.try_create_channel(&slug, &name, "open").await?;
                Ok((answer.status != 503).then_some(answer))
            });
            let again = again.await?;
            if again.status != 201 {
                again.refused(409, "SLUG_TAKEN").context(fault)?;
            }
            let own = named(&alice, &slug, &name).await.context(fault)?;
            let joined = entered(&bob, &slug).await.context(fault)?;
            assert_eq!(
                (joined.id.as_str(), joined.joined),
                (own.id.as_str(), true),
                "{fault}"
            );
            settled(&[&alice, &bob], &own.id).await.context(fault)?;
            all_talk(&[&alice, &bob], &own.id, fault).await.context(fault)?;
            named(&bob, &slug, &name).await.context(fault)?;
        }
        let groups = alice_groups(&circle).await?;
        assert_eq!(groups, faults.len(), "each was founded once");
        Ok(())
    });
}

async fn alice_groups(circle: &Circle) -> anyhow::Result<usize> {
    let [alice] = circle.agents(["alice"])?;
    let rows = alice.get("/v1/conversations?limit=100").await?.expect(200)?;
    let rows = rows.as_array().context("a list")?;
    Ok(rows.iter().filter(|row| row["type"] == json!("group")).count())
}
