//! Own attachments on their way to the relay, and what an id of an attachment stands for.

use rand_core::CryptoRng;
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};
use serde::{Deserialize, Serialize};
use waxwire_shared::{
    ids::{BlobId, Hash, Nonce32},
    wire::{AttachmentRef, Core, Document as _, sealed_length},
};
use zeroize::Zeroizing;

use super::{ColumnKeys, Reader, StateError, Store, from_sql, to_sql, views};
use crate::model::{AttachmentId, MessageId, UnixMs, Upload, UploadStage};

const TABLE: &str = "upload";
const SELECT: &str = "SELECT upload_row, attachment_id, stage, sealed FROM upload";

/// What is sealed of an upload.
#[derive(Serialize, Deserialize)]
struct Sealed {
    blob: BlobId,
    key: Nonce32,
    nonce_prefix: String,
    ciphertext_hash: Hash,
    length: u64,
    filename: String,
    content_type: String,
    sha256: Option<Hash>,
}

const fn stage_number(stage: UploadStage) -> i64 {
    match stage {
        UploadStage::Open => 1,
        UploadStage::Sealed => 2,
        UploadStage::Stored => 3,
    }
}

const fn stage_from_number(number: i64) -> UploadStage {
    match number {
        2 => UploadStage::Sealed,
        3 => UploadStage::Stored,
        _ => UploadStage::Open,
    }
}

fn content(upload: &Upload) -> Zeroizing<Vec<u8>> {
    let reference = &upload.reference;
    let sealed = Sealed {
        blob: reference.blob,
        key: reference.key,
        nonce_prefix: hex::encode(&reference.nonce_prefix),
        ciphertext_hash: reference.ciphertext_hash,
        length: reference.length,
        filename: reference.filename.clone(),
        content_type: reference.content_type.clone(),
        sha256: upload.sha256.map(Hash::from_bytes),
    };
    // Room enough, so that no copy of the key is left behind by growing.
    let mut text = Zeroizing::new(Vec::with_capacity(4_096));
    // A struct of texts and numbers always has a JSON form.
    let _written = serde_json::to_writer(&mut *text, &sealed);
    text
}

fn upload(row: &Row<'_>, keys: &ColumnKeys) -> Result<Upload, StateError> {
    let upload_row: i64 = row.get(0)?;
    let damaged = || StateError::Damaged {
        table: TABLE,
        row: upload_row,
    };
    let sealed: Vec<u8> = row.get(3)?;
    let text = keys.open(TABLE, upload_row, &sealed)?;
    let sealed: Sealed = serde_json::from_slice(&text).map_err(|_| damaged())?;
    Ok(Upload {
        id: AttachmentId::upload(row.get(1)?),
        reference: AttachmentRef {
            blob: sealed.blob,
            key: sealed.key,
            nonce_prefix: hex::decode(&sealed.nonce_prefix).map_err(|_| damaged())?,
            ciphertext_hash: sealed.ciphertext_hash,
            ciphertext_length: sealed_length(sealed.length).ok_or_else(damaged)?,
            length: sealed.length,
            filename: sealed.filename,
            content_type: sealed.content_type,
        },
        sha256: sealed.sha256.map(|hash| *hash.as_bytes()),
        stage: stage_from_number(row.get(2)?),
    })
}

fn find(
    db: &Connection,
    keys: &ColumnKeys,
    condition: &str,
    value: &dyn ToSql,
) -> Result<Option<Upload>, StateError> {
    let mut statement = db.prepare_cached(&format!("{SELECT} WHERE {condition}"))?;
    let mut rows = statement.query([value])?;
    rows.next()?.map(|row| upload(row, keys)).transpose()
}

