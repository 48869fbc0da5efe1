//! A folder with one file a blob, named by its id.

use std::{
    collections::HashSet,
    fs::{DirBuilder, TryLockError},
    io::{self, SeekFrom},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::{
    fs::{File, OpenOptions},
    io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _, BufWriter},
};
use waxwire_shared::ids::BlobId;

use super::{BlobStream, ChangeError};

/// Bytes that are written or read at once.
const BUFFER: usize = 128 * 1024;

/// A folder with one file a blob, named by its id.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: PathBuf,
    /// Blobs that are changed right now.
    busy: Arc<Mutex<HashSet<BlobId>>>,
}

impl Folder {
    /// Makes it where it is missing, for its owner only.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(Self {
            path: path.to_owned(),
            busy: Arc::default(),
        })
    }

    /// The file of a blob.
    pub(super) fn file(&self, id: &BlobId) -> PathBuf {
        self.path.join(id.to_string())
    }

    /// The right to change a blob, unless somebody has it.
    pub(super) fn turn(&self, id: BlobId) -> Option<Turn> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.insert(id).then(|| Turn {
            busy: Arc::clone(&self.busy),
            id,
        })
    }

    pub(super) async fn offset(&self, id: &BlobId) -> io::Result<u64> {
        match tokio::fs::metadata(self.file(id)).await {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn append(&self, id: &BlobId) -> Result<Appending, ChangeError> {
        let turn = self.turn(*id).ok_or(ChangeError::Busy)?;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(self.file(id))
            .await?;
        let file = lock(file).await?;
        Ok(Appending {
            offset: file.metadata().await?.len(),
            file: BufWriter::with_capacity(BUFFER, file),
            folder: self.path.clone(),
            turn,
        })
    }

    /// The bytes of a range; `None` if there is no file, or none as long.
    pub(super) async fn read(&self, id: &BlobId, start: u64, count: u64) -> io::Result<Option<BlobStream>> {
        let mut file = match File::open(self.file(id)).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if file.metadata().await?.len() < start.saturating_add(count) {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(start)).await?;
        Ok(Some(stream::try_unfold((file, count), next).boxed()))
    }

    pub(super) async fn delete(&self, id: &BlobId) -> io::Result<()> {
        remove(&self.file(id)).await
    }

    /// Every blob that has a file.
    pub(super) async fn list(&self) -> io::Result<Vec<BlobId>> {
        let mut entries = tokio::fs::read_dir(&self.path).await?;
        let mut ids = Vec::new();
        while let Some(entry) = entries.next_entry().await? {
            let name = entry.file_name();
            ids.extend(name.to_str().and_then(|name| name.parse::<BlobId>().ok()));
        }
        Ok(ids)
    }
}

/// Locks a file until it is closed, for other relays may have the folder, too.
async fn lock(file: File) -> Result<File, ChangeError> {
    let file = file.into_std().await;
    match file.try_lock() {
        Ok(()) => Ok(File::from_std(file)),
        Err(TryLockError::WouldBlock) => Err(ChangeError::Busy),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Removes a file that may not be there.
pub(super) async fn remove(file: &Path) -> io::Result<()> {
    match tokio::fs::remove_file(file).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
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

/// The right to change a blob, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
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
    turn: Turn,
}

impl Appending {
    pub(super) const fn id(&self) -> &BlobId {
        &self.turn.id
    }

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

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// Two relays have one folder.
    #[tokio::test]
    async fn blob_is_appended_to_by_one_at_a_time_whoever_has_the_folder() {
        let place = TempDir::new().unwrap();
        let [one, other] = [(); 2].map(|()| Folder::open(place.path()).unwrap());
        let id = BlobId::from_bytes([1; 16]);
        let mut upload = one.append(&id).await.unwrap();
        upload.write(b"part").await.unwrap();
        upload.sync().await.unwrap();
        for folder in [&one, &other] {
            assert!(matches!(folder.append(&id).await, Err(ChangeError::Busy)));
        }
        drop(upload);
        assert_eq!(other.append(&id).await.unwrap().offset(), 4);
    }
}
