//! Deleting what is no longer kept, in small steps: each looks at a few rows through the readers and
//! deletes those that are due in one short act of the writer. No index by time is needed.

use super::{PostgresStore, sql};
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

impl PostgresStore {
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
        self.write(async move |tx| {
            sqlx::query(sql::DELETE_SENT)
                .bind(rows.iter().map(|(sender, _)| *sender).collect::<Vec<_>>())
                .bind(rows.iter().map(|(_, mid)| mid.as_slice()).collect::<Vec<_>>())
                .execute(&mut *tx.connection)
                .await?;
            for (statement, before) in [
                (sql::EXPIRE_CHALLENGES, now),
                (sql::PRUNE_AUTH_EVENTS, events_before),
            ] {
                sqlx::query(statement)
                    .bind(before)
                    .execute(&mut *tx.connection)
                    .await?;
            }
            Ok(())
        })
        .await?;
        Ok(RetainStep { deleted, done: false })
    }

    /// Adds the oldest acknowledged envelopes of a queue that are due.
    pub(super) async fn add_due(
        &self,
        due: &mut Vec<(i64, i64)>,
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
        let due_here = rows.iter().take_while(|row| row.1 < before);
        due.extend(due_here.map(|row| (queue, row.0)));
        Ok(())
    }

    /// Deletes envelopes by queue and position, rekeys by group and epoch.
    pub(super) async fn delete(
        &self,
        envelopes: Vec<(i64, i64)>,
        rekeys: Vec<(i64, i64)>,
    ) -> Result<usize, RetainError> {
        let deleted = envelopes.len() + rekeys.len();
        if deleted == 0 {
            return Ok(0);
        }
        self.write(async move |tx| {
            for (statement, rows) in [(sql::DELETE_ENVELOPES, &envelopes), (sql::DELETE_REKEYS, &rekeys)] {
                sqlx::query(statement)
                    .bind(rows.iter().map(|row| row.0).collect::<Vec<_>>())
                    .bind(rows.iter().map(|row| row.1).collect::<Vec<_>>())
                    .execute(&mut *tx.connection)
                    .await?;
            }
            Ok(())
        })
        .await?;
        Ok(deleted)
    }
}
