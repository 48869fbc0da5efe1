//! What sends are decided by, read when it is asked for and kept by the writer's memory where nobody else changes it.

use rusqlite::{OptionalExtension as _, params};
use waxwire_shared::ids::{AgentId, GroupId};

use super::{batch::Transaction, sql};
use crate::store::{
    AgentNo, Blocks, OrgNo, QueueNo,
    writer::{
        admission::{Facts, Gate},
        memory::{Ends, Memory, Recipient, Sender},
    },
};

impl Facts for Transaction<'_> {
    type Error = rusqlite::Error;

    fn memory(&mut self) -> &mut Memory {
        self.memory
    }

    fn recipient(&mut self, id: &AgentId) -> rusqlite::Result<Option<Recipient>> {
        if let Some(known) = self.memory.recipient(id) {
            return Ok(Some(known));
        }
        let tiers = &self.memory.tiers;
        let found = self
            .connection
            .prepare_cached(sql::RECIPIENT)?
            .query_row([id.as_bytes()], |row| {
                Ok(Recipient {
                    agent: AgentNo(row.get(0)?),
                    mail: QueueNo(row.get(1)?),
                    control: QueueNo(row.get(2)?),
                    limits: tiers.get(row.get_ref(3)?.as_str()?).sends,
                    succeeded: row.get(4)?,
                })
            })
            .optional()?;
        if let Some(recipient) = found {
            self.memory.keep_recipient(*id, recipient);
        }
        Ok(found)
    }

    fn sender(&mut self, agent: AgentNo) -> rusqlite::Result<Sender> {
        if let Some(known) = self.memory.sender(agent) {
            return Ok(known);
        }
        let tiers = &self.memory.tiers;
        let sender = self
            .connection
            .prepare_cached(sql::SENDER)?
            .query_row([agent.0], |row| {
                Ok(Sender {
                    org: OrgNo(row.get(0)?),
                    limits: tiers.get(row.get_ref(1)?.as_str()?).sends,
                })
            })?;
        self.memory.keep_sender(agent, sender);
        Ok(sender)
    }

    fn blocks(&mut self) -> rusqlite::Result<&Blocks> {
        match &mut self.memory.blocks {
            Some(blocks) => Ok(blocks),
            missing => {
                let mut statement = self.connection.prepare_cached(sql::BLOCKS)?;
                let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
                let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
                Ok(missing.insert(Blocks::of(rows)))
            }
        }
    }

    fn gate(&mut self, group: &GroupId, sender: AgentNo) -> rusqlite::Result<Option<Gate>> {
        self.connection
            .prepare_cached(sql::GROUP_GATE)?
            .query_row(params![group.as_bytes(), sender.0], |row| {
                Ok(Gate {
                    messages: QueueNo(row.get(0)?),
                    epoch: row.get::<_, i64>(1)?.cast_unsigned(),
                    closed: row.get(2)?,
                    ended: row.get(3)?,
                })
            })
            .optional()
    }

    fn ends(&mut self, queue: QueueNo) -> rusqlite::Result<Ends> {
        if let Some(known) = self.memory.ends(queue) {
            return Ok(known);
        }
        let ends = self
            .connection
            .prepare_cached(sql::QUEUE_HEAD)?
            .query_row([queue.0], |row| {
                Ok(Ends {
                    head: row.get::<_, i64>(0)?.cast_unsigned(),
                    acked: row.get::<_, i64>(1)?.cast_unsigned(),
                })
            })?;
        self.memory.keep_ends(queue, ends);
        Ok(ends)
    }

    fn acks_of_members(&mut self, queue: QueueNo) -> rusqlite::Result<Vec<(AgentId, u64)>> {
        let mut statement = self.connection.prepare_cached(sql::MEMBERS_ACKS)?;
        let rows = statement.query_map([queue.0], |row| {
            let acked: i64 = row.get(1)?;
            Ok((AgentId::from_bytes(row.get(0)?), acked.cast_unsigned()))
        })?;
        rows.collect()
    }
}
