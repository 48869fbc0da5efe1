//! Deleting what is no longer kept, in small steps: each looks at a few rows through the readers and
//! deletes those that are due in one short act of the writer. No index by time is needed.

use rusqlite::params;

use super::{SqliteStore, groups, reads::count, sql};
use crate::snowflake;
use crate::store::{ReadError, RetainError, RetainStep, Retention, RetentionCursor};

/// Idempotency keys looked at in a step.
const LOOK: usize = 2_000;
/// Queues looked at in a step.
const QUEUES: usize = 100;
/// Rows deleted in a step.
const DELETE: usize = 500;
/// Rekeys deleted in a step: the leaves of one have up to four mebibytes.
const DELETE_REKEYS: usize = 16;
/// Epochs of a group whose leaves stay, whoever has fetched them.
const KEEP_EPOCHS: i64 = 64;

impl SqliteStore {
    pub(in crate::store) async fn retain(
        &self,
        cursor: &mut RetentionCursor,
        policy: &Retention,
    ) -> Result<RetainStep, RetainError> {
        if !cursor.sent_done {
            self.retain_sent(cursor, policy).await
        } else if !cursor.queues_done {
            self.retain_envelopes(cursor, policy).await
        } else {
            self.retain_groups(cursor, policy).await
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
            .bind(groups::MESSAGES)
            .fetch_all(&self.readers)
            .await
            .map_err(ReadError::from)?;
        let mut due = Vec::new();
        cursor.queues_done = queues.len() < QUEUES;
        for (queue, acked) in queues {
            self.add_due(&mut due, queue, acked, policy).await?;
            if due.len() >= DELETE {
                // This queue may hold more: look at it again.
                cursor.queues_done = false;
                break;
            }
            cursor.queue = queue;
        }
        let deleted = self.delete(due, Vec::new()).await?;
        Ok(RetainStep { deleted, done: false })
    }

    /// Messages that all members have acknowledged, and leaves that nobody needs any more. Commits
    /// stay: whoever joins verifies all of them.
    async fn retain_groups(
        &self,
        cursor: &mut RetentionCursor,
        policy: &Retention,
    ) -> Result<RetainStep, RetainError> {
        let groups: Vec<(i64, i64, i64, i64, i64)> = sqlx::query_as(sql::GROUPS_AFTER)
            .bind(cursor.group)
            .bind(count(QUEUES))
            .bind(i64::MAX)
            .fetch_all(&self.readers)
            .await
            .map_err(ReadError::from)?;
        let (mut due, mut rekeys) = (Vec::new(), Vec::new());
        let mut done = groups.len() < QUEUES;
        for (group, queue, epoch, acked, log_acked) in groups {
            self.add_due(&mut due, queue, acked, policy).await?;
            let rows: Vec<(i64,)> = sqlx::query_as(sql::OLDEST_REKEYS)
                .bind(group)
                .bind(epoch - KEEP_EPOCHS)
                .bind(log_acked)
                .bind(count(DELETE_REKEYS))
                .fetch_all(&self.readers)
                .await
                .map_err(ReadError::from)?;
            rekeys.extend(rows.iter().map(|(epoch,)| (group, *epoch)));
            if due.len() >= DELETE || rekeys.len() >= DELETE_REKEYS {
                done = false;
                break;
            }
            cursor.group = group;
        }
        let deleted = self.delete(due, rekeys).await?;
        Ok(RetainStep { deleted, done })
    }

    /// Adds the oldest acknowledged envelopes of a queue that are due.
    async fn add_due(
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

    async fn delete(&self, envelopes: Vec<i64>, rekeys: Vec<(i64, i64)>) -> Result<usize, RetainError> {
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
