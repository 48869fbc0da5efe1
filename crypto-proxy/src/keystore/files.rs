//! Folder, lock, permissions and atomic replacement.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{KeyStoreError, unlock::UnlockError};

/// Permissions of the folder.
pub(super) const FOLDER_MODE: u32 = 0o700;
/// Permissions of every file in it.
pub(super) const FILE_MODE: u32 = 0o600;
/// What neither group nor others may.
const OTHERS: u32 = 0o077;

/// Who may read a secret file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Its owner.
    OwnerOnly,
    /// Whoever the system lets, which sees to it itself.
    Any,
}

/// Makes the folder of a new store, or takes an empty one, and closes it to others.
pub(super) fn make_folder(dir: &Path) -> Result<(), KeyStoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(dir)
        .map_err(failed("create folder", dir))?;
    fs::set_permissions(dir, Permissions::from_mode(FOLDER_MODE)).map_err(failed("close to others", dir))?;
    match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
}

/// Refuses a folder that others may enter.
pub(super) fn check_folder(dir: &Path) -> Result<(), KeyStoreError> {
    let mode = fs::metadata(dir)
        .map_err(failed("read", dir))?
        .permissions()
        .mode()
        & 0o777;
    check_mode(dir, mode, FOLDER_MODE)
}

fn check_mode(path: &Path, mode: u32, allowed: u32) -> Result<(), KeyStoreError> {
    if mode & OTHERS == 0 {
        Ok(())
    } else {
        Err(KeyStoreError::Permissions {
            path: path.to_owned(),
            mode,
            allowed,
        })
    }
}

/// Takes the advisory lock for as long as the file is open; the system releases it when the
/// process ends, however it ends.
pub(super) fn lock(path: &Path) -> Result<File, KeyStoreError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)
        .map_err(failed("open", path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(KeyStoreError::Locked {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed("lock", path)(source)),
    }
}

/// Reads a file of at most `max` bytes that nobody else can read. Permissions are those of the
/// opened file, whatever happens to its name.
pub(super) fn read(path: &Path, max: u64) -> Result<Vec<u8>, KeyStoreError> {
    let file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => KeyStoreError::Missing {
            path: path.to_owned(),
        },
        _ => failed("open", path)(source),
    })?;
    let about = file.metadata().map_err(failed("read", path))?;
    check_mode(path, about.permissions().mode() & 0o777, FILE_MODE)?;
    if about.len() > max {
        return Err(KeyStoreError::TooLarge {
            max,
            actual: about.len(),
        });
    }
    let mut bytes = Vec::new();
    file.take(max)
        .read_to_end(&mut bytes)
        .map_err(failed("read", path))?;
    Ok(bytes)
}

/// Reads a passphrase or key file.
pub(super) fn read_secret(path: &Path, access: Access, max: u64) -> Result<Zeroizing<Vec<u8>>, UnlockError> {
    let refused = |source| UnlockError::Io {
        act: "read",
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(refused)?;
    let about = file.metadata().map_err(refused)?;
    let mode = about.permissions().mode() & 0o777;
    if access == Access::OwnerOnly && mode & OTHERS != 0 {
        return Err(UnlockError::Permissions {
            path: path.to_owned(),
            mode,
            allowed: FILE_MODE,
        });
    }
    // Room for one byte more than is allowed: never reallocated, so no copy stays behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(max).unwrap_or(0) + 1));
    file.take(max + 1).read_to_end(&mut bytes).map_err(refused)?;
    if bytes.len() as u64 > max {
        return Err(UnlockError::TooLong {
            path: path.to_owned(),
            max,
        });
    }
    Ok(bytes)
}

/// Replaces `path` by `bytes` or leaves it as it was, whenever the machine stops: a new file beside
/// it, flushed, renamed over it, and the folder flushed.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), KeyStoreError> {
    let new = new_name(path);
    remove_left_over(path)?;
    create_new(&new, bytes).inspect_err(|_| {
        // The first error counts; what is left over is removed before the next attempt.
        let _ = fs::remove_file(&new);
    })?;
    fs::rename(&new, path).map_err(failed("replace", path))?;
    sync_folder(folder(path))
}

/// Removes what a crash in [`replace`] left beside `path`.
pub(super) fn remove_left_over(path: &Path) -> Result<(), KeyStoreError> {
    let new = new_name(path);
    match fs::remove_file(&new) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(failed("remove", &new)(source)),
        _ => Ok(()),
    }
}

/// Writes a file that must not be there yet, readable by its owner only, and flushes it.
pub(super) fn create_new(path: &Path, bytes: &[u8]) -> Result<(), KeyStoreError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)
        .map_err(failed("create", path))?;
    file.write_all(bytes).map_err(failed("write", path))?;
    file.sync_all().map_err(failed("flush", path))?;
    sync_folder(folder(path))
}

/// Where the next version of `path` is written before it takes its name.
pub(super) fn new_name(path: &Path) -> PathBuf {
    path.with_extension("new")
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn sync_folder(dir: &Path) -> Result<(), KeyStoreError> {
    File::open(dir)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("flush", dir))
}

/// Says what was tried on what.
pub(super) fn failed(act: &'static str, path: &Path) -> impl Fn(io::Error) -> KeyStoreError + use<> {
    let path = path.to_owned();
    move |source| KeyStoreError::Io {
        act,
        path: path.clone(),
        source,
    }
}
