//! What is asked of agents, their credentials and organisations.

use waxwire_shared::ids::{AgentId, Handle, Hash};

use super::{Backend, sql};
use crate::store::{
    Account, AgentNo, AgentRecord, AuthEvent, OrgRecord, ReadError,
    rows::{self, AccountRow, AgentRow, agent_id, count},
};

impl Backend {
    pub(in crate::store) async fn account_by_key(
        &self,
        key_hash: &Hash,
    ) -> Result<Option<Account>, ReadError> {
        let row: Option<AccountRow> = sqlx::query_as(sql::ACCOUNT_BY_KEY)
            .bind(key_hash.as_bytes().as_slice())
            .fetch_optional(&self.readers)
            .await?;
        row.map(|row| rows::account(row, *key_hash, &self.tiers))
            .transpose()
    }

    pub(in crate::store) async fn agent(&self, agent: AgentNo) -> Result<Option<AgentRecord>, ReadError> {
        let row: Option<AgentRow> = sqlx::query_as(sql::AGENT)
            .bind(agent.0)
            .fetch_optional(&self.readers)
            .await?;
        row.map(rows::agent).transpose()
    }

    pub(in crate::store) async fn agent_no(&self, id: &AgentId) -> Result<Option<AgentNo>, ReadError> {
        let row = sqlx::query_as(sql::AGENT_NO)
            .bind(id.as_bytes().as_slice())
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(rows::agent_no))
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
        rows.into_iter().map(rows::agent).collect()
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
        Ok(rows.into_iter().map(rows::auth_event).collect())
    }

    pub(in crate::store) async fn orgs(&self) -> Result<Vec<OrgRecord>, ReadError> {
        let rows = sqlx::query_as(sql::ORGS).fetch_all(&self.readers).await?;
        Ok(rows.into_iter().map(rows::org).collect())
    }

    pub(in crate::store) async fn lease(&self, agent: AgentNo) -> Result<Option<Vec<u8>>, ReadError> {
        let row: Option<(Vec<u8>,)> = sqlx::query_as(sql::LEASE)
            .bind(agent.0)
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|(bytes,)| bytes))
    }

    pub(in crate::store) async fn holder(
        &self,
        handle: &Handle,
    ) -> Result<Option<(AgentId, Vec<u8>)>, ReadError> {
        let row: Option<(Vec<u8>, Vec<u8>)> = sqlx::query_as(sql::HOLDER)
            .bind(handle.as_str())
            .fetch_optional(&self.readers)
            .await?;
        row.map(|(id, bytes)| Ok((agent_id(&id)?, bytes))).transpose()
    }

    pub(in crate::store) async fn successions(
        &self,
        handle: &Handle,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, ReadError> {
        let rows: Vec<(Vec<u8>,)> = sqlx::query_as(sql::SUCCESSIONS)
            .bind(handle.as_str())
            .bind(count(limit))
            .fetch_all(&self.readers)
            .await?;
        Ok(rows.into_iter().rev().map(|(bytes,)| bytes).collect())
    }
}
