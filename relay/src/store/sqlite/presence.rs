//! When agents were last there, and who may see whom.

use waxwire_shared::ids::Handle;

use super::{SqliteStore, sql};
use crate::store::{AgentNo, LastSeen, ReadError, WriteError, rows};

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
        let rows = sqlx::query_as(sql::IN_SIGHT)
            .bind(viewer.0)
            .bind(serde_json::json!(handles).to_string())
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter().map(rows::seen).collect()
    }
}
