//! Contacts and blocks.

use waxwire_shared::ids::Handle;

use super::{
    PostgresStore,
    accounts::{by_handle, lock_owner},
    batch::Transaction,
    sql,
};
use crate::store::{AgentNo, Block, RelateOutcome, Relation, WriteError, rules};

/// Runs a statement about two agents; gives how many rows it changed or found.
async fn pair(
    tx: &mut Transaction<'_>,
    statement: &'static str,
    agent: AgentNo,
    other: AgentNo,
) -> sqlx::Result<u64> {
    let done = sqlx::query(statement)
        .bind(agent.0)
        .bind(other.0)
        .execute(&mut *tx.connection)
        .await?;
    Ok(done.rows_affected())
}

async fn relate(
    tx: &mut Transaction<'_>,
    agent: AgentNo,
    other: &Handle,
    relation: Relation,
    max: u64,
) -> sqlx::Result<RelateOutcome> {
    let other = by_handle(tx.connection, other).await?.map(|found| found.no);
    if other == Some(agent) {
        return Ok(RelateOutcome::Done);
    }
    let (has, count) = match relation {
        Relation::Contact => (sql::HAS_CONTACT, sql::COUNT_CONTACTS),
        Relation::Block(_) => (sql::HAS_BLOCK, sql::COUNT_BLOCKS),
    };
    lock_owner(tx, agent).await?;
    let is_held = match other {
        Some(other) => pair(tx, has, agent, other).await? > 0,
        None => false,
    };
    // Before anything depends on whether there is such an agent.
    if max > 0 && !is_held {
        let (held,): (i64,) = sqlx::query_as(count)
            .bind(agent.0)
            .fetch_one(&mut *tx.connection)
            .await?;
        if let Some(full) = rules::relation(held, max) {
            return Ok(full);
        }
    }
    let Some(other) = other else {
        return Ok(RelateOutcome::Done);
    };
    match relation {
        Relation::Contact => drop(pair(tx, sql::INSERT_CONTACT, agent, other).await?),
        Relation::Block(block) => {
            sqlx::query(sql::INSERT_BLOCK)
                .bind(agent.0)
                .bind(other.0)
                .bind(block == Block::Told)
                .execute(&mut *tx.connection)
                .await?;
        }
    }
    Ok(RelateOutcome::Done)
}

async fn remove_contact(tx: &mut Transaction<'_>, agent: AgentNo, other: &Handle) -> sqlx::Result<()> {
    if let Some(other) = by_handle(tx.connection, other).await? {
        pair(tx, sql::DELETE_CONTACT, agent, other.no).await?;
    }
    Ok(())
}

async fn remove_block(tx: &mut Transaction<'_>, agent: AgentNo, other: &Handle) -> sqlx::Result<()> {
    if let Some(other) = by_handle(tx.connection, other).await? {
        pair(tx, sql::DELETE_BLOCK, agent, other.no).await?;
    }
    Ok(())
}

impl PostgresStore {
    pub(in crate::store) async fn relate(
        &self,
        agent: AgentNo,
        other: Handle,
        relation: Relation,
        max: u64,
    ) -> Result<RelateOutcome, WriteError> {
        self.write(async move |tx| relate(tx, agent, &other, relation, max).await)
            .await
    }

    pub(in crate::store) async fn remove_contact(
        &self,
        agent: AgentNo,
        other: Handle,
    ) -> Result<(), WriteError> {
        self.write(async move |tx| remove_contact(tx, agent, &other).await)
            .await
    }

    pub(in crate::store) async fn remove_block(
        &self,
        agent: AgentNo,
        other: Handle,
    ) -> Result<(), WriteError> {
        self.write(async move |tx| remove_block(tx, agent, &other).await)
            .await
    }
}
