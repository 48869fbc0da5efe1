//! Who is online, as far as agents show it; whoever holds them as contacts is told.
//!
//! An agent is online while one of its sockets says so. It counts as gone a moment after the last of
//! them has ended, so that a reconnection is no news. When it was last there is known to the minute,
//! and written once a minute.
//!
//! Among several nodes each knows its own agents, and of others those that it has told its sockets of.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior},
};
use waxwire_shared::{
    api::frames::{RelayFrame, Seen},
    ids::Handle,
};

use super::{Delivery, Inbox};
use crate::{
    logging::{self, Course},
    nodes::{Nodes, Word},
    store::{AgentNo, LastSeen, ReadError},
};

/// How exactly it is known when an agent was last there.
const MINUTE_MS: u64 = 60_000;
/// Between writes of when agents were last there.
const WRITE: Duration = Duration::from_secs(60);
/// After which a change is told again that could not be told.
const TELL_AGAIN: Duration = Duration::from_secs(1);
/// Most agents in one write.
const WRITTEN: usize = 1_000;
/// Most agents of other nodes that are looked after, and most whose coming or going was not told yet.
const ELSEWHERE: usize = 100_000;

/// Who is online, and who was, as far as that is not written yet.
#[derive(Debug, Default)]
pub struct Presence {
    table: Mutex<Table>,
    stir: Notify,
}

#[derive(Debug, Default)]
struct Table {
    online: HashSet<AgentNo>,
    unwritten: HashMap<AgentNo, u64>,
    /// Agents of other nodes that sockets were told of as online, and when that was last confirmed.
    elsewhere: HashMap<AgentNo, Instant>,
    /// Agents that another node says have come or gone.
    stirred: HashSet<AgentNo>,
    /// Agents of other nodes of which the sockets here were told what may be wrong, because nobody could say.
    doubted: HashSet<AgentNo>,
    /// Agents here of whose coming or going other nodes were not told, for want of Redis.
    untold: HashSet<AgentNo>,
}

impl Presence {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_own(&self, agent: AgentNo) -> bool {
        self.table().online.contains(&agent)
    }

    /// Who is online on this node.
    #[must_use]
    pub fn own(&self) -> Vec<AgentNo> {
        self.table().online.iter().copied().collect()
    }

    /// Another node says that an agent has come or gone.
    pub fn note_stir(&self, agent: AgentNo) {
        let stirred = &mut self.table().stirred;
        // Whoever is passed over is seen with the next check, if it was known at all.
        if stirred.len() < ELSEWHERE {
            stirred.insert(agent);
        }
        self.stir.notify_one();
    }

    /// Waits until another node has said so.
    pub async fn stirred(&self) -> HashSet<AgentNo> {
        loop {
            let stirred = std::mem::take(&mut self.table().stirred);
            if !stirred.is_empty() {
                return stirred;
            }
            self.stir.notified().await;
        }
    }

    /// Sockets are told of an agent of another node.
    fn note_elsewhere(&self, agent: AgentNo, online: bool) {
        let elsewhere = &mut self.table().elsewhere;
        if !online {
            elsewhere.remove(&agent);
        } else if elsewhere.len() < ELSEWHERE || elsewhere.contains_key(&agent) {
            elsewhere.insert(agent, Instant::now());
        }
    }

    /// What others may see of an agent; `written` is what the store knows.
    #[must_use]
    pub fn see(&self, agent: AgentNo, handle: Handle, online: bool, written: Option<u64>) -> Seen {
        let table = self.table();
        let last_seen = table.unwritten.get(&agent).copied().or(written);
        Seen {
            handle,
            online,
            last_seen: last_seen.filter(|_| !online),
        }
    }

    /// Notes that an agent came or went; false if it is no news.
    fn note(&self, agent: AgentNo, online: bool, now_ms: u64) -> bool {
        let table = &mut *self.table();
        let news = if online {
            table.online.insert(agent)
        } else {
            table.online.remove(&agent)
        };
        if news {
            // Also when it came: after a crash, that is the last that is known.
            table.unwritten.insert(agent, now_ms - now_ms % MINUTE_MS);
        }
        news
    }

