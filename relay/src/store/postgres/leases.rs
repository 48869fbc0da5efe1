//! Leases: which instance of an agent is the live one.

use waxwire_shared::ids::AgentId;

use super::{PostgresStore, batch::Transaction, sql};
use crate::store::{LeaseOutcome, NewLease, WriteError, rows::agent_no, rules};

async fn put(tx: &mut Transaction<'_>, id: &AgentId, lease: &NewLease) -> sqlx::Result<LeaseOutcome> {
    let row: Option<(i64,)> = sqlx::query_as(sql::LOCK_AGENT_BY_ID)
        .bind(id.as_bytes().as_slice())
        .fetch_optional(&mut *tx.connection)
        .await?;
    let Some(agent) = row.map(agent_no) else {
        return Ok(LeaseOutcome::Unknown);
    };
    // Only behind the lock: what is joined to a row that is waited for is as it was before.
    let held = sqlx::query_as(sql::HELD_LEASE)
        .bind(agent.0)
        .fetch_optional(&mut *tx.connection)
        .await?;
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
