//! Deleting what is no longer kept, in small steps: each looks at a few rows through the readers and
//! deletes those that are due in one short act of the writer. No index by time is needed.

use rusqlite::params;

use super::{SqliteStore, sql};
use crate::{
    snowflake,
    store::{
        ReadError, RetainError, RetainStep, Retention, RetentionCursor,
        rows::count,
        rules::{
            self,
            step::{DELETE, LOOK},
        },
    },
};

impl SqliteStore {
    pub(super) async fn retain_sent(
        &self,
        cursor: &mut RetentionCursor,
        policy: &Retention,
    ) -> Result<RetainStep, RetainError> {
        let (sender, mid) = cursor.sent.take().unwrap_or((0, Vec::new()));
        let rows = sqlx::query_as(sql::SENT_AFTER)
            .bind(sender)
            .bind(mid)
            .bind(count(LOOK))
            .fetch_all(&self.readers)
            .await
            .map_err(ReadError::from)?;
        let before = snowflake::first_at(policy.sent_before).cast_signed();
        let events_before = policy.sent_before.cast_signed();
        let rows = rules::due_sent(rows, before, cursor);
        let deleted = rows.len();
        let now = policy.now.cast_signed();
        self.write(move |tx| {
            let mut delete = tx.connection.prepare_cached(sql::DELETE_SENT)?;
            for (sender, mid) in &rows {
                delete.execute(params![sender, mid])?;
            }
            tx.connection
                .prepare_cached(sql::EXPIRE_CHALLENGES)?
                .execute([now])?;
            tx.connection
                .prepare_cached(sql::PRUNE_AUTH_EVENTS)?
                .execute([events_before])?;
            Ok(())
        })
        .await?;
        Ok(RetainStep { deleted, done: false })
    }

    /// Adds the oldest acknowledged envelopes of a queue that are due.
    pub(super) async fn add_due(
        &self,
        due: &mut Vec<i64>,
        queue: i64,
        acked: i64,
        policy: &Retention,
    ) -> Result<(), ReadError> {
        let before = policy.envelopes_before.cast_signed();
        let rows: Vec<(i64, i64)> = sqlx::query_as(sql::OLDEST_ENVELOPES)
            .bind(queue)
            .bind(acked)
            .bind(count(DELETE))
            .fetch_all(&self.readers)
            .await?;
        due.extend(rows.iter().take_while(|row| row.1 < before).map(|row| row.0));
        Ok(())
    }

    pub(super) async fn delete(
        &self,
        envelopes: Vec<i64>,
        rekeys: Vec<(i64, i64)>,
    ) -> Result<usize, RetainError> {
        let deleted = envelopes.len() + rekeys.len();
        if deleted > 0 {
            self.write(move |tx| {
                let mut delete = tx.connection.prepare_cached(sql::DELETE_ENVELOPE)?;
                for envelope in &envelopes {
                    delete.execute([envelope])?;
                }
                let mut delete = tx.connection.prepare_cached(sql::DELETE_REKEY)?;
                for rekey in &rekeys {
                    delete.execute([rekey.0, rekey.1])?;
                }
                Ok(())
            })
            .await?;
        }
        Ok(deleted)
    }
}
