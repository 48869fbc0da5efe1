//! Bodies of the relay's resources for stored attachments (docs/relay-api.md, Blobs).

use serde::{Deserialize, Serialize};

use crate::ids::BlobId;

/// `POST /v1/blobs`: begins an upload, or asks how far one of the own is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobRequest {
    /// Chosen at random by whoever uploads.
    pub blob_id: BlobId,
    /// How many bytes there will be.
    pub length: u64,
}

/// Answer of `POST /v1/blobs` and `PATCH /v1/blobs/{id}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobAnswer {
    /// Which blob.
    pub blob_id: BlobId,
    /// How many bytes the relay has: where the next part begins.
    pub offset: u64,
    /// Whether all of it is durable at the relay, so that it can be fetched.
    pub complete: bool,
}