impl Store {
    /// Notes an upload that begins, under the hash of its ticket; forgets those that began before a time,
    /// and what was not stored of those that began before another.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn begin_upload(
        &self,
        rng: &mut dyn CryptoRng,
        upload: &Upload,
        ticket: &[u8; 32],
        forget: (UnixMs, UnixMs),
        now: UnixMs,
    ) -> Result<(), StateError> {
        self.db
            .prepare_cached("DELETE FROM upload WHERE created_at < ?1 OR created_at < ?2 AND stage < 3")?
            .execute([to_sql(forget.0), to_sql(forget.1)])?;
        let row: i64 = self
            .db
            .prepare_cached("SELECT coalesce(max(upload_row), 0) + 1 FROM upload")?
            .query_row([], |row| row.get(0))?;
        let sealed = self.keys.seal(rng, TABLE, row, now, &content(upload));
        self.db
            .prepare_cached(
                "INSERT INTO upload(upload_row, attachment_id, ticket, stage, created_at, sealed) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                row,
                upload.id.id,
                ticket,
                stage_number(upload.stage),
                to_sql(now),
                sealed
            ])?;
        Ok(())
    }

    /// Replaces what is known of an upload. Its ticket ends when the relay has it.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_upload(
        &self,
        rng: &mut dyn CryptoRng,
        upload: &Upload,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let row: i64 = self
            .db
            .prepare_cached("SELECT upload_row FROM upload WHERE attachment_id = ?1")?
            .query_row([upload.id.id], |row| row.get(0))?;
        let sealed = self.keys.seal(rng, TABLE, row, now, &content(upload));
        self.db
            .prepare_cached(
                "UPDATE upload SET stage = ?2, sealed = ?3, ticket = CASE WHEN ?2 = 3 THEN NULL ELSE ticket END \
                 WHERE upload_row = ?1",
            )?
            .execute(params![row, stage_number(upload.stage), sealed])?;
        Ok(())
    }

    /// An own attachment, if it is an upload of this id and began at or after a time.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn upload(&self, id: &AttachmentId, since: UnixMs) -> Result<Option<Upload>, StateError> {
        let began: Option<i64> = self
            .db
            .prepare_cached("SELECT created_at FROM upload WHERE attachment_id = ?1")?
            .query_row([id.id], |row| row.get(0))
            .optional()?;
        if id.place != 0 || began.is_none_or(|began| from_sql(began) < since) {
            return Ok(None);
        }
        find(&self.db, &self.keys, "attachment_id = ?1", &id.id)
    }
}

impl Reader {
    /// The upload that a ticket of this hash lets in.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn upload_by_ticket(&self, ticket: &[u8; 32], since: UnixMs) -> Result<Option<Upload>, StateError> {
        let db = self.db();
        let condition = format!("ticket = ?1 AND stage < 3 AND created_at >= {}", to_sql(since));
        find(&db, &self.keys, &condition, ticket)
    }

    /// Ids of the uploads that are not stored yet and began at or after a time.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn open_uploads(&self, since: UnixMs) -> Result<Vec<AttachmentId>, StateError> {
        let db = self.db();
        let mut statement =
            db.prepare_cached("SELECT attachment_id FROM upload WHERE stage < 3 AND created_at >= ?1")?;
        let ids = statement.query_map([to_sql(since)], |row| Ok(AttachmentId::upload(row.get(0)?)))?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// The attachment that an id stands for: an own one that the relay has, or one that a visible message
    /// cites.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn attachment(&self, id: &AttachmentId) -> Result<Option<AttachmentRef>, StateError> {
        let db = self.db();
        if id.place == 0
            && let Some(own) = find(&db, &self.keys, "stage = 3 AND attachment_id = ?1", &id.id)?
        {
            return Ok(Some(own.reference));
        }
        let row: Option<i64> = db
            .prepare_cached(
                "SELECT message_row FROM message WHERE message_id = ?1 AND form = 0 AND seq IS NOT NULL \
                 AND deleted = 0",
            )?
            .query_row([MessageId(id.id).0], |row| row.get(0))
            .optional()?;
        let Some(row) = row else { return Ok(None) };
        let signed = views::open_signed(&db, &self.keys, row)?;
        let core = Core::decode(&signed.core).map_err(|_| StateError::Damaged {
            table: "message",
            row,
        })?;
        let cited = core.attachments.unwrap_or_default();
        Ok(cited.into_iter().nth(id.place.into()))
    }
}
