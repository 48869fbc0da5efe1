//! What agents tell of themselves, and how they are found.

use rusqlite::params;
use waxwire_shared::api::profile::ProfileRequest;

use super::{SqliteStore, sql};
use crate::store::{AgentNo, WriteError};

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
}