    /// An agent of another node is gone, and that node may not be there to write it down.
    fn note_seen(&self, agent: AgentNo, now_ms: u64) {
        self.table().unwritten.insert(agent, now_ms - now_ms % MINUTE_MS);
    }

    /// What is so of these agents of other nodes is to be found out.
    fn doubt(&self, agents: impl IntoIterator<Item = AgentNo>) {
        let doubted = &mut self.table().doubted;
        let room = ELSEWHERE.saturating_sub(doubted.len());
        doubted.extend(agents.into_iter().take(room));
    }

    fn note_untold(&self, agent: AgentNo) {
        let untold = &mut self.table().untold;
        if untold.len() < ELSEWHERE {
            untold.insert(agent);
        }
    }

    /// Agents of other nodes that nobody has confirmed for too long; those that are confirmed now are not among them.
    fn take_gone(&self, confirmed: Option<&HashSet<AgentNo>>, grace: Duration) -> Vec<AgentNo> {
        let now = Instant::now();
        let elsewhere = &mut self.table().elsewhere;
        for agent in confirmed.into_iter().flatten() {
            if let Some(at) = elsewhere.get_mut(agent) {
                *at = now;
            }
        }
        let gone = elsewhere.extract_if(|_, at| *at + grace <= now);
        gone.map(|(agent, _)| agent).collect()
    }

    fn unwritten(&self) -> Vec<LastSeen> {
        let table = self.table();
        let first = table.unwritten.iter().take(WRITTEN);
        first.map(|(agent, at)| (*agent, *at)).collect()
    }

    fn written(&self, written: &[LastSeen]) {
        let unwritten = &mut self.table().unwritten;
        for (agent, at) in written {
            if unwritten.get(agent) == Some(at) {
                unwritten.remove(agent);
            }
        }
    }
}

/// Agents here whose holders were not told that they have come or gone.
#[derive(Debug, Default)]
struct Owed {
    agents: HashSet<AgentNo>,
    /// When it is tried again.
    due: Option<Instant>,
    course: Course,
}

impl Owed {
    fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= Instant::now())
    }
}

fn frame(seen: Seen) -> Bytes {
    RelayFrame::Presence(seen).encode().into()
}

