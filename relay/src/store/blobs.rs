//! What the database knows of attachments. Their bytes are files, see [`crate::blobs`].

use waxwire_shared::ids::BlobId;

use super::{AgentNo, ReadError, Store, WriteError, on_each};

/// What a blob counts for at least, so that rows are bounded by bytes.
pub const LEAST_BLOB: u64 = 64 * 1024;

/// An upload that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewBlob {
    /// Chosen by whoever uploads.
    pub id: BlobId,
    /// Who uploads.
    pub owner: AgentNo,
    /// How many bytes there will be.
    pub length: u64,
    /// Most bytes that the owner may hold; 0 is unlimited.
    pub max_bytes: u64,
    /// Most unfinished uploads of the owner; 0 is unlimited.
    pub max_unfinished: u64,
}

/// A blob that is held or on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobRecord {
    /// The database's own number.
    pub no: BlobNo,
    /// Who uploaded it.
    pub owner: AgentNo,
    /// How many bytes it has or will have.
    pub length: u64,
    /// Whether all of it is durable.
    pub complete: bool,
}

/// The database's number of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlobNo(pub(in crate::store) i64);

/// Which quota of blobs is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobQuota {
    /// Bytes.
    Bytes,
    /// Unfinished uploads.
    Unfinished,
}

/// What became of the wish to begin an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobOutcome {
    /// It has begun.
    Begun(BlobRecord),
    /// The same agent has begun the same before.
    Held(BlobRecord),
    /// The id belongs to something else.
    Taken,
    /// A quota is used up.
    Full {
        /// Which.
        quota: BlobQuota,
        /// How much there may be.
        max: u64,
        /// How much there would be.
        actual: u64,
    },
}

impl Store {
    /// Begins an upload, unless it has begun or a quota is used up.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn begin_blob(&self, blob: NewBlob) -> Result<BlobOutcome, WriteError> {
        on_each!(self, s => s.begin_blob(blob).await)
    }

    /// Notes that every byte of a blob is durable; false if it has been deleted meanwhile.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn complete_blob(&self, blob: BlobNo) -> Result<bool, WriteError> {
        on_each!(self, s => s.complete_blob(blob).await)
    }

    /// Forgets a blob, whose file is gone.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn delete_blob(&self, id: BlobId) -> Result<(), WriteError> {
        on_each!(self, s => s.delete_blob(id).await)
    }

    /// A blob.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn blob(&self, id: &BlobId) -> Result<Option<BlobRecord>, ReadError> {
        on_each!(self, s => s.blob(id).await)
    }

    /// Some of the blobs that were begun before a time, and of those that were begun before another and
    /// not completed, in the order of their ids after one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn expired_blobs(
        &self,
        before: u64,
        unfinished_before: u64,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<BlobId>, ReadError> {
        on_each!(self, s => s.expired_blobs(before, unfinished_before, after, limit).await)
    }
}
