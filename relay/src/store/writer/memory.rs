//! What a writer keeps between transactions, so that a send needs few statements.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use waxwire_shared::{ids::AgentId, wire::Lane};

use super::ops::Sends;
use crate::{
    limits::{Meter, SendLimits, Tiers},
    snowflake::Snowflakes,
    store::{AgentNo, Blocks, OrgNo, QueueNo},
};

/// Rows of one kind that are kept in memory.
const ROWS: usize = 131_072;
/// Ids of an earlier run lie at most this far ahead of its last commit.
const ID_RESERVE_MS: u64 = 5_000;

/// Where direct envelopes for an agent go, and how many may wait there.
#[derive(Clone, Copy)]
pub(in crate::store) struct Recipient {
    pub(in crate::store) agent: AgentNo,
    pub(in crate::store) mail: QueueNo,
    pub(in crate::store) control: QueueNo,
    /// Its handle went to another identity: it takes nothing more.
    pub(in crate::store) succeeded: bool,
    pub(in crate::store) limits: SendLimits,
}

impl Recipient {
    pub(in crate::store) const fn queue(&self, lane: Lane) -> QueueNo {
        match lane {
            Lane::Mail => self.mail,
            Lane::Control => self.control,
        }
    }

    /// 0: as many as come.
    pub(super) const fn cap(&self, lane: Lane) -> u64 {
        match lane {
            Lane::Mail => self.limits.backlog,
            Lane::Control => self.limits.control_backlog,
        }
    }
}

/// By what an agent's sends are limited.
#[derive(Clone, Copy)]
pub(in crate::store) struct Sender {
    pub(in crate::store) org: OrgNo,
    pub(in crate::store) limits: SendLimits,
}

/// The last position of a queue, and the last one that was acknowledged.
#[derive(Clone, Copy)]
pub(in crate::store) struct Ends {
    pub(in crate::store) head: u64,
    pub(in crate::store) acked: u64,
}

/// Members of a group whose acks are far behind its head, as they were when they were last looked at.
#[derive(Default)]
pub(super) struct Laggards {
    /// No member's ack was below this.
    pub(super) floor: u64,
    /// The head at that time.
    pub(super) looked_at: u64,
    pub(super) members: Arc<[AgentId]>,
}

pub(in crate::store) struct Memory {
    pub(in crate::store) ids: Snowflakes,
    /// Up to when ids may be made, as the database knows.
    ids_reserved_until: u64,
    pub(in crate::store) tiers: Arc<Tiers>,
    /// Outlives faults.
    pub(in crate::store) meter: Meter,
    /// Recipients and senders are at least as new as this event of agents; for a store that others write, too.
    as_of: Option<u64>,
    recipients: HashMap<AgentId, Recipient>,
    senders: HashMap<AgentNo, Sender>,
    /// All there are, once they were needed; for a store that nobody else writes.
    pub(in crate::store) blocks: Option<Blocks>,
    /// Of queues that sends go to, for a store that moves them itself; those of logs are moved by appends.
    queues: HashMap<QueueNo, Ends>,
    pub(super) laggards: HashMap<QueueNo, Laggards>,
}

impl Memory {
    /// `reserved_until` is up to when ids may have been made before, Unix milliseconds.
    pub(in crate::store) fn new(
        ids: Snowflakes,
        reserved_until: u64,
        tiers: Arc<Tiers>,
        meter: Meter,
    ) -> Self {
        Self {
            ids,
            ids_reserved_until: reserved_until,
            tiers,
            meter,
            as_of: None,
            recipients: HashMap::new(),
            senders: HashMap::new(),
            blocks: None,
            queues: HashMap::new(),
            laggards: HashMap::new(),
        }
    }

    /// After a transaction that failed nothing of this can be trusted.
    pub(in crate::store) fn forget(&mut self) {
        self.meter.undo();
        self.forget_agents();
        self.blocks = None;
        self.queues.clear();
        self.laggards.clear();
    }

    /// A handle went from this agent to another.
    pub(in crate::store) fn succeed(&mut self, old: &AgentId) {
        self.recipients.remove(old);
        self.blocks = None;
    }

    /// Somebody else has changed agents, organisations or tiers.
    pub(in crate::store) fn forget_agents(&mut self) {
        self.as_of = None;
        self.recipients.clear();
        self.senders.clear();
    }

    /// The last event of agents is this one. Whether that is news, and what was kept is forgotten.
    pub(in crate::store) fn hear_of(&mut self, event: u64) -> bool {
        let is_news = self.as_of != Some(event);
        if is_news {
            self.forget_agents();
            self.as_of = Some(event);
        }
        is_news
    }

    pub(in crate::store) fn recipient(&self, id: &AgentId) -> Option<Recipient> {
        self.recipients.get(id).copied()
    }

    pub(in crate::store) fn keep_recipient(&mut self, id: AgentId, recipient: Recipient) {
        keep(&mut self.recipients, id, recipient);
    }

    pub(in crate::store) fn sender(&self, agent: AgentNo) -> Option<Sender> {
        self.senders.get(&agent).copied()
    }

    pub(in crate::store) fn keep_sender(&mut self, agent: AgentNo, sender: Sender) {
        keep(&mut self.senders, agent, sender);
    }

    pub(in crate::store) fn ends(&self, queue: QueueNo) -> Option<Ends> {
        self.queues.get(&queue).copied()
    }

    pub(in crate::store) fn keep_ends(&mut self, queue: QueueNo, ends: Ends) {
        keep(&mut self.queues, queue, ends);
    }

    pub(in crate::store) fn set_head(&mut self, queue: QueueNo, head: u64) {
        if let Some(ends) = self.queues.get_mut(&queue) {
            ends.head = head;
        }
    }

    /// An ack was written; acks never go back and never beyond the head.
    pub(in crate::store) fn note_ack(&mut self, queue: QueueNo, position: u64) {
        if let Some(ends) = self.queues.get_mut(&queue) {
            ends.acked = ends.acked.max(position.min(ends.head));
        }
    }

    /// Up to when ids have to be reserved in the transaction that stores these, if more are used than are reserved.
    pub(in crate::store) const fn ids_to_reserve(&self, done: &Sends) -> Option<u64> {
        let made_ids = !done.stored.is_empty() || !done.appended.is_empty();
        if made_ids && self.ids.last_ms() >= self.ids_reserved_until {
            Some(self.ids.last_ms() + ID_RESERVE_MS)
        } else {
            None
        }
    }

    /// The reserve was committed.
    pub(in crate::store) const fn reserve_ids(&mut self, until: u64) {
        self.ids_reserved_until = until;
    }
}

fn keep<K: Eq + Hash, V>(rows: &mut HashMap<K, V>, key: K, row: V) {
    if rows.len() >= ROWS {
        rows.clear();
    }
    rows.insert(key, row);
}