impl Delivery {
    /// Follows who comes and goes until the relay stops.
    pub async fn follow_presence(self: Arc<Self>) {
        let (mut leaving, mut owed) = (HashMap::new(), Owed::default());
        let mut write = tokio::time::interval(WRITE);
        write.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = leaving.values().min().copied().into_iter().chain(owed.due).min();
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                moved = self.hub.moved() => self.take_moves(moved, &mut leaving, &mut owed).await,
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    self.take_leave(&mut leaving, &mut owed).await;
                    if owed.is_due() {
                        self.tell(&mut owed).await;
                    }
                }
                _ = write.tick() => self.write_last_seen().await,
            }
        }
    }

    /// Writes when those were last there who are there at the end.
    pub async fn end_presence(&self) {
        let own = self.presence.own();
        for agent in own.iter().copied() {
            self.presence.note(agent, false, self.clock.now_ms());
        }
        // Other nodes read it once they take somebody for gone.
        self.write_last_seen().await;
        if let Some(nodes) = &self.nodes {
            nodes.hide(&own).await;
        }
    }

    async fn take_moves(
        &self,
        moved: HashSet<AgentNo>,
        leaving: &mut HashMap<AgentNo, Instant>,
        owed: &mut Owed,
    ) {
        let mut come = Vec::new();
        for agent in moved {
            if self.hub.is_shown(agent) {
                leaving.remove(&agent);
                come.push(agent);
            } else if self.presence.is_own(agent) {
                let gone_at = Instant::now() + self.timing.absence;
                leaving.entry(agent).or_insert(gone_at);
            }
        }
        self.announce(come, true, owed).await;
    }

    /// Those who have been away for long enough are gone.
    async fn take_leave(&self, leaving: &mut HashMap<AgentNo, Instant>, owed: &mut Owed) {
        let now = Instant::now();
        let gone = leaving.extract_if(|_, at| *at <= now).map(|(agent, _)| agent);
        let gone: Vec<AgentNo> = gone.filter(|agent| !self.hub.is_shown(*agent)).collect();
        self.announce(gone, false, owed).await;
    }

    async fn announce(&self, mut agents: Vec<AgentNo>, online: bool, owed: &mut Owed) {
        agents.retain(|agent| self.presence.note(*agent, online, self.clock.now_ms()));
        if agents.is_empty() {
            return;
        }
        if self.nodes.is_some() {
            // Other nodes read it.
            self.write_last_seen().await;
        }
        owed.agents.extend(agents);
        self.tell(owed).await;
    }

    /// Tells what is so of all who have come or gone; what cannot be told now is told later.
    async fn tell(&self, owed: &mut Owed) {
        let told = async {
            while let Some(agent) = owed.agents.iter().next().copied() {
                self.tell_all(agent, self.presence.is_own(agent)).await?;
                owed.agents.remove(&agent);
            }
            Ok::<(), ReadError>(())
        }
        .await;
        owed.due = told.is_err().then(|| Instant::now() + TELL_AGAIN);
        match told {
            Err(error) if owed.course.turns(false) => {
                tracing::warn!(error = %logging::chain(&error), "changes of presence are not told");
            }
            Ok(()) if owed.course.turns(true) => tracing::info!("changes of presence are told again"),
            _ => {}
        }
    }

    /// Tells whoever holds an agent of this node as a contact, unless it is online on another one as well.
    async fn tell_all(&self, agent: AgentNo, online: bool) -> Result<(), ReadError> {
        if let Some(nodes) = &self.nodes {
            match nodes.show(agent, online).await {
                Some(true) => {
                    self.presence.note_elsewhere(agent, !online);
                    return Ok(());
                }
                Some(false) => {
                    self.presence.note_elsewhere(agent, false);
                    self.tell_nodes(nodes, agent).await?;
                }
                None => self.presence.note_untold(agent),
            }
        }
        self.tell_holders(agent, online).await
    }

    /// Tells the nodes of whoever holds an agent as a contact.
    async fn tell_nodes(&self, nodes: &Nodes, agent: AgentNo) -> Result<(), ReadError> {
        let holders = self.store.contact_holders(agent).await?;
        nodes.tell(holders, &Word::Contact(agent));
        Ok(())
    }

    async fn tell_holders(&self, agent: AgentNo, online: bool) -> Result<(), ReadError> {
        let holders = self.store.contact_holders(agent).await?;
        let holders = self.hub.with_sockets(holders);
        if holders.is_empty() {
            return Ok(());
        }
        if let Some(record) = self.store.agent(agent).await? {
            let frame = frame(self.presence.see(agent, record.handle, online, None));
            self.hub.push_presence(&holders, agent, &frame);
        }
        Ok(())
    }

    /// Which of some agents are online, here or on any node that says so.
    pub async fn online(&self, agents: impl IntoIterator<Item = AgentNo>) -> HashSet<AgentNo> {
        let (mut online, others): (HashSet<_>, Vec<_>) = {
            let table = self.presence.table();
            let split = |(mut own, mut others): (HashSet<_>, Vec<_>), agent| {
                if table.online.contains(&agent) {
                    own.insert(agent);
                } else {
                    others.push(agent);
                }
                (own, others)
            };
            agents.into_iter().fold(Default::default(), split)
        };
        if let Some(nodes) = &self.nodes
            && !others.is_empty()
            && let Some(elsewhere) = nodes.online(&others).await
        {
            online.extend(elsewhere);
        }
        online
    }

    /// Agents of other nodes have come or gone: their holders here are told what is so now.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn meet(&self, nodes: &Nodes, agents: HashSet<AgentNo>) -> Result<(), ReadError> {
        let agents: Vec<AgentNo> = agents
            .into_iter()
            .filter(|agent| !self.presence.is_own(*agent))
            .collect();
        let Some(online) = nodes.online(&agents).await else {
            self.presence.doubt(agents);
            return Ok(());
        };
        for (done, agent) in agents.iter().enumerate() {
            let online = online.contains(agent);
            self.presence.note_elsewhere(*agent, online);
            if let Err(error) = self.tell_holders(*agent, online).await {
                self.presence.doubt(agents[done..].iter().copied());
                return Err(error);
            }
        }
        Ok(())
    }

    /// Asks again for agents of other nodes that sockets here take for online, and tells other nodes what they were not
    /// told.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn check_on_others(&self, nodes: &Nodes) -> Result<(), ReadError> {
        let known: Vec<AgentNo> = self.presence.table().elsewhere.keys().copied().collect();
        let confirmed = nodes.online(&known).await;
        // A Redis that has lost everything is told again within less.
        let grace = self.timing.mark * 2 / 3;
        let gone = self.presence.take_gone(confirmed.as_ref(), grace);
        if confirmed.is_some() {
            for agent in &gone {
                self.presence.note_seen(*agent, self.clock.now_ms());
            }
        }
        let told = self.tell_gone(&gone).await;
        if confirmed.is_none() || told.is_err() {
            self.presence.doubt(gone);
            return told;
        }
        let doubted = std::mem::take(&mut self.presence.table().doubted);
        self.meet(nodes, doubted).await?;
        let mut untold = std::mem::take(&mut self.presence.table().untold).into_iter();
        while let Some(agent) = untold.next() {
            if nodes.show(agent, self.presence.is_own(agent)).await != Some(true)
                && let Err(error) = self.tell_nodes(nodes, agent).await
            {
                untold
                    .chain([agent])
                    .for_each(|agent| self.presence.note_untold(agent));
                return Err(error);
            }
        }
        Ok(())
    }

    async fn tell_gone(&self, agents: &[AgentNo]) -> Result<(), ReadError> {
        for agent in agents {
            self.tell_holders(*agent, false).await?;
        }
        Ok(())
    }

    /// Tells a socket that is new which of its agent's contacts are there.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn greet(&self, agent: AgentNo, inbox: &Inbox) -> Result<(), ReadError> {
        let contacts = self.store.contacts(agent).await?;
        let online = self.online(contacts.iter().map(|(contact, _)| *contact)).await;
        for (contact, handle) in contacts {
            if online.contains(&contact) {
                inbox.greet(contact, self.see_online(contact, handle));
            }
        }
        Ok(())
    }

    /// Tells an agent's sockets whether a contact that it holds from now on is there.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn introduce(&self, agent: AgentNo, contact: &Handle) -> Result<(), ReadError> {
        let contacts = self.store.in_sight(agent, std::slice::from_ref(contact)).await?;
        let online = self.online(contacts.iter().map(|(contact, ..)| *contact)).await;
        for (contact, handle, _) in contacts {
            if contact != agent && online.contains(&contact) {
                let frame = self.see_online(contact, handle);
                self.hub.push_presence(&[agent], contact, &frame);
            }
        }
        if let Some(nodes) = &self.nodes {
            // Its sockets on other nodes.
            for contact in online {
                nodes.tell([agent], &Word::Contact(contact));
            }
        }
        Ok(())
    }

    /// What a socket is told of a contact that is online; one of another node is looked after from then on.
    fn see_online(&self, contact: AgentNo, handle: Handle) -> Bytes {
        if !self.presence.is_own(contact) {
            self.presence.note_elsewhere(contact, true);
        }
        frame(self.presence.see(contact, handle, true, None))
    }

    async fn write_last_seen(&self) {
        loop {
            let unwritten = self.presence.unwritten();
            if unwritten.is_empty() {
                return;
            }
            if self.store.put_last_seen(unwritten.clone()).await.is_err() {
                // Tried again in a minute.
                return;
            }
            self.presence.written(&unwritten);
        }
    }
}
