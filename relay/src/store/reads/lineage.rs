//! Which course of events the database holds.

use super::Backend;
use crate::store::{
    ReadError,
    lineage::{LINEAGE, Lineage, REACHES},
};

const NOTED: &str = "SELECT
    coalesce((SELECT value FROM counter WHERE name = $1), 0),
    coalesce((SELECT value FROM counter WHERE name = $2), 0)";

impl Backend {
    pub(in crate::store) async fn current_lineage(&self) -> Result<Lineage, ReadError> {
        let (id, reaches): (i64, i64) = sqlx::query_as(NOTED)
            .bind(LINEAGE)
            .bind(REACHES)
            .fetch_one(&self.readers)
            .await?;
        Ok(Lineage {
            id: id.cast_unsigned(),
            reaches: reaches.cast_unsigned(),
            is_new: false,
        })
    }
}
