//! When agents were last there, and who may see whom.

use waxwire_shared::ids::Handle;

use super::{SqliteStore, sql};
use crate::store::{AgentNo, LastSeen, ReadError, WriteError};

fn handle(text: &str) -> Result<Handle, ReadError> {
    text.parse().map_err(|_| ReadError::Row {
        table: "agent",
        column: "handle",
    })
}

impl SqliteStore {
    pub(in crate::store) async fn put_last_seen(&self, seen: Vec<LastSeen>) -> Result<(), WriteError> {
        self.write(move |tx| {
            let mut statement = tx.connection.prepare_cached(sql::PUT_LAST_SEEN)?;
            for (agent, at) in &seen {
                statement.execute([agent.0, at.cast_signed()])?;
            }
            Ok(())
        })
        .await
    }

    pub(in crate::store) async fn in_sight(
        &self,
        viewer: AgentNo,
        handles: &[Handle],
    ) -> Result<Vec<(AgentNo, Handle, Option<u64>)>, ReadError> {
        let handles: Vec<&str> = handles.iter().map(Handle::as_str).collect();
        let rows: Vec<(i64, String, Option<i64>)> = sqlx::query_as(sql::IN_SIGHT)
            .bind(viewer.0)
            .bind(serde_json::json!(handles).to_string())
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter()
            .map(|(agent, name, at)| Ok((AgentNo(agent), handle(&name)?, at.map(i64::cast_unsigned))))
            .collect()
    }

    pub(in crate::store) async fn contacts(
        &self,
        agent: AgentNo,
    ) -> Result<Vec<(AgentNo, Handle)>, ReadError> {
        let rows: Vec<(i64, String)> = sqlx::query_as(sql::CONTACTS)
            .bind(agent.0)
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter()
            .map(|(agent, name)| Ok((AgentNo(agent), handle(&name)?)))
            .collect()
    }

    pub(in crate::store) async fn has_block(&self, one: AgentNo, other: AgentNo) -> Result<bool, ReadError> {
        let (blocked,): (bool,) = sqlx::query_as(sql::BLOCK_BETWEEN)
            .bind(one.0)
            .bind(other.0)
            .fetch_one(&self.readers)
            .await?;
        Ok(blocked)
    }
}
