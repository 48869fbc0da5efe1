//! What is asked of queues, as far as whoever asks may see them.

use super::{Backend, sql};
use crate::store::{
    Page, QueueHead, QueueNo, Range, ReadError, Seat, View,
    rows::{self, EnvelopeRow, count},
};

impl Backend {
    pub(in crate::store) async fn queue_head(&self, view: View) -> Result<Option<QueueHead>, ReadError> {
        match &view {
            View::Whole(queue) => self.whole_head(*queue).await.map(Some),
            View::Messages(seat) => self.messages_head(seat).await,
            View::Log(seat) => self.log_head(seat).await,
        }
    }

    async fn whole_head(&self, queue: QueueNo) -> Result<QueueHead, ReadError> {
        let row = sqlx::query_as(sql::QUEUE_HEAD)
            .bind(queue.0)
            .fetch_one(&self.readers)
            .await?;
        Ok(rows::queue_head(row))
    }

    /// What there is to see of the messages of a group: those of the latest membership end it.
    async fn messages_head(&self, seat: &Seat) -> Result<Option<QueueHead>, ReadError> {
        let row = sqlx::query_as(sql::MESSAGES_HEAD)
            .bind(seat.group.0)
            .bind(seat.agent.0)
            .bind(seat.queue.0)
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(rows::queue_head))
    }

    /// What there is to see of the log of a group.
    async fn log_head(&self, seat: &Seat) -> Result<Option<QueueHead>, ReadError> {
        Ok(self.at_log(seat).await?.visible())
    }

    /// The head is read first, and nothing beyond it.
    pub(in crate::store) async fn read_alone(
        &self,
        view: View,
        range: Range,
    ) -> Result<Option<Page>, ReadError> {
        let Some(QueueHead { head, .. }) = self.queue_head(view).await? else {
            return Ok(None);
        };
        let after = i64::try_from(range.after).unwrap_or(i64::MAX);
        let before = range.before.unwrap_or(u64::MAX).min(head + 1);
        let query = match &view {
            View::Messages(seat) => sqlx::query_as::<_, EnvelopeRow>(sql::MESSAGES)
                .bind(seat.group.0)
                .bind(seat.agent.0),
            View::Whole(_) | View::Log(_) => sqlx::query_as(sql::ENVELOPES),
        };
        let rows = query
            .bind(view.queue_no().0)
            .bind(after)
            .bind(before.cast_signed())
            .bind(count(range.limit))
            .fetch(&self.readers);
        rows::page(head, &range, rows).await.map(Some)
    }
}
