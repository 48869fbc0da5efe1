//! Hooks of agents, and the wake-ups that they are owed.

use rusqlite::{OptionalExtension as _, params};
use waxwire_shared::{api::frames::Cursor, ids::Handle};

use super::{SqliteStore, sql};
use crate::store::{AgentNo, WakeupFailure, WriteError};

impl SqliteStore {
    pub(in crate::store) async fn put_hook(
        &self,
        agent: AgentNo,
        url: String,
        secret: String,
    ) -> Result<(), WriteError> {
        self.write(move |tx| {
            let now = tx.now_ms.cast_signed();
            tx.connection
                .prepare_cached(sql::PUT_HOOK)?
                .execute(params![agent.0, url, secret, now])?;
            // Whoever registers is there.
            tx.connection
                .prepare_cached(sql::DELETE_WAKEUP)?
                .execute([agent.0])?;
            Ok(())
        })
        .await
    }

    pub(in crate::store) async fn remove_hook(&self, agent: AgentNo) -> Result<(), WriteError> {
        self.write(move |tx| {
            tx.connection
                .prepare_cached(sql::DELETE_WAKEUP)?
                .execute([agent.0])?;
            tx.connection
                .prepare_cached(sql::DELETE_HOOK)?
                .execute([agent.0])?;
            Ok(())
        })
        .await
    }

    pub(in crate::store) async fn owe_backlogs(&self, now: u64) -> Result<u64, WriteError> {
        self.write(move |tx| {
            tx.connection
                .prepare_cached(sql::OWE_BACKLOGS)?
                .execute([now.cast_signed()])?;
            let hooks: i64 = tx
                .connection
                .prepare_cached(sql::COUNT_HOOKS)?
                .query_row([], |row| row.get(0))?;
            Ok(hooks.cast_unsigned())
        })
        .await
    }

    pub(in crate::store) async fn owe_wakeups(
        &self,
        owed: Vec<(AgentNo, Cursor, u64)>,
        now: u64,
    ) -> Result<(), WriteError> {
        self.write(move |tx| {
            let mut statement = tx.connection.prepare_cached(sql::OWE_WAKEUP)?;
            for (agent, cursor, due_at) in &owed {
                let (head, due_at) = (cursor.position.cast_signed(), due_at.cast_signed());
                let queue = cursor.queue.to_string();
                statement.execute(params![agent.0, queue, head, now.cast_signed(), due_at])?;
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
        self.write(move |tx| {
            tx.connection
                .prepare_cached(sql::SETTLE_WAKEUP)?
                .execute(params![agent.0, serial.cast_signed()])?;
            tx.connection
                .prepare_cached(sql::RENEW_WAKEUP)?
                .execute(params![agent.0, next.cast_signed()])?;
            Ok(())
        })
        .await
    }

    pub(in crate::store) async fn fail_wakeup(
        &self,
        failure: WakeupFailure,
        now: u64,
    ) -> Result<(), WriteError> {
        self.write(move |tx| {
            let due_at = failure.due_at.map(u64::cast_signed);
            let reason = failure.reason.as_str();
            tx.connection.prepare_cached(sql::FAIL_WAKEUP)?.execute(params![
                failure.agent.0,
                due_at,
                now.cast_signed(),
                reason
            ])?;
            Ok(())
        })
        .await
    }

    pub(in crate::store) async fn redeliver_wakeup(&self, handle: Handle) -> Result<bool, WriteError> {
        self.write(move |tx| {
            let agent: Option<i64> = tx
                .connection
                .prepare_cached(sql::REDELIVER_WAKEUP)?
                .query_row(params![handle.as_str(), tx.now_ms.cast_signed()], |row| {
                    row.get(0)
                })
                .optional()?;
            Ok(agent.is_some())
        })
        .await
    }
}
