//! Who is online, as far as agents show it; whoever holds them as contacts is told.
//!
//! An agent is online while one of its sockets says so. It counts as gone a moment after the last of
//! them has ended, so that a reconnection is no news. When it was last there is known to the minute,
//! and written once a minute.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Instant, MissedTickBehavior};
use waxwire_shared::{
    api::frames::{RelayFrame, Seen},
    ids::Handle,
};

use super::{Delivery, Inbox};
use crate::{
    logging,
    store::{AgentNo, LastSeen, ReadError},
};

/// How exactly it is known when an agent was last there.
const MINUTE_MS: u64 = 60_000;
/// Between writes of when agents were last there.
const WRITE: Duration = Duration::from_secs(60);
/// Most agents in one write.
const WRITTEN: usize = 1_000;

/// Who is online, and who was, as far as that is not written yet.
#[derive(Debug, Default)]
pub struct Presence(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    online: HashSet<AgentNo>,
    unwritten: HashMap<AgentNo, u64>,
}

impl Presence {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_online(&self, agent: AgentNo) -> bool {
        self.table().online.contains(&agent)
    }

    /// What others may see of an agent; `written` is what the store knows.
    #[must_use]
    pub fn see(&self, agent: AgentNo, handle: Handle, written: Option<u64>) -> Seen {
        let table = self.table();
        let online = table.online.contains(&agent);
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

fn frame(seen: Seen) -> Bytes {
    RelayFrame::Presence(seen).encode().into()
}

impl Delivery {
    /// Follows who comes and goes until the relay stops.
    pub async fn follow_presence(self: Arc<Self>) {
        let mut leaving = HashMap::new();
        let mut write = tokio::time::interval(WRITE);
        write.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = leaving.values().min().copied();
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                moved = self.hub.moved() => self.take_moves(moved, &mut leaving).await,
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    self.take_leave(&mut leaving).await;
                }
                _ = write.tick() => self.write_last_seen().await,
            }
        }
    }

    /// Writes when those were last there who are there at the end.
    pub async fn end_presence(&self) {
        let online = self.presence.table().online.clone();
        for agent in online {
            self.presence.note(agent, false, self.clock.now_ms());
        }
        self.write_last_seen().await;
    }

    async fn take_moves(&self, moved: HashSet<AgentNo>, leaving: &mut HashMap<AgentNo, Instant>) {
        for agent in moved {
            if self.hub.is_shown(agent) {
                leaving.remove(&agent);
                self.announce(agent, true).await;
            } else if self.presence.is_online(agent) {
                let gone_at = Instant::now() + self.timing.absence;
                leaving.entry(agent).or_insert(gone_at);
            }
        }
    }

    /// Those who have been away for long enough are gone.
    async fn take_leave(&self, leaving: &mut HashMap<AgentNo, Instant>) {
        let now = Instant::now();
        for (agent, _) in leaving.extract_if(|_, at| *at <= now).collect::<Vec<_>>() {
            if !self.hub.is_shown(agent) {
                self.announce(agent, false).await;
            }
        }
    }

    async fn announce(&self, agent: AgentNo, online: bool) {
        if !self.presence.note(agent, online, self.clock.now_ms()) {
            return;
        }
        if let Err(error) = self.tell_holders(agent).await {
            tracing::warn!(error = %logging::chain(&error), "a change of presence was not told");
        }
    }

    async fn tell_holders(&self, agent: AgentNo) -> Result<(), ReadError> {
        let holders = self.store.contact_holders(agent).await?;
        let holders = self.hub.with_sockets(holders);
        if holders.is_empty() {
            return Ok(());
        }
        if let Some(record) = self.store.agent(agent).await? {
            let frame = frame(self.presence.see(agent, record.handle, None));
            self.hub.push_presence(&holders, agent, &frame);
        }
        Ok(())
    }

    /// Tells a socket that is new which of its agent's contacts are there.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn greet(&self, agent: AgentNo, inbox: &Inbox) -> Result<(), ReadError> {
        for (contact, handle) in self.store.contacts(agent).await? {
            if self.presence.is_online(contact) {
                let seen = self.presence.see(contact, handle, None);
                inbox.greet(contact, frame(seen));
            }
        }
        Ok(())
    }

    /// Tells an agent's sockets whether a contact that it holds from now on is there.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn introduce(&self, agent: AgentNo, contact: &Handle) -> Result<(), ReadError> {
        for (contact, handle, _) in self.store.in_sight(agent, std::slice::from_ref(contact)).await? {
            if contact != agent && self.presence.is_online(contact) {
                let frame = frame(self.presence.see(contact, handle, None));
                self.hub.push_presence(&[agent], contact, &frame);
            }
        }
        Ok(())
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
