//! The bytes of attachments between agent and relay (docs/protocol.md, 7.2). Outward they are sealed chunk by
//! chunk into a file of the state folder ([`spool`]) and offered to the relay from there ([`push`]); inward
//! the ciphertext is fetched into such a file and verified whole before a byte of it is given away
//! ([`fetch`]). Nothing here lies in clear on a disk, memory is a few chunks, and disk is bounded ([`space`]).
//!
//! Keys and what a message cites are decided by the engine; who may ask, by the local API.

mod fetch;
mod push;
mod space;
mod spool;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    fmt, fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use waxwire_shared::ids::BlobId;

use self::space::{Space, What};
pub use self::{fetch::Fetched, spool::Spool};
use crate::{
    link::{CallError, Client},
    model::{AttachmentId, Upload},
};

/// The folder inside the state folder.
const FOLDER: &str = "attachments";
/// Bytes that go to or come from the relay in one call.
const PART: usize = 256 * 1024;
/// How long the relay is tried without getting anywhere.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// Why an attachment is not taken or given.
#[derive(Debug, thiserror::Error)]
pub enum AttachmentError {
    /// The state folder has no room for it now.
    #[error("attachments under way need more room than they may take")]
    Space {
        /// How many bytes they may take.
        max: u64,
        /// How many they would take.
        actual: u64,
    },
    /// Larger than this proxy takes.
    #[error("the attachment is too large")]
    TooLarge {
        /// How many bytes it may have.
        max: u64,
        /// How many it has.
        actual: u64,
    },
    /// A limit of the relay.
    #[error("the relay has no room for the attachment")]
    Quota {
        /// Its name.
        limit: String,
        /// Its value.
        max: u64,
        /// What there would be.
        actual: u64,
    },
    /// The relay refuses for another reason.
    #[error("the relay refuses the attachment")]
    Refused,
    /// The relay does not have it, or not any more.
    #[error("the relay does not have the attachment")]
    Gone,
    /// What the relay gives is not what the author cites.
    #[error("the relay gives other bytes than the author has cited")]
    Altered,
    /// The bytes are those that the author cites, and they are no attachment.
    #[error("what the author has cited does not open")]
    Unopenable,
    /// The agent gave bytes with another hash than it said.
    #[error("the bytes do not have the hash that was given")]
    Hash,
    /// The agent gave more bytes than it said.
    #[error("more bytes than were announced")]
    Excess,
    /// The relay cannot be reached.
    #[error("the relay cannot be reached")]
    Unreachable,
    /// The disk.
    #[error("the state folder cannot be used")]
    Disk(#[from] io::Error),
}

/// The bytes of attachments on their way; shared by all requests.
pub struct Attachments {
    client: Arc<Client>,
    folder: PathBuf,
    space: Space,
    max: u64,
    busy: Arc<Mutex<HashSet<AttachmentId>>>,
    /// Uploads under keys that were made in this run.
    fresh: Mutex<HashSet<(AttachmentId, BlobId)>>,
    fetches: AtomicU64,
}

impl fmt::Debug for Attachments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attachments")
    }
}

/// How much of what may lie in the state folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Largest attachment, in bytes.
    pub attachment: u64,
    /// Bytes of all attachments that are under way.
    pub space: u64,
}

impl Attachments {
    /// Makes the folder where it is missing, and deletes what was fetched in an earlier run and, but for
    /// these uploads, what was sealed.
    ///
    /// # Errors
    /// The disk's own.
    pub fn open(
        client: Arc<Client>,
        state: &Path,
        bounds: Bounds,
        uploads: &[AttachmentId],
    ) -> io::Result<Self> {
        let folder = state.join(FOLDER);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let all = Self {
            client,
            folder,
            space: Space::new(bounds.space),
            max: bounds.attachment,
            busy: Arc::default(),
            fresh: Mutex::default(),
            fetches: AtomicU64::default(),
        };
        all.tidy(uploads)?;
        Ok(all)
    }

    /// Deletes every file but those of these uploads.
    fn tidy(&self, uploads: &[AttachmentId]) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let upload = uploads.iter().find(|id| self.spool_file(id) == entry.path());
            match upload {
                Some(id) => self.space.note(What::Spool(*id), entry.metadata()?.len()),
                None => fs::remove_file(entry.path())?,
            }
        }
        Ok(())
    }

    /// Deletes what was sealed of uploads that are none of these any more.
    pub fn forget_others(&self, uploads: &[AttachmentId]) {
        for id in self.space.spools() {
            let busy = lock(&self.busy).contains(&id);
            if !busy && !uploads.contains(&id) {
                self.discard(&id);
            }
        }
    }

    /// Largest attachment, in bytes.
    #[must_use]
    pub const fn max(&self) -> u64 {
        self.max
    }

    /// The right to work on an upload, for one at a time, until it is dropped.
    #[must_use]
    pub fn turn(&self, id: AttachmentId) -> Option<Turn> {
        lock(&self.busy).insert(id).then(|| Turn {
            busy: Arc::clone(&self.busy),
            id,
        })
    }

    /// Notes that the key of an upload was made just now.
    pub fn note_fresh(&self, upload: &Upload) {
        lock(&self.fresh).insert((upload.id, upload.reference.blob));
    }

    /// Whether this run may seal under the key of an upload. Another may have sealed other bytes under it: before
    /// the state was set back, or in a copy of it.
    #[must_use]
    pub fn is_fresh(&self, upload: &Upload) -> bool {
        lock(&self.fresh).contains(&(upload.id, upload.reference.blob))
    }

    /// Deletes what was sealed of an upload.
    pub fn discard(&self, id: &AttachmentId) {
        match fs::remove_file(self.spool_file(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "a sealed upload cannot be deleted");
            }
            _ => self.space.release(&What::Spool(*id)),
        }
        lock(&self.fresh).retain(|(known, _)| known != id);
    }

    fn spool_file(&self, id: &AttachmentId) -> PathBuf {
        self.folder.join(format!("up-{}", hex::encode(id.id)))
    }

    fn fetch_file(&self) -> (u64, PathBuf) {
        let number = self.fetches.fetch_add(1, Ordering::Relaxed);
        (number, self.folder.join(format!("down-{number}")))
    }
}

/// See [`Attachments::turn`].
#[derive(Debug)]
pub struct Turn {
    busy: Arc<Mutex<HashSet<AttachmentId>>>,
    id: AttachmentId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock(&self.busy).remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a call that failed is worth making again.
fn is_passing(error: &CallError) -> bool {
    match error {
        CallError::Unreachable => true,
        // The link replaces the API key where it can.
        CallError::Problem(problem) => matches!(problem.status, 401 | 429 | 500..=599),
        CallError::Untrusted(_) | CallError::Malformed | CallError::RelayChanged(_) => false,
    }
}

/// Tries that get nowhere, as long as patience lasts.
struct Patience {
    since: Instant,
}

impl Patience {
    fn new() -> Self {
        Self {
            since: Instant::now(),
        }
    }

    /// Something was achieved.
    fn renew(&mut self) {
        self.since = Instant::now();
    }

    /// Waits for the next try.
    async fn pause(&self) -> Result<(), AttachmentError> {
        if self.since.elapsed() > PATIENCE {
            return Err(AttachmentError::Unreachable);
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}
