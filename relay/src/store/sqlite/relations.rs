//! Contacts and blocks.

use std::collections::HashMap;

use rusqlite::{Connection, params};
use waxwire_shared::ids::{AgentId, Handle};

use super::{
    SqliteStore,
    accounts::{by_handle, exists},
    batch::Transaction,
    reads::agent_id,
    sql,
};
use crate::store::{
    AgentNo, Block, Pair, ReadError, RelateOutcome, Relation, SendOutcome, Sight, WriteError,
};

/// Agent, its id, bundle, and the block between it and whoever asks.
type BundleRow = (i64, Vec<u8>, Vec<u8>, Option<bool>);

/// Every block that there is, for the writer: sends are decided by it without a statement.
pub(super) struct Blocks(HashMap<Pair, Block>);

impl Blocks {
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut statement = connection.prepare_cached(sql::BLOCKS)?;
        let rows = statement.query_map([], |row| {
            let pair = (AgentNo(row.get(0)?), AgentNo(row.get(1)?));
            Ok((pair, block(row.get(2)?)))
        })?;
        rows.collect::<Result<_, _>>().map(Self)
    }

    /// Why `from` may not write to `to`. Of two blocks the recipient's counts: by one of its own, nobody
    /// shall learn whether an agent exists that hides.
    pub(super) fn refusal(&self, from: AgentNo, to: AgentNo) -> Option<SendOutcome> {
        if self.0.is_empty() {
            return None;
        }
        match (self.0.get(&(to, from)), self.0.get(&(from, to))) {
            (None, None) => None,
            (Some(Block::Hidden), _) => Some(SendOutcome::NotFound),
            _ => Some(SendOutcome::Blocked),
        }
    }

    pub(super) fn between(&self, one: AgentNo, other: AgentNo) -> bool {
        self.refusal(one, other).is_some()
    }
}

pub(super) const fn block(told: bool) -> Block {
    if told { Block::Told } else { Block::Hidden }
}

fn relate(
    tx: &mut Transaction<'_>,
    agent: AgentNo,
    other: &Handle,
    relation: Relation,
    max: u64,
) -> rusqlite::Result<RelateOutcome> {
    let connection = tx.connection;
    let Some(other) = by_handle(connection, other)?
        .map(|found| found.no)
        .filter(|no| *no != agent)
    else {
        return Ok(RelateOutcome::Done);
    };
    let (has, count) = match relation {
        Relation::Contact => (sql::HAS_CONTACT, sql::COUNT_CONTACTS),
        Relation::Block(_) => (sql::HAS_BLOCK, sql::COUNT_BLOCKS),
    };
    if max > 0 && !exists(connection, has, [agent.0, other.0])? {
        let held: i64 = connection
            .prepare_cached(count)?
            .query_row([agent.0], |row| row.get(0))?;
        let actual = held.cast_unsigned() + 1;
        if actual > max {
            return Ok(RelateOutcome::Full { max, actual });
        }
    }
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
            if let Some(Blocks(blocks)) = &mut tx.memory.blocks {
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
        if let Some(Blocks(blocks)) = &mut tx.memory.blocks {
            blocks.remove(&(agent, other.no));
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

    pub(in crate::store) async fn bundle(
        &self,
        viewer: AgentNo,
        handle: &Handle,
    ) -> Result<Sight<(AgentId, Vec<u8>)>, ReadError> {
        let row: Option<BundleRow> = sqlx::query_as(sql::BUNDLE_BY_HANDLE)
            .bind(handle.as_str())
            .bind(viewer.0)
            .fetch_optional(&self.readers)
            .await?;
        let Some((agent, id, bytes, told)) = row else {
            return Ok(Sight::Unknown);
        };
        let mut between = told.map(block);
        if between.is_some() && self.meet_in_group(AgentNo(agent), viewer).await? {
            between = None;
        }
        Ok(Sight::behind(between, (agent_id(&id)?, bytes)))
    }

    async fn meet_in_group(&self, member: AgentNo, other: AgentNo) -> Result<bool, ReadError> {
        let (meet,): (bool,) = sqlx::query_as(sql::MEET_IN_GROUP)
            .bind(member.0)
            .bind(other.0)
            .fetch_one(&self.readers)
            .await?;
        Ok(meet)
    }

    pub(in crate::store) async fn sight(
        &self,
        viewer: AgentNo,
        handle: &Handle,
    ) -> Result<Sight<AgentNo>, ReadError> {
        let row: Option<(i64, Option<bool>)> = sqlx::query_as(sql::AGENT_IN_SIGHT)
            .bind(handle.as_str())
            .bind(viewer.0)
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map_or(Sight::Unknown, |(agent, told)| {
            Sight::behind(told.map(block), AgentNo(agent))
        }))
    }

    pub(in crate::store) async fn contact_holders(&self, agent: AgentNo) -> Result<Vec<AgentNo>, ReadError> {
        let rows: Vec<(i64,)> = sqlx::query_as(sql::CONTACT_HOLDERS)
            .bind(agent.0)
            .fetch_all(&self.readers)
            .await?;
        Ok(rows.into_iter().map(|(agent,)| AgentNo(agent)).collect())
    }
}
