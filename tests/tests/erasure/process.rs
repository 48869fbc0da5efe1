//! What others of the host can do to the process (SECURITY.md, "Other users of the host").

use std::{fs, os::unix::process::CommandExt as _, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use waxwire_tests::{program::run, scenario};

/// Somebody who is not root.
const NOBODY: u32 = 65_534;

/// Another process of the same user cannot read the memory or attach to the process, and no core is left behind. The
/// proxy runs as nobody here, and so does who looks.
#[test]
fn memory_is_closed_to_everybody_but_root() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let mut proxy = world.new_proxy(&relay, "alice").await?;
        proxy.init().await?;
        for path in [world.folder().to_owned(), proxy.state()] {
            std::os::unix::fs::chown(path, Some(NOBODY), None).context("this test has to run as root")?;
        }
        for file in fs::read_dir(proxy.state())? {
            std::os::unix::fs::chown(file?.path(), Some(NOBODY), None)?;
        }
        // The log is written through a descriptor that is open already; the program is read by its path.
        let mut command = proxy.run_command("127.0.0.1:0")?;
        command.uid(NOBODY);
        proxy.start_by(command).await?;
        let id = proxy.program()?.id();
        let owner = fs::read_to_string(format!("/proc/{id}/status"))?;
        ensure!(
            owner.contains(&format!("Uid:\t{NOBODY}")),
            "it does not run as nobody:\n{owner}"
        );
        let limits = fs::read_to_string(format!("/proc/{id}/limits"))?;
        let core = limits.lines().find(|line| line.starts_with("Max core file size"));
        let core: Vec<&str> = core.context("a limit of cores")?.split_whitespace().collect();
        ensure!(core[4..6] == ["0", "0"], "{core:?}");
        for file in ["mem", "maps", "environ"] {
            let read = reads(format!("/proc/{id}/{file}")).await?;
            ensure!(!read, "{file} is open to the same user");
        }
        check_pages(id, &world.folder().join("logs").join("alice.log"))?;
        // The same user may read what is its own otherwise: it is the process that refuses.
        ensure!(reads(proxy.token_file().to_string_lossy().into_owned()).await?);
        Ok(())
    });
}

/// A proxy that may lock its pages does: all of them, also those that it gets later.
#[test]
fn pages_are_locked_where_that_is_allowed() {
    scenario(async |world| {
        let log = world.folder().join("logs").join("alice.log");
        let mut scene = world.scene(["alice"]).await?;
        let id = scene.proxy("alice")?.program()?.id();
        check_pages(id, &log)?;
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        // A test that is run without the privilege sees the other half only.
        if number(&status, "VmLck", 10)? > 0 {
            ensure!(
                number(&status, "VmLck", 10)? >= number(&status, "VmRSS", 10)?,
                "some pages are not locked:\n{status}"
            );
        }
        Ok(())
    });
}

/// Pages are locked exactly where no limit can make an allocation fail for it, and the log says which it is.
fn check_pages(id: u32, log: &Path) -> anyhow::Result<()> {
    /// Bit of `CAP_IPC_LOCK`.
    const IPC_LOCK: u32 = 14;
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let limits = fs::read_to_string(format!("/proc/{id}/limits"))?;
    let limit = limits.lines().find(|line| line.starts_with("Max locked memory"));
    let limit = limit
        .and_then(|line| line.split_whitespace().nth(3))
        .context("a limit of locked memory")?;
    let allowed = limit == "unlimited" || number(&status, "CapEff", 16)? >> IPC_LOCK & 1 == 1;
    let locked = number(&status, "VmLck", 10)?;
    ensure!(
        (locked > 0) == allowed,
        "limit {limit}, {locked} KiB locked:\n{status}"
    );
    let said = if allowed { "locked" } else { "swappable" };
    ensure!(
        fs::read_to_string(log)?.contains(&format!("pages=\"{said}\"")),
        "the log does not say {said}"
    );
    Ok(())
}

/// The number of a line of `/proc/PID/status`.
fn number(status: &str, name: &str, radix: u32) -> anyhow::Result<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let word = line
        .and_then(|line| line.split_whitespace().next())
        .with_context(|| format!("{name}:\n{status}"))?;
    Ok(u64::from_str_radix(word, radix)?)
}

/// Whether nobody can read the beginning of a file.
async fn reads(path: String) -> anyhow::Result<bool> {
    let mut command = Command::new("head");
    command.args(["-c", "1", &path]).uid(NOBODY);
    let finished = run(command, Duration::from_secs(10)).await?;
    Ok(finished.status.success())
}
