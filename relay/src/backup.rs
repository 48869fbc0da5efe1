//! `waxwire-relay admin backup`: the database and its attachments in a folder of their own.

use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, File},
    io::{self, ErrorKind},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use crate::store::sqlite;

/// The database in a backup.
pub const DATABASE: &str = "relay.db";
/// Its attachments there.
pub const BLOBS: &str = "relay.db-blobs";

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something is there already.
    #[error("{} is there already: name a folder that is not", .0.display())]
    Exists(PathBuf),
    /// The folder cannot be made.
    #[error("the folder {path} cannot be made")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlite::CopyError),
    /// Attachments.
    #[error("the attachments cannot be copied")]
    Blobs(#[source] io::Error),
}

/// What a backup holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Made {
    /// Attachments.
    pub blobs: u64,
}

/// Makes the folder `to` and copies the database at `database` into it, then the attachments in `blobs`, if there is
/// such a folder. The folder gets its name when all of it is on disk.
///
/// # Errors
/// [`BackupError`]; what was begun is removed.
pub fn make(database: &Path, blobs: &Path, to: &Path) -> Result<Made, BackupError> {
    let failed = |source| BackupError::Folder {
        path: to.to_path_buf(),
        source,
    };
    if fs::exists(to).map_err(failed)? {
        return Err(BackupError::Exists(to.to_path_buf()));
    }
    let mut name = to.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    DirBuilder::new().mode(0o700).create(&part).map_err(failed)?;
    let made = fill(database, blobs, &part).and_then(|made| {
        // A folder that is there and not empty is not replaced.
        fs::rename(&part, to).map_err(failed)?;
        sync_parent(to).map_err(failed)?;
        Ok(made)
    });
    if made.is_err() {
        // What cannot be removed either is left under a name that says what it is.
        let _left = fs::remove_dir_all(&part);
    }
    made
}

fn fill(database: &Path, blobs: &Path, to: &Path) -> Result<Made, BackupError> {
    sqlite::copy(database, &to.join(DATABASE))?;
    let mut made = Made::default();
    if blobs.is_dir() {
        // After the database: whatever that names was there. What was deleted meanwhile nobody misses.
        copy_folder(blobs, &to.join(BLOBS), &mut made.blobs).map_err(BackupError::Blobs)?;
    }
    File::open(to)
        .and_then(|folder| folder.sync_all())
        .map_err(BackupError::Blobs)?;
    Ok(made)
}

fn copy_folder(from: &Path, to: &Path, copied: &mut u64) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_folder(&entry.path(), &target, copied)?;
        } else if kind.is_file() {
            match fs::copy(entry.path(), &target) {
                Ok(_) => File::open(&target)?.sync_all()?,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
            *copied += 1;
        }
    }
    File::open(to)?.sync_all()
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| *parent != OsStr::new(""));
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
