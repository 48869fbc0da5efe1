//! The bytes of attachments: opaque, appended to until they are complete, then read. Which there are and
//! whose is in the [`store`](crate::store).

use std::{
    collections::HashSet,
    fs::DirBuilder,
    io::{self, SeekFrom},
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::{
    fs::{File, OpenOptions},
    io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _, BufWriter},
};
use waxwire_shared::ids::BlobId;

/// Bytes that are written or read at once.
const BUFFER: usize = 128 * 1024;

/// Where the bytes of attachments are.
#[derive(Debug, Clone)]
pub enum Blobs {
    /// Files in a folder of this machine.
    Folder(Folder),
}

/// A folder with one file a blob, named by its id.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    /// Blobs that are appended to right now.
    busy: Arc<Mutex<HashSet<BlobId>>>,
}

/// Why a blob cannot be appended to.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another request does so at this moment.
    #[error("another request appends to this blob")]
    Busy,
    /// The disk.
    #[error("the blob's file cannot be written")]
    Io(#[from] io::Error),
}

impl Blobs {
    /// Makes the folder where it is missing, for its owner only.
    ///
    /// # Errors
    /// The disk's own.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(Self::Folder(Folder {
            path,
            busy: Arc::default(),
        }))
    }

    /// How many bytes of a blob are here.
    ///
    /// # Errors
    /// The disk's own.
    pub async fn offset(&self, id: &BlobId) -> io::Result<u64> {
        let Self::Folder(folder) = self;
        match tokio::fs::metadata(folder.file(id)).await {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Opens a blob to append to it; one at a time.
    ///
    /// # Errors
    /// [`AppendError`].
    pub async fn append(&self, id: &BlobId) -> Result<Appending, AppendError> {
        let Self::Folder(folder) = self;
        let turn = folder.turn(*id).ok_or(AppendError::Busy)?;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(folder.file(id))
            .await?;
        Ok(Appending {
            offset: file.metadata().await?.len(),
            file: BufWriter::with_capacity(BUFFER, file),
            folder: folder.path.clone(),
            _turn: turn,
        })
    }

    /// The bytes of a range, to be read as they are wanted; `None` if the file is not as long.
    ///
    /// # Errors
    /// The disk's own.
    pub async fn read(
        &self,
        id: &BlobId,
        start: u64,
        count: u64,
    ) -> io::Result<Option<impl Stream<Item = io::Result<Bytes>> + Send + 'static>> {
        let Self::Folder(folder) = self;
        let mut file = match File::open(folder.file(id)).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if file.metadata().await?.len() < start.saturating_add(count) {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(start)).await?;
        Ok(Some(stream::try_unfold((file, count), next)))
    }

    /// Deletes the bytes of a blob; there may be none.
    ///
    /// # Errors
    /// The disk's own.
    pub async fn delete(&self, id: &BlobId) -> io::Result<()> {
        let Self::Folder(folder) = self;
        match tokio::fs::remove_file(folder.file(id)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

async fn next((mut file, left): (File, u64)) -> io::Result<Option<(Bytes, (File, u64))>> {
    if left == 0 {
        return Ok(None);
    }
    let most = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
    let mut part = vec![0; most];
    let count = file.read(&mut part).await?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    part.truncate(count);
    Ok(Some((part.into(), (file, left - count as u64))))
}

impl Folder {
    fn file(&self, id: &BlobId) -> PathBuf {
        self.path.join(id.to_string())
    }

    fn turn(&self, id: BlobId) -> Option<Turn> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.insert(id).then(|| Turn {
            busy: Arc::clone(&self.busy),
            id,
        })
    }
}

/// The right to append to a blob, until it is dropped.
#[derive(Debug)]
struct Turn {
    busy: Arc<Mutex<HashSet<BlobId>>>,
    id: BlobId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.remove(&self.id);
    }
}

/// A blob that is appended to.
#[derive(Debug)]
pub struct Appending {
    file: BufWriter<File>,
    folder: PathBuf,
    offset: u64,
    _turn: Turn,
}

impl Appending {
    /// How many bytes there are.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// The disk's own; what was written before it is kept.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).await?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Makes everything that was written durable, the file's name included.
    ///
    /// # Errors
    /// The disk's own.
    pub async fn sync(&mut self) -> io::Result<()> {
        self.file.flush().await?;
        self.file.get_ref().sync_all().await?;
        File::open(&self.folder).await?.sync_all().await
    }
}
