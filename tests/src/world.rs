//! One test: a fresh folder, a relay, proxies, a time limit, and what holds after every test.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::ensure;
use tempfile::TempDir;

use crate::{
    canary::{Canaries, files},
    clock::within,
    database::Database,
    ledger::Ledger,
    postgres::Server,
    program::tail,
    proxy::Proxy,
    relay::Relay,
    tap::Tap,
};

/// How long a test may take if nothing else is said.
const LIMIT: Duration = Duration::from_secs(120);

/// Where a test happens.
#[derive(Debug)]
pub struct World {
    folder: TempDir,
    canaries: Canaries,
    ledger: Ledger,
}

/// A relay and two proxies that run and are linked to it.
#[derive(Debug)]
pub struct Pair {
    /// The relay.
    pub relay: Relay,
    /// The proxy of alice.
    pub alice: Proxy,
    /// The proxy of bob.
    pub bob: Proxy,
}

impl World {
    /// A fresh folder.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("waxwire-test-").tempdir()?;
        fs::create_dir(folder.path().join("logs"))?;
        Ok(Self {
            folder,
            canaries: Canaries::default(),
            ledger: Ledger::default(),
        })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What must not be found in clear.
    #[must_use]
    pub const fn canaries(&self) -> &Canaries {
        &self.canaries
    }

    /// The message keys of groups that were used.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.folder().join("logs").join(format!("{name}.log"))
    }

    /// A relay that is not started.
    ///
    /// # Errors
    /// Its folder cannot be made.
    pub fn new_relay(&self, name: &str) -> anyhow::Result<Relay> {
        let folder = self.folder().join(name);
        fs::create_dir_all(&folder)?;
        Relay::new(&folder, &self.log(name))
    }

    /// A relay that is not started, on a file whatever the environment says, for what only such a one does.
    ///
    /// # Errors
    /// Its folder cannot be made.
    pub fn new_relay_on_file(&self, name: &str) -> anyhow::Result<Relay> {
        let folder = self.folder().join(name);
        fs::create_dir_all(&folder)?;
        Relay::on(Database::in_folder(&folder), &folder, &self.log(name))
    }

    /// A relay that is not started, on a database on a PostgreSQL server of its own.
    ///
    /// # Errors
    /// Its folder or database cannot be made.
    pub fn new_relay_on(&self, server: &Arc<Server>, name: &str) -> anyhow::Result<Relay> {
        let folder = self.folder().join(name);
        fs::create_dir(&folder)?;
        Relay::on(Database::on(server), &folder, &self.log(name))
    }

    /// A relay of several nodes that are not started, on a server of its own if there is one.
    ///
    /// # Errors
    /// Its folder or database cannot be made, or there is no Redis.
    pub fn new_nodes(&self, nodes: usize, server: Option<&Arc<Server>>) -> anyhow::Result<Relay> {
        let folder = self.folder().join("relay");
        fs::create_dir(&folder)?;
        let database = server.map_or_else(Database::on_shared, Database::on);
        Relay::of_nodes(nodes, database, &folder, &self.log("relay"))
    }

    /// A running relay.
    ///
    /// # Errors
    /// It does not come up.
    pub async fn relay(&self) -> anyhow::Result<Relay> {
        let mut relay = self.new_relay("relay")?;
        relay.start().await?;
        Ok(relay)
    }

    /// A proxy that is neither initialised nor started.
    ///
    /// # Errors
    /// Its tap cannot listen.
    pub async fn new_proxy(&self, relay: &Relay, handle: &str) -> anyhow::Result<Proxy> {
        let tap = Tap::start(relay.balancer(), self.ledger.clone()).await?;
        let canaries = self.canaries.clone();
        Ok(Proxy::new(
            handle,
            self.folder(),
            &self.log(handle),
            tap,
            canaries,
        ))
    }

    /// The same on another host: with a state folder, a log and a tap of its own.
    ///
    /// # Errors
    /// Its folder cannot be made or its tap cannot listen.
    pub async fn other_host(&self, relay: &Relay, handle: &str, host: &str) -> anyhow::Result<Proxy> {
        let tap = Tap::start(relay.balancer(), self.ledger.clone()).await?;
        let folder = self.folder().join(host);
        fs::create_dir(&folder)?;
        let (log, canaries) = (self.log(&format!("{handle}-{host}")), self.canaries.clone());
        Ok(Proxy::new(handle, &folder, &log, tap, canaries))
    }

    /// A running proxy that is linked to the relay.
    ///
    /// # Errors
    /// It does not come up.
    pub async fn proxy(&self, relay: &Relay, handle: &str) -> anyhow::Result<Proxy> {
        self.proxy_with(relay, handle, []).await
    }

    /// The same with further arguments of `run`.
    ///
    /// # Errors
    /// It does not come up.
    pub async fn proxy_with<const N: usize>(
        &self,
        relay: &Relay,
        handle: &str,
        arguments: [&str; N],
    ) -> anyhow::Result<Proxy> {
        let mut proxy = self.new_proxy(relay, handle).await?;
        proxy.init().await?;
        proxy.arguments(arguments);
        proxy.start().await?;
        proxy.agent()?.until_ready().await?;
        Ok(proxy)
    }

    /// A relay, alice and bob.
    ///
    /// # Errors
    /// One does not come up.
    pub async fn pair(&self) -> anyhow::Result<Pair> {
        self.pair_on(self.relay().await?).await
    }

    /// A relay that runs, with alice and bob.
    ///
    /// # Errors
    /// One does not come up.
    pub async fn pair_on(&self, relay: Relay) -> anyhow::Result<Pair> {
        let alice = self.proxy(&relay, "alice").await?;
        let bob = self.proxy(&relay, "bob").await?;
        Ok(Pair { relay, alice, bob })
    }

    /// What holds after every test: no program panicked, no message key of a group has sealed two
    /// ciphertexts, and no text that an agent sent, nor a token, lies anywhere in clear but in the token
    /// files.
    ///
    /// # Errors
    /// It does not hold.
    pub fn check(&self) -> anyhow::Result<()> {
        for log in files(&self.folder().join("logs"))? {
            let text = fs::read(&log)?;
            let text = String::from_utf8_lossy(&text);
            let panic = text.lines().find(|line| line.contains("panicked at"));
            ensure!(
                panic.is_none(),
                "{}: {}",
                log.display(),
                panic.unwrap_or_default()
            );
        }
        let reused = self.ledger.reused();
        ensure!(reused.is_empty(), "{reused:?}");
        let is_token = |file: &Path| file.file_name().is_some_and(|name| name == "token");
        let found = self.canaries.search(self.folder(), is_token)?;
        ensure!(found.is_empty(), "secrets in clear: {found:?}");
        Ok(())
    }

    /// Shows the last lines of every log, after a failure.
    #[expect(
        clippy::print_stderr,
        reason = "logs of a failed test belong beside its failure"
    )]
    fn show_and_keep(mut self) {
        for log in files(&self.folder().join("logs")).unwrap_or_default() {
            eprintln!("--- {}\n{}", log.display(), tail(&log));
        }
        if std::env::var_os("KEEP").is_some() {
            self.folder.disable_cleanup(true);
            eprintln!("--- kept: {}", self.folder().display());
        }
    }
}

