//! Several agents around one relay, and what holds of a group once everything has settled.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, ensure};
use tokio::time::sleep;

use crate::{
    agent::{Agent, Message},
    clock::{eventually, within},
    group::GroupSecurity,
    proxy::Proxy,
    relay::Relay,
    world::World,
};

/// How long members may take to agree again.
const SETTLE: Duration = Duration::from_secs(40);
/// Pause before something is tried again.
const AGAIN: Duration = Duration::from_millis(50);

/// A relay and proxies that run and are linked to it.
#[derive(Debug)]
pub struct Circle {
    /// The relay.
    pub relay: Relay,
    proxies: Vec<Proxy>,
}

impl World {
    /// A relay and a proxy for each handle.
    ///
    /// # Errors
    /// One does not come up.
    pub async fn circle<const N: usize>(&self, handles: [&str; N]) -> anyhow::Result<Circle> {
        self.circle_around(self.relay().await?, handles).await
    }

    /// The same with a relay that sets no limits to members and to how often they come and go.
    ///
    /// # Errors
    /// One does not come up.
    pub async fn unlimited_circle<const N: usize>(&self, handles: [&str; N]) -> anyhow::Result<Circle> {
        let mut relay = self.new_relay("relay")?;
        for limit in [
            "group_members",
            "groups_per_hour",
            "joins_and_leaves_per_hour",
            "commits_per_minute",
        ] {
            relay.limit(limit, 0);
        }
        relay.start().await?;
        self.circle_around(relay, handles).await
    }

    /// The same around a relay that runs.
    ///
    /// # Errors
    /// One does not come up.
    pub async fn circle_around<const N: usize>(
        &self,
        relay: Relay,
        handles: [&str; N],
    ) -> anyhow::Result<Circle> {
        self.circle_prepared(relay, handles, |_| ()).await
    }

    /// The same with proxies that are prepared before they are made.
    ///
    /// # Errors
    /// One does not come up.
    pub async fn circle_prepared<const N: usize>(
        &self,
        relay: Relay,
        handles: [&str; N],
        mut prepare: impl FnMut(&mut Proxy),
    ) -> anyhow::Result<Circle> {
        let mut proxies = Vec::new();
        for handle in handles {
            let mut proxy = self.new_proxy(&relay, handle).await?;
            prepare(&mut proxy);
            proxy.init().await?;
            proxy.start().await?;
            proxy.agent()?.until_ready().await?;
            proxies.push(proxy);
        }
        Ok(Circle { relay, proxies })
    }
}

impl Circle {
    /// The proxy of an agent.
    ///
    /// # Errors
    /// Nobody is called so.
    pub fn proxy(&mut self, handle: &str) -> anyhow::Result<&mut Proxy> {
        let proxy = self.proxies.iter_mut().find(|proxy| proxy.handle() == handle);
        proxy.with_context(|| format!("nobody is called {handle}"))
    }

    /// Everybody.
    pub fn proxies(&mut self) -> &mut [Proxy] {
        &mut self.proxies
    }

    /// The agents with these handles.
    ///
    /// # Errors
    /// Nobody is called so.
    pub fn agents<const N: usize>(&self, handles: [&str; N]) -> anyhow::Result<[Agent; N]> {
        let mut agents = Vec::with_capacity(N);
        for handle in handles {
            let proxy = self.proxies.iter().find(|proxy| proxy.handle() == handle);
            agents.push(
                proxy
                    .with_context(|| format!("nobody is called {handle}"))?
                    .agent()?,
            );
        }
        agents.try_into().map_err(|_| anyhow::anyhow!("too few agents"))
    }
}

