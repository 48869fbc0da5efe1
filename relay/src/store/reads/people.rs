//! Who may see whom, and what.

use waxwire_shared::ids::{AgentId, Handle};

use super::{Backend, sql};
use crate::store::{
    AgentNo, Block, DirectoryPage, Profile, ReadError, Sight,
    rows::{self, ProfileRow, agent_id},
};

/// Greater than whatever may follow in a handle.
const AFTER_ALL: char = '{';

/// A profile, and the block that keeps it from the viewer.
type SeenProfileRow = (String, Option<String>, Option<String>, i64, Option<bool>);

/// Agent, its id, bundle, and the block between it and whoever asks.
type BundleRow = (i64, Vec<u8>, Vec<u8>, Option<bool>);

impl Backend {
    pub(in crate::store) async fn profile(
        &self,
        viewer: AgentNo,
        handle: &Handle,
    ) -> Result<Sight<Profile>, ReadError> {
        let row: Option<SeenProfileRow> = sqlx::query_as(sql::PROFILE)
            .bind(handle.as_str())
            .bind(viewer.0)
            .fetch_optional(&self.readers)
            .await?;
        let Some((handle, name, description, registered_at, told)) = row else {
            return Ok(Sight::Unknown);
        };
        let profile = rows::profile((handle, name, description, registered_at))?;
        Ok(Sight::behind(told.map(Block::of), profile))
    }

    pub(in crate::store) async fn directory(
        &self,
        viewer: AgentNo,
        prefix: &str,
        limit: u64,
        offset: u64,
    ) -> Result<DirectoryPage, ReadError> {
        let end = format!("{prefix}{AFTER_ALL}");
        let rows: Vec<ProfileRow> = sqlx::query_as(sql::DIRECTORY)
            .bind(prefix)
            .bind(&end)
            .bind(viewer.0)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .bind(i64::try_from(offset).unwrap_or(i64::MAX))
            .fetch_all(&self.readers)
            .await?;
        let (total,): (i64,) = sqlx::query_as(sql::DIRECTORY_TOTAL)
            .bind(prefix)
            .bind(&end)
            .bind(viewer.0)
            .fetch_one(&self.readers)
            .await?;
        Ok(DirectoryPage {
            agents: rows.into_iter().map(rows::profile).collect::<Result<_, _>>()?,
            total: total.cast_unsigned(),
        })
    }

    pub(in crate::store) async fn bundle(
        &self,
        viewer: AgentNo,
        handle: &Handle,
    ) -> Result<Sight<(AgentId, Vec<u8>)>, ReadError> {
        let row: Option<BundleRow> = sqlx::query_as(sql::BUNDLE_BY_HANDLE)
            .bind(handle.as_str())
            .bind(viewer.0)
            .fetch_optional(&self.readers)
            .await?;
        let Some((agent, id, bytes, told)) = row else {
            return Ok(Sight::Unknown);
        };
        let mut between = told.map(Block::of);
        if between.is_some() && self.meet_in_group(AgentNo(agent), viewer).await? {
            between = None;
        }
        Ok(Sight::behind(between, (agent_id(&id)?, bytes)))
    }

    async fn meet_in_group(&self, member: AgentNo, other: AgentNo) -> Result<bool, ReadError> {
        let (meet,): (bool,) = sqlx::query_as(sql::MEET_IN_GROUP)
            .bind(member.0)
            .bind(other.0)
            .fetch_one(&self.readers)
            .await?;
        Ok(meet)
    }

    pub(in crate::store) async fn sight(
        &self,
        viewer: AgentNo,
        handle: &Handle,
    ) -> Result<Sight<AgentNo>, ReadError> {
        let row: Option<(i64, Option<bool>)> = sqlx::query_as(sql::AGENT_IN_SIGHT)
            .bind(handle.as_str())
            .bind(viewer.0)
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map_or(Sight::Unknown, |(agent, told)| {
            Sight::behind(told.map(Block::of), AgentNo(agent))
        }))
    }

    pub(in crate::store) async fn contacts(
        &self,
        agent: AgentNo,
    ) -> Result<Vec<(AgentNo, Handle)>, ReadError> {
        let rows = sqlx::query_as(sql::CONTACTS)
            .bind(agent.0)
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter().map(rows::contact).collect()
    }

    pub(in crate::store) async fn contact_holders(&self, agent: AgentNo) -> Result<Vec<AgentNo>, ReadError> {
        let rows = sqlx::query_as(sql::CONTACT_HOLDERS)
            .bind(agent.0)
            .fetch_all(&self.readers)
            .await?;
        Ok(rows.into_iter().map(rows::agent_no).collect())
    }

    pub(in crate::store) async fn has_block(&self, one: AgentNo, other: AgentNo) -> Result<bool, ReadError> {
        let (blocked,): (bool,) = sqlx::query_as(sql::BLOCK_BETWEEN)
            .bind(one.0)
            .bind(other.0)
            .fetch_one(&self.readers)
            .await?;
        Ok(blocked)
    }
}
