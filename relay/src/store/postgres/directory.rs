//! What agents tell of themselves, and how they are found.

use waxwire_shared::api::profile::ProfileRequest;

use super::{PostgresStore, sql};
use crate::store::{AgentNo, WriteError};

impl PostgresStore {
    pub(in crate::store) async fn set_profile(
        &self,
        agent: AgentNo,
        asked: ProfileRequest,
    ) -> Result<(), WriteError> {
        self.write(async move |tx| {
            sqlx::query(sql::SET_PROFILE)
                .bind(agent.0)
                .bind(asked.display_name.as_deref())
                .bind(asked.description.as_deref())
                .bind(asked.listed)
                .execute(&mut *tx.connection)
                .await
                .map(drop)
        })
        .await
    }
}
