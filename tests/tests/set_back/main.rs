//! A relay whose database was set back (docs/protocol.md, 8.6; docs/operations/backup.md): proxies are told, follow
//! nothing blindly, take what comes under positions that were given out before, and send again what it lost.

mod backups;
mod groups;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use waxwire_tests::{
    Agent, Circle, Relay, World,
    circle::{same_history, settled, whole_history},
    eventually,
    history::{Fault, History},
    lane::Dice,
    postgres,
    program::run,
    talk::Talk,
    unique,
};

const HANDLES: [&str; 3] = ["alice", "bob", "carol"];
const TOOL: Duration = Duration::from_secs(60);

/// A relay with agents that have met and share a group.
struct Scene {
    circle: Circle,
    agents: [Agent; 3],
    group: String,
}

impl Scene {
    async fn around(world: &World, relay: Relay) -> anyhow::Result<Self> {
        let circle = world.circle_around(relay, HANDLES).await?;
        let agents = circle.agents(HANDLES)?;
        let [alice, bob, carol] = &agents;
        let group = alice.gather(&unique("set back")?, &[bob, carol]).await?.id;
        for (from, to) in [(alice, bob), (bob, carol), (carol, alice)] {
            let text = unique("hello")?;
            from.send_text(to.handle(), &unique("met")?, &text).await?;
            hears(to, from, &text).await?;
        }
        for agent in &agents {
            agent.take(0).await?;
        }
        Ok(Self {
            circle,
            agents,
            group,
        })
    }

    /// Sends in every direction and reads, while `act` goes on, and until all of it has arrived.
    async fn under_load(
        &mut self,
        act: impl AsyncFnOnce(&mut Circle) -> anyhow::Result<()>,
    ) -> anyhow::Result<History> {
        let history = History::default();
        history.group(&self.group, &HANDLES);
        let mut talk = Talk::new(&history);
        for (number, agent) in self.agents.iter().enumerate() {
            let others = HANDLES.into_iter().filter(|to| *to != agent.handle());
            for to in others.chain([self.group.as_str()]) {
                talk.send(agent, to, number, Duration::from_millis(5));
            }
            talk.read(agent, Dice::seed()?);
        }
        let acted = act(&mut self.circle).await;
        let arrived = talk.end().await;
        acted?;
        // What was lost comes after what was sent meanwhile, behind a hole that is shown.
        let late = [Fault::Flawed, Fault::Disorder];
        let mut violations = history.violations();
        violations.retain(|violation| !late.contains(&violation.fault));
        ensure!(
            violations.is_empty(),
            "{:#?}",
            &violations[..violations.len().min(10)]
        );
        arrived?;
        Ok(history)
    }

    /// All were told, talk, and hold the same.
    async fn is_healed(&self) -> anyhow::Result<()> {
        let members: Vec<&Agent> = self.agents.iter().collect();
        for agent in &members {
            agent.until_alert("relay_rolled_back").await?;
            agent.until_ready().await?;
        }
        settled(&members, &self.group).await?;
        same_history(&members, &self.group).await?;
        for agent in members {
            let alerts = agent.alerts().await?;
            let known = |alert: &&serde_json::Value| {
                ["relay_rolled_back", "replayed"]
                    .iter()
                    .any(|kind| alert["type"] == **kind)
            };
            ensure!(alerts.iter().all(|alert| known(&alert)), "{alerts:?}");
            each_message_once(agent).await?;
        }
        Ok(())
    }
}

/// Both ends of every conversation hold each message once.
async fn each_message_once(agent: &Agent) -> anyhow::Result<()> {
    let conversations = agent.get("/v1/conversations").await?.expect(200)?;
    for conversation in conversations.as_array().context("a list")? {
        let id = conversation["id"].as_str().context("an id")?;
        let mut ids: Vec<String> = whole_history(agent, id)
            .await?
            .into_iter()
            .map(|row| row.id)
            .collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        ensure!(ids.len() == count, "{} holds one twice", agent.handle());
    }
    Ok(())
}

/// A message comes after everything else that was on its way.
async fn hears(reader: &Agent, writer: &Agent, text: &str) -> anyhow::Result<()> {
    let what = format!("{} hears {}", reader.handle(), writer.handle());
    eventually(&what, Duration::from_secs(30), async || {
        let rows = reader.sync().await?;
        Ok(rows
            .iter()
            .any(|row| row.sender == writer.handle() && row.text() == text)
            .then_some(()))
    })
    .await
}

async fn succeeds(command: Command) -> anyhow::Result<String> {
    Ok(run(command, TOOL).await?.success()?.stdout)
}

/// What is not there yet.
fn backup_in(world: &World, name: &str) -> PathBuf {
    world.folder().join(name)
}

/// A backup as docs/operations/backup.md makes it while the relay serves: a folder, or a file of `pg_dump`.
async fn back_up(relay: &Relay, to: &Path) -> anyhow::Result<()> {
    let mut command = if relay.store().file().is_some() {
        relay.tool(["admin", "backup"])?
    } else {
        let mut command = Command::new(postgres::program("pg_dump")?);
        command.args(["--format=custom", "--dbname", &relay.store().url()?, "--file"]);
        command
    };
    command.arg(to);
    succeeds(command).await?;
    Ok(())
}

/// The relay is killed, and begins again on what a backup holds.
async fn put_back(relay: &mut Relay, backup: &Path) -> anyhow::Result<()> {
    relay.kill()?;
    relay.store().lose()?;
    if let Some(file) = relay.store().file() {
        std::fs::copy(backup.join("relay.db"), file)?;
    } else {
        let mut command = Command::new(postgres::program("pg_restore")?);
        command.args(["--exit-on-error", "--dbname", &relay.store().url()?]);
        command.arg(backup);
        succeeds(command).await?;
    }
    relay.start().await
}
