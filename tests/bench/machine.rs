//! What a result depends on besides the code.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    process::Command,
    thread,
    time::Instant,
};

use anyhow::Context as _;
use serde::Serialize;

use crate::{clock, process, stats};

/// Flushes in one probe of the disk.
const FLUSHES: u64 = 20;

/// The machine, as far as it tells.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// Model name of the first core.
    cpu: String,
    /// Cores that this process may use.
    cores: usize,
    /// `MemTotal` with its unit.
    memory: String,
    /// Release of the kernel.
    kernel: String,
    /// Load averages over 1, 5 and 15 minutes before the first run.
    load: String,
}

/// What was measured, by version.
#[derive(Debug, Serialize)]
pub(crate) struct Versions {
    waxwire: &'static str,
    commit: Option<String>,
    sqlite: &'static str,
    optimised: bool,
}

impl Machine {
    /// Asks the operating system; what it does not tell stays empty.
    pub(crate) fn here() -> Self {
        Self {
            cpu: field("/proc/cpuinfo", "model name"),
            cores: cores(),
            memory: field("/proc/meminfo", "MemTotal"),
            kernel: line("/proc/sys/kernel/osrelease"),
            load: line("/proc/loadavg"),
        }
    }
}

impl Versions {
    /// Of this build; the commit is that of the working folder, if it is a repository.
    pub(crate) fn here() -> Self {
        Self {
            waxwire: env!("CARGO_PKG_VERSION"),
            commit: commit(),
            sqlite: rusqlite::version(),
            optimised: !cfg!(debug_assertions),
        }
    }
}

fn commit() -> Option<String> {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The value of the first line `name : value`.
fn field(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    value.unwrap_or_default().trim().to_owned()
}

/// CPU of the whole machine over a time, to tell how much of it others took.
pub(crate) struct Watch {
    begin: Instant,
    busy: f64,
}

impl Watch {
    /// Begins.
    ///
    /// # Errors
    /// The system is not Linux.
    pub(crate) fn start() -> anyhow::Result<Self> {
        Ok(Self {
            begin: clock::now(),
            busy: busy_seconds()?,
        })
    }

    /// The share of all cores, 0 to 1, that was taken by anything but `own` seconds.
    ///
    /// # Errors
    /// The system is not Linux.
    pub(crate) fn others(&self, own: f64) -> anyhow::Result<f64> {
        let all = (clock::now() - self.begin).as_secs_f64() * cores() as f64;
        Ok(((busy_seconds()? - self.busy - own) / all).clamp(0.0, 1.0))
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn busy_seconds() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let ticks = busy_ticks(&stat).context("no CPU times in /proc/stat")?;
    Ok(ticks as f64 / process::TICKS)
}

/// All of the first line but `idle` and `iowait`, its fields 4 and 5; guests are in `user` already.
fn busy_ticks(stat: &str) -> Option<u64> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = fields
        .split_ascii_whitespace()
        .take(8)
        .map_while(|field| field.parse().ok())
        .collect();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some(ticks.iter().sum::<u64>() - idle)
}

/// Median time that the disk below `folder` takes to make one written page durable, microseconds.
///
/// Milliseconds where microseconds are usual mean a rationed disk, or cores so busy that the word
/// of the disk is heard late. Either says more about the machine than about the program.
///
/// # Errors
/// The folder cannot be written.
pub(crate) fn flush_micros(folder: &Path) -> anyhow::Result<f64> {
    let path = folder.join("flush-probe");
    let file = File::create(&path)?;
    let page = [0x5a; 4096];
    file.write_all_at(&page, 0)?;
    file.sync_all()?;
    let mut times = Vec::new();
    for _ in 0..FLUSHES {
        let start = clock::now();
        file.write_all_at(&page, 0)?;
        file.sync_data()?;
        times.push((clock::now() - start).as_secs_f64() * 1e6);
    }
    fs::remove_file(path)?;
    Ok(stats::median(times).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_everything_but_idle_and_waiting_for_disks() {
        let stat = "cpu  10 2 30 400 50 6 7 8 9 9\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy_ticks(stat), Some(10 + 2 + 30 + 6 + 7 + 8));
    }

    #[test]
    fn field_takes_the_first_of_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("info");
        fs::write(&path, "model\t: 1\nmodel name\t: Fast One\nmodel name\t: Other\n").unwrap();
        assert_eq!(field(path.to_str().unwrap(), "model name"), "Fast One");
        assert_eq!(field(path.to_str().unwrap(), "absent"), "");
    }
}
