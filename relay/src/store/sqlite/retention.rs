//! Deleting what is no longer kept, in small steps: each looks at a few rows through the readers and
//! deletes those that are due in one short act of the writer. No index by time is needed.

use rusqlite::params;

use super::{SqliteStore, reads::count, sql};
use crate::snowflake;
use crate::store::{ReadError, RetainError, RetainStep, Retention, RetentionCursor};

/// Idempotency keys looked at in a step.
const LOOK: usize = 2_000;
/// Queues looked at in a step.
const QUEUES: usize = 100;
/// Rows deleted in a step.
const DELETE: usize = 500;

impl SqliteStore {
    pub(in crate::store) async fn retain(
        &self,
        cursor: &mut RetentionCursor,
        policy: &Retention,
    ) -> Result<RetainStep, RetainError> {
        if cursor.sent_done {
            self.retain_envelopes(cursor, policy).await
        } else {
            self.retain_sent(cursor, policy).await
        }
    }

    async fn retain_sent(
        &self,
        cursor: &mut RetentionCursor,
        policy: &Retention,
    ) -> Result<RetainStep, RetainError> {
        let (sender, mid) = cursor.sent.take().unwrap_or((0, Vec::new()));
        let mut rows: Vec<(i64, Vec<u8>, i64)> = sqlx::query_as(sql::SENT_AFTER)
            .bind(sender)
            .bind(mid)
            .bind(count(LOOK))
            .fetch_all(&self.readers)
            .await
            .map_err(ReadError::from)?;
        let before = snowflake::first_at(policy.sent_before).cast_signed();
        let events_before = policy.sent_before.cast_signed();
        let due: Vec<usize> = (0..rows.len())
            .filter(|row| rows[*row].2 < before)
            .take(DELETE)
            .collect();
        let looked_at = if due.len() == DELETE {
            due[DELETE - 1] + 1
        } else {
            cursor.sent_done = rows.len() < LOOK;
            rows.len()
        };
        rows.truncate(looked_at);
        cursor.sent = rows.last().map(|(sender, mid, _)| (*sender, mid.clone()));
        rows.retain(|row| row.2 < before);
        let deleted = rows.len();
        let now = policy.now.cast_signed();
        self.write(move |tx| {
            let mut delete = tx.connection.prepare_cached(sql::DELETE_SENT)?;
            for (sender, mid, _) in &rows {
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

    async fn retain_envelopes(
        &self,
        cursor: &mut RetentionCursor,
        policy: &Retention,
    ) -> Result<RetainStep, RetainError> {
        let queues: Vec<(i64, i64)> = sqlx::query_as(sql::QUEUES_AFTER)
            .bind(cursor.queue)
            .bind(count(QUEUES))
            .fetch_all(&self.readers)
            .await
            .map_err(ReadError::from)?;
        let before = policy.envelopes_before.cast_signed();
        let mut due = Vec::new();
        let mut done = queues.len() < QUEUES;
        for (queue, acked) in queues {
            let rows: Vec<(i64, i64)> = sqlx::query_as(sql::OLDEST_ENVELOPES)
                .bind(queue)
                .bind(acked)
                .bind(count(DELETE))
                .fetch_all(&self.readers)
                .await
                .map_err(ReadError::from)?;
            due.extend(rows.iter().take_while(|row| row.1 < before).map(|row| row.0));
            if due.len() >= DELETE {
                // This queue may hold more: look at it again.
                done = false;
                break;
            }
            cursor.queue = queue;
        }
        let deleted = due.len();
        if deleted > 0 {
            self.write(move |tx| {
                let mut delete = tx.connection.prepare_cached(sql::DELETE_ENVELOPE)?;
                for envelope in &due {
                    delete.execute([envelope])?;
                }
                Ok(())
            })
            .await?;
        }
        Ok(RetainStep { deleted, done })
    }
}
