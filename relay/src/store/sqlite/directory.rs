//! What agents tell of themselves, and how they are found.

use rusqlite::params;
use waxwire_shared::{api::profile::ProfileRequest, ids::Handle};

use super::{SqliteStore, relations::block, sql};
use crate::store::{AgentNo, DirectoryPage, Profile, ReadError, Sight, WriteError};

/// Greater than whatever may follow in a handle.
const AFTER_ALL: char = '{';

type ProfileRow = (String, Option<String>, Option<String>, i64);

/// The same, and the block that keeps it from the viewer.
type SeenProfileRow = (String, Option<String>, Option<String>, i64, Option<bool>);

fn profile(row: ProfileRow) -> Result<Profile, ReadError> {
    let (handle, display_name, description, registered_at) = row;
    Ok(Profile {
        handle: handle.parse().map_err(|_| ReadError::Row {
            table: "agent",
            column: "handle",
        })?,
        display_name,
        description,
        registered_at: registered_at.cast_unsigned(),
    })
}

impl SqliteStore {
    pub(in crate::store) async fn set_profile(
        &self,
        agent: AgentNo,
        asked: ProfileRequest,
    ) -> Result<(), WriteError> {
        self.write(move |tx| {
            tx.connection
                .prepare_cached(sql::SET_PROFILE)?
                .execute(params![
                    agent.0,
                    asked.display_name,
                    asked.description,
                    asked.listed
                ])
                .map(drop)
        })
        .await
    }

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
        let profile = profile((handle, name, description, registered_at))?;
        Ok(Sight::behind(told.map(block), profile))
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
            agents: rows.into_iter().map(profile).collect::<Result<_, _>>()?,
            total: total.cast_unsigned(),
        })
    }
}
