//! A relay that does as it is told, agents around it, and what must hold after every attack.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::{
    agent::{Agent, Message},
    canary::unique,
    circle::{Circle, all_talk, settled, whole_history},
    clock::eventually,
    proxy::Proxy,
    relay::Relay,
    tap::{Evil, Way},
    world::World,
};

/// How long everything may take to come right again.
const RECOVERY: std::time::Duration = std::time::Duration::from_secs(60);

/// Agents whose relay lies to each of them as the test says. Everything logs what it can.
#[derive(Debug)]
pub struct Scene<'a> {
    world: &'a World,
    circle: Circle,
    handles: Vec<String>,
    evils: BTreeMap<String, Evil>,
    groups: BTreeMap<String, Vec<String>>,
    /// The farthest log of a group that an agent has shown: its length and its head.
    heads: BTreeMap<(String, String), (u64, String)>,
}

impl World {
    /// A relay and a proxy for each handle, all of them at log level trace, recorded, and lied to at will.
    ///
    /// # Errors
    /// One does not come up.
    pub async fn scene<const N: usize>(&self, handles: [&str; N]) -> anyhow::Result<Scene<'_>> {
        let mut relay = self.new_relay("relay")?;
        relay.log_level("trace");
        relay.start().await?;
        let mut evils = BTreeMap::new();
        let prepare = |proxy: &mut Proxy| {
            proxy.log_level("trace");
            proxy.tap().record();
            evils.insert(proxy.handle().to_owned(), proxy.tap().evil());
        };
        let circle = self.circle_prepared(relay, handles, prepare).await?;
        Ok(Scene {
            world: self,
            circle,
            handles: handles.map(str::to_owned).to_vec(),
            evils,
            groups: BTreeMap::new(),
            heads: BTreeMap::new(),
        })
    }
}

impl Scene<'_> {
    /// The relay.
    #[must_use]
    pub const fn relay(&self) -> &Relay {
        &self.circle.relay
    }

    /// The proxy of an agent.
    ///
    /// # Errors
    /// Nobody is called so.
    pub fn proxy(&mut self, handle: &str) -> anyhow::Result<&mut Proxy> {
        self.circle.proxy(handle)
    }

    /// The agents with these handles.
    ///
    /// # Errors
    /// Nobody is called so.
    pub fn agents<const N: usize>(&self, handles: [&str; N]) -> anyhow::Result<[Agent; N]> {
        self.circle.agents(handles)
    }

    /// What the relay shows an agent.
    ///
    /// # Errors
    /// Nobody is called so.
    pub fn evil(&self, handle: &str) -> anyhow::Result<&Evil> {
        let evil = self.evils.get(handle);
        evil.with_context(|| format!("nobody is called {handle}"))
    }

    /// A group of all agents here, whose log is watched from now on.
    ///
    /// # Errors
    /// One does not get in.
    pub async fn gather(&mut self, name: &str) -> anyhow::Result<String> {
        let agents = self.everybody()?;
        let (founder, others) = agents.split_first().context("nobody")?;
        let others: Vec<&Agent> = others.iter().collect();
        let group = founder.gather(&unique(name)?, &others).await?.id;
        self.groups.insert(group.clone(), self.handles.clone());
        self.watch().await?;
        Ok(group)
    }

    /// The watched groups.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(String::as_str)
    }

    /// Somebody is in a watched group no more.
    pub fn gone(&mut self, group: &str, handle: &str) {
        if let Some(members) = self.groups.get_mut(group) {
            members.retain(|member| member != handle);
        }
    }

    fn everybody(&self) -> anyhow::Result<Vec<Agent>> {
        let agents = self.handles.iter().map(|handle| {
            let [agent] = self.circle.agents([handle.as_str()])?;
            Ok(agent)
        });
        agents.collect()
    }

    /// Looks at the logs of all groups: none may be shorter than before, or another one.
    ///
    /// # Errors
    /// One is.
    pub async fn watch(&mut self) -> anyhow::Result<()> {
        for (group, members) in &self.groups {
            for handle in members {
                let [agent] = self.circle.agents([handle.as_str()])?;
                let view = agent.group_security(group).await?;
                let now = (view.roster_length, view.roster_head);
                let before = self.heads.insert((handle.clone(), group.clone()), now.clone());
                let forward = before.is_none_or(|before| before.0 < now.0 || before == now);
                ensure!(forward, "the log of {handle} went back to {now:?}");
            }
        }
        Ok(())
    }

    /// What holds after every attack, once the relay behaves:
    ///
    /// - everybody is ready, writes and is read, in every group and to every neighbour;
    /// - no log has gone back;
    /// - nobody holds a message twice, and what its author shows as delivered is there;
    /// - nothing that was said has travelled in clear. (Files and logs are searched after every test.)
    ///
    /// # Errors
    /// One of these does not hold.
    pub async fn aftermath(&mut self) -> anyhow::Result<()> {
        self.watch().await?;
        for evil in self.evils.values() {
            evil.behave();
        }
        for proxy in self.circle.proxies() {
            proxy.tap().set(Way::Open);
            proxy.tap().forget_requests();
        }
        let agents = self.everybody()?;
        for agent in &agents {
            agent.until_ready().await?;
        }
        for (index, agent) in agents.iter().enumerate() {
            let neighbour = &agents[(index + 1) % agents.len()];
            if neighbour.handle() != agent.handle() {
                is_heard(agent, neighbour).await?;
            }
        }
        for (group, members) in &self.groups {
            let members: Vec<&Agent> = agents
                .iter()
                .filter(|agent| members.iter().any(|member| member == agent.handle()))
                .collect();
            all_talk(&members, group, "the aftermath").await?;
            settled(&members, group).await?;
        }
        self.watch().await?;
        nothing_is_lost_or_doubled(&agents).await?;
        for proxy in self.circle.proxies() {
            let recorded = proxy.tap().recorded();
            ensure!(!recorded.is_empty(), "nothing was recorded");
            let found = self.world.canaries().find(&recorded);
            ensure!(found.is_none(), "{found:?} on the wire of {}", proxy.handle());
        }
        Ok(())
    }
}

