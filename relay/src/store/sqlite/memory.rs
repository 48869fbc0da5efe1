//! What the writer keeps between transactions, so that a send needs few statements: nobody else writes it.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use rusqlite::{Connection, OptionalExtension as _};
use waxwire_shared::{ids::AgentId, wire::Lane};

use super::{relations::Blocks, sql};
use crate::{
    limits::{Meter, SendLimits, Tiers},
    snowflake::Snowflakes,
    store::{AgentNo, OrgNo, QueueNo},
};

/// Rows of one kind that are kept in memory.
const ROWS: usize = 131_072;

/// Where direct envelopes for an agent go, and how many may wait there.
#[derive(Clone, Copy)]
pub(super) struct Recipient {
    pub(super) agent: AgentNo,
    pub(super) mail: QueueNo,
    pub(super) control: QueueNo,
    /// Its handle went to another identity: it takes nothing more.
    pub(super) succeeded: bool,
    limits: SendLimits,
}

impl Recipient {
    pub(super) const fn queue(&self, lane: Lane) -> QueueNo {
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
pub(super) struct Sender {
    pub(super) org: OrgNo,
    pub(super) limits: SendLimits,
}

/// The last position of a queue, and the last one that was acknowledged.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) head: u64,
    pub(super) acked: u64,
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

pub(super) struct Memory {
    pub(super) ids: Snowflakes,
    pub(super) tiers: Arc<Tiers>,
    /// Outlives faults: what was counted and then not written makes nobody wait for long.
    pub(super) meter: Meter,
    recipients: HashMap<AgentId, Recipient>,
    senders: HashMap<AgentNo, Sender>,
    /// All there are, once they were needed.
    pub(super) blocks: Option<Blocks>,
    /// Of queues that sends go to; those of logs are moved by appends.
    queues: HashMap<QueueNo, Ends>,
    pub(super) laggards: HashMap<QueueNo, Laggards>,
}

impl Memory {
    pub(super) fn new(ids: Snowflakes, tiers: Arc<Tiers>) -> Self {
        Self {
            ids,
            tiers,
            meter: Meter::default(),
            recipients: HashMap::new(),
            senders: HashMap::new(),
            blocks: None,
            queues: HashMap::new(),
            laggards: HashMap::new(),
        }
    }

    /// After a transaction that failed nothing of this can be trusted.
    pub(super) fn forget(&mut self) {
        self.forget_agents();
        self.blocks = None;
        self.queues.clear();
        self.laggards.clear();
    }

    /// A handle went from this agent to another.
    pub(super) fn succeed(&mut self, old: &AgentId) {
        self.recipients.remove(old);
        self.blocks = None;
    }

    /// Somebody else has changed agents, organisations or tiers.
    pub(super) fn forget_agents(&mut self) {
        self.recipients.clear();
        self.senders.clear();
    }

    pub(super) fn blocks(&mut self, connection: &Connection) -> rusqlite::Result<&Blocks> {
        match &mut self.blocks {
            Some(blocks) => Ok(blocks),
            missing => Ok(missing.insert(Blocks::load(connection)?)),
        }
    }

    pub(super) fn recipient(
        &mut self,
        connection: &Connection,
        id: &AgentId,
    ) -> rusqlite::Result<Option<Recipient>> {
        if let Some(known) = self.recipients.get(id) {
            return Ok(Some(*known));
        }
        let found = connection
            .prepare_cached(sql::RECIPIENT)?
            .query_row([id.as_bytes()], |row| {
                Ok(Recipient {
                    agent: AgentNo(row.get(0)?),
                    mail: QueueNo(row.get(1)?),
                    control: QueueNo(row.get(2)?),
                    limits: self.tiers.get(row.get_ref(3)?.as_str()?),
                    succeeded: row.get(4)?,
                })
            })
            .optional()?;
        if let Some(recipient) = found {
            keep(&mut self.recipients, *id, recipient);
        }
        Ok(found)
    }

    pub(super) fn sender(&mut self, connection: &Connection, agent: AgentNo) -> rusqlite::Result<Sender> {
        if let Some(known) = self.senders.get(&agent) {
            return Ok(*known);
        }
        let sender = connection
            .prepare_cached(sql::SENDER)?
            .query_row([agent.0], |row| {
                Ok(Sender {
                    org: OrgNo(row.get(0)?),
                    limits: self.tiers.get(row.get_ref(1)?.as_str()?),
                })
            })?;
        keep(&mut self.senders, agent, sender);
        Ok(sender)
    }

    pub(super) fn ends(&mut self, connection: &Connection, queue: QueueNo) -> rusqlite::Result<Ends> {
        if let Some(known) = self.queues.get(&queue) {
            return Ok(*known);
        }
        let ends = connection
            .prepare_cached(sql::QUEUE_HEAD)?
            .query_row([queue.0], |row| {
                Ok(Ends {
                    head: row.get::<_, i64>(0)?.cast_unsigned(),
                    acked: row.get::<_, i64>(1)?.cast_unsigned(),
                })
            })?;
        keep(&mut self.queues, queue, ends);
        Ok(ends)
    }

    pub(super) fn set_head(&mut self, queue: QueueNo, head: u64) {
        if let Some(ends) = self.queues.get_mut(&queue) {
            ends.head = head;
        }
    }

    /// An ack was written; acks never go back and never beyond the head.
    pub(super) fn note_ack(&mut self, queue: QueueNo, position: u64) {
        if let Some(ends) = self.queues.get_mut(&queue) {
            ends.acked = ends.acked.max(position.min(ends.head));
        }
    }
}

fn keep<K: Hash + Eq, V>(rows: &mut HashMap<K, V>, key: K, row: V) {
    if rows.len() >= ROWS {
        rows.clear();
    }
    rows.insert(key, row);
}
