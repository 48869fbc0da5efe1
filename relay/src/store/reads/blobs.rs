//! What is asked of attachments.

use waxwire_shared::ids::BlobId;

use super::{Backend, sql};
use crate::store::{
    BlobRecord, ReadError,
    rows::{self, BlobRow, blob_id, count},
};

impl Backend {
    pub(in crate::store) async fn blob(&self, id: &BlobId) -> Result<Option<BlobRecord>, ReadError> {
        let row: Option<BlobRow> = sqlx::query_as(sql::BLOB)
            .bind(id.as_bytes().as_slice())
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(rows::blob))
    }

    pub(in crate::store) async fn expired_blobs(
        &self,
        before: u64,
        unfinished_before: u64,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<BlobId>, ReadError> {
        let rows: Vec<(Vec<u8>,)> = sqlx::query_as(sql::EXPIRED_BLOBS)
            .bind(before.cast_signed())
            .bind(unfinished_before.cast_signed())
            .bind(after.as_ref().map_or(&[][..], |id| id.as_bytes().as_slice()))
            .bind(count(limit))
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter()
            .map(|(bytes,): (Vec<u8>,)| blob_id(&bytes))
            .collect()
    }
}
