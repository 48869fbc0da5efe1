//! Shares of a core: processes that may take no more, by a control group of Linux.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::process::Server;

/// Over which the share is counted, microseconds. Short, so that a process which has used its share does not stand still
/// for long.
const PERIOD: u64 = 4_000;

/// The control group of one process; lifted when dropped.
pub(crate) struct Quota {
    folder: PathBuf,
    /// Where its process goes afterwards.
    above: PathBuf,
    process: String,
}

impl Quota {
    /// From now on the server takes no more than this share of one core, all threads together.
    ///
    /// # Errors
    /// The user may not, or the system has no control groups.
    pub(crate) fn of(server: &Server, share: f64) -> anyhow::Result<Self> {
        // The hierarchy of version 1 has a folder for each resource, that of version 2 one for all.
        let first = Path::new("/sys/fs/cgroup/cpu");
        let is_first = first.is_dir();
        let above = if is_first {
            first
        } else {
            Path::new("/sys/fs/cgroup")
        };
        let process = server.id().to_string();
        let folder = above.join(format!("waxwire-bench-{process}"));
        let doing = || format!("no control group {}", folder.display());
        fs::create_dir(&folder).with_context(doing)?;
        let quota = Self {
            folder: folder.clone(),
            above: above.to_owned(),
            process,
        };
        quota.begin(share, is_first).with_context(doing)?;
        Ok(quota)
    }

    fn begin(&self, share: f64, is_first: bool) -> io::Result<()> {
        let share = (PERIOD as f64 * share).round();
        if is_first {
            self.write("cpu.cfs_period_us", &PERIOD.to_string())?;
            self.write("cpu.cfs_quota_us", &share.to_string())?;
        } else {
            self.write("cpu.max", &format!("{share} {PERIOD}"))?;
        }
        self.write("cgroup.procs", &self.process)
    }

    fn write(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.folder.join(file), value)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // The process may have ended; a group that is not empty cannot be removed, and stays.
        let _ = fs::write(self.above.join("cgroup.procs"), &self.process);
        let _ = fs::remove_dir(&self.folder);
    }
}