/// Waits until all members agree on the log and its epoch, nothing is owed and nobody was lied to;
/// gives what the first of them knows.
///
/// # Errors
/// They do not within forty seconds.
pub async fn settled(members: &[&Agent], group: &str) -> anyhow::Result<GroupSecurity> {
    let names: Vec<&str> = members.iter().map(|member| member.handle()).collect();
    eventually(&format!("{names:?} agree"), SETTLE, async || {
        let mut views: Vec<GroupSecurity> = Vec::new();
        for member in members {
            views.push(member.group_security(group).await?);
        }
        ensure!(views.iter().all(|view| !view.forked), "a fork: {views:?}");
        let state = |view: &GroupSecurity| (view.epoch, view.roster_head.clone(), view.debt.clone());
        let agreed = views.iter().all(|view| state(view) == state(&views[0]));
        let done = agreed && views[0].debt.is_none();
        Ok(done.then(|| views.swap_remove(0)))
    })
    .await
}

/// Every member writes, and every other member reads it: verified, without a gap, under the epoch
/// under which it was written.
///
/// # Errors
/// Something is not written or not read.
pub async fn all_talk(members: &[&Agent], group: &str, round: &str) -> anyhow::Result<()> {
    for writer in members {
        let text = crate::unique(&format!("{} in {round}", writer.handle()))?;
        let sent = writer
            .send_to_group(group, &crate::unique("id")?, &text)
            .await
            .with_context(|| format!("{} writes in {round}", writer.handle()))?;
        for reader in members.iter().filter(|reader| reader.handle() != writer.handle()) {
            let got = reader.until_text(group, &text).await?;
            ensure!(got.id == sent.id && got.sender == writer.handle(), "{got:?}");
            ensure!(got.security.verified && got.security.gap.is_none(), "{got:?}");
            ensure!(
                got.security.epoch.is_some() && got.security.epoch == sent_epoch(writer, &sent).await?,
                "{got:?}"
            );
        }
    }
    Ok(())
}

/// Sends a text until its outcome is known, while the programs may come and go.
///
/// # Errors
/// It is refused for good, or not known within a minute.
pub async fn send_until_known(agent: &Agent, group: &str, id: &str, text: &str) -> anyhow::Result<Message> {
    let what = format!("the outcome of {id}");
    let outcome = async {
        loop {
            match agent.try_group_text(group, id, text).await {
                Ok(answer) if answer.status != 503 => return answer.ok(),
                // Not up, or killed while it worked on it.
                Ok(_) | Err(_) => sleep(AGAIN).await,
            }
        }
    };
    within(&what, Duration::from_secs(60), outcome).await?
}

/// The epoch under which an own message lies at the relay now.
async fn sent_epoch(writer: &Agent, sent: &Message) -> anyhow::Result<Option<u64>> {
    let query = format!("after_seq={}&limit=1", sent.seq - 1);
    let rows = writer.history(&sent.conversation_id, &query).await?;
    Ok(rows.first().and_then(|row| row.security.epoch))
}

/// Waits until all members hold the same messages of agents, each once.
///
/// # Errors
/// They do not within forty seconds, or one holds a message twice.
pub async fn same_history(members: &[&Agent], group: &str) -> anyhow::Result<usize> {
    eventually("all hold the same messages", SETTLE, async || {
        let mut held: Vec<BTreeSet<String>> = Vec::new();
        for member in members {
            let written = whole_history(member, group).await?;
            let written: Vec<_> = written.into_iter().filter(|row| row.kind != "system").collect();
            let ids: BTreeSet<String> = written.iter().map(|row| row.id.clone()).collect();
            ensure!(ids.len() == written.len(), "{} holds one twice", member.handle());
            held.push(ids);
        }
        let same = held.iter().all(|ids| *ids == held[0]);
        Ok(same.then(|| held[0].len()))
    })
    .await
}

/// Every message of a conversation, checked for holes in its numbers.
///
/// # Errors
/// There is one.
pub async fn whole_history(agent: &Agent, conversation: &str) -> anyhow::Result<Vec<Message>> {
    let mut all: Vec<Message> = Vec::new();
    loop {
        let query = format!("after_seq={}&limit=200", all.len());
        let page = agent.history(conversation, &query).await?;
        if page.is_empty() {
            return Ok(all);
        }
        for message in page {
            ensure!(message.seq == all.len() as u64 + 1, "a hole before {message:?}");
            all.push(message);
        }
    }
}
