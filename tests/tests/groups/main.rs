//! Groups, each member seen through its own crypto proxy.

mod changes;
mod history;
mod life;
mod outages;

use waxwire_tests::{Agent, Group, Proxy, Relay, World, unique};

/// A relay and a group of three.
struct Trio {
    relay: Relay,
    proxies: [Proxy; 3],
    /// The founder and admin.
    alice: Agent,
    bob: Agent,
    carol: Agent,
    group: Group,
}

impl Trio {
    /// Alice founds a group; bob and carol are in it.
    async fn gather(world: &World) -> anyhow::Result<Self> {
        let relay = world.relay().await?;
        let mut proxies = Vec::new();
        for handle in ["alice", "bob", "carol"] {
            proxies.push(world.proxy(&relay, handle).await?);
        }
        let agents: Vec<Agent> = proxies.iter().map(Proxy::agent).collect::<anyhow::Result<_>>()?;
        let [alice, bob, carol] = agents.try_into().map_err(|_| anyhow::anyhow!("three agents"))?;
        let group = alice
            .gather(&unique("the name of a group")?, &[&bob, &carol])
            .await?;
        let proxies = proxies.try_into().map_err(|_| anyhow::anyhow!("three proxies"))?;
        Ok(Self {
            relay,
            proxies,
            alice,
            bob,
            carol,
            group,
        })
    }

    fn agents(&self) -> [&Agent; 3] {
        [&self.alice, &self.bob, &self.carol]
    }

    /// Somebody writes, and these read it.
    async fn says(&self, who: &Agent, readers: &[&Agent]) -> anyhow::Result<String> {
        let text = unique("said")?;
        who.send_to_group(&self.group.id, &unique("id")?, &text).await?;
        for reader in readers {
            reader.until_text(&self.group.id, &text).await?;
        }
        Ok(text)
    }
}
