//! The programs under test, started as an operator would.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};
use waxwire_tests::binaries::Binary;

use crate::{process::Server, run::target_folder};

/// Limits that the load does not reach; they are evaluated for every send all the same. No tags of the transparency log are
/// computed while sends are measured.
const LIMITS: &str = "[limits]\nsends_per_minute = 100_000_000\ncontrol_per_minute = 100_000_000\n\
    org_sends_per_hour = 1_000_000_000\nbacklog = 10_000_000\ncontrol_backlog = 10_000_000\n\
    group_members = 0\ngroups = 0\ngroups_per_hour = 0\njoins_and_leaves_per_hour = 0\ncommits_per_minute = 0\n\
    [transparency]\nenabled = false\n";

/// One of the programs that `scripts/peers` installs.
///
/// # Errors
/// It is not there.
pub(crate) fn peer(name: &str) -> anyhow::Result<Command> {
    let program = target_folder()?.join("peers/bin").join(name);
    let shown = program.display();
    ensure!(program.exists(), "no {shown}: scripts/peers installs it");
    Ok(Command::new(program))
}

/// The URL of the default database below a folder.
pub(crate) fn sqlite(folder: &Path) -> String {
    format!("sqlite://{}", folder.join("relay.db").display())
}

/// A relay on a database, with its configuration in a folder.
///
/// # Errors
/// It does not come up.
pub(crate) fn relay(folder: &Path, database: &str) -> anyhow::Result<Server> {
    Server::start(&mut relay_command(folder, database)?)
}

/// One node of a relay, that shares a folder, a database and a Redis with others.
///
/// # Errors
/// It does not come up.
pub(crate) fn node(folder: &Path, database: &str, redis: &str) -> anyhow::Result<Server> {
    let mut command = relay_command(folder, database)?;
    command.arg("--blobs").arg(folder.join("blobs"));
    Server::start(command.env("WAXWIRE_REDIS_URL", redis))
}

fn relay_command(folder: &Path, database: &str) -> anyhow::Result<Command> {
    let mut command = Binary::Relay.command(folder)?;
    command.args(["serve", "--listen", "127.0.0.1:0", "--log", "warn"]);
    let limits = folder.join("relay.toml");
    fs::write(&limits, LIMITS)?;
    command.arg("--config").arg(&limits);
    command.args(["--database", database]);
    Ok(command)
}

/// An agent's crypto proxy.
pub(crate) struct Sidecar {
    /// Its process.
    pub(crate) server: Server,
    /// Value of the header `authorization` for its local API.
    pub(crate) authorization: String,
    folder: PathBuf,
    handle: String,
}

impl Sidecar {
    /// A new agent of the relay at this address, with its files below a folder.
    ///
    /// # Errors
    /// It does not come up.
    pub(crate) fn start(folder: &Path, relay: &Server, handle: &str) -> anyhow::Result<Self> {
        let url = format!("http://{}", relay.address);
        let mut init = command(folder, handle, "init")?;
        init.args(["--relay", &url, "--handle", handle])
            .stdout(Stdio::null());
        ensure!(init.status()?.success(), "waxwire-proxy init of {handle} failed");
        Ok(Self {
            server: serve(folder, handle)?,
            authorization: bearer(folder, handle)?,
            folder: folder.to_owned(),
            handle: handle.to_owned(),
        })
    }

    /// Ends its process; what comes then waits at the relay.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        self.server.kill()
    }

    /// Starts it again.
    ///
    /// # Errors
    /// It does not come up.
    pub(crate) fn start_again(&mut self) -> anyhow::Result<()> {
        self.server = serve(&self.folder, &self.handle)?;
        Ok(())
    }
}

fn serve(folder: &Path, handle: &str) -> anyhow::Result<Server> {
    Server::start(command(folder, handle, "run")?.args(["--listen", "127.0.0.1:0"]))
}

fn command(folder: &Path, handle: &str, verb: &str) -> anyhow::Result<Command> {
    let mut command = Binary::Proxy.command(folder)?;
    // The load is one text over and over.
    command.env("WAXWIRE_PROXY_DUPLICATES", "0");
    command
        .args([verb, "--log", "warn", "--state"])
        .arg(folder.join(handle));
    command
        .arg("--key-file")
        .arg(folder.join(format!("{handle}.key")));
    Ok(command)
}

fn bearer(folder: &Path, handle: &str) -> anyhow::Result<String> {
    let token = fs::read_to_string(folder.join(handle).join("token")).context("the token")?;
    Ok(format!("Bearer {}", token.trim()))
}
