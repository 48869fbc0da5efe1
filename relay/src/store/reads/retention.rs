//! Deleting what is no longer kept, in small steps: each looks at a few rows through the readers and
//! deletes those that are due in one short act of the writer. No index by time is needed.

use super::{Backend, sql};
use crate::store::{
    ReadError, RetainError, RetainStep, Retention, RetentionCursor,
    rows::{count, kind},
    rules::step::{DELETE, DELETE_REKEYS, KEEP_EPOCHS, QUEUES},
};

impl Backend {
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

    async fn retain_envelopes(
        &self,
        cursor: &mut RetentionCursor,
        policy: &Retention,
    ) -> Result<RetainStep, RetainError> {
        let queues: Vec<(i64, i64)> = sqlx::query_as(sql::QUEUES_AFTER)
            .bind(cursor.queue)
            .bind(count(QUEUES))
            .bind(kind::MESSAGES)
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
}
