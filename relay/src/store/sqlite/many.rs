//! What is asked of many queues or agents at once.

use super::{SqliteStore, sql};
use crate::store::{AgentNo, MembershipMark, Page, QueueNo, Range, ReadError, View, rows};

impl SqliteStore {
    /// A statement costs no round trip.
    pub(in crate::store) async fn read(&self, view: View, range: Range) -> Result<Option<Page>, ReadError> {
        self.read_alone(view, range).await
    }

    pub(in crate::store) async fn heads(&self, queues: &[QueueNo]) -> Result<Vec<(QueueNo, u64)>, ReadError> {
        let rows = sqlx::query_as(sql::HEADS)
            .bind(serde_json::json!(queues.iter().map(|queue| queue.0).collect::<Vec<_>>()).to_string())
            .fetch_all(&self.readers)
            .await?;
        Ok(rows.into_iter().map(rows::head).collect())
    }

    pub(in crate::store) async fn membership_marks(
        &self,
        agents: &[AgentNo],
    ) -> Result<Vec<(AgentNo, MembershipMark)>, ReadError> {
        let rows = sqlx::query_as(sql::MEMBERSHIP_MARKS)
            .bind(serde_json::json!(agents.iter().map(|agent| agent.0).collect::<Vec<_>>()).to_string())
            .fetch_all(&self.readers)
            .await?;
        Ok(rows.into_iter().map(rows::membership_mark).collect())
    }
}
