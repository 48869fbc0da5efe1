//! A program's view of the time, which can jump. The library of `faketime` answers its questions for the clock.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::clock::unix_ms;

/// A clock that is the machine's, but for an offset; the clock that only grows is left as it is.
#[derive(Debug, Clone)]
pub struct FalseClock {
    file: PathBuf,
}

impl FalseClock {
    /// A clock that is right, with its offset in `file`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn new(file: &Path) -> anyhow::Result<Self> {
        let clock = Self {
            file: file.to_owned(),
        };
        clock.jump(0)?;
        Ok(clock)
    }

    /// It is so many seconds fast from now on; slow, if negative.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn jump(&self, seconds: i64) -> anyhow::Result<()> {
        // Whoever reads at this moment reads the one or the other.
        let next = self.file.with_extension("next");
        fs::write(&next, format!("{seconds:+}\n"))?;
        Ok(fs::rename(&next, &self.file)?)
    }

    /// It shows this time from now on, in seconds since the Unix epoch, and goes on.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn jump_to(&self, seconds: i64) -> anyhow::Result<()> {
        self.jump(seconds - (unix_ms() / 1_000).cast_signed())
    }

    /// What a program is started with to see it.
    ///
    /// # Errors
    /// The library is not installed; `scripts/setup` does that.
    pub fn environment(&self) -> anyhow::Result<Vec<(String, String)>> {
        let library = library().context("no libfaketime: run scripts/setup")?;
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Ok(vec![
            set("LD_PRELOAD", &library.display().to_string()),
            set("FAKETIME_TIMESTAMP_FILE", &self.file.display().to_string()),
            set("FAKETIME_NO_CACHE", "1"),
            set("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ])
    }
}

/// Where it lies on this machine.
fn library() -> Option<PathBuf> {
    let of_machine = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let mut folders = of_machine.chain(["/usr/lib".into(), "/usr/local/lib".into()]);
    folders.find_map(|folder| {
        let library = folder.join("faketime/libfaketime.so.1");
        library.is_file().then_some(library)
    })
}
