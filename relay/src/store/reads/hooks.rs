//! Whom to wake, and which wake-ups are due.

use super::{Backend, sql};
use crate::store::{
    AgentNo, DeadWakeup, QueueNo, ReadError, Wakeup,
    rows::{self, DeadWakeupRow, WakeupRow, count},
};

impl Backend {
    pub(in crate::store) async fn hooked_readers(&self, queue: QueueNo) -> Result<Vec<AgentNo>, ReadError> {
        let rows: Vec<(i64,)> = sqlx::query_as(sql::HOOKED_READERS)
            .bind(queue.0)
            .fetch_all(&self.readers)
            .await?;
        Ok(rows.into_iter().map(rows::agent_no).collect())
    }

    pub(in crate::store) async fn due_wakeups(
        &self,
        now: u64,
        longest: u64,
        limit: usize,
    ) -> Result<Vec<Wakeup>, ReadError> {
        let rows: Vec<WakeupRow> = sqlx::query_as(sql::DUE_WAKEUPS)
            .bind(now.cast_signed())
            .bind(now.saturating_add(longest).cast_signed())
            .bind(count(limit))
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter().map(rows::wakeup).collect()
    }

    pub(in crate::store) async fn dead_wakeups(
        &self,
        after: &str,
        limit: usize,
    ) -> Result<Vec<DeadWakeup>, ReadError> {
        let rows: Vec<DeadWakeupRow> = sqlx::query_as(sql::DEAD_WAKEUPS)
            .bind(after)
            .bind(count(limit))
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter().map(rows::dead_wakeup).collect()
    }
}
