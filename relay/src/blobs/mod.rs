//! The bytes of attachments: opaque, appended to until they are complete, then read. Which there are and
//! whose is in the [`store`](crate::store).
//!
//! An upload grows in a file of the folder, for it has to survive byte by byte, and an object of a bucket
//! cannot be appended to. Without a bucket it stays there. With one, the whole file is put into the bucket
//! before the blob is called complete, and deleted after that: nobody sees a part of it, and at every moment
//! a row of the store leads to all of its bytes.
//!
//! - [`folder`]: one file a blob
//! - `bucket`: one object a blob
//! - [`place`]: what the operator says

#[cfg(feature = "s3")]
mod bucket;
#[cfg(not(feature = "s3"))]
#[path = "no_bucket.rs"]
mod bucket;
mod folder;
mod place;

use std::io;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use waxwire_shared::ids::BlobId;

use self::{bucket::Bucket, folder::Folder};
pub use self::{
    bucket::BucketError,
    folder::Appending,
    place::{BlobsConfig, BucketConfig, Credentials, Place, PlaceError},
};

/// Bytes of a blob, read as they are wanted.
pub type BlobStream = BoxStream<'static, io::Result<Bytes>>;

/// Where the bytes of attachments are.
#[derive(Debug, Clone)]
pub struct Blobs {
    folder: Folder,
    bucket: Option<Bucket>,
}

/// Why there is no place for blobs.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder.
    #[error("the folder cannot be made")]
    Folder(#[from] io::Error),
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

/// Why a blob cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Another request does so at this moment.
    #[error("another request changes this blob")]
    Busy,
    /// The disk or the bucket.
    #[error("the blob's bytes cannot be written")]
    Io(#[from] io::Error),
}

impl Blobs {
    /// Makes the folder where it is missing, for its owner only. Nobody is asked whether the bucket is there.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(config: &BlobsConfig) -> Result<Self, OpenError> {
        Ok(Self {
            folder: Folder::open(&config.folder)?,
            bucket: config.bucket.as_ref().map(Bucket::open).transpose()?,
        })
    }

    /// How many bytes of an upload are here.
    ///
    /// # Errors
    /// The disk's own.
    pub async fn offset(&self, id: &BlobId) -> io::Result<u64> {
        self.folder.offset(id).await
    }

    /// Opens an upload to append to it; one at a time.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn append(&self, id: &BlobId) -> Result<Appending, ChangeError> {
        self.folder.append(id).await
    }

    /// Puts an upload that has all of its bytes where complete blobs are.
    ///
    /// # Errors
    /// The disk's or the bucket's own; it may be tried again.
    pub async fn finish(&self, upload: &Appending) -> io::Result<()> {
        match &self.bucket {
            None => Ok(()),
            Some(bucket) => bucket.put(upload.id(), &self.folder).await,
        }
    }

    /// Deletes the file of an upload that was called complete, if it is elsewhere.
    ///
    /// # Errors
    /// The disk's own.
    pub async fn settle(&self, upload: Appending) -> io::Result<()> {
        match &self.bucket {
            None => Ok(()),
            Some(_) => self.folder.delete(upload.id()).await,
        }
    }

    /// Which blobs have a file although there is a bucket: uploads, what a crash has left, and whatever was
    /// there before the bucket.
    ///
    /// # Errors
    /// The disk's own.
    pub async fn lingering(&self) -> io::Result<Vec<BlobId>> {
        match &self.bucket {
            None => Ok(Vec::new()),
            Some(_) => self.folder.list().await,
        }
    }

    /// Takes a complete blob of a length from the folder to the bucket. Where only a part of it is here, it was completed
    /// by another relay and is there already.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn carry(&self, id: &BlobId, length: u64) -> Result<(), ChangeError> {
        let upload = self.append(id).await?;
        if upload.offset() == length {
            self.finish(&upload).await?;
        }
        Ok(self.settle(upload).await?)
    }

    /// Deletes the bytes of an upload that was deleted elsewhere meanwhile.
    ///
    /// # Errors
    /// The disk's or the bucket's own.
    pub async fn discard(&self, upload: Appending) -> io::Result<()> {
        self.remove(upload.id()).await
    }

    /// The bytes of a range of a complete blob; `None` if they are not there.
    ///
    /// # Errors
    /// The disk's or the bucket's own.
    pub async fn read(&self, id: &BlobId, start: u64, count: u64) -> io::Result<Option<BlobStream>> {
        let here = self.folder.read(id, start, count).await?;
        match &self.bucket {
            Some(bucket) if here.is_none() => bucket.read(id, start, count).await,
            _ => Ok(here),
        }
    }

    /// Deletes the bytes of a blob; there may be none.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn delete(&self, id: &BlobId) -> Result<(), ChangeError> {
        let _turn = self.folder.turn(*id).ok_or(ChangeError::Busy)?;
        Ok(self.remove(id).await?)
    }

    async fn remove(&self, id: &BlobId) -> io::Result<()> {
        if let Some(bucket) = &self.bucket {
            bucket.delete(id, &self.folder).await?;
        }
        self.folder.delete(id).await
    }
}
