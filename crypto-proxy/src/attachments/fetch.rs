//! An attachment comes from the relay: all of the ciphertext into a file, its hash, every chunk and the padding
//! checked, and only then the first byte to the agent.

use std::{io, io::SeekFrom, path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, stream};
use sha2::{Digest as _, Sha256};
use tokio::{
    fs::{File, OpenOptions},
    io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _},
};
use waxwire_shared::wire::{AttachmentRef, CHUNK};
use zeroize::Zeroizing;

use super::{
    AttachmentError, Attachments, PART, Patience, What, is_passing,
    spool::{PLAIN, SEALED},
};
use crate::{
    crypto::attachment::{Chunks, TAG},
    fault,
    link::CallError,
};

/// An attachment whose every chunk was verified. Its file is deleted when it is dropped.
#[derive(Debug)]
pub struct Fetched {
    file: File,
    chunks: Chunks,
    reference: AttachmentRef,
    _room: Room,
}

/// A file that is fetched, and the room that it takes.
#[derive(Debug)]
struct Room {
    all: Arc<Attachments>,
    number: u64,
    path: PathBuf,
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "a fetched attachment cannot be deleted");
        }
        self.all.space.release(&What::Fetch(self.number));
    }
}

impl Attachments {
    /// Fetches what a message cites and verifies all of it.
    ///
    /// # Errors
    /// [`AttachmentError`].
    pub async fn fetch(self: &Arc<Self>, reference: AttachmentRef) -> Result<Fetched, AttachmentError> {
        if reference.length > self.max {
            return Err(AttachmentError::TooLarge {
                max: self.max,
                actual: reference.length,
            });
        }
        let chunks = Chunks::of(&reference).map_err(|_| AttachmentError::Unopenable)?;
        let (number, path) = self.fetch_file();
        self.space
            .take(What::Fetch(number), reference.ciphertext_length)?;
        let room = Room {
            all: Arc::clone(self),
            number,
            path,
        };
        let mut file = OpenOptions::new()
            .create_new(true)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&room.path)
            .await?;
        self.receive(&mut file, &reference).await?;
        let mut fetched = Fetched {
            file,
            chunks,
            reference,
            _room: room,
        };
        fetched.verify().await?;
        Ok(fetched)
    }

    async fn receive(&self, file: &mut File, reference: &AttachmentRef) -> Result<(), AttachmentError> {
        let length = reference.ciphertext_length;
        let (mut offset, mut patience, mut hash) = (0, Patience::new(), Sha256::new());
        while offset < length {
            let count = (length - offset).min(PART as u64);
            let part = self
                .client
                .blob_part(&reference.blob, offset, count, length)
                .await;
            match part {
                Ok(part) => {
                    hash.update(&part);
                    file.write_all(&part).await?;
                    offset += count;
                    patience.renew();
                    fault::point("download.part");
                }
                Err(error) if is_passing(&error) => patience.pause().await?,
                Err(CallError::Problem(problem)) if problem.status == 404 => {
                    return Err(AttachmentError::Gone);
                }
                // This agent may have nothing of the relay now.
                Err(CallError::Problem(problem)) if problem.status == 403 => {
                    return Err(AttachmentError::Refused);
                }
                // It has no such bytes, too many, or none at all.
                Err(CallError::Problem(_) | CallError::Malformed) => return Err(AttachmentError::Altered),
                Err(_) => return Err(AttachmentError::Unreachable),
            }
        }
        file.flush().await?;
        let hash: [u8; 32] = hash.finalize().into();
        if hash == *reference.ciphertext_hash.as_bytes() {
            Ok(())
        } else {
            Err(AttachmentError::Altered)
        }
    }
}

impl Fetched {
    /// What was fetched.
    #[must_use]
    pub const fn reference(&self) -> &AttachmentRef {
        &self.reference
    }

    /// Opens every chunk once, so that nothing is given away of what does not open to its end.
    async fn verify(&mut self) -> Result<(), AttachmentError> {
        let (mut index, mut at) = (0, 0);
        self.file.seek(SeekFrom::Start(0)).await?;
        while at < self.padded() {
            let chunk = self.chunk(index).await?;
            let own = usize::try_from(self.reference.length.saturating_sub(at)).unwrap_or(PLAIN);
            if chunk.iter().skip(own).any(|byte| *byte != 0) {
                return Err(AttachmentError::Unopenable);
            }
            at += chunk.len() as u64;
            index += 1;
        }
        self.file.seek(SeekFrom::Start(0)).await?;
        Ok(())
    }

    /// Length of the plaintext with its padding.
    fn padded(&self) -> u64 {
        let length = self.reference.ciphertext_length;
        length - TAG as u64 * length.div_ceil(SEALED as u64)
    }

    /// The next chunk of the file.
    async fn chunk(&mut self, index: u32) -> Result<Zeroizing<Vec<u8>>, AttachmentError> {
        let at = u64::from(index) * CHUNK;
        let left = self.padded().saturating_sub(at);
        let plain = usize::try_from(left).unwrap_or(PLAIN).min(PLAIN);
        let mut sealed = vec![0; plain + TAG];
        self.file.read_exact(&mut sealed).await?;
        let last = left == plain as u64;
        let opened = self.chunks.open(index, last, &sealed);
        opened.map_err(|_| AttachmentError::Unopenable)
    }

    /// The plaintext, chunk by chunk.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::try_unfold((self, 0_u32), |(mut fetched, index)| async move {
            let at = u64::from(index) * CHUNK;
            let left = fetched.reference.length.saturating_sub(at);
            if left == 0 {
                return Ok(None);
            }
            let chunk = fetched.chunk(index).await.map_err(io::Error::other)?;
            let own = usize::try_from(left).unwrap_or(PLAIN).min(chunk.len());
            let bytes = Bytes::copy_from_slice(&chunk[..own]);
            Ok(Some((bytes, (fetched, index + 1))))
        })
    }
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
