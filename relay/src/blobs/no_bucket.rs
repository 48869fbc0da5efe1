//! A relay that is built without the feature `s3` has no bucket.

use std::io;

use waxwire_shared::ids::BlobId;

use super::{BlobStream, BucketConfig, folder::Folder};

/// Why there is no bucket.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The program cannot.
    #[error("this relay is built without s3")]
    NotBuilt,
}

/// There is none.
#[derive(Debug, Clone)]
pub(super) enum Bucket {}

impl Bucket {
    pub(super) const fn open(_: &BucketConfig) -> Result<Self, BucketError> {
        Err(BucketError::NotBuilt)
    }

    pub(super) async fn put(&self, _: &BlobId, _: &Folder) -> io::Result<()> {
        match *self {}
    }

    pub(super) async fn read(&self, _: &BlobId, _: u64, _: u64) -> io::Result<Option<BlobStream>> {
        match *self {}
    }

    pub(super) async fn delete(&self, _: &BlobId, _: &Folder) -> io::Result<()> {
        match *self {}
    }
}
