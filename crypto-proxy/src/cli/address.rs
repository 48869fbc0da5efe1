//! Where the running proxy listens: a file in the state folder tells it to the other commands.
//!
//! The file is a hint. Whoever answers there has to prove that it knows the folder's token before it
//! is told anything (see [`super::client`]).

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// Its name inside the state folder.
const FILE: &str = "address";

/// The file while the proxy runs; removed with it if it is still the same.
#[derive(Debug)]
pub(super) struct AddressFile {
    path: PathBuf,
    line: String,
}

impl AddressFile {
    /// Tells the place, which is `http://HOST:PORT` or `unix:PATH`.
    pub(super) fn write(folder: &Path, place: &str) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        let line = format!("{place}\n");
        replace(&path, &line).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path, line })
    }

    /// What the running proxy told.
    pub(super) fn read(folder: &Path) -> anyhow::Result<String> {
        let path = folder.join(FILE);
        match fs::read_to_string(&path) {
            Ok(line) => Ok(line.trim_end().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                anyhow::bail!(
                    "no proxy runs on {}: start it with waxwire-proxy run",
                    folder.display()
                )
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
}

impl Drop for AddressFile {
    fn drop(&mut self) {
        let same = fs::read_to_string(&self.path).is_ok_and(|line| line == self.line);
        if same && let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "the file with the address stays behind");
        }
    }
}

/// Never half of it, whoever reads at whatever moment.
fn replace(path: &Path, line: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(line.as_bytes())?;
    drop(file);
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_there_while_the_proxy_runs() {
        let folder = tempfile::tempdir().unwrap();
        assert!(AddressFile::read(folder.path()).is_err());
        let file = AddressFile::write(folder.path(), "http://127.0.0.1:7700").unwrap();
        assert_eq!(AddressFile::read(folder.path()).unwrap(), "http://127.0.0.1:7700");
        drop(file);
        assert!(AddressFile::read(folder.path()).is_err());
    }

    #[test]
    fn file_of_a_later_proxy_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let first = AddressFile::write(folder.path(), "http://127.0.0.1:1").unwrap();
        let second = AddressFile::write(folder.path(), "http://127.0.0.1:2").unwrap();
        drop(first);
        assert_eq!(AddressFile::read(folder.path()).unwrap(), "http://127.0.0.1:2");
        drop(second);
    }
}
