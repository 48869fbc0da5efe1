//! Organisations and their tiers.

use rusqlite::{OptionalExtension as _, params};
use waxwire_shared::ids::Handle;

use super::{SqliteStore, accounts::by_handle, batch::Transaction, sql};
use crate::store::{AgentNo, OrgOutcome, WriteError};

fn put_org(tx: &Transaction<'_>, name: &str, tier: &str) -> rusqlite::Result<OrgOutcome> {
    let held: Option<(i64, String)> = tx
        .connection
        .prepare_cached(sql::ORG)?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    tx.connection.prepare_cached(sql::INSERT_TIER)?.execute([tier])?;
    match held {
        Some((_, held)) if held == tier => Ok(OrgOutcome::Same),
        Some((org, _)) => {
            tx.connection
                .prepare_cached(sql::SET_TIER)?
                .execute(params![org, tier])?;
            note_event(tx, sql::NOTE_ORG_EVENT, org)?;
            Ok(OrgOutcome::Changed)
        }
        None => {
            tx.connection.prepare_cached(sql::INSERT_ORG)?.execute(params![
                name,
                tier,
                tx.now_ms.cast_signed()
            ])?;
            Ok(OrgOutcome::Created)
        }
    }
}

/// Serving relays look again at what they know of agents.
fn note_event(tx: &Transaction<'_>, statement: &str, of: i64) -> rusqlite::Result<()> {
    tx.connection
        .prepare_cached(statement)?
        .execute([of, tx.now_ms.cast_signed()])
        .map(drop)
}

fn move_agent(tx: &Transaction<'_>, handle: &Handle, org: &str) -> rusqlite::Result<Option<bool>> {
    let Some(found) = by_handle(tx.connection, handle)? else {
        return Ok(None);
    };
    let AgentNo(agent) = found.no;
    let moved = tx
        .connection
        .prepare_cached(sql::MOVE_AGENT)?
        .execute(params![agent, org])?;
    if moved == 1 {
        note_event(tx, sql::INSERT_AUTH_EVENT, agent)?;
    }
    Ok(Some(moved == 1))
}

impl SqliteStore {
    pub(in crate::store) async fn put_org(
        &self,
        name: String,
        tier: String,
    ) -> Result<OrgOutcome, WriteError> {
        self.write(move |tx| put_org(tx, &name, &tier)).await
    }

    pub(in crate::store) async fn move_agent(
        &self,
        handle: Handle,
        org: String,
    ) -> Result<Option<bool>, WriteError> {
        self.write(move |tx| move_agent(tx, &handle, &org)).await
    }

    pub(in crate::store) async fn forget_agents(&self) -> Result<(), WriteError> {
        self.write(|tx| {
            tx.memory.forget_agents();
            Ok(())
        })
        .await
    }
}
