//! Rows of attachments.

use rusqlite::{OptionalExtension as _, params};
use waxwire_shared::ids::BlobId;

use super::{SqliteStore, batch::Transaction, reads::count, sql};
use crate::store::{
    AgentNo, BlobNo, BlobOutcome, BlobQuota, BlobRecord, LEAST_BLOB, NewBlob, ReadError, WriteError,
};

/// Number, owner, length, whether it is complete.
type Row = (i64, i64, i64, bool);

fn record((no, owner, length, complete): Row) -> BlobRecord {
    BlobRecord {
        no: BlobNo(no),
        owner: AgentNo(owner),
        length: length.cast_unsigned(),
        complete,
    }
}

fn begin(tx: &Transaction<'_>, blob: &NewBlob) -> rusqlite::Result<BlobOutcome> {
    let held = tx
        .connection
        .prepare_cached(sql::BLOB)?
        .query_row([blob.id.as_bytes()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    if let Some(held) = held.map(record) {
        let same = held.owner == blob.owner && held.length == blob.length;
        return Ok(if same {
            BlobOutcome::Held(held)
        } else {
            BlobOutcome::Taken
        });
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
    let bytes = bytes.cast_unsigned().saturating_add(blob.length.max(LEAST_BLOB));
    let unfinished = unfinished.cast_unsigned() + 1;
    let quotas = [
        (BlobQuota::Bytes, blob.max_bytes, bytes),
        (BlobQuota::Unfinished, blob.max_unfinished, unfinished),
    ];
    let exceeded = quotas
        .into_iter()
        .find(|(_, max, actual)| *max > 0 && actual > max);
    Ok(exceeded.map(|(quota, max, actual)| BlobOutcome::Full { quota, max, actual }))
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

    pub(in crate::store) async fn blob(&self, id: &BlobId) -> Result<Option<BlobRecord>, ReadError> {
        let row: Option<Row> = sqlx::query_as(sql::BLOB)
            .bind(id.as_bytes().as_slice())
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(record))
    }

    pub(in crate::store) async fn expired_blobs(
        &self,
        before: u64,
        unfinished_before: u64,
        limit: usize,
    ) -> Result<Vec<BlobId>, ReadError> {
        let rows: Vec<(Vec<u8>,)> = sqlx::query_as(sql::EXPIRED_BLOBS)
            .bind(before.cast_signed())
            .bind(unfinished_before.cast_signed())
            .bind(count(limit))
            .fetch_all(&self.readers)
            .await?;
        let id = |(bytes,): (Vec<u8>,)| {
            BlobId::from_slice(&bytes).map_err(|_| ReadError::Row {
                table: "blob",
                column: "blob_id",
            })
        };
        rows.into_iter().map(id).collect()
    }
}
