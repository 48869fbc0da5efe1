//! Leases: which instance of an agent is the live one.

use rusqlite::{OptionalExtension as _, params};
use waxwire_shared::ids::AgentId;

use super::{SqliteStore, batch::Transaction, sql};
use crate::store::{AgentNo, LeaseOutcome, NewLease, ReadError, WriteError};

/// What is held of an agent: incarnation, session, time, the signed lease.
type Held = (i64, [u8; 16], i64, Vec<u8>);

fn held(tx: &Transaction<'_>, id: &AgentId) -> rusqlite::Result<Option<(AgentNo, Option<Held>)>> {
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
    let (incarnation, time) = (lease.incarnation.cast_signed(), lease.time.cast_signed());
    if let Some((held_incarnation, session, held_time, bytes)) = held {
        if bytes == lease.bytes {
            return Ok(LeaseOutcome::Repeated);
        }
        let same = incarnation == held_incarnation && session == *lease.session.as_bytes();
        if incarnation <= held_incarnation && !(same && time > held_time) {
            return Ok(LeaseOutcome::Stale { agent, held: bytes });
        }
    }
    let session = lease.session.as_bytes();
    tx.connection.prepare_cached(sql::PUT_LEASE)?.execute(params![
        agent.0,
        incarnation,
        session,
        time,
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

    pub(in crate::store) async fn lease(&self, agent: AgentNo) -> Result<Option<Vec<u8>>, ReadError> {
        let row: Option<(Vec<u8>,)> = sqlx::query_as(sql::LEASE)
            .bind(agent.0)
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|(bytes,)| bytes))
    }
}
