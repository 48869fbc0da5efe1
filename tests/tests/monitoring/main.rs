//! The alert rules of docs/operations/monitoring against what the programs show while they serve and while they break.
//! Metrics are recorded as Prometheus would scrape them, and its own tool says which alerts would have fired.

mod crashes;
mod names;
mod recording;
mod values;

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, ensure};

use crate::recording::Recording;

/// A file of the repository.
fn repository(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
}

fn rules() -> PathBuf {
    repository("docs/operations/monitoring/alerts.yml")
}

/// Plays a recording to the rules: the alerts that are named fire, or none at all if none is.
fn fires(recording: &Recording, alerts: &[&str]) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let test = folder.path().join("test.yml");
    fs::write(&test, recording.test(&rules(), alerts))?;
    let promtool = repository("target/prometheus/promtool");
    let output = Command::new(promtool)
        .args(["test", "rules"])
        .arg(&test)
        .output()
        .context("promtool, which scripts/setup fetches")?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", recording.name());
    Ok(())
}
