//! Leases: which instance of an agent is the live one.

use waxwire_shared::ids::AgentId;

use super::{PostgresStore, batch::Transaction, sql};
use crate::store::{AgentNo, LeaseOutcome, NewLease, WriteError, rules};

/// Agent, then incarnation, session, time and bytes of its lease.
type HeldRow = (i64, Option<i64>, Option<Vec<u8>>, Option<i64>, Option<Vec<u8>>);

async fn put(tx: &mut Transaction<'_>, id: &AgentId, lease: &NewLease) -> sqlx::Result<LeaseOutcome> {
    let row: Option<HeldRow> = sqlx::query_as(sql::HELD_LEASE)
        .bind(id.as_bytes().as_slice())
        .fetch_optional(&mut *tx.connection)
        .await?;
    let Some((agent, incarnation, session, time, bytes)) = row else {
        return Ok(LeaseOutcome::Unknown);
    };
    let agent = AgentNo(agent);
    let held = match (incarnation, session, time, bytes) {
        (Some(incarnation), Some(session), Some(time), Some(bytes)) => {
            Some((incarnation, session, time, bytes))
        }
        _ => None,
    };
    if let Some(outcome) = rules::lease(agent, held, lease) {
        return Ok(outcome);
    }
    sqlx::query(sql::PUT_LEASE)
        .bind(agent.0)
        .bind(lease.incarnation.cast_signed())
        .bind(lease.session.as_bytes().as_slice())
        .bind(lease.time.cast_signed())
        .bind(lease.bytes.as_slice())
        .execute(&mut *tx.connection)
        .await?;
    Ok(LeaseOutcome::Stored(agent))
}

impl PostgresStore {
    pub(in crate::store) async fn put_lease(
        &self,
        id: AgentId,
        lease: NewLease,
    ) -> Result<LeaseOutcome, WriteError> {
        self.write(async move |tx| put(tx, &id, &lease).await).await
    }
}
