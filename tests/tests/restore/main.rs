//! Backup and restore, two instances of one agent, roll-back (docs/protocol.md, 8.3 to 8.5; D8).

mod direct;
mod files;
mod groups;
mod instances;

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use waxwire_tests::{Agent, Proxy, Relay, World, eventually, program::run};

const LIMIT: Duration = Duration::from_secs(30);
/// How long instances take to learn of one another.
const SOON: Duration = Duration::from_secs(20);

/// A file with a passphrase.
fn passphrase(world: &World, name: &str, text: &str) -> anyhow::Result<String> {
    let path = world.folder().join(name);
    fs::write(&path, format!("{text}\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    path.into_os_string()
        .into_string()
        .ok()
        .context("a path in UTF-8")
}

/// A backup with history, sealed by the passphrase file `secret`.
async fn back_up(world: &World, proxy: &Proxy, name: &str) -> anyhow::Result<PathBuf> {
    let out = world.folder().join(name);
    let secret = passphrase(world, "secret", "correct horse battery")?;
    let arguments = [
        "--history",
        "--json",
        "--backup-passphrase-file",
        &secret,
        "--out",
    ];
    let mut command = proxy.tool("backup", &arguments)?;
    command.arg(&out);
    let finished = run(command, LIMIT).await?.success()?;
    let result: Value = serde_json::from_str(&finished.stdout)?;
    ensure!(result["handle"] == proxy.handle(), "{result}");
    Ok(out)
}

/// An agent from a backup on another host, not started.
async fn restore(
    world: &World,
    relay: &Relay,
    handle: &str,
    host: &str,
    backup: &std::path::Path,
) -> anyhow::Result<Proxy> {
    let proxy = world.other_host(relay, handle, host).await?;
    let secret = passphrase(world, "secret", "correct horse battery")?;
    let url = proxy.tap().url();
    let arguments = ["--relay", &url, "--backup-passphrase-file", &secret, "--backup"];
    let mut command = proxy.tool("restore", &arguments)?;
    command.arg(backup);
    let shown = run(command, LIMIT).await?.success()?.stdout;
    ensure!(
        shown.contains("fingerprint") && shown.contains("hours ago"),
        "{shown}"
    );
    Ok(proxy)
}

/// How many alerts of a kind an agent has.
async fn count(agent: &Agent, kind: &str) -> anyhow::Result<usize> {
    let alerts = agent.alerts().await?;
    Ok(alerts.iter().filter(|alert| alert["type"] == kind).count())
}

async fn until_alert(agent: &Agent, kind: &str) -> anyhow::Result<()> {
    let what = format!("{} has an alert {kind}", agent.handle());
    eventually(&what, SOON, async || {
        Ok((count(agent, kind).await? > 0).then_some(()))
    })
    .await
}

/// Nothing that a clone or a repeated number would cause.
async fn no_forks(agents: &[&Agent]) -> anyhow::Result<()> {
    for agent in agents {
        for kind in ["sender_fork", "clone", "replayed", "leaf_false", "roster_fork"] {
            let found = count(agent, kind).await?;
            ensure!(found == 0, "{} has {found} alerts {kind}", agent.handle());
        }
    }
    Ok(())
}

/// Health says that this instance is of no use, and why.
async fn until_red(agent: &Agent, fault: &str) -> anyhow::Result<()> {
    let what = format!("{} says {fault}", agent.handle());
    eventually(&what, SOON, async || {
        let answer = agent.get("/readyz").await?;
        let body: Value = answer.parse()?;
        Ok((answer.status == 503 && body["link_fault"] == fault).then_some(()))
    })
    .await
}
