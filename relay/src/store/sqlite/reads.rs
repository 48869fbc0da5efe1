//! Reads, through the pool.

use futures_util::TryStreamExt as _;
use waxwire_shared::{
    identity::IdentityKey,
    ids::{AgentId, Hash},
};

use super::{SqliteStore, sql};
use crate::store::{
    Account, AgentNo, AgentRecord, AuthEvent, Page, QueueHead, QueueNo, Range, ReadError, StoredEnvelope,
    View,
};

/// Position, id, time of storing, bytes.
type EnvelopeRow = (i64, i64, i64, Vec<u8>);
type AgentRow = (Vec<u8>, String, Vec<u8>, i64, Option<i64>, bool);

pub(super) fn agent_id(bytes: &[u8]) -> Result<AgentId, ReadError> {
    AgentId::from_slice(bytes).map_err(|_| ReadError::Row {
        table: "agent",
        column: "agent_id",
    })
}

fn record(row: AgentRow) -> Result<AgentRecord, ReadError> {
    let invalid = |column| ReadError::Row {
        table: "agent",
        column,
    };
    let (id, handle, identity, registered_at, suspended_at, has_api_key) = row;
    Ok(AgentRecord {
        id: agent_id(&id)?,
        handle: handle.parse().map_err(|_| invalid("handle"))?,
        identity: IdentityKey::from_prefixed(&identity).ok_or_else(|| invalid("identity"))?,
        registered_at: registered_at.cast_unsigned(),
        suspended_at: suspended_at.map(i64::cast_unsigned),
        has_api_key,
    })
}

impl SqliteStore {
    pub(in crate::store) async fn account_by_key(
        &self,
        key_hash: &Hash,
    ) -> Result<Option<Account>, ReadError> {
        let row: Option<(i64, Vec<u8>, i64, i64, bool)> = sqlx::query_as(sql::ACCOUNT_BY_KEY)
            .bind(key_hash.as_bytes().as_slice())
            .fetch_optional(&self.readers)
            .await?;
        row.map(|(agent, id, mail, control, suspended)| {
            Ok(Account {
                agent: AgentNo(agent),
                id: agent_id(&id)?,
                mail: QueueNo(mail),
                control: QueueNo(control),
                suspended,
            })
        })
        .transpose()
    }

    pub(in crate::store) async fn agent(&self, agent: AgentNo) -> Result<Option<AgentRecord>, ReadError> {
        let row: Option<AgentRow> = sqlx::query_as(sql::AGENT)
            .bind(agent.0)
            .fetch_optional(&self.readers)
            .await?;
        row.map(record).transpose()
    }

    pub(in crate::store) async fn agents(
        &self,
        after: &str,
        limit: usize,
    ) -> Result<Vec<AgentRecord>, ReadError> {
        let rows: Vec<AgentRow> = sqlx::query_as(sql::AGENTS)
            .bind(after)
            .bind(count(limit))
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter().map(record).collect()
    }

    pub(in crate::store) async fn queue_head(&self, view: View) -> Result<Option<QueueHead>, ReadError> {
        match &view {
            View::Whole(queue) => self.whole_head(*queue).await.map(Some),
            View::Messages(seat) => self.messages_head(seat).await,
            View::Log(seat) => self.log_head(seat).await,
        }
    }

    async fn whole_head(&self, queue: QueueNo) -> Result<QueueHead, ReadError> {
        let (head, acked): (i64, i64) = sqlx::query_as(sql::QUEUE_HEAD)
            .bind(queue.0)
            .fetch_one(&self.readers)
            .await?;
        Ok(QueueHead {
            head: head.cast_unsigned(),
            acked: acked.cast_unsigned(),
        })
    }

    /// The head is read first, and nothing beyond it.
    pub(in crate::store) async fn read(&self, view: View, range: Range) -> Result<Option<Page>, ReadError> {
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
        let mut rows = query
            .bind(view.queue_no().0)
            .bind(after)
            .bind(before.cast_signed())
            .bind(count(range.limit))
            .fetch(&self.readers);
        let mut envelopes = Vec::new();
        let mut bytes_read = 0_usize;
        let mut more = false;
        while let Some((position, id, stored_at, bytes)) = rows.try_next().await? {
            bytes_read += bytes.len();
            if bytes_read > range.max_bytes && !envelopes.is_empty() {
                more = true;
                break;
            }
            envelopes.push(StoredEnvelope {
                position: position.cast_unsigned(),
                envelope_id: id.cast_unsigned(),
                stored_at: stored_at.cast_unsigned(),
                bytes,
            });
        }
        more |= envelopes.len() == range.limit;
        Ok(Some(Page {
            head,
            more,
            envelopes,
        }))
    }

    pub(in crate::store) async fn auth_events(
        &self,
        after: Option<u64>,
    ) -> Result<Vec<AuthEvent>, ReadError> {
        let rows: Vec<(i64, i64)> = match after {
            Some(after) => {
                let after = i64::try_from(after).unwrap_or(i64::MAX);
                sqlx::query_as(sql::AUTH_EVENTS)
                    .bind(after)
                    .fetch_all(&self.readers)
                    .await?
            }
            None => {
                sqlx::query_as(sql::LAST_AUTH_EVENT)
                    .fetch_all(&self.readers)
                    .await?
            }
        };
        let event = |(number, agent): (i64, i64)| AuthEvent {
            number: number.cast_unsigned(),
            agent: AgentNo(agent),
        };
        Ok(rows.into_iter().map(event).collect())
    }
}

pub(super) fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
