//! Hooks of agents, and the wake-ups that they are owed.

use waxwire_shared::{api::frames::Cursor, ids::Handle};

use super::{PostgresStore, batch::Transaction, sql};
use crate::store::{AgentNo, WakeupFailure, WriteError};

async fn of_agent(tx: &mut Transaction<'_>, statement: &'static str, agent: AgentNo) -> sqlx::Result<()> {
    sqlx::query(statement)
        .bind(agent.0)
        .execute(&mut *tx.connection)
        .await
        .map(drop)
}

impl PostgresStore {
    pub(in crate::store) async fn put_hook(
        &self,
        agent: AgentNo,
        url: String,
        secret: String,
    ) -> Result<(), WriteError> {
        self.write(async move |tx| {
            sqlx::query(sql::PUT_HOOK)
                .bind(agent.0)
                .bind(url.as_str())
                .bind(secret.as_str())
                .bind(tx.now_ms.cast_signed())
                .execute(&mut *tx.connection)
                .await?;
            // Whoever registers is there.
            of_agent(tx, sql::DELETE_WAKEUP, agent).await
        })
        .await
    }

    pub(in crate::store) async fn remove_hook(&self, agent: AgentNo) -> Result<(), WriteError> {
        self.write(async move |tx| {
            of_agent(tx, sql::DELETE_WAKEUP, agent).await?;
            of_agent(tx, sql::DELETE_HOOK, agent).await
        })
        .await
    }

    pub(in crate::store) async fn owe_backlogs(&self, now: u64) -> Result<u64, WriteError> {
        self.write(async move |tx| {
            sqlx::query(sql::OWE_BACKLOGS)
                .bind(now.cast_signed())
                .execute(&mut *tx.connection)
                .await?;
            let (hooks,): (i64,) = sqlx::query_as(sql::COUNT_HOOKS)
                .fetch_one(&mut *tx.connection)
                .await?;
            Ok(hooks.cast_unsigned())
        })
        .await
    }

    pub(in crate::store) async fn owe_wakeups(
        &self,
        owed: Vec<(AgentNo, Cursor, u64)>,
        now: u64,
    ) -> Result<(), WriteError> {
        self.write(async move |tx| {
            for (agent, cursor, due_at) in &owed {
                sqlx::query(sql::OWE_WAKEUP)
                    .bind(agent.0)
                    .bind(cursor.queue.to_string())
                    .bind(cursor.position.cast_signed())
                    .bind(now.cast_signed())
                    .bind(due_at.cast_signed())
                    .execute(&mut *tx.connection)
                    .await?;
            }
            Ok(())
        })
        .await
    }

    pub(in crate::store) async fn settle_wakeup(
        &self,
        agent: AgentNo,
        serial: u64,
        next: u64,
    ) -> Result<(), WriteError> {
        self.write(async move |tx| {
            for (statement, number) in [(sql::SETTLE_WAKEUP, serial), (sql::RENEW_WAKEUP, next)] {
                sqlx::query(statement)
                    .bind(agent.0)
                    .bind(number.cast_signed())
                    .execute(&mut *tx.connection)
                    .await?;
            }
            Ok(())
        })
        .await
    }

    pub(in crate::store) async fn fail_wakeup(
        &self,
        failure: WakeupFailure,
        now: u64,
    ) -> Result<(), WriteError> {
        self.write(async move |tx| {
            sqlx::query(sql::FAIL_WAKEUP)
                .bind(failure.agent.0)
                .bind(failure.due_at.map(u64::cast_signed))
                .bind(now.cast_signed())
                .bind(failure.reason.as_str())
                .execute(&mut *tx.connection)
                .await
                .map(drop)
        })
        .await
    }

    pub(in crate::store) async fn redeliver_wakeup(&self, handle: Handle) -> Result<bool, WriteError> {
        self.write(async move |tx| {
            let agent = sqlx::query(sql::REDELIVER_WAKEUP)
                .bind(handle.as_str())
                .bind(tx.now_ms.cast_signed())
                .fetch_optional(&mut *tx.connection)
                .await?;
            Ok(agent.is_some())
        })
        .await
    }
}
