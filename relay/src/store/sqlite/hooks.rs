//! Hooks of agents, and the wake-ups that they are owed.

use rusqlite::{OptionalExtension as _, params};
use waxwire_shared::{api::frames::Cursor, ids::Handle};

use super::{SqliteStore, sql};
use crate::store::{AgentNo, DeadWakeup, QueueNo, ReadError, Wakeup, WakeupFailure, WriteError};

const fn damaged(column: &'static str) -> ReadError {
    ReadError::Row {
        table: "wakeup",
        column,
    }
}

/// Agent, its id, url, secret, queue, head, serial, attempts.
type DueRow = (i64, Vec<u8>, String, String, String, i64, i64, i64);

fn due(row: DueRow) -> Result<Wakeup, ReadError> {
    let (agent, id, url, secret, queue, head, serial, attempts) = row;
    let id: [u8; 16] = id.try_into().map_err(|_| damaged("agent_id"))?;
    Ok(Wakeup {
        agent: AgentNo(agent),
        id: waxwire_shared::ids::AgentId::from_bytes(id),
        url,
        secret: secret.into(),
        cursor: Cursor {
            queue: queue.parse().map_err(|_| damaged("queue"))?,
            position: head.cast_unsigned(),
        },
        serial: serial.cast_unsigned(),
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
    })
}

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

    pub(in crate::store) async fn hooked_readers(&self, queue: QueueNo) -> Result<Vec<AgentNo>, ReadError> {
        let rows: Vec<(i64,)> = sqlx::query_as(sql::HOOKED_READERS)
            .bind(queue.0)
            .fetch_all(&self.readers)
            .await?;
        Ok(rows.into_iter().map(|(agent,)| AgentNo(agent)).collect())
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

    pub(in crate::store) async fn due_wakeups(
        &self,
        now: u64,
        limit: usize,
    ) -> Result<Vec<Wakeup>, ReadError> {
        let rows: Vec<DueRow> = sqlx::query_as(sql::DUE_WAKEUPS)
            .bind(now.cast_signed())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter().map(due).collect()
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

    pub(in crate::store) async fn dead_wakeups(
        &self,
        after: &str,
        limit: usize,
    ) -> Result<Vec<DeadWakeup>, ReadError> {
        let rows: Vec<(String, i64, String, i64, i64)> = sqlx::query_as(sql::DEAD_WAKEUPS)
            .bind(after)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.readers)
            .await?;
        let dead = rows
            .into_iter()
            .map(|(handle, attempts, reason, since, dead_at)| {
                Ok(DeadWakeup {
                    handle: handle.parse().map_err(|_| damaged("handle"))?,
                    attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
                    reason,
                    since: since.cast_unsigned(),
                    dead_at: dead_at.cast_unsigned(),
                })
            });
        dead.collect()
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
