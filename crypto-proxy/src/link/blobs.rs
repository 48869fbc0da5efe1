//! Attachments at the relay: parts of opaque bytes there and back. Each part is a call of its own, which may be
//! repeated, so that memory and time are bounded and an interruption costs one part.

use bytes::Bytes;
use http::Method;
use waxwire_shared::{
    api::blobs::{BlobAnswer, BlobRequest},
    ids::BlobId,
};

use super::http::{Call, CallError, Client};

impl Client {
    /// `POST /v1/blobs`: begins an upload, or tells how far it is.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn begin_blob(&self, request: &BlobRequest) -> Result<BlobAnswer, CallError> {
        self.call(Call::post("/v1/blobs", request)?).await
    }

    /// `PATCH /v1/blobs/{id}`: appends a part where the blob ends.
    ///
    /// # Errors
    /// [`CallError`]; a problem `wrong-offset` says where that is.
    pub async fn append_blob(&self, id: &BlobId, offset: u64, part: Bytes) -> Result<BlobAnswer, CallError> {
        let path = format!("/v1/blobs/{id}?offset={offset}");
        self.call(Call::octets(Method::PATCH, path, part)).await
    }

    /// `GET /v1/blobs/{id}`: so many bytes from an offset on, of a blob that must have a length.
    ///
    /// # Errors
    /// [`CallError`]; `Malformed` for more or fewer bytes, and for a blob of another length.
    pub async fn blob_part(
        &self,
        id: &BlobId,
        start: u64,
        count: u64,
        length: u64,
    ) -> Result<Bytes, CallError> {
        let call = Call::part(format!("/v1/blobs/{id}"), start, count)?;
        let (total, part) = self.part(call).await?;
        if part.len() as u64 == count && total == Some(length) {
            Ok(part)
        } else {
            Err(CallError::Malformed)
        }
    }

    /// `DELETE /v1/blobs/{id}`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn delete_blob(&self, id: &BlobId) -> Result<(), CallError> {
        let call = Call::bare(Method::DELETE, format!("/v1/blobs/{id}"));
        self.octets(call).await.map(drop)
    }
}