/// One writes to the other, who reads it, verified.
async fn is_heard(agent: &Agent, by: &Agent) -> anyhow::Result<()> {
    let id = unique("aftermath")?;
    let sent = agent.send_text(by.handle(), &id, &unique("still here")?).await?;
    let what = format!("{} hears {}", by.handle(), agent.handle());
    eventually(&what, RECOVERY, async || {
        let rows = by.sync().await?;
        let heard = rows.iter().find(|row| row.client_msg_id == id);
        ensure!(
            heard.is_none_or(|row| row.id == sent.id && row.security.verified),
            "{heard:?}"
        );
        Ok(heard.map(drop))
    })
    .await
}

/// All messages that an agent holds.
async fn held_by(agent: &Agent) -> anyhow::Result<Vec<Message>> {
    let conversations: Vec<Value> = agent.get("/v1/conversations").await?.ok()?;
    let mut messages = Vec::new();
    for conversation in conversations {
        let id = conversation["id"].as_str().context("a conversation without id")?;
        messages.extend(whole_history(agent, id).await?);
    }
    Ok(messages)
}

async fn nothing_is_lost_or_doubled(agents: &[Agent]) -> anyhow::Result<()> {
    let mut held = Vec::new();
    for agent in agents {
        let messages = held_by(agent).await?;
        let written = messages.iter().filter(|message| message.kind != "system");
        let mut seen = BTreeSet::new();
        for message in written {
            let key = (&message.sender, &message.conversation_id, &message.client_msg_id);
            ensure!(seen.insert(key), "{} holds {message:?} twice", agent.handle());
        }
        held.push(messages);
    }
    for (agent, messages) in agents.iter().zip(&held) {
        let own = messages.iter().filter(|message| message.sender == agent.handle());
        for message in own.filter(|message| matches!(message.status.as_str(), "delivered" | "read")) {
            let elsewhere = held
                .iter()
                .zip(agents)
                .filter(|(_, other)| other.handle() != agent.handle());
            let mut elsewhere = elsewhere.flat_map(|(messages, _)| messages);
            ensure!(
                elsewhere.any(|other| other.id == message.id),
                "delivered to nobody: {message:?}"
            );
        }
    }
    Ok(())
}
