//! When agents were last there, and who may see whom.

use waxwire_shared::ids::Handle;

use super::{PostgresStore, sql};
use crate::store::{AgentNo, LastSeen, ReadError, WriteError, rows};

impl PostgresStore {
    pub(in crate::store) async fn put_last_seen(&self, seen: Vec<LastSeen>) -> Result<(), WriteError> {
        self.write(async move |tx| {
            sqlx::query(sql::PUT_LAST_SEEN)
                .bind(seen.iter().map(|(agent, _)| agent.0).collect::<Vec<_>>())
                .bind(seen.iter().map(|(_, at)| at.cast_signed()).collect::<Vec<_>>())
                .execute(&mut *tx.connection)
                .await
                .map(drop)
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
            .bind(handles)
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter().map(rows::seen).collect()
    }
}
