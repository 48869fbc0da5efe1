//! An upload, sealed into a file of the state folder as it comes from the agent.
//!
//! Nothing of it goes to the relay before all of it is sealed: a chunk that broke off and is sealed again, perhaps
//! with other bytes, has been nowhere but here. Whoever begins anew takes another key, and so does another run of the proxy:
//! the state may have been set back or copied meanwhile.

use std::{io, path::Path};

use sha2::{Digest as _, Sha256};
use tokio::{
    fs::{File, OpenOptions},
    io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _},
};
use waxwire_shared::{
    ids::Hash,
    wire::{CHUNK, padme},
};
use zeroize::Zeroizing;

use super::{AttachmentError, Attachments, What};
use crate::{
    crypto::attachment::{Chunks, TAG},
    fault,
    model::Upload,
};

/// Bytes of a chunk's plaintext; small enough for any machine.
pub(super) const PLAIN: usize = CHUNK as usize;
/// Bytes of a sealed chunk, unless it is the last.
pub(super) const SEALED: usize = PLAIN + TAG;

/// An upload that is sealed.
pub struct Spool {
    file: File,
    chunks: Chunks,
    /// Plaintext that does not fill a chunk yet.
    rest: Zeroizing<Vec<u8>>,
    index: u32,
    /// Plaintext that was taken, without padding.
    taken: u64,
    length: u64,
    padded: u64,
    plaintext: Sha256,
    ciphertext: Sha256,
    sha256: Option<[u8; 32]>,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spool")
    }
}

impl Attachments {
    /// Whether anything of an upload was sealed.
    #[must_use]
    pub fn has_begun(&self, upload: &Upload) -> bool {
        self.spool_file(&upload.id).exists()
    }

    /// Goes on with an upload where its last whole chunk ends.
    ///
    /// # Errors
    /// [`AttachmentError`].
    pub async fn spool(&self, upload: &Upload) -> Result<Spool, AttachmentError> {
        let reference = &upload.reference;
        let (Some(padded), Ok(chunks)) = (padme(reference.length), Chunks::of(reference)) else {
            return Err(AttachmentError::TooLarge {
                max: self.max,
                actual: reference.length,
            });
        };
        self.space
            .take(What::Spool(upload.id), reference.ciphertext_length)?;
        let file = open(&self.spool_file(&upload.id), false).await?;
        let mut spool = Spool::new(file, chunks, padded, upload);
        spool.recover().await?;
        Ok(spool)
    }

    /// Seals what an earlier run has sealed anew, under the key that the upload has now.
    ///
    /// # Errors
    /// [`AttachmentError`]; nothing is left of it then.
    pub async fn reseal(&self, old: &Upload, fresh: &Upload) -> Result<(), AttachmentError> {
        let mut from = self.spool(old).await?;
        let place = self.spool_file(&old.id);
        let next = place.with_extension("new");
        let chunks = Chunks::of(&fresh.reference).map_err(|_| AttachmentError::Unopenable)?;
        let mut to = Spool::new(open(&next, true).await?, chunks, from.padded, fresh);
        from.file.seek(io::SeekFrom::Start(0)).await?;
        let mut sealed = vec![0; SEALED];
        for index in 0..from.index {
            from.file.read_exact(&mut sealed).await?;
            let chunk = from.chunks.open(index, false, &sealed);
            to.write(&chunk.map_err(|_| AttachmentError::Unopenable)?).await?;
        }
        to.pause().await?;
        Ok(tokio::fs::rename(next, place).await?)
    }
}

async fn open(path: &Path, empty: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .create(true)
        .read(true)
        .write(true)
        .truncate(empty)
        .mode(0o600);
    options.open(path).await
}

impl Spool {
    fn new(file: File, chunks: Chunks, padded: u64, upload: &Upload) -> Self {
        Self {
            file,
            chunks,
            rest: Zeroizing::new(Vec::with_capacity(PLAIN)),
            index: 0,
            taken: 0,
            length: upload.reference.length,
            padded,
            plaintext: Sha256::new(),
            ciphertext: Sha256::new(),
            sha256: upload.sha256,
        }
    }

    /// How many bytes were taken: where the agent goes on.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.taken
    }

    /// Reads what an earlier request has sealed, as far as it is whole chunks of the agent's own bytes.
    async fn recover(&mut self) -> Result<(), AttachmentError> {
        let mut sealed = vec![0; SEALED];
        while self.taken + CHUNK <= self.length && self.taken + CHUNK < self.padded {
            if !read_whole(&mut self.file, &mut sealed).await? {
                break;
            }
            let Ok(chunk) = self.chunks.open(self.index, false, &sealed) else {
                break;
            };
            self.plaintext.update(&*chunk);
            self.ciphertext.update(&sealed);
            self.taken += CHUNK;
            self.index += 1;
        }
        let end = u64::from(self.index) * SEALED as u64;
        self.file.set_len(end).await?;
        self.file.seek(io::SeekFrom::Start(end)).await?;
        Ok(())
    }

    /// Takes more of the agent's bytes.
    ///
    /// # Errors
    /// [`AttachmentError::Excess`] and the disk's own.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), AttachmentError> {
        let taken = self.taken.saturating_add(bytes.len() as u64);
        if taken > self.length {
            return Err(AttachmentError::Excess);
        }
        self.plaintext.update(bytes);
        self.fill(bytes).await?;
        self.taken = taken;
        Ok(())
    }

    async fn fill(&mut self, mut bytes: &[u8]) -> Result<(), AttachmentError> {
        while !bytes.is_empty() {
            let room = PLAIN - self.rest.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.rest.extend_from_slice(now);
            bytes = later;
            if self.rest.len() == PLAIN {
                self.seal().await?;
            }
        }
        Ok(())
    }

    async fn seal(&mut self) -> Result<(), AttachmentError> {
        let end = u64::from(self.index) * CHUNK + self.rest.len() as u64;
        let sealed = self.chunks.seal(self.index, end == self.padded, &self.rest);
        self.ciphertext.update(&sealed);
        self.file.write_all(&sealed).await?;
        self.rest.clear();
        self.index += 1;
        fault::point("upload.chunk");
        Ok(())
    }

    /// Whether all of the agent's bytes were taken.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.taken == self.length
    }

    /// Keeps what was taken so far for another request.
    ///
    /// # Errors
    /// The disk's own.
    pub async fn pause(mut self) -> Result<(), AttachmentError> {
        self.file.flush().await?;
        Ok(self.file.sync_all().await?)
    }

    /// Pads and makes all of it durable; gives the hash of the ciphertext.
    ///
    /// # Errors
    /// [`AttachmentError::Hash`] and the disk's own.
    pub async fn finish(mut self) -> Result<Hash, AttachmentError> {
        let hash: [u8; 32] = self.plaintext.clone().finalize().into();
        if self.sha256.is_some_and(|given| given != hash) {
            return Err(AttachmentError::Hash);
        }
        let mut padding = self.padded - self.length;
        while padding > 0 {
            let zeros = vec![0; usize::try_from(padding).unwrap_or(PLAIN).min(PLAIN)];
            self.fill(&zeros).await?;
            padding -= zeros.len() as u64;
        }
        if !self.rest.is_empty() {
            self.seal().await?;
        }
        let hash: [u8; 32] = self.ciphertext.clone().finalize().into();
        self.pause().await?;
        Ok(Hash::from_bytes(hash))
    }
}

/// Fills the buffer; false if the file ends before.
async fn read_whole(file: &mut File, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
