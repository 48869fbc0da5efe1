//! Who is online where: a set of nodes for each agent, in which a node's mark expires unless it is renewed. The nodes
//! themselves are counted in the same way.
//!
//! Each node tells its own sockets of contacts that are online on others, and asks again for all of those: whatever becomes
//! of the node of a contact, at most a minute later nobody takes it for online.

use std::{
    collections::HashSet,
    sync::{LazyLock, atomic::Ordering},
};

use redis::{Script, aio::MultiplexedConnection};
use tokio::time::MissedTickBehavior;

use super::{Nodes, Word, link::Fault, names::Names};
use crate::{delivery::Delivery, logging, store::AgentNo};

/// Agents in one step.
const AGENTS: usize = 500;

static SHOW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("online.lua")));
static ASK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("asked.lua")));

/// Marks this node, or takes its marks out, and answers how many others are marked.
async fn mark(
    nodes: &Nodes,
    connection: &mut MultiplexedConnection,
    keys: impl IntoIterator<Item = String>,
    there: bool,
) -> redis::RedisResult<Vec<u64>> {
    let last = if there { nodes.mark.as_millis() } else { 0 };
    let mut call = SHOW.prepare_invoke();
    for key in keys {
        call.key(key);
    }
    call.arg(nodes.me.0).arg(u64::try_from(last).unwrap_or(u64::MAX));
    call.invoke_async(connection).await
}

/// This node's sign of life, and the count of all nodes.
pub(super) async fn beat(
    nodes: &Nodes,
    names: &Names,
    connection: &mut MultiplexedConnection,
) -> Result<(), Fault> {
    let others = mark(nodes, connection, [names.nodes()], true).await?;
    let count = others.first().map_or(1, |others| others.saturating_add(1));
    nodes.count.store(count, Ordering::Relaxed);
    Ok(())
}

/// Renews the marks of all who are online here.
pub(super) async fn show_all(
    nodes: &Nodes,
    names: &Names,
    connection: &mut MultiplexedConnection,
    delivery: &Delivery,
) -> Result<(), Fault> {
    for chunk in delivery.presence.own().chunks(AGENTS) {
        let keys = chunk.iter().map(|agent| names.online(*agent));
        mark(nodes, connection, keys, true).await?;
    }
    Ok(())
}

impl Nodes {
    /// Marks an agent as online on this node or not any more: whether it is on others. None if nobody knows.
    pub async fn show(&self, agent: AgentNo, online: bool) -> Option<bool> {
        let (mut connection, names) = self.connected()?;
        let marked = mark(self, &mut connection, [names.online(agent)], online).await;
        let others = self.settle(marked)?;
        Some(others.first().is_some_and(|others| *others > 0))
    }

    /// Takes this node's marks off some agents: the relay stops. Other nodes find out by themselves.
    pub async fn hide(&self, agents: &[AgentNo]) {
        for chunk in agents.chunks(AGENTS) {
            let Some((mut connection, names)) = self.connected() else {
                return;
            };
            let keys = chunk.iter().map(|agent| names.online(*agent));
            let marked = mark(self, &mut connection, keys, false).await;
            // Without it they expire.
            let _marked = self.settle(marked);
        }
    }

    /// Which of some agents are online on any node. None if nobody knows.
    pub async fn online(&self, agents: &[AgentNo]) -> Option<HashSet<AgentNo>> {
        let (mut connection, names) = self.connected()?;
        let mut online = HashSet::new();
        for chunk in agents.chunks(AGENTS) {
            let mut call = ASK.prepare_invoke();
            for agent in chunk {
                call.key(names.online(*agent));
            }
            let marked: Vec<u64> = self.settle(call.invoke_async(&mut connection).await)?;
            let there = chunk.iter().zip(marked).filter(|(_, nodes)| *nodes > 0);
            online.extend(there.map(|(agent, _)| *agent));
        }
        Some(online)
    }

    /// Those of some agents that have a socket on some node. None if nobody knows.
    pub async fn with_sockets(&self, agents: &[AgentNo]) -> Option<HashSet<AgentNo>> {
        let (mut connection, names) = self.connected()?;
        let mut call = redis::cmd("PUBSUB");
        call.arg("NUMSUB");
        for agent in agents {
            call.arg(names.channel(super::Topic::Agent(*agent)));
        }
        // In the order of the question, each with its channel.
        let counts: Vec<(String, u64)> = self.settle(call.query_async(&mut connection).await)?;
        let there = agents.iter().zip(counts).filter(|(_, (_, count))| *count > 0);
        Some(there.map(|(agent, _)| *agent).collect())
    }

    /// Says a word to an agent's sockets on other nodes now; how many nodes, this one among them, have some.
    pub async fn say_now(&self, agent: AgentNo, word: &Word) -> Option<u64> {
        let (mut connection, names) = self.connected()?;
        let channel = names.channel(super::Topic::Agent(agent));
        let mut call = redis::cmd("PUBLISH");
        call.arg(channel).arg(word.encode(self.me));
        let heard: u64 = self.settle(call.query_async(&mut connection).await)?;
        self.metrics.hints_published.add(1);
        Some(heard)
    }
}

/// Renews, and looks after contacts that are online on other nodes, until the relay stops.
pub(super) async fn follow(nodes: &Nodes, delivery: &Delivery) {
    let mut renew = tokio::time::interval(nodes.mark / 3);
    renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let done = tokio::select! {
            () = delivery.shutdown.cancelled() => return,
            stirred = delivery.presence.stirred() => delivery.meet(nodes, stirred).await,
            _ = renew.tick() => {
                if let Some((mut connection, names)) = nodes.connected()
                    && let Err(fault) = show_all(nodes, names, &mut connection, delivery).await
                {
                    tracing::debug!(%fault, "marks are not renewed");
                }
                delivery.check_on_others(nodes).await
            }
        };
        if let Err(error) = done {
            tracing::warn!(error = %logging::chain(&error), "contacts on other nodes are not followed");
        }
    }
}
