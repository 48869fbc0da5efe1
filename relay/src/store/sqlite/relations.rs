//! Contacts and blocks.

use rusqlite::params;
use waxwire_shared::ids::Handle;

use super::{
    SqliteStore,
    accounts::{by_handle, exists},
    batch::Transaction,
    sql,
};
use crate::store::{AgentNo, Block, RelateOutcome, Relation, WriteError, rules};

fn relate(
    tx: &mut Transaction<'_>,
    agent: AgentNo,
    other: &Handle,
    relation: Relation,
    max: u64,
) -> rusqlite::Result<RelateOutcome> {
    let connection = tx.connection;
    let other = by_handle(connection, other)?.map(|found| found.no);
    if other == Some(agent) {
        return Ok(RelateOutcome::Done);
    }
    let (has, count) = match relation {
        Relation::Contact => (sql::HAS_CONTACT, sql::COUNT_CONTACTS),
        Relation::Block(_) => (sql::HAS_BLOCK, sql::COUNT_BLOCKS),
    };
    let is_held = match other {
        Some(other) => exists(connection, has, [agent.0, other.0])?,
        None => false,
    };
    // Before anything depends on whether there is such an agent.
    if max > 0 && !is_held {
        let held: i64 = connection
            .prepare_cached(count)?
            .query_row([agent.0], |row| row.get(0))?;
        if let Some(full) = rules::relation(held, max) {
            return Ok(full);
        }
    }
    let Some(other) = other else {
        return Ok(RelateOutcome::Done);
    };
    match relation {
        Relation::Contact => {
            connection
                .prepare_cached(sql::INSERT_CONTACT)?
                .execute([agent.0, other.0])?;
        }
        Relation::Block(block) => {
            let told = block == Block::Told;
            connection
                .prepare_cached(sql::INSERT_BLOCK)?
                .execute(params![agent.0, other.0, told])?;
            if let Some(blocks) = &mut tx.memory.blocks {
                blocks.insert((agent, other), block);
            }
        }
    }
    Ok(RelateOutcome::Done)
}

fn remove_contact(tx: &Transaction<'_>, agent: AgentNo, other: &Handle) -> rusqlite::Result<()> {
    if let Some(other) = by_handle(tx.connection, other)? {
        tx.connection
            .prepare_cached(sql::DELETE_CONTACT)?
            .execute([agent.0, other.no.0])?;
    }
    Ok(())
}

fn remove_block(tx: &mut Transaction<'_>, agent: AgentNo, other: &Handle) -> rusqlite::Result<()> {
    if let Some(other) = by_handle(tx.connection, other)? {
        tx.connection
            .prepare_cached(sql::DELETE_BLOCK)?
            .execute([agent.0, other.no.0])?;
        if let Some(blocks) = &mut tx.memory.blocks {
            blocks.remove((agent, other.no));
        }
    }
    Ok(())
}

impl SqliteStore {
    pub(in crate::store) async fn relate(
        &self,
        agent: AgentNo,
        other: Handle,
        relation: Relation,
        max: u64,
    ) -> Result<RelateOutcome, WriteError> {
        self.write(move |tx| relate(tx, agent, &other, relation, max))
            .await
    }

    pub(in crate::store) async fn remove_contact(
        &self,
        agent: AgentNo,
        other: Handle,
    ) -> Result<(), WriteError> {
        self.write(move |tx| remove_contact(tx, agent, &other)).await
    }

    pub(in crate::store) async fn remove_block(
        &self,
        agent: AgentNo,
        other: Handle,
    ) -> Result<(), WriteError> {
        self.write(move |tx| remove_block(tx, agent, &other)).await
    }
}
