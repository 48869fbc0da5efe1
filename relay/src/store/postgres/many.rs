//! What is asked of many queues or agents at once.

use super::{PostgresStore, sql};
use crate::store::{AgentNo, MembershipMark, QueueNo, ReadError, rows};

impl PostgresStore {
    pub(in crate::store) async fn heads(&self, queues: &[QueueNo]) -> Result<Vec<(QueueNo, u64)>, ReadError> {
        let rows = sqlx::query_as(sql::HEADS)
            .bind(queues.iter().map(|queue| queue.0).collect::<Vec<_>>())
            .fetch_all(&self.readers)
            .await?;
        Ok(rows.into_iter().map(rows::head).collect())
    }

    pub(in crate::store) async fn membership_marks(
        &self,
        agents: &[AgentNo],
    ) -> Result<Vec<(AgentNo, MembershipMark)>, ReadError> {
        let rows = sqlx::query_as(sql::MEMBERSHIP_MARKS)
            .bind(agents.iter().map(|agent| agent.0).collect::<Vec<_>>())
            .fetch_all(&self.readers)
            .await?;
        Ok(rows.into_iter().map(rows::membership_mark).collect())
    }
}
