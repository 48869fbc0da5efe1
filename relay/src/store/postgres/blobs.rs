//! Rows of attachments.

use waxwire_shared::ids::BlobId;

use super::{PostgresStore, accounts::lock_owner, batch::Transaction, sql};
use crate::store::{
    BlobNo, BlobOutcome, BlobRecord, LEAST_BLOB, NewBlob, WriteError,
    rows::{self, BlobRow},
    rules,
};

async fn begin(tx: &mut Transaction<'_>, blob: &NewBlob) -> sqlx::Result<BlobOutcome> {
    let held: Option<BlobRow> = sqlx::query_as(sql::BLOB)
        .bind(blob.id.as_bytes().as_slice())
        .fetch_optional(&mut *tx.connection)
        .await?;
    if let Some(held) = held.map(rows::blob) {
        return Ok(rules::same_blob(held, blob));
    }
    lock_owner(tx, blob.owner).await?;
    let (bytes, unfinished): (i64, i64) = sqlx::query_as(sql::BLOBS_HELD)
        .bind(blob.owner.0)
        .bind(LEAST_BLOB.cast_signed())
        .fetch_one(&mut *tx.connection)
        .await?;
    if let Some(full) = rules::blob_quota(bytes, unfinished, blob) {
        return Ok(full);
    }
    let (no,): (i64,) = sqlx::query_as(sql::INSERT_BLOB)
        .bind(blob.id.as_bytes().as_slice())
        .bind(blob.owner.0)
        .bind(blob.length.cast_signed())
        .bind(tx.now_ms.cast_signed())
        .fetch_one(&mut *tx.connection)
        .await?;
    Ok(BlobOutcome::Begun(BlobRecord {
        no: BlobNo(no),
        owner: blob.owner,
        length: blob.length,
        complete: false,
    }))
}

impl PostgresStore {
    pub(in crate::store) async fn begin_blob(&self, blob: NewBlob) -> Result<BlobOutcome, WriteError> {
        self.write(async move |tx| begin(tx, &blob).await).await
    }

    pub(in crate::store) async fn complete_blob(&self, blob: BlobNo) -> Result<bool, WriteError> {
        self.write(async move |tx| {
            let done = sqlx::query(sql::COMPLETE_BLOB)
                .bind(blob.0)
                .bind(tx.now_ms.cast_signed())
                .execute(&mut *tx.connection)
                .await?;
            Ok(done.rows_affected() > 0)
        })
        .await
    }

    pub(in crate::store) async fn delete_blob(&self, id: BlobId) -> Result<(), WriteError> {
        self.write(async move |tx| {
            sqlx::query(sql::DELETE_BLOB)
                .bind(id.as_bytes().as_slice())
                .execute(&mut *tx.connection)
                .await
                .map(drop)
        })
        .await
    }
}
