//! Leases: which instance of an agent is the live one.

use rusqlite::{OptionalExtension as _, params};
use waxwire_shared::ids::AgentId;

use super::{SqliteStore, batch::Transaction, sql};
use crate::store::{
    AgentNo, LeaseOutcome, NewLease, WriteError,
    rules::{self, HeldLease},
};

fn held(tx: &Transaction<'_>, id: &AgentId) -> rusqlite::Result<Option<(AgentNo, Option<HeldLease>)>> {
    tx.connection
        .prepare_cached(sql::HELD_LEASE)?
        .query_row([id.as_bytes()], |row| {
            let agent = AgentNo(row.get(0)?);
            let incarnation: Option<i64> = row.get(1)?;
            let held = match incarnation {
                Some(incarnation) => Some((incarnation, row.get(2)?, row.get(3)?, row.get(4)?)),
                None => None,
            };
            Ok((agent, held))
        })
        .optional()
}

fn put(tx: &Transaction<'_>, id: &AgentId, lease: &NewLease) -> rusqlite::Result<LeaseOutcome> {
    let Some((agent, held)) = held(tx, id)? else {
        return Ok(LeaseOutcome::Unknown);
    };
    if let Some(outcome) = rules::lease(agent, held, lease) {
        return Ok(outcome);
    }
    tx.connection.prepare_cached(sql::PUT_LEASE)?.execute(params![
        agent.0,
        lease.incarnation.cast_signed(),
        lease.session.as_bytes(),
        lease.time.cast_signed(),
        lease.bytes
    ])?;
    Ok(LeaseOutcome::Stored(agent))
}

impl SqliteStore {
    pub(in crate::store) async fn put_lease(
        &self,
        id: AgentId,
        lease: NewLease,
    ) -> Result<LeaseOutcome, WriteError> {
        self.write(move |tx| put(tx, &id, &lease)).await
    }
}
