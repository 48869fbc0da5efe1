//! A small disk of its own for a folder, which can be full or stand still. Mounting it needs root.

use std::{
    fs::{self, File, Permissions},
    io::{ErrorKind, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, ensure};

/// A file system in a file, which has the room for all of it; unmounted when dropped.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Mounts one of so many MiB over a folder, which is made if it is missing.
    ///
    /// # Errors
    /// The system refuses; it does so without root.
    pub fn mount(folder: &Path, mebibytes: u32) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let file = folder.with_extension("disk");
        let bytes = vec![0; mebibytes as usize * 1024 * 1024];
        fs::write(&file, bytes)?;
        run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&file))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&file).arg(folder))?;
        // It is what the folder holds, and not searched a second time.
        fs::remove_file(&file)?;
        let disk = Self {
            folder: folder.to_owned(),
        };
        fs::remove_dir(folder.join("lost+found"))?;
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
        Ok(disk)
    }

    /// Nothing that is written to it gets there for a while: whoever waits for that waits. It goes on whatever becomes of
    /// the test, for nobody could end programs that wait.
    ///
    /// # Errors
    /// The system refuses.
    pub async fn pause(&self, length: Duration) -> anyhow::Result<()> {
        const PAUSE: &str = r#"fsfreeze --freeze "$0" && sleep "$1" && fsfreeze --unfreeze "$0""#;
        let mut command = Command::new("setsid");
        command.args(["sh", "-c", PAUSE]).arg(&self.folder);
        command.arg(length.as_secs_f64().to_string());
        tokio::task::spawn_blocking(move || run(&mut command)).await?
    }

    /// Leaves no room on it.
    ///
    /// # Errors
    /// It is not full then.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut file = File::create(self.filler())?;
        loop {
            match file.write_all(&[0; 4096]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error).context("filling a disk"),
            }
        }
    }

    /// Makes room again.
    ///
    /// # Errors
    /// It was not full.
    pub fn clear(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.filler())?)
    }

    /// Nothing can be written to it any more, or again. Nothing may have a file of it open for writing.
    ///
    /// # Errors
    /// The system refuses.
    pub fn read_only(&self, read_only: bool) -> anyhow::Result<()> {
        let option = if read_only { "remount,ro" } else { "remount,rw" };
        run(Command::new("mount").args(["-o", option]).arg(&self.folder))
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Also while a program that is about to be killed has files there.
        let _unmounted = run(Command::new("umount").arg("--lazy").arg(&self.folder));
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", text.trim());
    Ok(())
}
