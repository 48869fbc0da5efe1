//! Wake-ups of crypto proxies, as they go into and come out of a store.

use waxwire_shared::{
    api::frames::Cursor,
    ids::{AgentId, Handle},
};
use zeroize::Zeroizing;

use super::{AgentNo, QueueNo, ReadError, Store, WriteError, on_each};

/// A wake-up that an agent is owed.
#[derive(Clone)]
pub struct Wakeup {
    /// The agent.
    pub agent: AgentNo,
    /// Its public id.
    pub id: AgentId,
    /// Where to call.
    pub url: String,
    /// What signs the call.
    pub secret: Zeroizing<String>,
    /// What has grown last, and how far.
    pub cursor: Cursor,
    /// Grows with whatever grows.
    pub serial: u64,
    /// How often it was tried.
    pub attempts: u32,
}

impl std::fmt::Debug for Wakeup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wakeup")
            .field("agent", &self.agent)
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

/// A wake-up that was not heard.
#[derive(Debug, Clone)]
pub struct WakeupFailure {
    /// Whose.
    pub agent: AgentNo,
    /// When it is tried again; `None` if never.
    pub due_at: Option<u64>,
    /// Why.
    pub reason: String,
}

/// A wake-up that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadWakeup {
    /// Whose.
    pub handle: Handle,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub reason: String,
    /// Since when it was owed, Unix milliseconds.
    pub since: u64,
    /// When it was given up.
    pub dead_at: u64,
}

impl Store {
    /// Registers the hook of an agent; whoever does is owed no wake-up.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn put_hook(&self, agent: AgentNo, url: String, secret: String) -> Result<(), WriteError> {
        on_each!(self, s => s.put_hook(agent, url, secret).await)
    }

    /// Takes it back, with what is owed to it.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn remove_hook(&self, agent: AgentNo) -> Result<(), WriteError> {
        on_each!(self, s => s.remove_hook(agent).await)
    }

    /// Notes a wake-up for every agent that has a hook and a backlog, and is not owed one. Gives how many
    /// hooks there are.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn owe_backlogs(&self, now: u64) -> Result<u64, WriteError> {
        on_each!(self, s => s.owe_backlogs(now).await)
    }

    /// Who has a hook and serves a queue.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn hooked_readers(&self, queue: QueueNo) -> Result<Vec<AgentNo>, ReadError> {
        on_each!(self, s => s.hooked_readers(queue).await)
    }

    /// Notes that agents are owed a wake-up: what has grown, and not before which time. Who has no hook is
    /// passed over.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn owe_wakeups(&self, owed: Vec<(AgentNo, Cursor, u64)>, now: u64) -> Result<(), WriteError> {
        on_each!(self, s => s.owe_wakeups(owed, now).await)
    }

    /// Wake-ups that are due, those that have waited longest first; also those that would have to wait for more than
    /// `longest` milliseconds, which a clock that was ahead has put off.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn due_wakeups(&self, now: u64, longest: u64, limit: usize) -> Result<Vec<Wakeup>, ReadError> {
        on_each!(self, s => s.due_wakeups(now, longest, limit).await)
    }

    /// Takes a wake-up away that was heard. If more has grown since, another is due at `next`.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn settle_wakeup(&self, agent: AgentNo, serial: u64, next: u64) -> Result<(), WriteError> {
        on_each!(self, s => s.settle_wakeup(agent, serial, next).await)
    }

    /// Notes that a wake-up was not heard.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn fail_wakeup(&self, failure: WakeupFailure, now: u64) -> Result<(), WriteError> {
        on_each!(self, s => s.fail_wakeup(failure, now).await)
    }

    /// Wake-ups that were given up, by handle, after one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn dead_wakeups(&self, after: &str, limit: usize) -> Result<Vec<DeadWakeup>, ReadError> {
        on_each!(self, s => s.dead_wakeups(after, limit).await)
    }

    /// Has a wake-up that was given up tried again; false if there is none.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn redeliver_wakeup(&self, handle: Handle) -> Result<bool, WriteError> {
        on_each!(self, s => s.redeliver_wakeup(handle).await)
    }
}
