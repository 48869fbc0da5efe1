//! Takes back what `init` made, when the relay's refusal made it useless.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    keystore::{KEY_FILE, LOCK_FILE, STORE_FILE},
    state,
};

/// A state folder as it was before `init` touched it.
#[derive(Debug)]
pub(super) struct Before {
    folder: PathBuf,
    had_folder: bool,
    had_key: bool,
}

impl Before {
    /// Looks at a folder.
    pub(super) fn look(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            had_folder: folder.exists(),
            had_key: folder.join(KEY_FILE).exists(),
        }
    }

    /// Removes keys that were never registered, and everything else that `init` makes before it
    /// registers. The key store must be closed.
    pub(super) fn restore(&self) -> io::Result<()> {
        let database = [
            state::FILE.to_owned(),
            format!("{}-wal", state::FILE),
            format!("{}-shm", state::FILE),
        ];
        for name in database.iter().map(String::as_str).chain([STORE_FILE, LOCK_FILE]) {
            remove(&self.folder.join(name))?;
        }
        if !self.had_key {
            remove(&self.folder.join(KEY_FILE))?;
        }
        if self.had_folder {
            Ok(())
        } else {
            fs::remove_dir(&self.folder)
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_is_as_it_was() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("state");
        let make = |names: &[&str]| {
            fs::create_dir_all(&folder).unwrap();
            for name in names {
                fs::write(folder.join(name), "x").unwrap();
            }
        };
        let all = ["keys", "key", "lock", "state.db", "state.db-wal", "state.db-shm"];

        let before = Before::look(&folder);
        make(&all);
        before.restore().unwrap();
        assert!(!folder.exists());

        make(&["key"]);
        let before = Before::look(&folder);
        make(&all);
        before.restore().unwrap();
        let left: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["key"]);
    }
}
