//! Organisations and their tiers.

use waxwire_shared::ids::Handle;

use super::{
    PostgresStore,
    accounts::{by_handle, note_auth_event},
    batch::Transaction,
    sql,
};
use crate::store::{OrgOutcome, WriteError};

async fn put_org(tx: &mut Transaction<'_>, name: &str, tier: &str) -> sqlx::Result<OrgOutcome> {
    let held: Option<(i64, String)> = sqlx::query_as(sql::ORG)
        .bind(name)
        .fetch_optional(&mut *tx.connection)
        .await?;
    sqlx::query(sql::INSERT_TIER)
        .bind(tier)
        .execute(&mut *tx.connection)
        .await?;
    match held {
        Some((_, held)) if held == tier => Ok(OrgOutcome::Same),
        Some((org, _)) => {
            sqlx::query(sql::SET_TIER)
                .bind(org)
                .bind(tier)
                .execute(&mut *tx.connection)
                .await?;
            // Serving relays look again at what they know of agents.
            sqlx::query(sql::NOTE_ORG_EVENT)
                .bind(org)
                .bind(tx.now_ms.cast_signed())
                .execute(&mut *tx.connection)
                .await?;
            Ok(OrgOutcome::Changed)
        }
        None => {
            sqlx::query(sql::INSERT_ORG)
                .bind(name)
                .bind(tier)
                .bind(tx.now_ms.cast_signed())
                .execute(&mut *tx.connection)
                .await?;
            Ok(OrgOutcome::Created)
        }
    }
}

async fn move_agent(tx: &mut Transaction<'_>, handle: &Handle, org: &str) -> sqlx::Result<Option<bool>> {
    let Some(found) = by_handle(tx.connection, handle).await? else {
        return Ok(None);
    };
    let moved = sqlx::query(sql::MOVE_AGENT)
        .bind(found.no.0)
        .bind(org)
        .execute(&mut *tx.connection)
        .await?;
    let moved = moved.rows_affected() == 1;
    if moved {
        note_auth_event(tx, found.no).await?;
    }
    Ok(Some(moved))
}

impl PostgresStore {
    pub(in crate::store) async fn put_org(
        &self,
        name: String,
        tier: String,
    ) -> Result<OrgOutcome, WriteError> {
        self.write(async move |tx| put_org(tx, &name, &tier).await).await
    }

    pub(in crate::store) async fn move_agent(
        &self,
        handle: Handle,
        org: String,
    ) -> Result<Option<bool>, WriteError> {
        self.write(async move |tx| move_agent(tx, &handle, &org).await)
            .await
    }

    pub(in crate::store) async fn forget_agents(&self) -> Result<(), WriteError> {
        self.write(async |tx| {
            tx.memory.forget_agents();
            Ok(())
        })
        .await
    }
}