/// Runs a test in a world of its own, within two minutes. When it fails, the last lines of every log
/// are shown; with `KEEP` in the environment its folder is kept.
///
/// # Panics
/// The test fails, takes too long, or breaks what holds after every test.
pub fn scenario(test: impl AsyncFnOnce(&World) -> anyhow::Result<()>) {
    scenario_within(LIMIT, test);
}

/// The same with another time limit.
///
/// # Panics
/// See [`scenario`].
#[expect(clippy::panic, reason = "this is where a test fails")]
pub fn scenario_within(limit: Duration, test: impl AsyncFnOnce(&World) -> anyhow::Result<()>) {
    let outcome = World::new().and_then(|world| attempt(world, limit, test));
    if let Err(error) = outcome {
        panic!("{}", report(&error));
    }
}

/// An error with its causes and the lines of the tests that it passed through.
fn report(error: &anyhow::Error) -> String {
    let trace = error.backtrace().to_string();
    let ours = trace
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("at ./tests/"));
    let mut lines: Vec<&str> = ours.collect();
    lines.dedup();
    if lines.is_empty() {
        lines.push("(RUST_BACKTRACE=1 shows where)");
    }
    format!("{error:#}\n{}", lines.join("\n"))
}

fn attempt(
    world: World,
    limit: Duration,
    test: impl AsyncFnOnce(&World) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let run = || runtime.block_on(async { within("the test", limit, test(&world)).await? });
    let outcome = catch_unwind(AssertUnwindSafe(run));
    runtime.shutdown_timeout(Duration::from_secs(1));
    let outcome = match outcome {
        Ok(outcome) => outcome.and_then(|()| world.check()),
        Err(panic) => {
            world.show_and_keep();
            resume_unwind(panic);
        }
    };
    if outcome.is_err() {
        world.show_and_keep();
    }
    outcome
}
