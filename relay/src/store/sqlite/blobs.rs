//! Rows of attachments.

use rusqlite::{OptionalExtension as _, params};
use waxwire_shared::ids::BlobId;

use super::{SqliteStore, batch::Transaction, sql};
use crate::store::{
    BlobNo, BlobOutcome, BlobRecord, LEAST_BLOB, NewBlob, WriteError,
    rows::{self},
    rules,
};

fn begin(tx: &Transaction<'_>, blob: &NewBlob) -> rusqlite::Result<BlobOutcome> {
    let held = tx
        .connection
        .prepare_cached(sql::BLOB)?
        .query_row([blob.id.as_bytes()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    if let Some(held) = held.map(rows::blob) {
        return Ok(rules::same_blob(held, blob));
    }
    if let Some(full) = quota(tx, blob)? {
        return Ok(full);
    }
    tx.connection.prepare_cached(sql::INSERT_BLOB)?.execute(params![
        blob.id.as_bytes(),
        blob.owner.0,
        blob.length.cast_signed(),
        tx.now_ms.cast_signed()
    ])?;
    Ok(BlobOutcome::Begun(BlobRecord {
        no: BlobNo(tx.connection.last_insert_rowid()),
        owner: blob.owner,
        length: blob.length,
        complete: false,
    }))
}

/// The quota that one more blob would exceed.
fn quota(tx: &Transaction<'_>, blob: &NewBlob) -> rusqlite::Result<Option<BlobOutcome>> {
    let (bytes, unfinished): (i64, i64) = tx
        .connection
        .prepare_cached(sql::BLOBS_HELD)?
        .query_row([blob.owner.0, LEAST_BLOB.cast_signed()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    Ok(rules::blob_quota(bytes, unfinished, blob))
}

impl SqliteStore {
    pub(in crate::store) async fn begin_blob(&self, blob: NewBlob) -> Result<BlobOutcome, WriteError> {
        self.write(move |tx| begin(tx, &blob)).await
    }

    pub(in crate::store) async fn complete_blob(&self, blob: BlobNo) -> Result<bool, WriteError> {
        self.write(move |tx| {
            let now = tx.now_ms.cast_signed();
            let mut statement = tx.connection.prepare_cached(sql::COMPLETE_BLOB)?;
            statement.execute([blob.0, now]).map(|rows| rows > 0)
        })
        .await
    }

    pub(in crate::store) async fn delete_blob(&self, id: BlobId) -> Result<(), WriteError> {
        self.write(move |tx| {
            let mut statement = tx.connection.prepare_cached(sql::DELETE_BLOB)?;
            statement.execute([id.as_bytes()]).map(drop)
        })
        .await
    }
}
